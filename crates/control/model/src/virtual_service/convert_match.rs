//! Matches: from written to valid (FEATURES T4).

use indexmap::IndexMap;
use meltemi_api::{FieldPath, virtual_service as api};

use super::convert::convert_gateways;
use super::{HeaderMatch, HttpMatch};
use crate::check::{Check, filled, is_dns_label};
use crate::{HeaderName, NamespaceName, StringMatch, string_match};

/// Headers under these names are never matched; the fields of the same name are meant.
const FIELDS: [&str; 4] = ["uri", "scheme", "method", "authority"];

const CLAIMS: &str = "@request.auth.claims";

type Headers = Vec<(HeaderName, HeaderMatch)>;
type Claims = Vec<(Vec<String>, HeaderMatch)>;

/// Checks one match.
pub(super) fn convert_match(
    written: api::HttpMatchRequest,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> HttpMatch {
    let api::HttpMatchRequest {
        name,
        uri,
        scheme,
        method,
        authority,
        headers,
        port,
        source_labels,
        gateways,
        query_params,
        ignore_uri_case,
        without_headers,
        source_namespace,
        stat_prefix,
    } = written;
    let mut text = |written: Option<api::StringMatch>, name: &str| -> Option<StringMatch> {
        written.and_then(|it| string_match::required(&it, &at.field(name), check))
    };
    let uri = text(uri, "uri");
    let scheme = text(scheme, "scheme");
    let method = text(method, "method");
    let authority = text(authority, "authority");
    let source_namespace = filled(source_namespace);
    if let Some(name) = source_namespace
        .as_deref()
        .filter(|name| !is_dns_label(name))
    {
        check.invalid(
            &at.field("sourceNamespace"),
            format!("`{name}` is not a namespace"),
        );
    }
    let (headers, claims) = convert_headers(headers, &at.field("headers"), check);
    let (without_headers, without_claims) =
        convert_headers(without_headers, &at.field("withoutHeaders"), check);
    // A port of 0 is a port that is not written.
    let port = port.filter(|port| *port != 0);
    HttpMatch {
        name: filled(name),
        uri,
        ignore_uri_case,
        scheme,
        method,
        authority,
        headers,
        without_headers,
        claims,
        without_claims,
        query_params: convert_params(query_params, &at.field("queryParams"), check),
        port: port.and_then(|port| check.port(&at.field("port"), port)),
        source_labels: check.labels(&at.field("sourceLabels"), source_labels),
        source_namespace: source_namespace.map(NamespaceName::new),
        gateways: convert_gateways(&gateways, &at.field("gateways"), check),
        stat_prefix: filled(stat_prefix),
    }
}

fn convert_headers(
    written: IndexMap<String, api::StringMatch>,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> (Headers, Claims) {
    let mut converted = Vec::new();
    let mut claims = Vec::new();
    for (name, value) in written {
        let at = at.key(&name);
        let of_claim = name
            .get(..CLAIMS.len())
            .filter(|it| it.eq_ignore_ascii_case(CLAIMS));
        if of_claim.is_some() {
            let value = convert_value(&value, &at, check);
            match (claim_path(&name[CLAIMS.len()..]), value) {
                (None, _) => {
                    let what = "write @request.auth.claims.NAME or @request.auth.claims[NAME]";
                    check.invalid(&at, what);
                }
                (Some(path), Some(value)) => claims.push((path, value)),
                (Some(_), None) => {}
            }
            continue;
        }
        if FIELDS.contains(&name.as_str()) {
            check.invalid(
                &at,
                format!("is never matched as a header; write the field `{name}`"),
            );
            continue;
        }
        let value = convert_value(&value, &at, check);
        if let (Some(name), Some(value)) = (check.header_name(&at, &name), value) {
            converted.push((name, value));
        }
    }
    (converted, claims)
}

/// The path of a claim: `.a.b` or `[a][b]`.
fn claim_path(text: &str) -> Option<Vec<String>> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']');
    let path: Vec<_> = match text.strip_prefix('.') {
        Some(path) => path.split('.').map(str::to_owned).collect(),
        None => bracketed()?.split("][").map(str::to_owned).collect(),
    };
    path.iter().all(|it| !it.is_empty()).then_some(path)
}

fn convert_params(
    written: IndexMap<String, api::StringMatch>,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Vec<(String, HeaderMatch)> {
    let mut converted = Vec::new();
    for (name, value) in written {
        let at = at.key(&name);
        if name.is_empty() {
            check.invalid(&at, "a query parameter has a name");
        }
        if let Some(value) = convert_value(&value, &at, check) {
            converted.push((name, value));
        }
    }
    converted
}

fn convert_value(
    written: &api::StringMatch,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<HeaderMatch> {
    // No expression, but Istio's word for a value that may be anything.
    let is_any = written.exact.is_none() && written.prefix.is_none();
    if is_any && written.regex.as_deref() == Some("*") {
        return Some(HeaderMatch::Present);
    }
    let value = string_match::convert(written, at, check).ok()?;
    Some(value.map_or(HeaderMatch::Present, HeaderMatch::Value))
}
