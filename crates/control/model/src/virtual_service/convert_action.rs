//! Actions: from written to valid (FEATURES T5, T6).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use indexmap::IndexMap;
use meltemi_api::{FieldPath, virtual_service as api};

use super::{
    DelegateName, Destination, DirectResponse, HeaderOperations, HttpAction,
    MessageHeaderOperations, Redirect, RedirectPort, ResponseBody, Rewrite, UriRewrite,
    WeightedDestination,
};
use crate::check::{Check, filled, is_dns_label};
use crate::{HeaderName, NamespaceName, SubsetName};

/// The longest body of a direct response, as in Istio.
const MAX_BODY: usize = 1024 * 1024;

const REDIRECT_CODES: [i64; 5] = [301, 302, 303, 307, 308];

type Written = (
    Vec<api::HttpRouteDestination>,
    Option<api::HttpRedirect>,
    Option<api::HttpDirectResponse>,
);

/// Checks the action of a route: one of `route`, `redirect`, `directResponse`, `delegate`.
pub(super) fn convert_action(
    (route, redirect, direct_response): Written,
    delegate: Option<api::Delegate>,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<HttpAction> {
    let written = [
        (!route.is_empty(), "route"),
        (redirect.is_some(), "redirect"),
        (direct_response.is_some(), "directResponse"),
        (delegate.is_some(), "delegate"),
    ];
    let names: Vec<_> = written
        .iter()
        .filter(|(is, _)| *is)
        .map(|(_, name)| *name)
        .collect();
    match names.len() {
        0 => {
            check.invalid(
                at,
                "says not what to do; write one of route, redirect, directResponse, delegate",
            );
            return None;
        }
        1 => {}
        _ => check.invalid(at, format!("has {}; keep one of them", names.join(" and "))),
    }
    if let Some(redirect) = redirect {
        return convert_redirect(redirect, &at.field("redirect"), check).map(HttpAction::Redirect);
    }
    if let Some(response) = direct_response {
        let at = at.field("directResponse");
        return convert_response(response, &at, check).map(HttpAction::Respond);
    }
    if let Some(delegate) = delegate {
        return convert_delegate(delegate, &at.field("delegate"), check).map(HttpAction::Delegate);
    }
    convert_destinations(route, &at.field("route"), check).map(HttpAction::Forward)
}

fn convert_delegate(
    written: api::Delegate,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<DelegateName> {
    let api::Delegate { name, namespace } = written;
    let namespace = filled(namespace).map_or_else(
        || check.namespace.clone(),
        |it| NamespaceName::from(it.as_str()),
    );
    let Some(name) = filled(name) else {
        check.invalid(&at.field("name"), "the name of a virtual service is needed");
        return None;
    };
    Some(DelegateName {
        namespace,
        name: name.into(),
    })
}

fn convert_destinations(
    route: Vec<api::HttpRouteDestination>,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<Vec<WeightedDestination>> {
    let single = route.len() == 1;
    let mut converted = Vec::new();
    let mut sum = 0;
    for (index, written) in route.into_iter().enumerate() {
        let api::HttpRouteDestination {
            destination,
            weight,
            headers,
        } = written;
        let at = at.index(index);
        let weight = check.count(&at.field("weight"), weight).unwrap_or_default();
        sum += u64::from(weight);
        let at_destination = at.field("destination");
        let Some(destination) = destination else {
            check.invalid(&at_destination, "a destination is needed");
            continue;
        };
        let headers = convert_headers(headers, &at.field("headers"), check);
        let Some(destination) = convert_destination(destination, &at_destination, check) else {
            continue;
        };
        let weight = if single { 100 } else { weight };
        converted.push(WeightedDestination {
            destination,
            weight,
            headers,
        });
    }
    if !single && sum == 0 {
        check.invalid(
            at,
            "all weights are 0; give at least one destination a weight",
        );
    } else if sum > u64::from(u32::MAX) {
        check.invalid(
            at,
            format!("the weights are {sum} in sum, which is too much"),
        );
    }
    (!converted.is_empty()).then_some(converted)
}

/// Checks a destination.
pub(crate) fn convert_destination(
    written: api::Destination,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<Destination> {
    let api::Destination { host, subset, port } = written;
    let at_host = at.field("host");
    if host == "*" {
        check.invalid(&at_host, "\"*\" is no destination; name a service");
    }
    let host = check.hostname(&at_host, &host);
    let subset = filled(subset);
    if let Some(name) = subset.as_deref().filter(|name| !is_dns_label(name)) {
        let what = "use at most 63 lower-case letters, digits and inner dashes";
        check.invalid(
            &at.field("subset"),
            format!("`{name}` is not a subset's name; {what}"),
        );
    }
    let port = port.and_then(|api::PortSelector { number }| {
        check.port(
            &at.field("port").field("number"),
            number.unwrap_or_default(),
        )
    });
    Some(Destination {
        host: host?,
        subset: subset.map(SubsetName::new),
        port,
    })
}

fn convert_redirect(
    written: api::HttpRedirect,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<Redirect> {
    let api::HttpRedirect {
        uri,
        authority,
        port,
        derive_port,
        scheme,
        redirect_code,
    } = written;
    let (uri, authority, scheme) = (filled(uri), filled(authority), filled(scheme));
    let derive_port = filled(derive_port);
    if port.is_some() && derive_port.is_some() {
        check.invalid(at, "has port and derivePort; keep one");
    }
    let choices = [
        ("FROM_PROTOCOL_DEFAULT", RedirectPort::FromProtocolDefault),
        ("FROM_REQUEST_PORT", RedirectPort::FromRequestPort),
    ];
    let has_port = port.is_some() || derive_port.is_some();
    let port = match port {
        Some(port) => check
            .port(&at.field("port"), port)
            .map(RedirectPort::Number),
        None => derive_port.and_then(|text| check.choice(&at.field("derivePort"), &text, &choices)),
    };
    if uri.is_none() && authority.is_none() && scheme.is_none() && !has_port {
        check.invalid(
            at,
            "says not where to; write uri, authority, scheme or port",
        );
    }
    if let Some(scheme) = scheme
        .as_deref()
        .filter(|it| !matches!(*it, "http" | "https"))
    {
        check.invalid(
            &at.field("scheme"),
            format!("`{scheme}` is not http or https"),
        );
    }
    let code = redirect_code.filter(|code| *code != 0).unwrap_or(301);
    if !REDIRECT_CODES.contains(&code) {
        let message = format!("{code} is not a redirect; write 301, 302, 303, 307 or 308");
        check.invalid(&at.field("redirectCode"), message);
    }
    Some(Redirect {
        uri,
        authority,
        scheme,
        port,
        code: u16::try_from(code).ok()?,
    })
}

fn convert_response(
    written: api::HttpDirectResponse,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<DirectResponse> {
    let api::HttpDirectResponse { status, body } = written;
    let status = status.unwrap_or_default();
    if !(200..=599).contains(&status) {
        let message = format!("{status} is not between 200 and 599");
        check.invalid(&at.field("status"), message);
    }
    let at_body = at.field("body");
    let body = body.and_then(|api::HttpBody { string, bytes }| match (string, bytes) {
        (Some(text), None) => Some(ResponseBody::Text(text)),
        (None, Some(text)) => match STANDARD.decode(text.trim()) {
            Ok(bytes) => Some(ResponseBody::Bytes(bytes.into())),
            Err(error) => {
                check.invalid(&at_body.field("bytes"), format!("not base64 ({error})"));
                None
            }
        },
        (None, None) => None,
        (Some(_), Some(_)) => {
            check.invalid(&at_body, "has string and bytes; keep one");
            None
        }
    });
    let length = match &body {
        Some(ResponseBody::Text(text)) => text.len(),
        Some(ResponseBody::Bytes(bytes)) => bytes.len(),
        None => 0,
    };
    if length > MAX_BODY {
        check.invalid(
            &at_body,
            format!("{length} bytes are too long; the limit is {MAX_BODY}"),
        );
    }
    Some(DirectResponse {
        status: u16::try_from(status).ok()?,
        body,
    })
}

/// Checks a rewrite.
pub(super) fn convert_rewrite(
    written: api::HttpRewrite,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<Rewrite> {
    let api::HttpRewrite {
        uri,
        authority,
        uri_regex_rewrite,
    } = written;
    let (uri, authority) = (filled(uri), filled(authority));
    let uri = match (uri, uri_regex_rewrite) {
        (Some(_), Some(_)) => {
            check.invalid(at, "has uri and uriRegexRewrite; keep one");
            return None;
        }
        (Some(uri), None) => Some(UriRewrite::Replace(uri)),
        (
            None,
            Some(api::RegexRewrite {
                r#match: pattern,
                rewrite: substitution,
            }),
        ) => {
            let at = at.field("uriRegexRewrite");
            check.regex(&at.field("match"), &pattern);
            if substitution.is_empty() {
                check.invalid(&at.field("rewrite"), "what to write in its place is needed");
            }
            Some(UriRewrite::Regex {
                pattern,
                substitution,
            })
        }
        (None, None) => None,
    };
    if uri.is_none() && authority.is_none() {
        check.invalid(at, "says nothing; write uri, uriRegexRewrite or authority");
        return None;
    }
    Some(Rewrite { uri, authority })
}

/// Checks header operations.
pub(super) fn convert_headers(
    written: Option<api::Headers>,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> HeaderOperations {
    let api::Headers { request, response } = written.unwrap_or_default();
    HeaderOperations {
        request: convert_message(request, true, &at.field("request"), check),
        response: convert_message(response, false, &at.field("response"), check),
    }
}

fn convert_message(
    written: Option<api::HeaderOperations>,
    is_request: bool,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> MessageHeaderOperations {
    let api::HeaderOperations { set, add, remove } = written.unwrap_or_default();
    let at_remove = at.field("remove");
    MessageHeaderOperations {
        set: convert_values(set, is_request, &at.field("set"), check),
        add: convert_values(add, is_request, &at.field("add"), check),
        remove: remove
            .iter()
            .enumerate()
            .filter_map(|(index, name)| changeable(name, false, &at_remove.index(index), check))
            .collect(),
    }
}

fn convert_values(
    written: IndexMap<String, String>,
    host_allowed: bool,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Vec<(HeaderName, String)> {
    let mut converted = Vec::new();
    for (name, value) in written {
        let at = at.key(&name);
        check.header_value(&at, &value);
        if let Some(name) = changeable(&name, host_allowed, &at, check) {
            converted.push((name, value));
        }
    }
    converted
}

/// A header that a route may change: no pseudo header, and the host only where it can be rewritten.
fn changeable(
    name: &str,
    host_allowed: bool,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<HeaderName> {
    let converted = check.header_name(at, name)?;
    let is_host = converted == "host" || converted == ":authority";
    if (is_host && !host_allowed) || (!is_host && name.starts_with(':')) {
        check.invalid(at, format!("`{name}` cannot be changed by a route"));
        return None;
    }
    Some(converted)
}
