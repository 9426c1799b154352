//! `envoy.filters.http.on_demand`: a request for a host that the route table does not have waits
//! until the management server has been asked for it.

use std::sync::Arc;

use super::{Decision, HttpFilter, RequestContext, Resume};
use crate::route::RouteTables;

/// The filter.
pub(crate) struct OnDemandFilter(Arc<RouteTables>);

impl OnDemandFilter {
    pub(crate) fn new(tables: Arc<RouteTables>) -> Self {
        Self(tables)
    }
}

impl HttpFilter for OnDemandFilter {
    fn on_request(&self, request: &mut RequestContext<'_>) -> Decision {
        let stream = request.stream;
        let table = stream.settings.routes.as_ref();
        let Some(table) = table.filter(|table| table.config().vhds.is_some()) else {
            return Decision::Continue;
        };
        if stream.facts.borrow().route.is_some() {
            return Decision::Continue;
        }
        let host = String::from_utf8_lossy(request.head.authority.as_bytes());
        let answered = self.0.demand(&table.config().name, &host);
        Decision::Wait(Box::pin(async move {
            // ignored: no answer is an answer too
            let _ = answered.await;
            Box::new(|request: &mut RequestContext<'_>| {
                request.stream.settings.renew(&request.stream.connection);
                request.stream.facts.borrow_mut().notes.reroute = true;
                Decision::Continue
            }) as Resume
        }))
    }
}
