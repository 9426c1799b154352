//! `envoy.filters.http.dynamic_forward_proxy`: a request for a cluster that forwards to names waits until
//! the address of its host is known.

use http::StatusCode;
use meltemi_ir::ForwardProxyHost;
use meltemi_telemetry::ResponseFlags;
use meltemi_upstream::Demand;

use super::{Decision, HttpFilter, RequestContext, Resume, RouteConfig};
use crate::router::reply::{Author, LocalReply};

/// The filter.
pub(crate) struct ForwardProxyFilter;

impl HttpFilter for ForwardProxyFilter {
    fn on_request(&self, request: &mut RequestContext<'_>) -> Decision {
        let cluster = request.stream.facts.borrow().cluster.clone();
        let Some(cluster) = cluster.filter(|it| it.forwards_to_names()) else {
            return Decision::Continue;
        };
        let asked = match request.place.config() {
            Some(RouteConfig::ForwardProxy(ForwardProxyHost::Literal(host))) => Some(host.clone()),
            Some(RouteConfig::ForwardProxy(ForwardProxyHost::Header(name))) => {
                request.head.headers.get(name).cloned()
            }
            _ => None,
        };
        if let Some(host) = asked {
            request.head.authority = host;
        }
        match cluster.demand(&request.head.authority) {
            // What is no name is found nowhere.
            None | Some(Demand::Known) => Decision::Continue,
            Some(Demand::Full) => refuse(
                "DNS cache overflow",
                "dns_cache_overflow",
                ResponseFlags::NONE,
            ),
            Some(Demand::Overflow) => refuse(
                "Dynamic forward proxy pending request overflow",
                "dynamic_forward_proxy_pending_request_overflow",
                ResponseFlags::NONE,
            ),
            Some(Demand::Waits(pending)) => Decision::Wait(Box::pin(async move {
                let is_found = pending.is_found().await;
                Box::new(move |_: &mut RequestContext<'_>| {
                    if is_found {
                        return Decision::Continue;
                    }
                    refuse(
                        "DNS resolution failure",
                        "dns_resolution_failure",
                        ResponseFlags::DNS_RESOLUTION_FAILED,
                    )
                }) as Resume
            })),
        }
    }
}

fn refuse(body: &'static str, details: &'static str, flags: ResponseFlags) -> Decision {
    let mut reply = LocalReply::new(StatusCode::SERVICE_UNAVAILABLE, body, details, flags);
    reply.by = Author::Filter;
    Decision::Reply(reply)
}
