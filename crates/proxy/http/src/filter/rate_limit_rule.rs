//! How a request is described to a rate limiter: the rules of route and virtual host, and what
//! they make of a request.

use std::net::IpAddr;

use meltemi_ir as ir;
use meltemi_ir::RateLimitAction as Action;

use super::RequestContext;
use crate::route::{Source, header_matches, query_matches, query_value};

/// A description: keys and values.
pub(crate) type Descriptor = Vec<(String, String)>;

/// Which of a virtual host's rules apply beside the route's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostRules {
    /// All.
    Include,
    /// None.
    Ignore,
    /// All where the route has none of its own.
    Fallback,
}

/// The descriptions that the rules of the route and its virtual host give for a stage.
pub(crate) fn of_route(
    request: &RequestContext<'_>,
    stage: u32,
    host: HostRules,
) -> Vec<Descriptor> {
    let route = &request.place.route;
    let (Some(target), Some(virtual_host)) = (route.target(), route.virtual_host()) else {
        return Vec::new();
    };
    let host = if target.include_virtual_host_rate_limits {
        HostRules::Include
    } else {
        host
    };
    let with_host = match host {
        HostRules::Include => true,
        HostRules::Ignore => false,
        HostRules::Fallback => target.rate_limits.is_empty(),
    };
    let more: &[_] = if with_host {
        &virtual_host.rate_limits
    } else {
        &[]
    };
    let rules = target.rate_limits.iter().chain(more);
    rules
        .filter(|rule| rule.stage == stage)
        .filter_map(|rule| describe(rule, request))
        .collect()
}

/// What a rule makes of a request; nothing where a part is missing.
pub(crate) fn describe(
    rule: &ir::RateLimitRule,
    request: &RequestContext<'_>,
) -> Option<Descriptor> {
    let mut descriptor = Vec::with_capacity(rule.actions.len());
    for entry in &rule.actions {
        match value(&entry.action, request) {
            Part::Value(value) => descriptor.push((entry.key.clone(), value)),
            Part::Skip => {}
            Part::Missing => return None,
        }
    }
    (!descriptor.is_empty()).then_some(descriptor)
}

/// One part of a description.
enum Part {
    Value(String),
    Skip,
    Missing,
}

impl Part {
    fn of(value: Option<String>, skip_if_absent: bool) -> Self {
        match value {
            Some(value) => Self::Value(value),
            None if skip_if_absent => Self::Skip,
            None => Self::Missing,
        }
    }

    fn when(fits: bool, value: &str) -> Self {
        Self::of(fits.then(|| value.to_owned()), false)
    }
}

fn value(action: &Action, request: &RequestContext<'_>) -> Part {
    let view = request.head.view(request.stream.random);
    match action {
        Action::SourceCluster => Part::of(Some(request.worker().identity.cluster_name()), false),
        Action::DestinationCluster => {
            let facts = request.stream.facts.borrow();
            let cluster = facts.cluster.as_ref();
            Part::of(cluster.map(|cluster| cluster.config().name.clone()), false)
        }
        Action::Header {
            name,
            skip_if_absent,
        } => {
            let value = if *name == http::header::HOST {
                Some(view.authority.to_owned())
            } else {
                let values: Vec<_> = view
                    .headers
                    .get_all(name)
                    .iter()
                    .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
                    .collect();
                (!values.is_empty()).then(|| values.join(","))
            };
            Part::of(value, *skip_if_absent)
        }
        Action::Query {
            name,
            skip_if_absent,
        } => Part::of(
            query_value(view.query(), name).map(str::to_owned),
            *skip_if_absent,
        ),
        Action::RemoteAddress => Part::Value(client(request).to_string()),
        Action::MaskedRemoteAddress { v4, v6 } => Part::Value(masked(client(request), *v4, *v6)),
        Action::Literal(value) => Part::Value(value.clone()),
        Action::HeadersMatch {
            value,
            expect,
            headers,
        } => {
            let source = Source::Request(&view);
            let fit = headers
                .iter()
                .all(|matcher| header_matches(matcher, &source));
            Part::when(fit == *expect, value)
        }
        Action::QueryMatches {
            value,
            expect,
            query,
        } => {
            let fit = query
                .iter()
                .all(|matcher| query_matches(matcher, view.query()));
            Part::when(fit == *expect, value)
        }
        Action::Metadata {
            of_route,
            path,
            default,
            skip_if_absent,
        } => {
            let text = |metadata: &ir::Metadata| {
                let text = metadata.at(path)?.as_str()?;
                (!text.is_empty()).then(|| text.to_owned())
            };
            let found = if *of_route {
                request.place.route.metadata().and_then(text)
            } else {
                let facts = request.stream.facts.borrow();
                let shared = facts.notes.shared();
                shared.and_then(|shared| text(&shared.metadata))
            };
            let found = found.or_else(|| (!default.is_empty()).then(|| default.clone()));
            Part::of(found, *skip_if_absent)
        }
    }
}

fn client(request: &RequestContext<'_>) -> IpAddr {
    request.stream.client().ip()
}

/// The network of an address, such as `10.1.0.0/16`.
fn masked(ip: IpAddr, v4: u8, v6: u8) -> String {
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(v4)).unwrap_or(0);
            format!("{}/{v4}", std::net::Ipv4Addr::from(u32::from(ip) & mask))
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(v6)).unwrap_or(0);
            format!("{}/{v6}", std::net::Ipv6Addr::from(u128::from(ip) & mask))
        }
    }
}
