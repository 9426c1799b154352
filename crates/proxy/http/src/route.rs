//! Route tables: what RDS delivers, compiled so that a request finds its route without
//! allocating. Configuration enters through [`RouteTables`]; the connection manager asks a
//! [`RouteTable`] once per request.

mod domain;
mod matching;
mod rewrite;
mod settings;
mod tables;

use std::borrow::Cow;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use meltemi_ir as ir;

use crate::filter::RouteOverride;
use crate::mutation::{Mutation, MutationError};

pub use matching::RequestView;
pub use tables::{HostError, RouteTables, WantedHosts};

pub(crate) use domain::{port_of, without_port};
pub(crate) use matching::{
    Source, header_matches, is_grpc_type, matches, query_matches, query_value,
};
pub(crate) use rewrite::{RedirectPlan, Substitution, location, matched_length};
pub(crate) use rewrite::{replace_prefix, substitute};
pub(crate) use settings::RouteSettings;

/// Where the newest table of a name is found.
pub type RouteSlot = Arc<ArcSwapOption<RouteTable>>;

/// A route configuration, compiled.
#[derive(Debug)]
pub struct RouteTable {
    config: Arc<ir::RouteConfiguration>,
    domains: domain::DomainIndex,
    hosts: Box<[VirtualHost]>,
    request: Option<Mutation>,
    response: Option<Mutation>,
    /// The request's headers that formats of response headers mention, if there are formats.
    formats: Option<Vec<http::HeaderName>>,
    overrides: Box<[RouteOverride]>,
    /// Some scope says something of a filter.
    has_overrides: bool,
}

/// A virtual host, compiled.
#[derive(Debug)]
pub(crate) struct VirtualHost {
    pub(crate) config: Arc<ir::VirtualHost>,
    pub(crate) routes: Box<[Route]>,
    request: Option<Mutation>,
    response: Option<Mutation>,
    overrides: Box<[RouteOverride]>,
}

/// A route, compiled.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) config: Arc<ir::Route>,
    request: Option<Mutation>,
    response: Option<Mutation>,
    overrides: Box<[RouteOverride]>,
    pub(crate) action: Action,
}

/// What a route does, compiled.
#[derive(Debug)]
pub(crate) enum Action {
    Forward(Box<Target>),
    Redirect(RedirectPlan),
    Direct(bytes::Bytes),
    NonForwarding,
}

/// Where a route sends requests, compiled.
#[derive(Debug)]
pub(crate) struct Target {
    clusters: Box<[ClusterChoice]>,
    total_weight: u64,
    pub(crate) path: Option<Substitution>,
    pub(crate) host: Option<Substitution>,
    pub(crate) retry: Option<Arc<ir::RetryPolicy>>,
    pub(crate) cors: Vec<Arc<ir::Cors>>,
    /// A try that takes too long goes on beside the next one.
    pub(crate) hedge: bool,
    pub(crate) mirrors: Box<[MirrorPlan]>,
    pub(crate) hash: Box<[HashPlan]>,
}

/// Where copies of requests go, compiled.
#[derive(Debug)]
pub(crate) struct MirrorPlan {
    pub(crate) config: ir::Mirror,
    pub(crate) headers: Mutation,
}

/// A source of a request's hash, compiled.
#[derive(Debug)]
pub(crate) struct HashPlan {
    pub(crate) policy: ir::HashPolicy,
    pub(crate) rewrite: Option<Substitution>,
}

#[derive(Debug)]
struct ClusterChoice {
    weight: u64,
    request: Option<Mutation>,
    response: Option<Mutation>,
    overrides: Box<[RouteOverride]>,
}

/// Why a route table cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct RouteError {
    /// The field.
    pub path: String,
    /// What is wrong with it.
    pub source: MutationError,
}

/// What the table says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteMatch {
    /// No virtual host, or none of its routes.
    None,
    /// The virtual host wants TLS and the request came without.
    RequireTls {
        /// The virtual host's position in the configuration.
        host: usize,
    },
    /// A route.
    Route(RouteIndex),
}

/// The positions of a route and its virtual host in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteIndex {
    /// The virtual host's.
    pub host: usize,
    /// The route's within it.
    pub route: usize,
}

impl RouteTable {
    /// Compiles a configuration.
    ///
    /// # Errors
    /// When a header's value is no valid format.
    pub fn new(config: &Arc<ir::RouteConfiguration>) -> Result<Self, RouteError> {
        let hosts = config
            .virtual_hosts
            .iter()
            .enumerate()
            .map(|(index, host)| VirtualHost::new(host, &format!("virtual_hosts[{index}]")))
            .collect::<Result<_, _>>()?;
        let mut table = Self {
            domains: domain::DomainIndex::new(
                &config.virtual_hosts,
                config.ignore_port_in_host_matching,
            ),
            hosts,
            request: compile(&config.request_headers, "request_headers")?,
            response: compile(&config.response_headers, "response_headers")?,
            formats: None,
            overrides: overrides(&config.filters, "typed_per_filter_config")?,
            has_overrides: false,
            config: config.clone(),
        };
        table.formats = table.collect_formats();
        table.has_overrides = table.says_of_filters();
        Ok(table)
    }

    fn says_of_filters(&self) -> bool {
        let of_route = |route: &Route| {
            let choices = match &route.action {
                Action::Forward(target) => &*target.clusters,
                Action::Redirect(_) | Action::Direct(_) | Action::NonForwarding => &[],
            };
            !route.overrides.is_empty() || choices.iter().any(|choice| !choice.overrides.is_empty())
        };
        !self.overrides.is_empty()
            || self
                .hosts
                .iter()
                .any(|host| !host.overrides.is_empty() || host.routes.iter().any(of_route))
    }

    fn collect_formats(&self) -> Option<Vec<http::HeaderName>> {
        let mut fields: Option<Vec<http::HeaderName>> = None;
        let routes = self.hosts.iter().flat_map(|host| {
            let routes = host.routes.iter().flat_map(Route::response_levels);
            routes.chain(&host.response)
        });
        for mutation in routes.chain(&self.response) {
            if let Some(more) = mutation.format_fields() {
                let fields = fields.get_or_insert_default();
                for name in more {
                    if !fields.contains(name) {
                        fields.push(name.clone());
                    }
                }
            }
        }
        fields
    }

    /// Whether a response's headers are changed by formats.
    pub(crate) fn has_response_formats(&self) -> bool {
        self.formats.is_some()
    }

    /// The request's headers that such formats mention.
    pub(crate) fn response_format_fields(&self) -> &[http::HeaderName] {
        self.formats.as_deref().unwrap_or_default()
    }

    /// What it was compiled from.
    pub fn config(&self) -> &Arc<ir::RouteConfiguration> {
        &self.config
    }

    /// Whether a virtual host serves this authority.
    pub(crate) fn has_host(&self, authority: &str) -> bool {
        self.domains.find(authority).is_some()
    }

    /// The route of a request.
    pub fn route(&self, view: &RequestView<'_>) -> RouteMatch {
        let asked = match &self.config.virtual_host_header {
            None => Some(view.authority),
            Some(name) => view.headers.get(name).and_then(|it| it.to_str().ok()),
        };
        let Some(host) = asked.and_then(|asked| self.domains.find(asked)) else {
            return RouteMatch::None;
        };
        let host = host as usize;
        let entry = &self.hosts[host];
        let wants_tls = match entry.config.require_tls {
            ir::RequireTls::None => false,
            ir::RequireTls::External => !view.internal,
            ir::RequireTls::All => true,
        };
        if wants_tls && view.scheme != "https" {
            return RouteMatch::RequireTls { host };
        }
        let path = match self.config.ignore_path_parameters {
            false => Cow::Borrowed(view.path_only()),
            true => matching::without_parameters(view.path_only()),
        };
        entry
            .routes
            .iter()
            .position(|route| matches(&route.config.matcher, view, &path))
            .map_or(RouteMatch::None, |route| {
                RouteMatch::Route(RouteIndex { host, route })
            })
    }

    pub(crate) fn host(&self, index: RouteIndex) -> &VirtualHost {
        &self.hosts[index.host]
    }

    pub(crate) fn entry(&self, index: RouteIndex) -> &Route {
        &self.hosts[index.host].routes[index.route]
    }

    /// The changes to a request's headers, in the order in which they are made.
    pub(crate) fn request_mutations(
        &self,
        index: RouteIndex,
        cluster: Option<usize>,
    ) -> impl Iterator<Item = &Mutation> {
        let route = self.entry(index);
        let choice = cluster.and_then(|at| route.choice(at)?.request.as_ref());
        let levels = [&route.request, &self.host(index).request, &self.request];
        self.ordered(choice, levels)
    }

    /// The changes to a response's headers, in the order in which they are made.
    pub(crate) fn response_mutations(
        &self,
        index: RouteIndex,
        cluster: Option<usize>,
    ) -> impl Iterator<Item = &Mutation> {
        let route = self.entry(index);
        let choice = cluster.and_then(|at| route.choice(at)?.response.as_ref());
        let levels = [&route.response, &self.host(index).response, &self.response];
        self.ordered(choice, levels)
    }

    // Whoever comes last wins: the widest scope, unless the configuration says the narrowest.
    fn ordered<'a>(
        &self,
        choice: Option<&'a Mutation>,
        [route, host, table]: [&'a Option<Mutation>; 3],
    ) -> impl Iterator<Item = &'a Mutation> + use<'a> {
        let levels = if self.config.most_specific_header_mutations_wins {
            [table, host, route]
        } else {
            [route, host, table]
        };
        choice
            .into_iter()
            .chain(levels.into_iter().filter_map(Option::as_ref))
    }
}

impl VirtualHost {
    fn new(config: &Arc<ir::VirtualHost>, path: &str) -> Result<Self, RouteError> {
        Ok(Self {
            routes: config
                .routes
                .iter()
                .enumerate()
                .map(|(index, route)| Route::new(route, config, &format!("{path}.routes[{index}]")))
                .collect::<Result<_, _>>()?,
            request: compile(&config.request_headers, &format!("{path}.request_headers"))?,
            response: compile(
                &config.response_headers,
                &format!("{path}.response_headers"),
            )?,
            overrides: overrides(&config.filters, &format!("{path}.typed_per_filter_config"))?,
            config: config.clone(),
        })
    }
}

impl Route {
    fn new(
        config: &Arc<ir::Route>,
        host: &ir::VirtualHost,
        path: &str,
    ) -> Result<Self, RouteError> {
        let action = match &config.action {
            ir::RouteAction::Forward(target) => {
                Action::Forward(Box::new(Target::new(target, host, path)?))
            }
            ir::RouteAction::Redirect(redirect) => Action::Redirect(RedirectPlan::new(redirect)),
            ir::RouteAction::Direct(direct) => {
                Action::Direct(bytes::Bytes::copy_from_slice(&direct.body))
            }
            ir::RouteAction::NonForwarding => Action::NonForwarding,
        };
        Ok(Self {
            action,
            request: compile(&config.request_headers, &format!("{path}.request_headers"))?,
            response: compile(
                &config.response_headers,
                &format!("{path}.response_headers"),
            )?,
            overrides: overrides(&config.filters, &format!("{path}.typed_per_filter_config"))?,
            config: config.clone(),
        })
    }

    fn choice(&self, at: usize) -> Option<&ClusterChoice> {
        match &self.action {
            Action::Forward(target) => target.clusters.get(at),
            Action::Redirect(_) | Action::Direct(_) | Action::NonForwarding => None,
        }
    }

    fn response_levels(&self) -> impl Iterator<Item = &Mutation> {
        let choices = match &self.action {
            Action::Forward(target) => &*target.clusters,
            Action::Redirect(_) | Action::Direct(_) | Action::NonForwarding => &[],
        };
        choices
            .iter()
            .filter_map(|choice| choice.response.as_ref())
            .chain(&self.response)
    }

    /// The target, where this route forwards.
    pub(crate) fn target(&self) -> Option<(&ir::RouteTarget, &Target)> {
        match (&self.config.action, &self.action) {
            (ir::RouteAction::Forward(config), Action::Forward(target)) => Some((config, target)),
            _ => None,
        }
    }
}

impl Target {
    fn new(
        config: &ir::RouteTarget,
        host: &ir::VirtualHost,
        path: &str,
    ) -> Result<Self, RouteError> {
        let clusters = config
            .clusters
            .iter()
            .enumerate()
            .map(|(index, cluster)| {
                let path = format!("{path}.clusters[{index}]");
                Ok(ClusterChoice {
                    weight: u64::from(cluster.weight),
                    request: compile(&cluster.request_headers, &format!("{path}.request_headers"))?,
                    response: compile(
                        &cluster.response_headers,
                        &format!("{path}.response_headers"),
                    )?,
                    overrides: overrides(
                        &cluster.filters,
                        &format!("{path}.typed_per_filter_config"),
                    )?,
                })
            })
            .collect::<Result<Box<[_]>, _>>()?;
        let substitution = |regex, text: &String| Some(Substitution::new(regex, text));
        Ok(Self {
            total_weight: clusters.iter().map(|choice| choice.weight).sum(),
            clusters,
            path: match &config.path_rewrite {
                ir::PathRewrite::Regex {
                    regex,
                    substitution: text,
                } => substitution(regex, text),
                ir::PathRewrite::None | ir::PathRewrite::Prefix(_) => None,
            },
            host: match &config.host_rewrite {
                ir::HostRewrite::PathRegex {
                    regex,
                    substitution: text,
                } => substitution(regex, text),
                ir::HostRewrite::None
                | ir::HostRewrite::Literal(_)
                | ir::HostRewrite::Endpoint
                | ir::HostRewrite::Header(_) => None,
            },
            retry: config.retry.clone().or_else(|| host.retry.clone()),
            hedge: config
                .hedge_on_per_try_timeout
                .unwrap_or(host.hedge_on_per_try_timeout),
            cors: config.cors.iter().chain(&host.cors).cloned().collect(),
            mirrors: config
                .mirrors
                .iter()
                .map(|mirror| MirrorPlan::new(mirror, path))
                .collect::<Result<_, _>>()?,
            hash: config.hash.iter().map(HashPlan::new).collect(),
        })
    }

    /// What the choice at this position says of filters.
    fn overrides(&self, at: usize) -> &[RouteOverride] {
        match self.clusters.get(at) {
            Some(choice) => &choice.overrides,
            None => &[],
        }
    }

    /// The position of the cluster that a random number chooses.
    pub(crate) fn choose(&self, random: u64) -> usize {
        if self.clusters.len() <= 1 || self.total_weight == 0 {
            return 0;
        }
        let mut left = random % self.total_weight;
        for (position, choice) in self.clusters.iter().enumerate() {
            if left < choice.weight {
                return position;
            }
            left -= choice.weight;
        }
        0
    }
}

impl MirrorPlan {
    fn new(config: &ir::Mirror, path: &str) -> Result<Self, RouteError> {
        let headers = Mutation::ordered(&config.headers).map_err(|source| RouteError {
            path: format!("{path}.request_mirror_policies.request_headers_mutations"),
            source,
        })?;
        Ok(Self {
            config: config.clone(),
            headers,
        })
    }
}

impl HashPlan {
    fn new(policy: &ir::HashPolicy) -> Self {
        let rewrite = match &policy.source {
            ir::HashSource::Header {
                rewrite: Some((regex, text)),
                ..
            } => Some(Substitution::new(regex, text)),
            _ => None,
        };
        Self {
            policy: policy.clone(),
            rewrite,
        }
    }
}

fn overrides(filters: &[ir::RouteFilter], path: &str) -> Result<Box<[RouteOverride]>, RouteError> {
    RouteOverride::all(filters).map_err(|source| RouteError {
        path: path.to_owned(),
        source,
    })
}

fn compile(config: &ir::HeaderMutation, path: &str) -> Result<Option<Mutation>, RouteError> {
    if config.is_empty() {
        return Ok(None);
    }
    Mutation::new(config)
        .map(Some)
        .map_err(|source| RouteError {
            path: path.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests;
