//! What is done: conditions as Envoy's permissions.

#![expect(
    deprecated,
    reason = "Istio writes `metadata`, and what came after it is not in every proxy"
)]

use meltemi_model::{Condition, Glob, TextAttribute};
use meltemi_xds::pb::envoy::config::core::v3::TypedExtensionConfig;
use meltemi_xds::pb::envoy::config::rbac::v3::{Permission, permission::Rule};
use meltemi_xds::pb::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;
use meltemi_xds::pb::envoy::r#type::matcher::v3::{PathMatcher, StringMatcher, path_matcher};

use super::matching::{cidr, header, metadata, one_of, text, value};
use super::rules::{each, whole};
use super::term::permission_of;
use crate::proto::pack;

/// The permissions that a condition asks for, all of them.
pub(super) fn terms(condition: &Condition) -> Vec<Permission> {
    match condition {
        Condition::Address(_, wanted) => each(wanted, |range| {
            permission_of(Rule::DestinationIp(cidr(*range)))
        }),
        Condition::Port(wanted) => each(wanted, |port| {
            permission_of(Rule::DestinationPort(u32::from(*port)))
        }),
        Condition::Text(TextAttribute::FilterMetadata { filter, key }, wanted) => {
            whole(wanted, |values| {
                let values = values.iter().map(metadata_value).collect();
                let path = std::slice::from_ref(key);
                permission_of(Rule::Metadata(metadata(filter, path, one_of(values))))
            })
        }
        Condition::Text(attribute, wanted) => {
            each(wanted, |glob| permission_of(rule(attribute, glob)))
        }
    }
}

fn rule(attribute: &TextAttribute, glob: &Glob) -> Rule {
    match attribute {
        TextAttribute::Host => {
            let ignoring_case = |it: StringMatcher| StringMatcher {
                ignore_case: true,
                ..it
            };
            Rule::Header(header(":authority", glob, ignoring_case))
        }
        TextAttribute::Method => Rule::Header(header(":method", glob, |it| it)),
        TextAttribute::Path => path(glob),
        TextAttribute::ServerName => Rule::RequestedServerName(text(glob, "")),
        TextAttribute::Header(_)
        | TextAttribute::Principal
        | TextAttribute::Namespace
        | TextAttribute::ServiceAccount
        | TextAttribute::TrustDomain
        | TextAttribute::RequestPrincipal
        | TextAttribute::Audiences
        | TextAttribute::Presenter
        | TextAttribute::Claim(_)
        | TextAttribute::FilterMetadata { .. } => unreachable!("not about what is done"),
    }
}

fn path(glob: &Glob) -> Rule {
    let written = glob.to_string();
    if written.contains("{*}") || written.contains("{**}") {
        let template = UriTemplateMatchConfig {
            path_template: written.replace("{*}", "*").replace("{**}", "**"),
        };
        return Rule::UriTemplate(TypedExtensionConfig {
            name: "uri-template".to_owned(),
            typed_config: Some(pack(&template)),
        });
    }
    Rule::UrlPath(PathMatcher {
        rule: Some(path_matcher::Rule::Path(text(glob, ""))),
    })
}

/// A value of a filter's metadata; in brackets, one of a list.
fn metadata_value(glob: &Glob) -> meltemi_xds::pb::envoy::r#type::matcher::v3::ValueMatcher {
    let written = glob.to_string();
    match written
        .strip_prefix('[')
        .and_then(|it| it.strip_suffix(']'))
    {
        Some(inner) => super::matching::listed(value(text(&Glob::new(inner), ""))),
        None => value(text(glob, "")),
    }
}
