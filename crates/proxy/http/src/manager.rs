//! The runtime form of an HTTP connection manager's configuration: immutable, shared by all
//! workers, swapped as a whole. The listener makes one for each filter chain and puts it into
//! the slot that its connections look at.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use meltemi_ir as ir;
use meltemi_telemetry::{
    AccessLogError, AccessLogger, HttpStats, IstioRecorder, ListenerHttpStats, LogFiles,
    RecordFields, Sharded, StatsRegistry,
};

use crate::filter::Filter;
use crate::headers::names;
use crate::route::{RouteError, RouteSlot, RouteTable, RouteTables};

/// What connection managers are made with.
#[derive(Clone)]
pub struct HttpShared {
    /// All statistics.
    pub stats: Arc<StatsRegistry>,
    /// The files of access logs.
    pub files: Arc<LogFiles>,
    /// The route tables that discovery delivers.
    pub routes: Arc<RouteTables>,
}

/// Why a connection manager cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    /// An access log cannot be written.
    #[error("access_log[{index}].{source}")]
    AccessLog {
        /// Which one.
        index: usize,
        /// Why.
        source: AccessLogError,
    },
    /// The route configuration in place is wrong.
    #[error("route_config.{0}")]
    Routes(#[from] RouteError),
}

/// A connection manager in service.
pub struct ConnectionManager {
    pub(crate) config: Arc<ir::HttpConnectionManager>,
    pub(crate) routes: Routes,
    pub(crate) logs: Box<[AccessLogger]>,
    /// The filters but the router.
    pub(crate) filters: Box<[Filter]>,
    pub(crate) suppress_envoy_headers: bool,
    pub(crate) stats: Arc<Sharded<HttpStats>>,
    pub(crate) listener_stats: Arc<Sharded<ListenerHttpStats>>,
    pub(crate) server: HeaderValue,
    /// What of the headers must be kept for the end of a stream.
    pub(crate) fields: RecordFields,
    /// Somebody reads the record of a finished stream.
    pub(crate) recorded: bool,
}

/// Where routes come from.
pub(crate) enum Routes {
    Inline(Arc<RouteTable>),
    Discovered(RouteSlot),
}

impl ConnectionManager {
    /// Makes a connection manager for a listener of this name in statistics.
    ///
    /// # Errors
    /// When an access log or a route configuration cannot be served.
    pub fn new(
        config: Arc<ir::HttpConnectionManager>,
        listener: &str,
        shared: &HttpShared,
    ) -> Result<Arc<Self>, ManagerError> {
        let logs = config
            .access_log
            .iter()
            .enumerate()
            .map(|(index, log)| {
                AccessLogger::new(log, &shared.files)
                    .map_err(|source| ManagerError::AccessLog { index, source })
            })
            .collect::<Result<Box<[_]>, _>>()?;
        let routes = match &config.routes {
            ir::RouteSource::Inline(table) => Routes::Inline(Arc::new(RouteTable::new(table)?)),
            ir::RouteSource::Rds(name) => Routes::Discovered(shared.routes.slot(name)),
        };
        let filters: Box<[Filter]> = config
            .filters
            .iter()
            .filter_map(|filter| Filter::new(&filter.kind))
            .collect();
        let suppress_envoy_headers = config.filters.iter().any(|filter| {
            matches!(
                filter.kind,
                ir::HttpFilterKind::Router {
                    suppress_envoy_headers: true
                }
            )
        });
        let fields = fields(&logs, filters.iter().any(Filter::wants_record));
        Ok(Arc::new(Self {
            recorded: !logs.is_empty() || filters.iter().any(Filter::wants_record),
            routes,
            logs,
            filters,
            suppress_envoy_headers,
            stats: shared.stats.http(&config.stat_prefix),
            listener_stats: shared.stats.listener_http(listener, &config.stat_prefix),
            server: if config.server_name == names::ENVOY {
                names::ENVOY
            } else {
                config.server_name.clone()
            },
            fields,
            config,
        }))
    }

    /// What it was made from.
    pub fn config(&self) -> &Arc<ir::HttpConnectionManager> {
        &self.config
    }

    /// The name of the route configuration that it asks for, if it asks.
    pub fn route_name(&self) -> Option<&str> {
        match &self.config.routes {
            ir::RouteSource::Rds(name) => Some(name),
            ir::RouteSource::Inline(_) => None,
        }
    }
}

impl std::fmt::Debug for ConnectionManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectionManager")
            .field("stat_prefix", &self.config.stat_prefix)
            .finish_non_exhaustive()
    }
}

/// All headers that some log mentions, and the few that metrics look at.
fn fields(logs: &[AccessLogger], metrics: bool) -> RecordFields {
    let mut all = if metrics {
        IstioRecorder::fields()
    } else {
        RecordFields::default()
    };
    for log in logs {
        let RecordFields {
            request_headers,
            response_headers,
            response_trailers,
        } = log.fields();
        merge(&mut all.request_headers, request_headers);
        merge(&mut all.response_headers, response_headers);
        merge(&mut all.response_trailers, response_trailers);
    }
    all
}

pub(crate) fn merge(into: &mut Vec<HeaderName>, more: &[HeaderName]) {
    for name in more {
        if !into.contains(name) {
            into.push(name.clone());
        }
    }
}
