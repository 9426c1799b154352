//! What has arrived over xDS, put into service: convert, check, swap.
//!
//! Each resource is taken or refused by itself; a refused one leaves what was there.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_admin::{ConfigKind, ConfigStore};
use meltemi_http::RouteTables;
use meltemi_ir as ir;
use meltemi_listener::ListenerManager;
use meltemi_tls::SecretStore;
use meltemi_upstream::ClusterManager;
use meltemi_xds::any;
use meltemi_xds::pb::envoy::config::cluster::v3::Cluster;
use meltemi_xds::pb::envoy::config::core::v3::TypedExtensionConfig;
use meltemi_xds::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use meltemi_xds::pb::envoy::config::listener::v3::Listener;
use meltemi_xds::pb::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3::Secret;
use meltemi_xds_client::{Received, Rejection, ResourceType, Update};
use prost_types::Any;
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::extensions::{Extensions, Patience, asked};
use crate::secret_files::SecretFiles;
use crate::subscriptions::Wanted;

/// What came of an update.
pub(crate) struct Applied {
    /// What was refused.
    pub rejected: Vec<Rejection>,
    /// The names of what is in force.
    pub taken: BTreeSet<String>,
    /// The names of what is in force that was not.
    pub changed: BTreeSet<String>,
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
        let mut changed = BTreeSet::new();
        let mut rejections = Vec::new();
        let mut taken = BTreeSet::new();
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
            let error = result.as_ref().err();
            if self.record(update.kind, &name, (&received.version, body), error) {
                changed.insert(name.clone());
            }
            match result {
                Ok(()) => drop(taken.insert(name)),
                Err(reason) => {
                    warn!(kind = %update.kind, name, "refused: {reason}");
                    rejections.push(Rejection { name, reason });
                }
            }
        }
        if update.complete {
            let refused = |name: &String| rejections.iter().any(|it| it.name == *name);
            for name in self.dynamic_names(update.kind) {
                if !taken.contains(&name) && !refused(&name) {
                    self.remove(update.kind, &name);
                }
            }
            let kind = kind_of(update.kind);
            let still = |name: &str| rejections.iter().any(|it| it.name == name);
            self.store.forget_refused(kind, still);
        }
        if matches!(update.kind, ResourceType::Cluster | ResourceType::Listener) {
            self.store
                .set_version(kind_of(update.kind), &update.version);
        }
        match update.kind {
            ResourceType::Route => self.listeners.promote(),
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
            taken,
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
                Ok(message) => (message.name.clone(), self.cluster(source, &message)),
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
                Ok(message) => (message.name.clone(), self.listener(source, &message)),
            },
            ResourceType::Route => self.route(source, body),
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

    fn cluster(&self, source: &ir::ResourceSource, message: &Cluster) -> Result<(), String> {
        let cluster = meltemi_config::cluster_of(source, message);
        let cluster = cluster.map_err(|errors| errors.to_string())?;
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

    fn listener(&self, source: &ir::ResourceSource, message: &Listener) -> Result<(), String> {
        let asked = asked(message, source);
        if asked.is_empty() {
            self.extensions.forget(&message.name);
            return self.serve(source, message);
        }
        let name = &message.name;
        for one in &asked {
            let path = "config_discovery.config_source.api_config_source";
            self.check_resource_source(path, &one.source)?;
        }
        if let Some(extension) = self.extensions.is_elsewhere(name, &asked) {
            return Err(format!(
                "config_discovery.config_source: another listener has the configuration \
                 {extension:?} from elsewhere"
            ));
        }
        let before = self.extensions.hold(message.clone(), source);
        // What is wrong with the rest is told at once.
        let checked = match self.extensions.filled(name, None, Patience::None) {
            Some((filled, _)) => self.check(source, &filled),
            None => Ok(()),
        };
        let served = checked.and_then(|()| self.serve_held(name, Patience::Waits));
        if served.is_err() {
            self.extensions.put_back(name, before);
        }
        served
    }

    fn check(&self, source: &ir::ResourceSource, message: &Listener) -> Result<(), String> {
        let listener = meltemi_config::listener_of(source, message);
        let listener = listener.map_err(|errors| errors.to_string())?;
        self.check_listener(&listener)
    }

    /// Serves a listener whose filters ask for configurations, if these are there; else what was there
    /// before serves on.
    fn serve_held(&self, name: &str, patience: Patience) -> Result<(), String> {
        let Some((message, source)) = self.extensions.filled(name, None, patience) else {
            return Ok(());
        };
        self.serve(&source, &message)?;
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
            let filled = self.extensions.filled(listener, candidate, Patience::None);
            if let Some((filled, source)) = filled {
                self.check(&source, &filled)?;
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

    /// What waits for this goes into service without it.
    pub fn wait_no_more(&self, wanted: &Wanted) {
        let Some(name) = &wanted.name else { return };
        match wanted.kind {
            ResourceType::Route => {
                self.routes.wait_no_more(name);
                self.listeners.promote();
            }
            ResourceType::Endpoint => self.clusters.no_endpoints(&wanted.source, name),
            ResourceType::Secret => {
                self.secrets.wait_no_more(name);
                self.promote_secured();
            }
            ResourceType::Extension => {
                self.extensions.give_up(name);
                let users = self.extensions.users(name);
                let waiting = self.extensions.waiting_listeners();
                let users: Vec<_> = users
                    .into_iter()
                    .filter(|it| waiting.contains(it))
                    .collect();
                self.serve_all(&users, Patience::Waits);
            }
            ResourceType::Cluster | ResourceType::Listener | ResourceType::VirtualHost => {}
        }
    }

    /// Nobody asks for this any more; whoever does again waits again.
    pub fn wait_again(&self, wanted: &Wanted) {
        let Some(name) = &wanted.name else { return };
        match wanted.kind {
            ResourceType::Route => self.routes.wait_again(name),
            ResourceType::Secret => self.secrets.wait_again(name),
            ResourceType::Extension => self.extensions.wait_again(name),
            ResourceType::Cluster
            | ResourceType::Endpoint
            | ResourceType::Listener
            | ResourceType::VirtualHost => {}
        }
    }

    fn serve(&self, source: &ir::ResourceSource, message: &Listener) -> Result<(), String> {
        let listener = meltemi_config::listener_of(source, message);
        let listener = listener.map_err(|errors| errors.to_string())?;
        self.check_listener(&listener)?;
        self.listeners
            .apply(listener, true)
            .map_err(|error| error.to_string())
    }

    fn route(&self, source: &ir::ResourceSource, body: &Any) -> (String, Result<(), String>) {
        match meltemi_config::route_configuration_from_any(body) {
            // whoever asks elsewhere for a table of this name is not to get it
            Ok(table) if *source != ir::ResourceSource::Ads && !self.asks(source, &table.name) => {
                (table.name, Ok(()))
            }
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

    fn asks(&self, source: &ir::ResourceSource, route_table: &str) -> bool {
        let mut wanted = self.listeners.wanted_routes().into_iter();
        wanted.any(|(_, it)| it.name == route_table && it.source.from == *source)
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
            // it does not even say what it is
            Some(_) if name.is_empty() => false,
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

    /// Puts clusters and listeners into service that waited for secrets which are there now.
    pub fn promote_secured(&self) {
        self.clusters.promote_secured();
        self.listeners.promote();
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
