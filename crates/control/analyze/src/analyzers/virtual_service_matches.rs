//! IST0130 and IST0131: rules and matches that earlier ones leave nothing for.

use meltemi_model::{FieldPath, HttpMatch, L4Match, StringMatch, VirtualService};

use crate::context::{Context, Found, spec};
use crate::{Analyzer, Code};

pub(crate) const ANALYZER: Analyzer = Analyzer {
    name: "virtualservice.MatchesAnalyzer",
    description: "Checks for rules and matches of a virtual service that are never used",
    run,
};

/// A rule of a VirtualService, whatever its protocol.
struct Rule<M> {
    name: String,
    path: FieldPath,
    matches: Vec<(String, M)>,
}

fn run(context: &Context) {
    for found in context.virtual_services() {
        let VirtualService { http, tls, tcp, .. } = found.spec;
        let rules = http.iter().enumerate().map(|(at, route)| Rule {
            name: name(route.name.as_deref(), at),
            path: spec("http").index(at),
            matches: (route.matches.iter().enumerate())
                .map(|(at, it)| (name(it.name.as_deref(), at), it))
                .collect(),
        });
        check(context, &found, &rules.collect::<Vec<_>>(), |a, b| {
            covers(a, b)
        });
        let rules = tls.iter().enumerate().map(|(at, route)| Rule {
            name: name(None, at),
            path: spec("tls").index(at),
            matches: (route.matches.iter().enumerate())
                .map(|(at, it)| (name(None, at), it))
                .collect(),
        });
        check(context, &found, &rules.collect::<Vec<_>>(), |a, b| a == b);
        let rules = tcp.iter().enumerate().map(|(at, route)| Rule {
            name: name(route.name.as_deref(), at),
            path: spec("tcp").index(at),
            matches: (route.matches.iter().enumerate())
                .map(|(at, it)| (name(None, at), it))
                .collect(),
        });
        check(
            context,
            &found,
            &rules.collect::<Vec<_>>(),
            |a: &&L4Match, b| a == b,
        );
    }
}

/// A rule or match as messages call it: by its name, else by its number.
fn name(name: Option<&str>, at: usize) -> String {
    match name {
        Some(name) => format!("{name:?}"),
        None => format!("#{at}"),
    }
}

fn check<M>(
    context: &Context,
    found: &Found<'_, VirtualService>,
    rules: &[Rule<M>],
    covers: impl Fn(&M, &M) -> bool,
) {
    let mut catch_all = false;
    for (at, rule) in rules.iter().enumerate() {
        let unreachable = |reason: &str| {
            let text = format!("VirtualService rule {} not used ({reason}).", rule.name);
            let code = Code::VirtualServiceUnreachableRule;
            context.report(code, found, &rule.path, text);
        };
        if rule.matches.is_empty() {
            if catch_all {
                unreachable("only the last rule can have no matches");
            }
            catch_all = true;
            continue;
        }
        if catch_all {
            unreachable("a prior rule has no matches");
            continue;
        }
        let earlier = || rules[..at].iter();
        let mut covered = 0;
        for (inner, (name, this)) in rule.matches.iter().enumerate() {
            let same_rule = rule.matches[..inner].iter().map(|it| (rule, it));
            let before = earlier().flat_map(|it| it.matches.iter().map(move |inner| (it, inner)));
            let Some((prior, _)) = before.chain(same_rule).find(|(_, it)| covers(&it.1, this))
            else {
                continue;
            };
            covered += 1;
            let text = format!(
                "VirtualService rule {} match {name} is not used (duplicate/overlapping match in rule {}).",
                rule.name, prior.name
            );
            let path = rule.path.field("match").index(inner);
            let code = Code::VirtualServiceIneffectiveMatch;
            context.report(code, found, &path, text);
        }
        if covered == rule.matches.len() {
            unreachable("all matches used by prior rules");
        }
    }
}

/// Whether every request that `later` matches is matched by `earlier`.
fn covers(earlier: &HttpMatch, later: &HttpMatch) -> bool {
    let same = |a: &Option<StringMatch>, b: &Option<StringMatch>| a.is_none() || a == b;
    let gateways = earlier.gateways.is_empty() || earlier.gateways == later.gateways;
    gateways
        && covers_uri(earlier, later)
        && same(&earlier.scheme, &later.scheme)
        && same(&earlier.method, &later.method)
        && same(&earlier.authority, &later.authority)
        && (earlier.headers.iter()).all(|it| later.headers.contains(it))
        && (earlier.without_headers.iter()).all(|it| later.without_headers.contains(it))
        && (earlier.query_params.iter()).all(|it| later.query_params.contains(it))
        && (earlier.port.is_none() || earlier.port == later.port)
        && earlier.source_labels.selects(&later.source_labels)
        && (earlier.source_namespace.is_none()
            || earlier.source_namespace == later.source_namespace)
}

fn covers_uri(earlier: &HttpMatch, later: &HttpMatch) -> bool {
    let (wide, narrow) = match (&earlier.uri, &later.uri) {
        (None, _) => return true,
        (Some(_), None) => return false,
        (Some(wide), Some(narrow)) => (wide, narrow),
    };
    if wide == narrow && earlier.ignore_uri_case == later.ignore_uri_case {
        return true;
    }
    let StringMatch::Prefix(prefix) = wide else {
        return false;
    };
    let (StringMatch::Prefix(text) | StringMatch::Exact(text)) = narrow else {
        return false;
    };
    match (earlier.ignore_uri_case, later.ignore_uri_case) {
        (true, _) => (text.to_ascii_lowercase()).starts_with(&prefix.to_ascii_lowercase()),
        (false, true) => false,
        (false, false) => text.starts_with(prefix.as_str()),
    }
}
