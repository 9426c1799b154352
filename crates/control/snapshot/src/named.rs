//! Resources of one kind by namespace and name: what the indexes of namespaced kinds stand on.
//!
//! In: resources as they are applied and deleted. Out: the same by name, and in the order of their
//! age, in which they win over one another.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_model::{
    AuthorizationPolicy, DestinationRule, EndpointSlice, EnvoyFilter, Gateway, Metadata,
    NamespaceName, PeerAuthentication, RequestAuthentication, Secret, Service, ServiceEntry,
    Sidecar, Telemetry, VirtualService,
};
use rpds::RedBlackTreeMapSync;

/// Namespace and name.
pub(crate) type Name = (NamespaceName, Arc<str>);

/// A resource that has a namespace and a name.
pub(crate) trait Named: PartialEq {
    /// Its metadata.
    fn meta(&self) -> &Metadata;

    /// Namespace and name.
    fn name(&self) -> Name {
        let meta = self.meta();
        (meta.namespace.clone(), meta.name.clone())
    }
}

macro_rules! named {
    ($($kind:ty),* $(,)?) => {
        $(impl Named for $kind {
            fn meta(&self) -> &Metadata {
                &self.meta
            }
        })*
    };
}

named!(
    AuthorizationPolicy,
    DestinationRule,
    EndpointSlice,
    EnvoyFilter,
    Gateway,
    PeerAuthentication,
    RequestAuthentication,
    Secret,
    Service,
    ServiceEntry,
    Sidecar,
    Telemetry,
    VirtualService,
);

/// The resources of one kind. A copy shares everything with the original until it is changed.
#[derive(Debug, Clone)]
pub(crate) struct ByName<T>(RedBlackTreeMapSync<Name, Arc<T>>);

impl<T> Default for ByName<T> {
    fn default() -> Self {
        Self(RedBlackTreeMapSync::default())
    }
}

impl<T: Named> ByName<T> {
    /// The resource of this name.
    pub fn get(&self, namespace: &NamespaceName, name: &str) -> Option<&Arc<T>> {
        self.0.get(&(namespace.clone(), name.into()))
    }

    /// Every resource, by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.0.values()
    }

    /// Whether the resource is here just so.
    pub fn has(&self, resource: &T) -> bool {
        self.0
            .get(&resource.name())
            .is_some_and(|it| **it == *resource)
    }

    /// Adds a resource, or puts it in the place of the one with its name.
    pub fn insert(&mut self, resource: T) {
        self.0.insert_mut(resource.name(), Arc::new(resource));
    }

    /// Removes the resource of this name; whether there was one.
    pub fn remove(&mut self, namespace: &NamespaceName, name: &Arc<str>) -> bool {
        self.0.remove_mut(&(namespace.clone(), name.clone()))
    }

    /// Every resource, the oldest first, ties by name.
    pub fn by_age(&self) -> Vec<Arc<T>> {
        let mut all: Vec<_> = self.0.values().cloned().collect();
        all.sort_by_cached_key(|it| it.meta().age_key());
        all
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.size()
    }

    /// The resources of a namespace, the oldest first, ties by name.
    pub fn in_namespace(&self, namespace: &NamespaceName) -> Vec<Arc<T>> {
        let first = (namespace.clone(), Arc::from(""));
        let here = self.0.range(first..);
        let here = here.take_while(|((place, _), _)| place == namespace);
        let mut here: Vec<_> = here.map(|(_, resource)| resource.clone()).collect();
        here.sort_by_cached_key(|it| it.meta().age_key());
        here
    }
}

/// What the resources of each namespace come to. A copy shares everything with the original.
#[derive(Debug, Clone)]
pub(crate) struct ByNamespace<V>(RedBlackTreeMapSync<NamespaceName, V>);

impl<V> Default for ByNamespace<V> {
    fn default() -> Self {
        Self(RedBlackTreeMapSync::default())
    }
}

impl<V> ByNamespace<V> {
    /// What is there in a namespace.
    pub fn get(&self, namespace: &NamespaceName) -> Option<&V> {
        self.0.get(namespace)
    }

    /// What is in a namespace is made again; `None` if there is nothing.
    pub fn set(&mut self, namespace: &NamespaceName, made: Option<V>) {
        match made {
            Some(made) => self.0.insert_mut(namespace.clone(), made),
            None => {
                self.0.remove_mut(namespace);
            }
        }
    }
}

impl<T: Named> ByNamespace<Arc<[Arc<T>]>> {
    /// The resources of a namespace, the oldest first, ties by name.
    pub fn of(&self, namespace: &NamespaceName) -> &[Arc<T>] {
        self.get(namespace).map_or(&[], AsRef::as_ref)
    }

    /// Sorts the resources of some namespaces again; how many.
    pub fn update(&mut self, named: &ByName<T>, namespaces: &BTreeSet<NamespaceName>) -> usize {
        let mut sorted = 0;
        for namespace in namespaces {
            let here = named.in_namespace(namespace);
            sorted += here.len();
            self.set(namespace, (!here.is_empty()).then(|| here.into()));
        }
        sorted
    }
}
