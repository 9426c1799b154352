//! Who does it: conditions as Envoy's principals.

#![expect(
    deprecated,
    reason = "Istio writes `metadata`, and what came after it is not in every proxy"
)]

use meltemi_model::{AddressAttribute, Condition, Glob, TextAttribute};
use meltemi_xds::pb::envoy::config::rbac::v3::{
    Principal,
    principal::{Authenticated, Identifier},
};
use meltemi_xds::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};

use super::aliases;
use super::jwt::{PAYLOAD, claims_matcher, payload_matcher};
use super::matching::{cidr, expression, header, quoted, text, value};
use super::rules::{Context, each, whole};
use super::term::{Term, principal_of};
use crate::proto::matching;

/// What the identities of the mesh begin with.
const SPIFFE: &str = "spiffe://";

/// The principals that a condition asks for, all of them.
pub(super) fn terms(condition: &Condition, context: &Context<'_>) -> Vec<Principal> {
    let (attribute, wanted) = match condition {
        Condition::Address(attribute, wanted) => {
            return each(wanted, |range| {
                let range = cidr(*range);
                principal_of(match attribute {
                    AddressAttribute::Source => Identifier::DirectRemoteIp(range),
                    AddressAttribute::Remote => Identifier::RemoteIp(range),
                    AddressAttribute::Destination => unreachable!("not about who does it"),
                })
            });
        }
        Condition::Port(_) => unreachable!("not about who does it"),
        Condition::Text(attribute, wanted) => (attribute, wanted),
    };
    match attribute {
        TextAttribute::Principal => {
            let wanted = aliases::of_principals(context.mesh, wanted);
            each(&wanted, |it| authenticated(text(it, SPIFFE)))
        }
        TextAttribute::TrustDomain => {
            let wanted = aliases::of_domains(context.mesh, wanted);
            each(&wanted, |it| authenticated(domain(it)))
        }
        TextAttribute::Namespace => each(wanted, |it| {
            let namespace = quoted(&it.to_string()).replace("\\*", ".*");
            authenticated(expression(&format!(".*/ns/{namespace}/.*")))
        }),
        TextAttribute::ServiceAccount => {
            let home = context.policy.meta.namespace.as_str();
            each(wanted, |it| authenticated(account(&it.to_string(), home)))
        }
        TextAttribute::Header(name) => each(wanted, |it| {
            principal_of(Identifier::Header(header(name, it, |it| it)))
        }),
        TextAttribute::RequestPrincipal => whole(wanted, request_principals),
        TextAttribute::Audiences => whole(wanted, |values| claims(&["aud".to_owned()], values)),
        TextAttribute::Presenter => whole(wanted, |values| claims(&["azp".to_owned()], values)),
        TextAttribute::Claim(path) => whole(wanted, |values| claims(path, values)),
        TextAttribute::Host
        | TextAttribute::Method
        | TextAttribute::Path
        | TextAttribute::ServerName
        | TextAttribute::FilterMetadata { .. } => unreachable!("not about who does it"),
    }
}

fn authenticated(name: StringMatcher) -> Principal {
    principal_of(Identifier::Authenticated(Authenticated {
        principal_name: Some(name),
    }))
}

/// The identities of a trust domain.
fn domain(glob: &Glob) -> StringMatcher {
    match glob {
        Glob::Exact(domain) => matching(MatchPattern::Prefix(format!("{SPIFFE}{domain}/"))),
        Glob::Present | Glob::Suffix(_) | Glob::Prefix(_) => {
            let domain = quoted(&glob.to_string()).replace("\\*", "[^/]*");
            expression(&format!("{SPIFFE}{domain}/.*"))
        }
    }
}

/// The identities of a service account, whatever else they say.
fn account(written: &str, home: &str) -> StringMatcher {
    let (namespace, name) = written.split_once('/').unwrap_or((home, written));
    let (namespace, name) = (quoted(namespace), quoted(name));
    expression(&format!("{SPIFFE}.+/ns/{namespace}/(.+/|)sa/{name}(/.+)?"))
}

fn claims(path: &[String], values: &[Glob]) -> Principal {
    principal_of(Identifier::Metadata(claims_matcher(path, values)))
}

/// `ISSUER/SUBJECT`, where the issuer may have slashes too.
fn request_principals(values: &[Glob]) -> Principal {
    let mut all: Vec<_> = values.iter().map(request_principal).collect();
    match all.len() {
        1 => all.remove(0),
        _ => Principal::one_of(all),
    }
}

fn request_principal(glob: &Glob) -> Principal {
    let any = || expression(".+");
    let exact = |text: &str| matching(MatchPattern::Exact(text.to_owned()));
    let ends = |text: &str| matching(MatchPattern::Suffix(text.to_owned()));
    let begins = |text: &str| matching(MatchPattern::Prefix(text.to_owned()));
    let (issuer, subject) = match glob {
        Glob::Present => (any(), any()),
        Glob::Suffix(end) => match end.rsplit_once('/') {
            Some(("", subject)) => (any(), exact(subject)),
            Some((issuer, subject)) => (ends(issuer), exact(subject)),
            None => (any(), ends(end)),
        },
        Glob::Prefix(beginning) => match beginning.rsplit_once('/') {
            Some((issuer, "")) => (exact(issuer), any()),
            Some((issuer, subject)) => (exact(issuer), begins(subject)),
            None => (begins(beginning), any()),
        },
        Glob::Exact(text) => match text.rsplit_once('/') {
            Some((issuer, subject)) => (exact(issuer), exact(subject)),
            None => (exact(text), exact("")),
        },
    };
    let claim = |name: &str, wanted: StringMatcher| {
        let path = [PAYLOAD.to_owned(), name.to_owned()];
        principal_of(Identifier::Metadata(payload_matcher(&path, value(wanted))))
    };
    Principal::all_of(vec![claim("iss", issuer), claim("sub", subject)])
}
