//! Words for matches, domains and destinations, as istioctl has them where it has any.
//!
//! In: Envoy's messages. Out: cells of tables.

use meltemi_xds::pb::envoy::config::core::v3::Address;
use meltemi_xds::pb::envoy::config::core::v3::{Metadata, SocketAddress, address, socket_address};
use meltemi_xds::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use meltemi_xds::pb::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier;
use meltemi_xds::pb::envoy::config::route::v3::route::Action;
use meltemi_xds::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use meltemi_xds::pb::envoy::config::route::v3::route_match::PathSpecifier;
use meltemi_xds::pb::envoy::config::route::v3::{HeaderMatcher, Route, RouteMatch};
use meltemi_xds::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use prost_types::value::Kind;

/// The parts of a cluster's name, `DIRECTION|PORT|SUBSET|HOST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClusterKey<'a> {
    pub host: &'a str,
    pub subset: &'a str,
    pub port: u32,
    pub direction: &'a str,
}

/// How many domains are shown.
const SHOWN_DOMAINS: usize = 2;

impl<'a> ClusterKey<'a> {
    /// Takes a name apart; `None` if it is not of the form.
    pub(super) fn parse(name: &'a str) -> Option<Self> {
        let mut parts = name.splitn(4, '|');
        let key = Self {
            direction: parts.next()?,
            port: parts.next()?.parse().ok()?,
            subset: parts.next()?,
            host: parts.next()?,
        };
        Some(key)
    }

    /// What clusters are sorted by.
    pub(super) fn sort_key(name: &'a str) -> Self {
        Self::parse(name).unwrap_or(Self {
            host: name,
            subset: "",
            port: 0,
            direction: "",
        })
    }
}

/// Address and port of a listener or endpoint; a path for a Unix socket.
pub(super) fn socket(address: Option<&Address>) -> (String, Option<u32>) {
    match address.and_then(|it| it.address.as_ref()) {
        Some(address::Address::SocketAddress(SocketAddress {
            address,
            port_specifier,
            ..
        })) => {
            let port = match port_specifier {
                Some(socket_address::PortSpecifier::PortValue(port)) => Some(*port),
                Some(socket_address::PortSpecifier::NamedPort(_)) | None => None,
            };
            (address.clone(), port)
        }
        Some(address::Address::Pipe(pipe)) => (format!("unix://{}", pipe.path), None),
        Some(address::Address::EnvoyInternalAddress(_)) => ("internal".to_owned(), None),
        None => (String::new(), None),
    }
}

/// The Istio resource that a route or cluster comes from: `NAME.NAMESPACE`.
pub(super) fn management(metadata: Option<&Metadata>) -> String {
    let istio = metadata.and_then(|it| it.filter_metadata.get("istio"));
    let config = istio.and_then(|it| it.fields.get("config")?.kind.as_ref());
    let Some(Kind::StringValue(path)) = config else {
        return String::new();
    };
    let pieces: Vec<_> = path.split('/').collect();
    match pieces.as_slice() {
        [
            "",
            "apis",
            "networking.istio.io",
            _,
            "namespaces",
            namespace,
            _,
            name,
        ] => {
            format!("{name}.{namespace}")
        }
        _ => "<unknown>".to_owned(),
    }
}

/// The domains of a virtual host, without ports and without longer forms of the same name.
pub(super) fn domains(all: &[String]) -> String {
    if let [only] = all {
        return only.clone();
    }
    let without_port = |domain: &&String| match domain.matches(':').count() {
        0 => true,
        1 => false,
        _ => domain.ends_with(']'),
    };
    let plain: Vec<_> = all.iter().filter(without_port).collect();
    let is_longer = |domain: &str| {
        let shorter = [".svc.cluster.local", ".svc"].map(|end| domain.strip_suffix(end));
        shorter
            .into_iter()
            .flatten()
            .any(|it| plain.iter().any(|other| *other == it))
    };
    let shown: Vec<_> = plain
        .iter()
        .filter(|it| !is_longer(it))
        .map(|it| it.as_str())
        .collect();
    if shown.len() > SHOWN_DOMAINS {
        let first = shown[..SHOWN_DOMAINS].join(", ");
        return format!("{first} + {} more...", shown.len() - SHOWN_DOMAINS);
    }
    shown.join(", ")
}

/// The match of a route: its path, then what else it looks at.
pub(super) fn route_match(route_match: Option<&RouteMatch>) -> String {
    let Some(RouteMatch {
        path_specifier,
        headers,
        query_parameters,
        ..
    }) = route_match
    else {
        return String::new();
    };
    let mut words = vec![match path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => format!("{prefix}*"),
        Some(PathSpecifier::Path(path)) => path.clone(),
        Some(PathSpecifier::SafeRegex(regex)) => format!("regex {}", regex.regex),
        Some(PathSpecifier::PathSeparatedPrefix(prefix)) => format!("PathPrefix:{prefix}"),
        Some(PathSpecifier::ConnectMatcher(_)) => "CONNECT".to_owned(),
        Some(PathSpecifier::PathMatchPolicy(_)) => "path policy".to_owned(),
        None => "/*".to_owned(),
    }];
    words.extend(headers.iter().map(header_match));
    words.extend(query_parameters.iter().map(|parameter| {
        let value = match &parameter.query_parameter_match_specifier {
            Some(QueryParameterMatchSpecifier::StringMatch(text)) => string_match(text),
            Some(QueryParameterMatchSpecifier::PresentMatch(_)) | None => "present".to_owned(),
        };
        format!("?{} {value}", parameter.name)
    }));
    words.join("; ")
}

fn header_match(header: &HeaderMatcher) -> String {
    let value = match &header.header_match_specifier {
        Some(HeaderMatchSpecifier::StringMatch(text)) => string_match(text),
        Some(HeaderMatchSpecifier::PresentMatch(true)) | None => "present".to_owned(),
        Some(HeaderMatchSpecifier::PresentMatch(false)) => "absent".to_owned(),
        Some(_) => "matched".to_owned(),
    };
    let not = if header.invert_match { "not " } else { "" };
    format!("{} {not}{value}", header.name)
}

fn string_match(matcher: &StringMatcher) -> String {
    match &matcher.match_pattern {
        Some(MatchPattern::Exact(text)) => format!("= {text}"),
        Some(MatchPattern::Prefix(text)) => format!("= {text}*"),
        Some(MatchPattern::Suffix(text)) => format!("= *{text}"),
        Some(MatchPattern::Contains(text)) => format!("= *{text}*"),
        Some(MatchPattern::SafeRegex(regex)) => format!("~ {}", regex.regex),
        Some(MatchPattern::Custom(_)) | None => "matched".to_owned(),
    }
}

/// Where a route leads, with weights where there are several ways.
pub(super) fn destinations(route: &Route) -> String {
    match &route.action {
        Some(Action::Route(action)) => match &action.cluster_specifier {
            Some(ClusterSpecifier::Cluster(name)) => name.clone(),
            Some(ClusterSpecifier::WeightedClusters(weighted)) => {
                let weight = |it: Option<u32>| it.unwrap_or_default();
                let total: u32 = weighted.clusters.iter().map(|it| weight(it.weight)).sum();
                let clusters = weighted.clusters.iter().map(|it| {
                    let share = match total {
                        100 => format!("{}%", weight(it.weight)),
                        total => format!("{}/{total}", weight(it.weight)),
                    };
                    format!("{} {share}", it.name)
                });
                clusters.collect::<Vec<_>>().join(", ")
            }
            Some(ClusterSpecifier::ClusterHeader(header)) => format!("as header {header} says"),
            Some(_) => "a plugin decides".to_owned(),
            None => String::new(),
        },
        Some(Action::Redirect(_)) => "redirect".to_owned(),
        Some(Action::DirectResponse(response)) => format!("status {}", response.status),
        Some(Action::FilterAction(_) | Action::NonForwardingAction(_)) => "a filter".to_owned(),
        None => String::new(),
    }
}

/// The clusters that a route may choose.
pub(super) fn referred(route: &Route) -> Vec<&str> {
    match &route.action {
        Some(Action::Route(action)) => match &action.cluster_specifier {
            Some(ClusterSpecifier::Cluster(name)) => vec![name],
            Some(ClusterSpecifier::WeightedClusters(weighted)) => weighted
                .clusters
                .iter()
                .map(|it| it.name.as_str())
                .collect(),
            Some(_) | None => Vec::new(),
        },
        Some(_) | None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{ClusterKey, domains};

    #[test]
    fn cluster_names_are_taken_apart() {
        let key = ClusterKey::parse("outbound|80|version-v1|catalog.shop.svc.cluster.local");
        let expected = ClusterKey {
            direction: "outbound",
            port: 80,
            subset: "version-v1",
            host: "catalog.shop.svc.cluster.local",
        };
        assert_eq!(key, Some(expected));
        for name in ["PassthroughCluster", "outbound|x||y", "a|1|b"] {
            assert_eq!(ClusterKey::parse(name), None, "{name}");
        }
    }

    #[test]
    fn domains_are_shortened() {
        let all = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let cases = [
            ("*", "*"),
            (
                "catalog.shop.svc.cluster.local catalog.shop.svc.cluster.local:80 catalog catalog:80 catalog.shop catalog.shop.svc 127.77.64.1",
                "catalog, catalog.shop + 1 more...",
            ),
            ("[fd00::1] [fd00::1]:80", "[fd00::1]"),
        ];
        for (given, expected) in cases {
            assert_eq!(domains(&all(given)), expected, "{given}");
        }
    }
}
