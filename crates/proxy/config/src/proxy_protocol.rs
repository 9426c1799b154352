//! The PROXY protocol: the listener filter that reads it, and the headers that upstreams are sent.

use meltemi_ir::{PassedEntries, ProxyEntry, ProxyEntryRule, ProxyHeader, ProxyProtocol};
use meltemi_xds::pb::envoy::config::core::v3::proxy_protocol_config::Version;
use meltemi_xds::pb::envoy::config::core::v3::proxy_protocol_pass_through_tl_vs::PassTlVsMatchType;
use meltemi_xds::pb::envoy::config::core::v3::{
    ProxyProtocolConfig, ProxyProtocolPassThroughTlVs, TlvEntry,
};
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
            pass_through_tlvs,
        }
        partly { tlv_location: "DYNAMIC_METADATA" }
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
        kept: passed(pass_through_tlvs.as_ref(), &at.field("pass_through_tlvs")),
    }
}

/// The header that connections to upstreams begin with.
pub(crate) fn proxy_header(message: &ProxyProtocolConfig, at: &At<'_>) -> ProxyHeader {
    fields!(at, message, ProxyProtocolConfig {
        honoured { version, pass_through_tlvs, added_tlvs }
    });
    ProxyHeader {
        is_v2: enumeration(*version, &at.field("version")) == Some(Version::V2),
        passed: passed(pass_through_tlvs.as_ref(), &at.field("pass_through_tlvs")),
        added: at.field("added_tlvs").each(added_tlvs, entry),
    }
}

fn passed(message: Option<&ProxyProtocolPassThroughTlVs>, at: &At<'_>) -> PassedEntries {
    let Some(message) = message else {
        return PassedEntries::None;
    };
    fields!(at, message, ProxyProtocolPassThroughTlVs { honoured { match_type, tlv_type } });
    match enumeration(*match_type, &at.field("match_type")) {
        Some(PassTlVsMatchType::Include) => PassedEntries::Of(
            at.field("tlv_type")
                .each(tlv_type, |kind, at| type_of(*kind, at)),
        ),
        Some(PassTlVsMatchType::IncludeAll) | None => PassedEntries::All,
    }
}

/// An entry of a header.
pub(crate) fn entry(message: &TlvEntry, at: &At<'_>) -> Option<ProxyEntry> {
    fields!(at, message, TlvEntry {
        honoured { r#type, value }
        refused { format_string: "only value is" }
    });
    if value.is_empty() {
        at.field("value").problem("must not be empty");
    }
    Some((type_of(*r#type, &at.field("type"))?, value.clone()))
}

fn type_of(value: u32, at: &At<'_>) -> Option<u8> {
    let kind = u8::try_from(value).ok();
    if kind.is_none() {
        at.problem("must be less than 256");
    }
    kind
}

fn rule(message: &Rule, at: &At<'_>) -> Option<ProxyEntryRule> {
    fields!(at, message, Rule { honoured { tlv_type, on_tlv_present } });
    let kind = type_of(*tlv_type, &at.field("tlv_type"))?;
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
