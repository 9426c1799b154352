//! Virtual services whose routes are those of others (FEATURES T6).
//!
//! In: a virtual service with `delegate` routes, and the virtual services without hosts that they
//! name. Out: the virtual service with their routes in place, each narrowed by the delegating match.

use std::sync::Arc;

use meltemi_model::{
    DelegateName, HeaderMatch, HttpAction, HttpMatch, HttpRoute, Labels, StringMatch,
    VirtualService,
};

/// The virtual service with the routes of its delegates; `None` if it has none of those.
pub(crate) fn merged<'a>(
    root: &VirtualService,
    find: impl Fn(&DelegateName) -> Option<&'a Arc<VirtualService>>,
) -> Option<VirtualService> {
    let delegates = |it: &HttpRoute| matches!(it.action, HttpAction::Delegate(_));
    if !root.http.iter().any(delegates) {
        return None;
    }
    let mut http = Vec::new();
    for route in &root.http {
        let HttpAction::Delegate(name) = &route.action else {
            http.push(route.clone());
            continue;
        };
        let found = find(name).filter(|it| it.export_to.is_visible_in(&root.meta.namespace));
        let routes = found.into_iter().flat_map(|it| &it.http);
        http.extend(routes.filter_map(|it| merged_route(route, it)));
    }
    Some(VirtualService {
        http,
        ..root.clone()
    })
}

/// A delegate's route as the delegating one has it: what it leaves out comes from there.
fn merged_route(root: &HttpRoute, leaf: &HttpRoute) -> Option<HttpRoute> {
    let matches = merged_matches(&root.matches, &leaf.matches)?;
    let leaf = leaf.clone();
    let headers = if leaf.headers == Default::default() {
        root.headers.clone()
    } else {
        leaf.headers
    };
    Some(HttpRoute {
        name: joined(root.name.as_ref(), leaf.name.as_ref()),
        matches,
        action: leaf.action,
        rewrite: leaf.rewrite.or_else(|| root.rewrite.clone()),
        timeout: leaf.timeout.or(root.timeout),
        retries: leaf.retries.or_else(|| root.retries.clone()),
        headers,
        cors: leaf.cors.or_else(|| root.cors.clone()),
        fault: leaf.fault.or_else(|| root.fault.clone()),
        mirrors: if leaf.mirrors.is_empty() {
            root.mirrors.clone()
        } else {
            leaf.mirrors
        },
    })
}

fn joined(root: Option<&String>, leaf: Option<&String>) -> Option<String> {
    match (root, leaf) {
        (Some(root), Some(leaf)) => Some(format!("{root}-{leaf}")),
        (root, leaf) => root.or(leaf).cloned(),
    }
}

/// Every pair of matches that can both hold; `None` if one of the delegate's fits none of the root's:
/// then its route is left out as a whole.
fn merged_matches(root: &[HttpMatch], leaf: &[HttpMatch]) -> Option<Vec<HttpMatch>> {
    if root.is_empty() || leaf.is_empty() {
        return Some(if root.is_empty() { leaf } else { root }.to_vec());
    }
    let mut merged = Vec::new();
    for leaf in leaf {
        let before = merged.len();
        merged.extend(root.iter().filter_map(|root| merged_match(root, leaf)));
        if merged.len() == before {
            return None;
        }
    }
    Some(merged)
}

/// Both conditions as one, where the leaf's only narrow the root's.
fn merged_match(root: &HttpMatch, leaf: &HttpMatch) -> Option<HttpMatch> {
    let case = root.uri.is_some() && leaf.uri.is_some();
    if case && root.ignore_uri_case != leaf.ignore_uri_case {
        return None;
    }
    let gateways = match (root.gateways.as_slice(), leaf.gateways.as_slice()) {
        (root, []) => root,
        ([], leaf) => leaf,
        (root, leaf) if leaf.iter().all(|it| root.contains(it)) => leaf,
        _ => return None,
    };
    Some(HttpMatch {
        name: joined(root.name.as_ref(), leaf.name.as_ref()),
        uri: narrowed(root.uri.as_ref(), leaf.uri.as_ref())?,
        ignore_uri_case: root.ignore_uri_case || leaf.ignore_uri_case,
        scheme: narrowed(root.scheme.as_ref(), leaf.scheme.as_ref())?,
        method: narrowed(root.method.as_ref(), leaf.method.as_ref())?,
        authority: narrowed(root.authority.as_ref(), leaf.authority.as_ref())?,
        headers: named(&root.headers, &leaf.headers)?,
        without_headers: named(&root.without_headers, &leaf.without_headers)?,
        claims: named(&root.claims, &leaf.claims)?,
        without_claims: named(&root.without_claims, &leaf.without_claims)?,
        query_params: named(&root.query_params, &leaf.query_params)?,
        port: same(root.port, leaf.port)?,
        source_labels: labels(&root.source_labels, &leaf.source_labels)?,
        source_namespace: same(root.source_namespace.clone(), leaf.source_namespace.clone())?,
        gateways: gateways.to_vec(),
        stat_prefix: leaf
            .stat_prefix
            .clone()
            .or_else(|| root.stat_prefix.clone()),
    })
}

/// The narrower of two; none (`None`) if the leaf's is not within the root's. Nobody can say whether
/// an expression is within another.
#[expect(clippy::option_option, reason = "no condition is a result too")]
fn narrowed(root: Option<&StringMatch>, leaf: Option<&StringMatch>) -> Option<Option<StringMatch>> {
    match (root, leaf) {
        (root, None) => Some(root.cloned()),
        (None, leaf) => Some(leaf.cloned()),
        (Some(root), Some(leaf)) => is_within(root, leaf).then(|| Some(leaf.clone())),
    }
}

fn is_within(root: &StringMatch, leaf: &StringMatch) -> bool {
    match (root, leaf) {
        (StringMatch::Exact(root), StringMatch::Exact(leaf)) => root == leaf,
        (StringMatch::Prefix(root), StringMatch::Exact(leaf) | StringMatch::Prefix(leaf)) => {
            leaf.starts_with(root)
        }
        _ => false,
    }
}

fn named<K: Clone + PartialEq>(
    root: &[(K, HeaderMatch)],
    leaf: &[(K, HeaderMatch)],
) -> Option<Vec<(K, HeaderMatch)>> {
    let mut both = leaf.to_vec();
    for (name, wanted) in root {
        match leaf.iter().find(|(it, _)| it == name) {
            None => both.push((name.clone(), wanted.clone())),
            Some((_, narrower)) => {
                let fits = match (wanted, narrower) {
                    (HeaderMatch::Present, _) => true,
                    (HeaderMatch::Value(_), HeaderMatch::Present) => false,
                    (HeaderMatch::Value(root), HeaderMatch::Value(leaf)) => is_within(root, leaf),
                };
                if !fits {
                    return None;
                }
            }
        }
    }
    Some(both)
}

#[expect(clippy::option_option, reason = "no condition is a result too")]
fn same<T: PartialEq>(root: Option<T>, leaf: Option<T>) -> Option<Option<T>> {
    match (root, leaf) {
        (Some(root), Some(leaf)) if root != leaf => None,
        (root, leaf) => Some(leaf.or(root)),
    }
}

fn labels(root: &Labels, leaf: &Labels) -> Option<Labels> {
    let differs = root
        .iter()
        .any(|(key, value)| leaf.get(key).is_some_and(|it| it != value));
    (!differs).then(|| {
        root.iter()
            .chain(leaf.iter())
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    })
}
