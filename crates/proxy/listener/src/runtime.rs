//! A listener's settings in the form that connections use.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use meltemi_http::{ConnectionManager, HttpShared, Tunneling};
use meltemi_ir as ir;
use meltemi_lifecycle::Drain;
use meltemi_redis::RedisProxy;
use meltemi_telemetry::{
    AccessLogger, HttpInspectorStats, ProxyProtocolStats, Sharded, StatsRegistry, TcpStats,
    TlsInspectorStats,
};
use meltemi_tls::{SecretStore, ServerContext};

use crate::ListenerError;
use crate::gate::{Gate, SharedTokens};

/// What listeners are built with. Shared by all threads.
pub struct ListenerShared {
    /// Statistics, log files and route tables.
    pub http: HttpShared,
    /// Certificates and trust anchors.
    pub secrets: Arc<SecretStore>,
}

/// A listener's settings of the moment.
pub(crate) struct ListenerRuntime {
    /// The listener's name, as connections have it.
    pub name: Arc<str>,
    pub config: Arc<ir::Listener>,
    pub chains: Vec<Arc<ChainRuntime>>,
    pub default_chain: Option<Arc<ChainRuntime>>,
    /// For connections that no chain takes.
    pub loggers: Vec<AccessLogger>,
    /// What the listener filters count.
    pub looks: LooksStats,
}

/// What listener filters count; of those that the listener has.
pub(crate) struct LooksStats {
    pub proxy_protocol: Option<Arc<Sharded<ProxyProtocolStats>>>,
    pub tls: Option<Arc<Sharded<TlsInspectorStats>>>,
    pub http: Option<Arc<Sharded<HttpInspectorStats>>>,
}

impl LooksStats {
    fn new(config: &ir::Listener, stats: &StatsRegistry) -> Self {
        let has = |filter| config.listener_filters.contains(&filter);
        Self {
            proxy_protocol: config.proxy_protocol.as_ref().map(|settings| {
                stats.extension(
                    "proxy_proto",
                    "envoy_proxy_protocol_prefix",
                    &settings.stat_prefix,
                )
            }),
            tls: has(ir::ListenerFilter::TlsInspector)
                .then(|| stats.extension("tls_inspector", "", "")),
            http: has(ir::ListenerFilter::HttpInspector)
                .then(|| stats.extension("http_inspector", "", "")),
        }
    }
}

/// A filter chain's settings of the moment.
pub(crate) struct ChainRuntime {
    /// Its name, as connections have it.
    pub name: Option<Arc<str>>,
    pub config: Arc<ir::FilterChain>,
    pub tls: Option<Arc<ServerContext>>,
    /// What a connection passes before the filter.
    pub gates: Vec<Gate>,
    pub filter: ChainFilter,
    /// Started when the chain is removed while its listener stays.
    pub drain: Arc<Drain>,
}

/// What serves a chain's connections.
pub(crate) enum ChainFilter {
    /// HTTP; the slot outlives a change of settings, so that open connections follow it.
    Http(Arc<ArcSwap<ConnectionManager>>),
    /// Bytes.
    Tcp(Arc<TcpRuntime>),
    /// Commands of Redis.
    Redis(Arc<RedisProxy>),
    /// An answer, and the end.
    DirectResponse(Arc<[u8]>),
    /// The same bytes back.
    Echo,
}

/// A TCP proxy with its loggers and statistics.
pub(crate) struct TcpRuntime {
    pub config: Arc<ir::TcpProxy>,
    pub loggers: Vec<AccessLogger>,
    pub stats: Arc<Sharded<TcpStats>>,
    /// How connections are carried over HTTP, where they are.
    pub tunneling: Option<Tunneling>,
}

impl ListenerRuntime {
    /// Builds the settings. Chains that persist from `before` keep their slots and drains.
    pub fn build(
        config: Arc<ir::Listener>,
        before: Option<&Self>,
        shared: &ListenerShared,
    ) -> Result<Built, ListenerError> {
        let mut swaps = Vec::new();
        let mut tokens = SharedTokens::new();
        let listener = StatsRegistry::listener_name(&config);
        let mut chain = |config: &Arc<ir::FilterChain>, path: String| {
            let old = before.and_then(|before| before.successor_of(config));
            let changes = &mut Changes {
                swaps: &mut swaps,
                tokens: &mut tokens,
            };
            ChainRuntime::build(Arc::clone(config), &listener, old, shared, changes)
                .map_err(|problem| ListenerError::Chain { path, problem })
        };
        let mut chains = Vec::with_capacity(config.filter_chains.len());
        for (index, one) in config.filter_chains.iter().enumerate() {
            chains.push(chain(one, format!("filter_chains[{index}]"))?);
        }
        let default_chain = match &config.default_filter_chain {
            None => None,
            Some(one) => Some(chain(one, "default_filter_chain".to_owned())?),
        };
        let loggers =
            loggers(&config.access_log, shared).map_err(|problem| ListenerError::Chain {
                path: "access_log".to_owned(),
                problem,
            })?;
        let looks = LooksStats::new(&config, &shared.http.stats);
        let runtime = Arc::new(Self {
            name: config.name.as_str().into(),
            looks,
            config,
            chains,
            default_chain,
            loggers,
        });
        Ok(Built { runtime, swaps })
    }

    /// The chain of the same name, or of the same match where there is no name.
    fn successor_of(&self, config: &ir::FilterChain) -> Option<&Arc<ChainRuntime>> {
        self.all_chains().find(|old| {
            if config.name.is_empty() {
                old.config.name.is_empty() && old.config.matcher == config.matcher
            } else {
                old.config.name == config.name
            }
        })
    }

    pub fn all_chains(&self) -> impl Iterator<Item = &Arc<ChainRuntime>> {
        self.chains.iter().chain(&self.default_chain)
    }

    /// Asks the connections of chains that `after` no longer has to close in peace, over this time.
    pub fn drain_chains_missing_in(&self, after: &Self, over: Duration) {
        for chain in self.all_chains() {
            if !after
                .all_chains()
                .any(|kept| Arc::ptr_eq(&kept.drain, &chain.drain))
            {
                chain.drain.start_over(over);
            }
        }
    }

    /// Whether a secret that a chain needs has not come yet.
    pub fn awaits_secrets(&self) -> bool {
        let mut contexts = self.all_chains().filter_map(|chain| chain.tls.as_ref());
        contexts.any(|context| context.is_waiting())
    }

    /// The secrets that have not come.
    pub fn awaited_secrets(&self) -> Vec<String> {
        let contexts = self.all_chains().filter_map(|chain| chain.tls.as_ref());
        let names: BTreeSet<_> = contexts.flat_map(|context| context.awaited()).collect();
        names.into_iter().map(str::to_owned).collect()
    }

    /// The names of the route tables that the chains ask for over RDS.
    pub fn route_names(&self) -> Vec<String> {
        let wanted = self.all_chains().filter_map(|it| wanted_routes(&it.config));
        wanted.map(|wanted| wanted.name).collect()
    }

    /// The route tables that the chains ask for over RDS.
    pub fn wanted_routes(&self) -> Vec<WantedRoutes> {
        let wanted = self.all_chains().filter_map(|it| wanted_routes(&it.config));
        wanted.collect()
    }
}

/// A route table that a filter chain asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WantedRoutes {
    /// From where.
    pub source: ir::ConfigSource,
    /// By which name.
    pub name: String,
    /// The `stat_prefix` of the connection manager that asks.
    pub stat_prefix: String,
}

/// The route table that a chain asks for over RDS, if it does.
pub fn wanted_routes(chain: &ir::FilterChain) -> Option<WantedRoutes> {
    match &chain.filter {
        ir::ConnectionFilter::Http(http) => match &http.routes {
            ir::RouteSource::Rds { name, source } => Some(WantedRoutes {
                source: source.clone(),
                name: name.clone(),
                stat_prefix: http.stat_prefix.clone(),
            }),
            ir::RouteSource::Inline(_) => None,
        },
        ir::ConnectionFilter::Tcp(_)
        | ir::ConnectionFilter::Redis(_)
        | ir::ConnectionFilter::DirectResponse(_)
        | ir::ConnectionFilter::Echo => None,
    }
}

/// What the chains of a listener do together while they are built.
struct Changes<'a> {
    swaps: &'a mut Vec<(Arc<ArcSwap<ConnectionManager>>, Arc<ConnectionManager>)>,
    tokens: &'a mut SharedTokens,
}

/// Settings that are ready to go into service.
pub(crate) struct Built {
    pub runtime: Arc<ListenerRuntime>,
    /// Slots of open connections, and what goes into them.
    swaps: Vec<(Arc<ArcSwap<ConnectionManager>>, Arc<ConnectionManager>)>,
}

impl Built {
    /// Puts the new settings before open connections.
    pub fn swap(self) -> Arc<ListenerRuntime> {
        for (slot, manager) in self.swaps {
            slot.store(manager);
        }
        self.runtime
    }
}

impl ChainRuntime {
    fn build(
        config: Arc<ir::FilterChain>,
        listener: &str,
        old: Option<&Arc<Self>>,
        shared: &ListenerShared,
        changes: &mut Changes<'_>,
    ) -> Result<Arc<Self>, String> {
        if let Some(old) = old
            && old.config == config
        {
            return Ok(Arc::clone(old));
        }
        let tls = match &config.tls {
            None => None,
            Some(tls) => Some(
                ServerContext::new(tls, Arc::clone(&shared.secrets))
                    .map_err(|error| format!("transport_socket.typed_config: {error}"))?,
            ),
        };
        let filter = match (&config.filter, old.map(|old| &old.filter)) {
            (ir::ConnectionFilter::Http(http), old) => {
                let manager = ConnectionManager::new(Arc::clone(http), listener, &shared.http)
                    .map_err(|error| format!("http_connection_manager.{error}"))?;
                match old {
                    Some(ChainFilter::Http(slot)) => {
                        changes.swaps.push((Arc::clone(slot), manager));
                        ChainFilter::Http(Arc::clone(slot))
                    }
                    _ => ChainFilter::Http(Arc::new(ArcSwap::new(manager))),
                }
            }
            (ir::ConnectionFilter::Tcp(tcp), _) => ChainFilter::Tcp(Arc::new(TcpRuntime {
                loggers: loggers(&tcp.access_log, shared)?,
                stats: shared.http.stats.tcp(&tcp.stat_prefix),
                tunneling: tcp
                    .tunneling
                    .as_ref()
                    .map(Tunneling::new)
                    .transpose()
                    .map_err(|error| format!("tcp_proxy.tunneling_config.{error}"))?,
                config: Arc::clone(tcp),
            })),
            (ir::ConnectionFilter::Redis(redis), _) => {
                ChainFilter::Redis(RedisProxy::new(Arc::clone(redis), &shared.http.stats))
            }
            (ir::ConnectionFilter::DirectResponse(bytes), _) => {
                ChainFilter::DirectResponse(Arc::clone(bytes))
            }
            (ir::ConnectionFilter::Echo, _) => ChainFilter::Echo,
        };
        let gates = config.gates.iter();
        let gates = gates.map(|gate| Gate::new(gate, &shared.http.stats, changes.tokens));
        // A chain that turns from bytes to HTTP or back keeps nobody it had.
        let same = |old: &&Arc<Self>| {
            matches!(
                (&old.filter, &filter),
                (ChainFilter::Http(_), ChainFilter::Http(_))
                    | (ChainFilter::Tcp(_), ChainFilter::Tcp(_))
                    | (ChainFilter::Redis(_), ChainFilter::Redis(_))
            )
        };
        let gates = gates.collect::<Result<_, _>>();
        let gates =
            gates.map_err(|error| format!("ext_authz.grpc_service.initial_metadata: {error}"))?;
        let drain = old
            .filter(same)
            .map_or_else(|| Arc::new(Drain::new().0), |old| Arc::clone(&old.drain));
        Ok(Arc::new(Self {
            name: Some(config.name.as_str())
                .filter(|name| !name.is_empty())
                .map(Arc::from),
            config,
            tls,
            gates,
            filter,
            drain,
        }))
    }
}

fn loggers(logs: &[ir::AccessLog], shared: &ListenerShared) -> Result<Vec<AccessLogger>, String> {
    let logger = |(index, log): (usize, &ir::AccessLog)| {
        AccessLogger::new(log, &shared.http.files)
            .map_err(|error| format!("access_log[{index}].{error}"))
    };
    logs.iter().enumerate().map(logger).collect()
}
