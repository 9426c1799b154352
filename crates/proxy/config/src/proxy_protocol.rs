//! The listener filter that reads the PROXY protocol.

use meltemi_ir::{ProxyEntryRule, ProxyProtocol};
use meltemi_xds::pb::envoy::config::core::v3::proxy_protocol_config::Version;
use meltemi_xds::pb::envoy::extensions::filters::listener::proxy_protocol::v3 as proxy_v3;
use meltemi_xds::pb::envoy::extensions::filters::listener::proxy_protocol::v3::proxy_protocol::{
    KeyValuePair, Rule,
};

use crate::fields::fields;
use crate::path::At;
use crate::scalar::{enumeration, non_empty};

/// Where metadata goes unless a rule says otherwise.
const NAMESPACE: &str = "envoy.filters.listener.proxy_protocol";

/// The filter.
pub(crate) fn proxy_protocol(message: &proxy_v3::ProxyProtocol, at: &At<'_>) -> ProxyProtocol {
    fields!(at, message, proxy_v3::ProxyProtocol {
        honoured {
            rules, allow_requests_without_proxy_protocol, disallowed_versions, stat_prefix,
        }
        partly { tlv_location: "DYNAMIC_METADATA" }
        refused { pass_through_tlvs: "entries are not passed on" }
    });
    if *tlv_location != 0 {
        at.field("tlv_location").refuse("only DYNAMIC_METADATA is");
    }
    let at_versions = &at.field("disallowed_versions");
    let refused: Vec<Version> = disallowed_versions
        .iter()
        .filter_map(|version| enumeration(*version, at_versions))
        .collect();
    let refuse_v1 = refused.contains(&Version::V1);
    let refuse_v2 = refused.contains(&Version::V2);
    if refuse_v1 && refuse_v2 {
        at_versions.problem("leaves no version");
    }
    ProxyProtocol {
        optional: *allow_requests_without_proxy_protocol,
        rules: at.field("rules").each(rules, rule),
        refuse_v1,
        refuse_v2,
        stat_prefix: stat_prefix.clone(),
    }
}

fn rule(message: &Rule, at: &At<'_>) -> Option<ProxyEntryRule> {
    fields!(at, message, Rule { honoured { tlv_type, on_tlv_present } });
    let Ok(kind) = u8::try_from(*tlv_type) else {
        at.field("tlv_type").problem("must be less than 256");
        return None;
    };
    let at = &at.field("on_tlv_present");
    let Some(message) = on_tlv_present else {
        at.problem("is required");
        return None;
    };
    fields!(at, message, KeyValuePair {
        honoured { metadata_namespace, key }
        partly { value_string_encoding: "text" }
    });
    if *value_string_encoding != 0 {
        at.field("value_string_encoding").refuse("only text is");
    }
    let namespace = match metadata_namespace.as_str() {
        "" => NAMESPACE,
        namespace => namespace,
    };
    Some(ProxyEntryRule {
        kind,
        namespace: namespace.to_owned(),
        key: non_empty(key, &at.field("key")).to_owned(),
    })
}
