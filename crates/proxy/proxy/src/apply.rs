//! What has arrived over xDS, put into service: convert, check, swap.
//!
//! Each resource is taken or refused by itself; a refused one leaves what was there.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_admin::{ConfigKind, ConfigStore};
use meltemi_http::RouteTables;
use meltemi_ir as ir;
use meltemi_listener::{ListenerManager, wanted_routes};
use meltemi_tls::SecretStore;
use meltemi_upstream::ClusterManager;
use meltemi_xds::any;
use meltemi_xds::pb::envoy::config::cluster::v3::Cluster;
use meltemi_xds::pb::envoy::config::core::v3::TypedExtensionConfig;
use meltemi_xds::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use meltemi_xds::pb::envoy::config::listener::v3::Listener;
use meltemi_xds::pb::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3::Secret;
use meltemi_xds_client::{Interest, Received, Rejection, ResourceType, Update};
use prost_types::Any;
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::extensions::{Extensions, Patience, asked};
use crate::secret_files::SecretFiles;

/// What came of an update.
pub(crate) struct Applied {
    /// What was refused.
    pub rejected: Vec<Rejection>,
    /// Whether something is in force that was not.
    pub changed: bool,
}

/// Everything that xDS changes.
pub(crate) struct Applier {
    pub clusters: Arc<ClusterManager>,
    pub listeners: Arc<ListenerManager>,
    pub routes: Arc<RouteTables>,
    pub secrets: Arc<SecretStore>,
    /// The files that secrets are read from.
    pub files: Arc<SecretFiles>,
    pub store: Arc<ConfigStore>,
    /// The configurations of filters.
    pub extensions: Extensions,
    /// Clusters whose secret discovery somebody in this process stands in for.
    pub delivered_clusters: Vec<String>,
    /// Listeners came from elsewhere that want what discovery delivers.
    pub wants_more: Notify,
    /// The bootstrap's clusters.
    pub fixed_clusters: Vec<Arc<ir::Cluster>>,
}

impl Applier {
    /// Puts an update into service that came over a stream, whose messages go into the store; gives
    /// what was refused.
    pub fn apply(&self, update: &mut Update) -> Vec<Rejection> {
        self.apply_of(&ir::ResourceSource::Ads, update).rejected
    }

    /// The same of an update that came from there.
    pub fn apply_of(&self, source: &ir::ResourceSource, update: &mut Update) -> Applied {
        let mut changed = false;
        let mut rejections = Vec::new();
        let mut names = BTreeSet::new();
        // Removals first, so that an address can change hands.
        for name in &update.removed {
            self.remove(update.kind, name);
        }
        let hosts = update.kind == ResourceType::VirtualHost;
        for received in &mut update.added {
            // there is no such virtual host, which whoever asked is to hear
            if hosts && received.body.type_url.is_empty() {
                self.remove(update.kind, &received.name);
                continue;
            }
            let (name, result) = self.apply_one(source, update.kind, received);
            let name = if name.is_empty() {
                received.name.clone()
            } else {
                name
            };
            let body = std::mem::take(&mut received.body);
            changed |= self.record(
                update.kind,
                &name,
                (&received.version, body),
                result.as_ref().err(),
            );
            if let Err(reason) = result {
                warn!(kind = %update.kind, name, "refused: {reason}");
                rejections.push(Rejection {
                    name: name.clone(),
                    reason,
                });
            }
            names.insert(name);
        }
        if update.complete {
            for name in self.dynamic_names(update.kind) {
                if !names.contains(&name) {
                    self.remove(update.kind, &name);
                }
            }
        }
        if update.complete {
            self.store
                .set_version(kind_of(update.kind), &update.version);
        }
        match update.kind {
            ResourceType::Route => self.listeners.promote(false),
            ResourceType::VirtualHost => {
                let answered = update.added.iter().flat_map(|it| &it.aliases);
                self.routes.publish(&answered.cloned().collect::<Vec<_>>());
            }
            ResourceType::Secret => self.promote_secured(),
            ResourceType::Cluster
            | ResourceType::Endpoint
            | ResourceType::Listener
            | ResourceType::Extension => {}
        }
        info!(
            kind = %update.kind,
            added = update.added.len(),
            removed = update.removed.len(),
            refused = rejections.len(),
            version = update.version,
            "configuration applied"
        );
        Applied {
            rejected: rejections,
            changed,
        }
    }

    fn apply_one(
        &self,
        source: &ir::ResourceSource,
        kind: ResourceType,
        received: &Received,
    ) -> (String, Result<(), String>) {
        let body = &received.body;
        match kind {
            ResourceType::Cluster => match any::unpack::<Cluster>(body) {
                Err(error) => malformed(&error),
                Ok(message) => (message.name.clone(), self.cluster(&message)),
            },
            ResourceType::Endpoint => match any::unpack::<ClusterLoadAssignment>(body) {
                Err(error) => malformed(&error),
                Ok(message) => {
                    let result = self.endpoints(source, &message);
                    (message.cluster_name, result)
                }
            },
            ResourceType::Listener => match any::unpack::<Listener>(body) {
                Err(error) => malformed(&error),
                Ok(message) => (message.name.clone(), self.listener(&message)),
            },
            ResourceType::Route => self.route(body),
            ResourceType::Extension => match any::unpack::<TypedExtensionConfig>(body) {
                Err(error) => malformed(&error),
                Ok(message) => (message.name.clone(), self.extension(message)),
            },
            // its own name does not say for which table it is
            ResourceType::VirtualHost => (received.name.clone(), self.virtual_host(received)),
            ResourceType::Secret => match any::unpack::<Secret>(body) {
                Err(error) => malformed(&error),
                Ok(message) => (message.name.clone(), self.secret(&message)),
            },
        }
    }

    fn cluster(&self, message: &Cluster) -> Result<(), String> {
        let cluster = meltemi_config::cluster(message).map_err(|errors| errors.to_string())?;
        self.check_cluster(&cluster)?;
        self.clusters
            .apply(cluster, true)
            .map_err(|error| error.to_string())
    }

    fn endpoints(
        &self,
        source: &ir::ResourceSource,
        message: &ClusterLoadAssignment,
    ) -> Result<(), String> {
        let assignment =
            meltemi_config::load_assignment(message).map_err(|errors| errors.to_string())?;
        self.clusters.apply_endpoints_of(source, assignment);
        Ok(())
    }

    fn listener(&self, message: &Listener) -> Result<(), String> {
        if asked(message).is_empty() {
            self.extensions.forget(&message.name);
            return self.serve(message);
        }
        let name = &message.name;
        let before = self.extensions.hold(message.clone());
        // What is wrong with the rest is told at once.
        let checked = match self.extensions.filled(name, None, Patience::None) {
            Some(filled) => self.check(&filled),
            None => Ok(()),
        };
        let served = checked.and_then(|()| self.serve_held(name, Patience::Waits));
        if served.is_err() {
            self.extensions.put_back(name, before);
        }
        served
    }

    fn check(&self, message: &Listener) -> Result<(), String> {
        let listener = meltemi_config::listener(message).map_err(|errors| errors.to_string())?;
        self.check_listener(&listener)
    }

    /// Serves a listener whose filters ask for configurations, if these are there; else what was there
    /// before serves on.
    fn serve_held(&self, name: &str, patience: Patience) -> Result<(), String> {
        let Some(message) = self.extensions.filled(name, None, patience) else {
            return Ok(());
        };
        self.serve(&message)?;
        self.extensions.served(name);
        Ok(())
    }

    /// A configuration is taken if every filter can have it that asks for it.
    fn extension(&self, message: TypedExtensionConfig) -> Result<(), String> {
        let TypedExtensionConfig { name, typed_config } = message;
        let config = typed_config.ok_or("typed_config: is needed")?;
        self.extensions.check_type(&name, &config)?;
        let users = self.extensions.users(&name);
        for listener in &users {
            let candidate = Some((name.as_str(), &config));
            if let Some(filled) = self.extensions.filled(listener, candidate, Patience::None) {
                self.check(&filled)?;
            }
        }
        self.extensions.set(&name, config);
        self.serve_all(&users, Patience::Waits);
        Ok(())
    }

    fn serve_all(&self, listeners: &[String], patience: Patience) {
        for listener in listeners {
            if let Err(reason) = self.serve_held(listener, patience) {
                warn!(listener, "not served: {reason}");
            }
        }
    }

    /// Listeners have waited for the configurations of their filters for long enough.
    pub fn end_waiting(&self) {
        let waiting = self.extensions.waiting_listeners();
        self.serve_all(&waiting, Patience::Ends);
    }

    fn serve(&self, message: &Listener) -> Result<(), String> {
        let listener = meltemi_config::listener(message).map_err(|errors| errors.to_string())?;
        self.check_listener(&listener)?;
        self.listeners
            .apply(listener, true)
            .map_err(|error| error.to_string())
    }

    fn route(&self, body: &Any) -> (String, Result<(), String>) {
        match meltemi_config::route_configuration_from_any(body) {
            Ok(table) => (table.name.clone(), self.route_table(table)),
            // what it is called is told even of one that is refused, where that can be told
            Err(errors) => {
                let message = any::unpack::<RouteConfiguration>(body);
                let name = message.map(|message| message.name).unwrap_or_default();
                (name, Err(errors.to_string()))
            }
        }
    }

    fn route_table(&self, table: ir::RouteConfiguration) -> Result<(), String> {
        if let Some(service) = &table.vhds
            && !self.is_known_cluster(&service.cluster)
        {
            return Err(format!(
                "vhds.config_source.api_config_source.grpc_services[0].envoy_grpc.cluster_name: \
                 no cluster {:?}",
                service.cluster
            ));
        }
        self.routes
            .apply(&Arc::new(table))
            .map_err(|error| error.to_string())
    }

    fn virtual_host(&self, received: &Received) -> Result<(), String> {
        let message = any::unpack::<VirtualHost>(&received.body);
        let message = message.map_err(|error| error.to_string())?;
        let host = meltemi_config::virtual_host(&message).map_err(|errors| errors.to_string())?;
        self.routes
            .apply_host(&received.name, Arc::new(host))
            .map_err(|error| error.to_string())
    }

    fn secret(&self, message: &Secret) -> Result<(), String> {
        let secret = meltemi_config::secret(message).map_err(|errors| errors.to_string())?;
        meltemi_tls::check(&secret.secret).map_err(|error| error.to_string())?;
        self.secrets.set(&secret.name, secret.secret);
        self.files.watch(&secret.name, secret.files, message);
        Ok(())
    }

    fn remove(&self, kind: ResourceType, name: &str) {
        match kind {
            ResourceType::Cluster => self.clusters.remove(name),
            // Endpoints go with their cluster: a removal that came before the cluster's own would
            // leave a cluster without hosts. Envoy ignores it too.
            ResourceType::Endpoint => {}
            // The same of a route table that a listener still names.
            ResourceType::Route if self.is_named(name) => return,
            ResourceType::Listener => {
                self.extensions.forget(name);
                self.listeners.remove(name);
            }
            ResourceType::Extension => {
                self.extensions.unset(name);
                // One that waits goes on waiting: it was only told that there is none so far.
                let waiting = self.extensions.waiting_listeners();
                let mut users = self.extensions.users(name);
                users.retain(|it| !waiting.contains(it));
                self.serve_all(&users, Patience::None);
            }
            ResourceType::Route => self.routes.remove(name),
            ResourceType::VirtualHost => self.routes.remove_host(name),
            ResourceType::Secret => {
                self.files.forget(name);
                self.secrets.remove(name);
            }
        }
        self.store.remove(kind_of(kind), name);
    }

    fn is_named(&self, route_table: &str) -> bool {
        let wanted = self.listeners.wanted_routes();
        wanted.iter().any(|(_, wanted)| wanted.name == route_table)
    }

    fn record(
        &self,
        kind: ResourceType,
        name: &str,
        (version, body): (&str, Any),
        error: Option<&String>,
    ) -> bool {
        let kind = kind_of(kind);
        match error {
            None => self.store.accept(kind, name, version, body),
            Some(reason) => {
                self.store.reject(kind, name, version, Some(body), reason);
                false
            }
        }
    }

    fn dynamic_names(&self, kind: ResourceType) -> Vec<String> {
        match kind {
            ResourceType::Listener => {
                let mut names = self.listeners.dynamic_names();
                names.extend(self.extensions.listeners());
                names
            }
            ResourceType::Cluster => {
                let all = self
                    .clusters
                    .clusters()
                    .into_iter()
                    .chain(self.clusters.warming());
                let dynamic = all.filter(|cluster| cluster.added_via_api());
                dynamic
                    .map(|cluster| cluster.config().name.clone())
                    .collect()
            }
            ResourceType::Endpoint
            | ResourceType::Route
            | ResourceType::VirtualHost
            | ResourceType::Secret
            | ResourceType::Extension => Vec::new(),
        }
    }

    /// What is wanted of a kind over ADS.
    pub fn interest(&self, kind: ResourceType) -> Interest {
        let names: BTreeSet<String> = match kind {
            ResourceType::Endpoint => self.clusters.wanted_endpoints().into_iter().collect(),
            ResourceType::Route => {
                let wanted = self.listeners.wanted_routes().into_iter();
                let over_ads = wanted.filter(|(_, it)| it.source == ir::ResourceSource::Ads);
                over_ads.map(|(_, it)| it.name).collect()
            }
            ResourceType::Secret => {
                let wanted = self.secrets.wanted().into_iter();
                let over_ads = wanted.filter(|wanted| wanted.source == ir::CertificateSource::Ads);
                over_ads.map(|wanted| wanted.name).collect()
            }
            ResourceType::Extension => self.extensions.wanted(),
            // from services of their own
            ResourceType::VirtualHost => return Interest::None,
            ResourceType::Cluster | ResourceType::Listener => return Interest::Wildcard,
        };
        Interest::Names(names)
    }

    /// Refuses a cluster whose secrets nobody would deliver.
    pub fn check_cluster(&self, cluster: &ir::Cluster) -> Result<(), String> {
        let own = cluster
            .tls
            .as_deref()
            .into_iter()
            .map(|tls| ("transport_socket".to_owned(), tls));
        let matches = cluster.transport_socket_matches.iter().enumerate();
        let matched = matches.filter_map(|(index, one)| {
            Some((
                format!("transport_socket_matches[{index}].transport_socket"),
                one.tls.as_ref()?,
            ))
        });
        for (path, tls) in own.chain(matched) {
            self.check_secrets(&path, &tls.certificates, tls.validation.as_ref())?;
        }
        Ok(())
    }

    /// Refuses a listener whose secrets nobody would deliver, and one that asks for a route table
    /// elsewhere than the others do: a name is of one table.
    pub fn check_listener(&self, listener: &ir::Listener) -> Result<(), String> {
        let known = self.listeners.wanted_routes();
        for (index, chain) in listener
            .filter_chains
            .iter()
            .chain(&listener.default_filter_chain)
            .enumerate()
        {
            let routes = wanted_routes(chain);
            let elsewhere = routes.and_then(|routes| {
                known.iter().find(|(name, it)| {
                    *name != listener.name && it.name == routes.name && it.source != routes.source
                })
            });
            if let Some((other, routes)) = elsewhere {
                return Err(format!(
                    "filter_chains[{index}].rds.config_source: listener {other:?} has the route \
                     table {:?} from elsewhere",
                    routes.name
                ));
            }
            let Some(tls) = &chain.tls else { continue };
            let path = format!("filter_chains[{index}].transport_socket");
            self.check_secrets(&path, &tls.certificates, tls.validation.as_ref())?;
            if let ir::TicketKeySource::Given(keys) = &tls.tickets.keys {
                self.check_source(&path, source_of(keys))?;
            }
        }
        Ok(())
    }

    fn check_secrets(
        &self,
        path: &str,
        certificates: &[ir::SecretRef<ir::TlsCertificate>],
        validation: Option<&ir::SecretRef<ir::ValidationContext>>,
    ) -> Result<(), String> {
        for certificate in certificates {
            self.check_source(path, source_of(certificate))?;
        }
        self.check_source(path, validation.and_then(source_of))
    }

    fn is_known_cluster(&self, name: &str) -> bool {
        let fixed = &self.fixed_clusters;
        fixed.iter().any(|known| known.name == name) || self.clusters.get(name).is_some()
    }

    /// Puts clusters and listeners into service that waited for secrets which are there now.
    pub fn promote_secured(&self) {
        self.clusters.promote_secured();
        self.listeners.promote(false);
    }

    fn check_source(
        &self,
        path: &str,
        source: Option<&ir::CertificateSource>,
    ) -> Result<(), String> {
        match source {
            None
            | Some(
                ir::CertificateSource::Ads
                | ir::CertificateSource::Static
                | ir::CertificateSource::Path(_),
            ) => Ok(()),
            Some(ir::CertificateSource::Service(service))
                if self.delivered_clusters.contains(&service.cluster)
                    || self.is_known_cluster(&service.cluster) =>
            {
                Ok(())
            }
            Some(ir::CertificateSource::Service(service)) => Err(format!(
                "{path}.typed_config.common_tls_context: sds_config.api_config_source: \
                 grpc_services[0].envoy_grpc.cluster_name: no cluster {:?}",
                service.cluster
            )),
        }
    }
}

fn source_of<T>(secret: &ir::SecretRef<T>) -> Option<&ir::CertificateSource> {
    match secret {
        ir::SecretRef::Inline(_) => None,
        ir::SecretRef::Sds { source, .. } => Some(source),
    }
}

fn malformed(error: &any::UnpackError) -> (String, Result<(), String>) {
    (String::new(), Err(error.to_string()))
}

fn kind_of(kind: ResourceType) -> ConfigKind {
    match kind {
        ResourceType::Cluster => ConfigKind::Cluster,
        ResourceType::Endpoint => ConfigKind::Endpoints,
        ResourceType::Listener => ConfigKind::Listener,
        ResourceType::Route => ConfigKind::Routes,
        ResourceType::VirtualHost => ConfigKind::VirtualHost,
        ResourceType::Secret => ConfigKind::Secret,
        ResourceType::Extension => ConfigKind::Extension,
    }
}
