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

use crate::filter::{Entry, Filter, FilterParts};
use crate::headers::names;
use crate::local_reply::{LocalReplies, LocalReplyError};
use crate::mutation::{Mutation, MutationError};
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
    /// The answers of our own cannot be reworded.
    #[error("local_reply_config: {0}")]
    LocalReply(#[from] LocalReplyError),
    /// The early changes to headers are wrong.
    #[error("early_header_mutation_extensions: {0}")]
    Early(MutationError),
    /// A filter's settings are wrong.
    #[error("http_filters[{index}].typed_config: {source}")]
    Filter {
        /// Which one.
        index: usize,
        /// Why.
        source: MutationError,
    },
}

/// A connection manager in service.
pub struct ConnectionManager {
    pub(crate) config: Arc<ir::HttpConnectionManager>,
    pub(crate) routes: Routes,
    pub(crate) logs: Box<[AccessLogger]>,
    /// The filters but the router.
    pub(crate) filters: Box<[Entry]>,
    pub(crate) router: ir::RouterSettings,
    pub(crate) stats: Arc<Sharded<HttpStats>>,
    pub(crate) listener_stats: Arc<Sharded<ListenerHttpStats>>,
    pub(crate) server: HeaderValue,
    /// What of the headers must be kept for the end of a stream.
    pub(crate) fields: RecordFields,
    /// Somebody reads the record of a finished stream.
    pub(crate) recorded: bool,
    /// How answers of our own are reworded.
    pub(crate) local_reply: Option<LocalReplies>,
    /// Changes to a request's headers before anything looks at them.
    pub(crate) early: Mutation,
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
            ir::RouteSource::Rds { name, source: _ } => {
                Routes::Discovered(shared.routes.slot(name))
            }
        };
        let parts = FilterParts {
            stats: &shared.stats,
            routes: &shared.routes,
            stat_prefix: &config.stat_prefix,
        };
        let mut filters = Vec::new();
        for (index, filter) in config.filters.iter().enumerate() {
            let made = Filter::new(&filter.kind, &parts);
            let made = made.map_err(|source| ManagerError::Filter { index, source })?;
            filters.extend(made.map(|made| Entry {
                name: filter.name.as_str().into(),
                disabled: filter.disabled,
                filter: made,
            }));
        }
        let wants_record = filters.iter().any(|entry| entry.filter.wants_record());
        let router = config.filters.iter().find_map(|filter| match &filter.kind {
            ir::HttpFilterKind::Router(settings) => Some(settings.clone()),
            _ => None,
        });
        let mut fields = fields(&logs, wants_record);
        let local_reply = config.local_reply.as_deref();
        let local_reply = local_reply.map(LocalReplies::new).transpose()?;
        if let Some(replies) = &local_reply {
            fields.merge(replies.fields());
        }
        let early = Mutation::ordered(&config.early_mutations).map_err(ManagerError::Early)?;
        Ok(Arc::new(Self {
            recorded: !logs.is_empty() || wants_record,
            routes,
            logs,
            filters: filters.into(),
            router: router.unwrap_or_default(),
            stats: shared.stats.http(&config.stat_prefix),
            listener_stats: shared.stats.listener_http(listener, &config.stat_prefix),
            server: if config.server_name == names::ENVOY {
                names::ENVOY
            } else {
                config.server_name.clone()
            },
            fields,
            local_reply,
            early,
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
            ir::RouteSource::Rds { name, source: _ } => Some(name),
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
        all.merge(log.fields());
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
