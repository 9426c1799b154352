//! Configuration as it was received, good and bad, for `/config_dump`. The assembly tells what
//! it took and what it refused; nobody else reads it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use meltemi_lifecycle::Clock;
use meltemi_xds::pb::envoy::config::bootstrap::v3::Bootstrap;
use prost::Message as _;
use prost_types::Any;

/// A kind of resource that discovery delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConfigKind {
    /// `envoy.config.cluster.v3.Cluster`.
    Cluster,
    /// `envoy.config.endpoint.v3.ClusterLoadAssignment`.
    Endpoints,
    /// `envoy.config.listener.v3.Listener`.
    Listener,
    /// `envoy.config.route.v3.RouteConfiguration`.
    Routes,
    /// `envoy.config.route.v3.VirtualHost`, by the name `table/host`.
    VirtualHost,
    /// `envoy.extensions.transport_sockets.tls.v3.Secret`.
    Secret,
    /// `envoy.config.core.v3.TypedExtensionConfig`.
    Extension,
}

/// A resource that discovery delivered.
#[derive(Clone, Debug, Default)]
pub struct ConfigEntry {
    /// What is in force, if any version was ever accepted.
    pub active: Option<ActiveConfig>,
    /// Why the last version is not in force, if it is not.
    pub failure: Option<UpdateFailure>,
}

/// A resource in force.
#[derive(Clone, Debug)]
pub struct ActiveConfig {
    /// The version that discovery gave it.
    pub version: String,
    /// The resource as it was received.
    pub resource: Any,
    /// When it was accepted.
    pub updated: SystemTime,
}

/// A refused version of a resource (`UpdateFailureState`).
#[derive(Clone, Debug)]
pub struct UpdateFailure {
    /// The version that was refused.
    pub version: String,
    /// The resource as it was received, if it could be told apart.
    pub resource: Option<Any>,
    /// When it was refused.
    pub attempted: SystemTime,
    /// Why: what the control plane was told.
    pub details: String,
}

/// Configuration as it was received. Shared by the main runtime's tasks.
#[derive(Debug)]
pub struct ConfigStore {
    clock: Clock,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Encoded, which takes a tenth of what the message takes.
    bootstrap: Option<(Vec<u8>, SystemTime)>,
    versions: BTreeMap<ConfigKind, String>,
    entries: BTreeMap<ConfigKind, BTreeMap<String, ConfigEntry>>,
}

impl ConfigStore {
    /// Empty.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            inner: Mutex::default(),
        }
    }

    /// The bootstrap as it was read, its static resources included; Envoy's message, encoded.
    pub fn set_bootstrap(&self, bootstrap: Vec<u8>) {
        let now = self.clock.wall();
        self.lock().bootstrap = Some((bootstrap, now));
    }

    /// The version of a whole kind, as state-of-the-world discovery gives it.
    pub fn set_version(&self, kind: ConfigKind, version: &str) {
        self.lock().versions.insert(kind, version.to_owned());
    }

    /// A resource is in force in this version; whether it is another than before. The same again stays
    /// in the version that brought it, as in Envoy, but for secrets.
    pub fn accept(&self, kind: ConfigKind, name: &str, version: &str, resource: Any) -> bool {
        let mut inner = self.lock();
        let entries = inner.entries.entry(kind).or_default();
        if let Some(entry) = entries.get_mut(name)
            && entry
                .active
                .as_ref()
                .is_some_and(|active| active.resource == resource)
            && kind != ConfigKind::Secret
        {
            entry.failure = None;
            return false;
        }
        let active = ActiveConfig {
            version: version.to_owned(),
            resource,
            updated: self.clock.wall(),
        };
        let entry = ConfigEntry {
            active: Some(active),
            failure: None,
        };
        entries.insert(name.to_owned(), entry);
        true
    }

    /// A version of a resource was refused; what was in force before still is.
    pub fn reject(
        &self,
        kind: ConfigKind,
        name: &str,
        version: &str,
        resource: Option<Any>,
        details: &str,
    ) {
        let failure = UpdateFailure {
            version: version.to_owned(),
            resource,
            attempted: self.clock.wall(),
            details: details.to_owned(),
        };
        let mut inner = self.lock();
        let entries = inner.entries.entry(kind).or_default();
        entries.entry(name.to_owned()).or_default().failure = Some(failure);
    }

    /// What was refused of a kind is not offered any more, but for these.
    pub fn forget_refused(&self, kind: ConfigKind, still: impl Fn(&str) -> bool) {
        if let Some(entries) = self.lock().entries.get_mut(&kind) {
            entries.retain(|name, entry| entry.active.is_some() || still(name));
        }
    }

    /// A resource is no more.
    pub fn remove(&self, kind: ConfigKind, name: &str) {
        if let Some(entries) = self.lock().entries.get_mut(&kind) {
            entries.remove(name);
        }
    }

    /// The bootstrap, and when it was read.
    pub fn bootstrap(&self) -> Option<(Bootstrap, SystemTime)> {
        let inner = self.lock();
        let (encoded, read) = inner.bootstrap.as_ref()?;
        let bootstrap = Bootstrap::decode(encoded.as_slice()).ok()?;
        Some((bootstrap, *read))
    }

    /// The version of a whole kind; empty where none was told.
    pub fn version(&self, kind: ConfigKind) -> String {
        self.lock().versions.get(&kind).cloned().unwrap_or_default()
    }

    /// Every resource of a kind that discovery delivered, by name.
    pub fn entries(&self, kind: ConfigKind) -> BTreeMap<String, ConfigEntry> {
        self.lock().entries.get(&kind).cloned().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
