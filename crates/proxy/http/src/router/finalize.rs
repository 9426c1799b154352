//! The last changes to a request's head before it goes upstream: the configured header
//! changes, then the rewriting of path and authority.

use std::rc::Rc;

use http::HeaderValue;
use meltemi_ir as ir;

use crate::head::RequestHead;
use crate::headers::client_cert::append;
use crate::headers::names;
use crate::route::{RouteIndex, RouteTable, matched_length, replace_prefix, substitute};
use crate::stream::Stream;

/// Makes all changes that do not depend on the host.
pub(super) fn finalize(
    stream: &Rc<Stream>,
    table: &RouteTable,
    index: RouteIndex,
    head: &mut RequestHead,
) {
    let cluster_at = stream.facts.borrow().cluster_at;
    for mutation in table.request_mutations(index, cluster_at) {
        stream.mutate(mutation, head);
    }
    let route = table.entry(index);
    let Some((config, target)) = route.target() else {
        return;
    };
    let original = head.path.clone();
    let rewritten = match &config.path_rewrite {
        ir::PathRewrite::None => None,
        ir::PathRewrite::Prefix(prefix) => {
            let view = head.view(stream.random);
            let matched = matched_length(&route.config.matcher.path, view.path_only());
            Some(replace_prefix(head.path(), matched, prefix))
        }
        ir::PathRewrite::Regex { .. } => target
            .path
            .as_ref()
            .map(|rule| substitute(head.path(), rule)),
    };
    let host = cluster_at
        .and_then(|at| config.clusters.get(at)?.host_rewrite.as_deref())
        .or(match &config.host_rewrite {
            ir::HostRewrite::Literal(host) => Some(host.as_str()),
            _ => None,
        })
        .map(str::to_owned)
        .or_else(|| match &config.host_rewrite {
            ir::HostRewrite::Header(name) => {
                head.headers.get(name)?.to_str().ok().map(str::to_owned)
            }
            ir::HostRewrite::PathRegex { .. } => target
                .host
                .as_ref()
                .map(|rule| rule.apply(head.view(stream.random).path_only())),
            ir::HostRewrite::None | ir::HostRewrite::Literal(_) | ir::HostRewrite::Endpoint => None,
        });
    if let Some(host) = host {
        rewrite_host(head, &host, config.append_x_forwarded_host);
    }
    if let Some(path) = rewritten
        && head.path.is_some()
        && head.set_path(path)
        && !stream.settings.manager.router.suppress_envoy_headers
        && let Some(original) = original
        && let Ok(value) = HeaderValue::from_str(original.as_str())
    {
        head.headers.insert(names::ORIGINAL_PATH, value);
    }
}

/// Replaces the authority and says what it was.
pub(super) fn rewrite_host(head: &mut RequestHead, host: &str, forwarded_host: bool) {
    let Ok(host) = HeaderValue::from_str(host) else {
        return;
    };
    if host.is_empty() || host == head.authority {
        return;
    }
    let original = head.authority.clone();
    if forwarded_host {
        append(
            &mut head.headers,
            &names::X_FORWARDED_HOST,
            original.as_bytes(),
            b",",
        );
    }
    head.headers.insert(names::ORIGINAL_HOST, original);
    head.set_authority(host);
}
