//! Role-based access control: policies, and the filters of HTTP and TCP that hold to them.

use std::sync::Arc;

use meltemi_ir::{
    ClientAddress, HttpRbac, NetworkRbac, Rbac, RbacAction, RbacMetadata, RbacPolicy, RbacRule,
    SanMatch, StringMatch,
};
use meltemi_xds::pb::envoy::config::core::v3::{CidrRange, TypedExtensionConfig};
use meltemi_xds::pb::envoy::config::rbac::v3 as rbac_v3;
use meltemi_xds::pb::envoy::config::rbac::v3::permission::Rule;
use meltemi_xds::pb::envoy::config::rbac::v3::principal::{Authenticated, Identifier};
use meltemi_xds::pb::envoy::config::rbac::v3::{
    MetadataSource, SourcedMetadata, permission, principal, rbac,
};
use meltemi_xds::pb::envoy::config::route::v3::HeaderMatcher;
use meltemi_xds::pb::envoy::extensions::filters::http::rbac::v3 as http_v3;
use meltemi_xds::pb::envoy::extensions::filters::network::rbac::v3 as network_v3;
use meltemi_xds::pb::envoy::extensions::rbac::principals::mtls_authenticated::v3::Config as MtlsAuthenticated;
use meltemi_xds::pb::envoy::r#type::matcher::v3 as matcher_v3;
use meltemi_xds::pb::envoy::r#type::matcher::v3::filter_state_matcher;
use meltemi_xds::pb::envoy::r#type::matcher::v3::path_matcher;
use meltemi_xds::pb::envoy::r#type::v3::Int32Range;
use prost_types::Any;

use crate::address::prefix;
use crate::extension::{Known, unpack};
use crate::fields::fields;
use crate::http_options::typed_extension;
use crate::matcher::{bounds32, header_match, metadata_match, string_match};
use crate::path::At;
use crate::scalar::{duration, enumeration, non_empty};
use crate::secret::san_match;
use crate::uri_template;

/// What converts a question that is an extension.
pub(crate) type Convert = fn(Option<&Any>, &At<'_>) -> Option<RbacRule>;

/// Principals of other kinds.
pub(crate) static PRINCIPALS: &[Known<Convert>] = &[Known {
    name: "envoy.rbac.principals.mtls_authenticated",
    type_name: "envoy.extensions.rbac.principals.mtls_authenticated.v3.Config",
    convert: |config, at| mtls_authenticated(&unpack(config, at)?, at),
}];

/// Which protocol a policy is held to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Traffic {
    Http,
    Tcp,
}

/// `envoy.filters.http.rbac`.
pub(crate) fn http_rbac(message: &http_v3::Rbac, at: &At<'_>) -> Option<HttpRbac> {
    fields!(at, message, http_v3::Rbac {
        honoured {
            rules, rules_stat_prefix, shadow_rules, shadow_rules_stat_prefix, track_per_rule_stats,
        }
        unsupported { matcher, shadow_matcher }
    });
    let enforced = policies(rules.as_ref(), Traffic::Http, &at.field("rules"));
    let tried = policies(
        shadow_rules.as_ref(),
        Traffic::Http,
        &at.field("shadow_rules"),
    );
    Some(HttpRbac {
        rules: enforced?,
        rules_stat_prefix: rules_stat_prefix.clone(),
        shadow_rules: tried?,
        shadow_rules_stat_prefix: shadow_rules_stat_prefix.clone(),
        track_per_rule_stats: *track_per_rule_stats,
    })
}

/// What a route says of it. Where it says nothing, nothing is enforced there.
pub(crate) fn http_rbac_per_route(
    message: &http_v3::RbacPerRoute,
    at: &At<'_>,
) -> Option<HttpRbac> {
    fields!(at, message, http_v3::RbacPerRoute { honoured { rbac } });
    match rbac {
        Some(message) => http_rbac(message, &at.field("rbac")),
        None => Some(HttpRbac::default()),
    }
}

/// `envoy.filters.network.rbac`.
pub(crate) fn network_rbac(message: &network_v3::Rbac, at: &At<'_>) -> Option<NetworkRbac> {
    fields!(at, message, network_v3::Rbac {
        honoured { rules, shadow_rules, shadow_rules_stat_prefix, stat_prefix, delay_deny }
        unsupported { matcher, shadow_matcher }
        ignored { enforcement_type: "nothing that a policy asks for changes while a connection lasts" }
    });
    let enforced = policies(rules.as_ref(), Traffic::Tcp, &at.field("rules"));
    let tried = policies(
        shadow_rules.as_ref(),
        Traffic::Tcp,
        &at.field("shadow_rules"),
    );
    Some(NetworkRbac {
        rules: enforced?,
        shadow_rules: tried?,
        shadow_rules_stat_prefix: shadow_rules_stat_prefix.clone(),
        stat_prefix: non_empty(stat_prefix, &at.field("stat_prefix")).to_owned(),
        delay_deny: duration(delay_deny.as_ref(), &at.field("delay_deny")).unwrap_or_default(),
    })
}

/// The policies, where there are any; none at all where they are wrong.
fn policies(
    message: Option<&rbac_v3::Rbac>,
    traffic: Traffic,
    at: &At<'_>,
) -> Option<Option<Arc<Rbac>>> {
    let Some(message) = message else {
        return Some(None);
    };
    fields!(at, message, rbac_v3::Rbac {
        honoured { action, policies }
        unsupported { audit_logging_options }
    });
    let action = match enumeration(*action, &at.field("action"))? {
        rbac::Action::Allow => RbacAction::Allow,
        rbac::Action::Deny => RbacAction::Deny,
        rbac::Action::Log => RbacAction::Log,
    };
    let at_policies = &at.field("policies");
    let policies = policies.iter();
    // all of them, so that each that is wrong is reported
    let converted: Vec<_> = policies
        .map(|(name, message)| {
            let policy = policy(message, traffic, &at_policies.key(name))?;
            Some((name.clone(), policy))
        })
        .collect();
    Some(Some(Arc::new(Rbac {
        action,
        policies: converted.into_iter().collect::<Option<_>>()?,
    })))
}

fn policy(message: &rbac_v3::Policy, traffic: Traffic, at: &At<'_>) -> Option<RbacPolicy> {
    fields!(at, message, rbac_v3::Policy {
        honoured { permissions, principals }
        unsupported { condition, checked_condition, cel_config }
    });
    let rules = some(permissions, &at.field("permissions"), |message, at| {
        permission(message, traffic, at)
    });
    let ids = some(principals, &at.field("principals"), |message, at| {
        principal(message, traffic, at)
    });
    Some(RbacPolicy {
        permissions: rules?,
        principals: ids?,
    })
}

/// All of a list that must have an element; none where one of them is wrong.
fn some<T>(
    list: &[T],
    at: &At<'_>,
    convert: impl FnMut(&T, &At<'_>) -> Option<RbacRule>,
) -> Option<Vec<RbacRule>> {
    if list.is_empty() {
        at.problem("must not be empty");
    }
    let converted = at.each(list, convert);
    (converted.len() == list.len()).then_some(converted)
}

fn permission(message: &rbac_v3::Permission, traffic: Traffic, at: &At<'_>) -> Option<RbacRule> {
    fields!(at, message, rbac_v3::Permission {
        oneof { rule {
            and_rules: Honoured "",
            or_rules: Honoured "",
            any: Honoured "",
            header: Partly "HTTP only",
            url_path: Honoured "",
            destination_ip: Honoured "",
            destination_port: Honoured "",
            destination_port_range: Honoured "",
            metadata: Honoured "",
            not_rule: Honoured "",
            requested_server_name: Honoured "",
            matcher: Refused "it asks for the upstream's address",
            uri_template: Partly "UriTemplateMatchConfig",
            sourced_metadata: Honoured "",
        } }
    });
    let set = |message: &permission::Set, at: &At<'_>| {
        fields!(at, message, permission::Set { honoured { rules } });
        some(rules, &at.field("rules"), |message, at| {
            permission(message, traffic, at)
        })
    };
    Some(match rule {
        Some(Rule::AndRules(message)) => RbacRule::All(set(message, &at.field("and_rules"))?),
        Some(Rule::OrRules(message)) => RbacRule::OneOf(set(message, &at.field("or_rules"))?),
        Some(Rule::Any(any)) => everything(*any, &at.field("any"))?,
        Some(Rule::Header(message)) => header(message, traffic, &at.field("header"))?,
        Some(Rule::UrlPath(message)) => RbacRule::Path(path(message, &at.field("url_path"))?),
        Some(Rule::DestinationIp(message)) => {
            RbacRule::DestinationIp(prefix(message, &at.field("destination_ip"))?)
        }
        Some(Rule::DestinationPort(port)) => {
            let port = u32::from(crate::scalar::port(*port, &at.field("destination_port"))?);
            RbacRule::DestinationPort {
                start: port,
                end: port + 1,
            }
        }
        Some(Rule::DestinationPortRange(message)) => {
            port_range(message, &at.field("destination_port_range"))?
        }
        Some(Rule::Metadata(message)) => RbacRule::Metadata {
            source: RbacMetadata::Dynamic,
            matcher: metadata_match(message, &at.field("metadata"))?,
        },
        Some(Rule::NotRule(message)) => RbacRule::Not(Box::new(permission(
            message,
            traffic,
            &at.field("not_rule"),
        )?)),
        Some(Rule::RequestedServerName(message)) => {
            RbacRule::ServerName(string_match(message, &at.field("requested_server_name"))?)
        }
        Some(Rule::UriTemplate(message)) => {
            let template = uri_template::matcher(message, &at.field("uri_template"))?;
            RbacRule::UriTemplate(template.template)
        }
        Some(Rule::SourcedMetadata(message)) => {
            sourced_metadata(message, &at.field("sourced_metadata"))?
        }
        Some(Rule::Matcher(_)) => {
            at.field("matcher")
                .refuse("it asks for the upstream's address");
            return None;
        }
        None => {
            at.problem("needs a rule");
            return None;
        }
    })
}

fn principal(message: &rbac_v3::Principal, traffic: Traffic, at: &At<'_>) -> Option<RbacRule> {
    fields!(at, message, rbac_v3::Principal {
        oneof { identifier {
            and_ids: Honoured "",
            or_ids: Honoured "",
            any: Honoured "",
            authenticated: Honoured "",
            source_ip: Honoured "",
            direct_remote_ip: Honoured "",
            remote_ip: Honoured "",
            header: Partly "HTTP only",
            url_path: Honoured "",
            metadata: Honoured "",
            filter_state: Honoured "",
            not_id: Honoured "",
            sourced_metadata: Honoured "",
            custom: Partly "mtls_authenticated",
        } }
    });
    let set = |message: &principal::Set, at: &At<'_>| {
        fields!(at, message, principal::Set { honoured { ids } });
        some(ids, &at.field("ids"), |message, at| {
            principal(message, traffic, at)
        })
    };
    let client = |address, message: &CidrRange, field| {
        let range = prefix(message, &at.field(field))?;
        Some(RbacRule::Client { address, range })
    };
    match identifier {
        Some(Identifier::AndIds(message)) => {
            Some(RbacRule::All(set(message, &at.field("and_ids"))?))
        }
        Some(Identifier::OrIds(message)) => {
            Some(RbacRule::OneOf(set(message, &at.field("or_ids"))?))
        }
        Some(Identifier::Any(any)) => everything(*any, &at.field("any")),
        Some(Identifier::Authenticated(message)) => {
            authenticated(message, &at.field("authenticated"))
        }
        Some(Identifier::SourceIp(message)) => {
            client(ClientAddress::Connection, message, "source_ip")
        }
        Some(Identifier::DirectRemoteIp(message)) => {
            client(ClientAddress::Direct, message, "direct_remote_ip")
        }
        Some(Identifier::RemoteIp(message)) => client(ClientAddress::Trusted, message, "remote_ip"),
        Some(Identifier::Header(message)) => header(message, traffic, &at.field("header")),
        Some(Identifier::UrlPath(message)) => {
            Some(RbacRule::Path(path(message, &at.field("url_path"))?))
        }
        Some(Identifier::Metadata(message)) => Some(RbacRule::Metadata {
            source: RbacMetadata::Dynamic,
            matcher: metadata_match(message, &at.field("metadata"))?,
        }),
        Some(Identifier::FilterState(message)) => filter_state(message, &at.field("filter_state")),
        Some(Identifier::NotId(message)) => {
            let inner = principal(message, traffic, &at.field("not_id"))?;
            Some(RbacRule::Not(Box::new(inner)))
        }
        Some(Identifier::SourcedMetadata(message)) => {
            sourced_metadata(message, &at.field("sourced_metadata"))
        }
        Some(Identifier::Custom(message)) => extension(message, PRINCIPALS, &at.field("custom")),
        None => {
            at.problem("needs an identifier");
            None
        }
    }
}

fn everything(any: bool, at: &At<'_>) -> Option<RbacRule> {
    if !any {
        at.problem("must be true");
        return None;
    }
    Some(RbacRule::Any)
}

fn header(message: &HeaderMatcher, traffic: Traffic, at: &At<'_>) -> Option<RbacRule> {
    if traffic == Traffic::Tcp {
        at.refuse("a connection has no headers");
        return None;
    }
    header_match(message, at).map(RbacRule::Header)
}

/// A matcher of paths.
fn path(message: &matcher_v3::PathMatcher, at: &At<'_>) -> Option<StringMatch> {
    fields!(at, message, matcher_v3::PathMatcher { oneof { rule { path: Honoured "" } } });
    match rule {
        Some(path_matcher::Rule::Path(message)) => string_match(message, &at.field("path")),
        None => {
            at.field("path").problem("is required");
            None
        }
    }
}

fn port_range(message: &Int32Range, at: &At<'_>) -> Option<RbacRule> {
    let (start, end) = bounds32(message, at);
    let bound = |value: i32, at: &At<'_>| {
        let port = u32::try_from(value).ok().filter(|port| *port <= 65536);
        if port.is_none() {
            at.problem(format_args!("{value} is not between 0 and 65536"));
        }
        port
    };
    let start = bound(start, &at.field("start"))?;
    let end = bound(end, &at.field("end"))?;
    if start >= end {
        at.problem("must end after its start");
        return None;
    }
    Some(RbacRule::DestinationPort { start, end })
}

fn sourced_metadata(message: &SourcedMetadata, at: &At<'_>) -> Option<RbacRule> {
    fields!(at, message, SourcedMetadata { honoured { metadata_matcher, metadata_source } });
    let at_matcher = &at.field("metadata_matcher");
    let Some(matcher) = metadata_matcher else {
        at_matcher.problem("is required");
        return None;
    };
    let source = match enumeration(*metadata_source, &at.field("metadata_source"))? {
        MetadataSource::Dynamic => RbacMetadata::Dynamic,
        MetadataSource::Route => RbacMetadata::Route,
    };
    Some(RbacRule::Metadata {
        source,
        matcher: metadata_match(matcher, at_matcher)?,
    })
}

fn authenticated(message: &Authenticated, at: &At<'_>) -> Option<RbacRule> {
    fields!(at, message, Authenticated { honoured { principal_name } });
    match principal_name {
        None => Some(RbacRule::Authenticated(None)),
        Some(message) => {
            let name = string_match(message, &at.field("principal_name"))?;
            Some(RbacRule::Authenticated(Some(name)))
        }
    }
}

fn mtls_authenticated(message: &MtlsAuthenticated, at: &At<'_>) -> Option<RbacRule> {
    fields!(at, message, MtlsAuthenticated {
        honoured { san_matcher, any_validated_client_certificate }
    });
    match san_matcher {
        Some(message) => {
            let at = &at.field("san_matcher");
            let name = san_match(message, at)?;
            if matches!(name, SanMatch::Email(_) | SanMatch::Ip(_)) {
                at.field("san_type").refuse("only DNS and URI are");
                return None;
            }
            Some(RbacRule::VerifiedCertificate(Some(name)))
        }
        None if *any_validated_client_certificate => Some(RbacRule::VerifiedCertificate(None)),
        None => {
            at.problem("needs san_matcher or any_validated_client_certificate");
            None
        }
    }
}

fn filter_state(message: &matcher_v3::FilterStateMatcher, at: &At<'_>) -> Option<RbacRule> {
    fields!(at, message, matcher_v3::FilterStateMatcher {
        honoured { key }
        oneof { matcher { string_match: Honoured "", address_match: Refused "state is text" } }
    });
    let key = non_empty(key, &at.field("key")).to_owned();
    match matcher {
        Some(filter_state_matcher::Matcher::StringMatch(message)) => Some(RbacRule::FilterState {
            key,
            value: string_match(message, &at.field("string_match"))?,
        }),
        Some(filter_state_matcher::Matcher::AddressMatch(_)) => {
            at.field("address_match").refuse("state is text");
            None
        }
        None => {
            at.problem("needs a matcher");
            None
        }
    }
}

fn extension(
    message: &TypedExtensionConfig,
    known: &[Known<Convert>],
    at: &At<'_>,
) -> Option<RbacRule> {
    let (known, config) = typed_extension(message, known, at)?;
    (known.convert)(config, &at.field("typed_config"))
}
