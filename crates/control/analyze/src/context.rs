//! What analyzers look at.
//!
//! In: the valid documents with what they mean. Out: [`Context`]: resources by kind with their
//! places, and the snapshot of them for look-ups. Findings go back through [`Context::report`].

use std::cell::RefCell;
use std::sync::Arc;

use meltemi_api::Document;
use meltemi_model::{
    Config, DestinationRule, ExportTo, FieldPath, Gateway, Hostname, Namespace, NamespaceName,
    ResourceLabel, Service, ServiceEntry, Sidecar, VirtualService, Workload,
};
use meltemi_snapshot::Snapshot;

use crate::{Code, Message};

/// A valid resource and where it is written.
pub(crate) struct Resource {
    pub document: Document,
    pub config: Config,
}

/// What analyzers look at.
pub(crate) struct Context {
    resources: Vec<Resource>,
    snapshot: Arc<Snapshot>,
    /// Workloads that are there without being written: those of the default ingress gateway.
    assumed: Vec<Workload>,
    messages: RefCell<Vec<Message>>,
}

/// A resource of a kind that an analyzer asked for.
pub(crate) struct Found<'a, T> {
    pub spec: &'a T,
    resource: &'a Resource,
}

impl<T> Clone for Found<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Found<'_, T> {}

macro_rules! by_kind {
    ($($function:ident($variant:ident -> $kind:ty),)*) => {
        impl Context {
            $(
                #[doc = concat!("Every ", stringify!($variant), ", in the order written.")]
                pub fn $function(&self) -> impl Iterator<Item = Found<'_, $kind>> {
                    self.resources.iter().filter_map(|resource| match &resource.config {
                        Config::$variant(spec) => Some(Found { spec, resource }),
                        _ => None,
                    })
                }
            )*
        }
    };
}

by_kind! {
    destination_rules(DestinationRule -> DestinationRule),
    gateways(Gateway -> Gateway),
    namespaces(Namespace -> Namespace),
    service_entries(ServiceEntry -> ServiceEntry),
    services(Service -> Service),
    sidecars(Sidecar -> Sidecar),
    virtual_services(VirtualService -> VirtualService),
}

impl Context {
    pub fn new(resources: Vec<Resource>, assumed: Vec<Config>) -> Self {
        let written = resources.iter().map(|it| it.config.clone());
        let snapshot = Snapshot::of(assumed.iter().cloned().chain(written));
        let workloads = assumed.iter().flat_map(Config::workloads).cloned();
        Self {
            assumed: workloads.collect(),
            resources,
            snapshot,
            messages: RefCell::default(),
        }
    }

    /// The mesh as it would be.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Every workload.
    pub fn workloads(&self) -> impl Iterator<Item = &Workload> {
        let written = self.resources.iter().flat_map(|it| it.config.workloads());
        self.assumed.iter().chain(written)
    }

    /// The service that `host` stands for where a resource of `namespace` with this visibility says
    /// it: one that the namespace or any namespace of `seen_by` sees.
    pub fn service(
        &self,
        host: &Hostname,
        namespace: &NamespaceName,
        seen_by: &ExportTo,
    ) -> Option<&Arc<Service>> {
        let visible = |it: &&Arc<Service>| {
            let to = &it.export_to;
            to.is_visible_in(namespace)
                || match seen_by {
                    ExportTo::Unwritten | ExportTo::All => false,
                    ExportTo::Only(places) => places.iter().any(|place| to.is_visible_in(place)),
                }
        };
        let services = self.snapshot.services();
        let exact = services.all_by_host(host.as_str()).find(visible);
        exact.or_else(|| {
            let wildcards = services.iter().filter(|it| it.hostname.is_wildcard());
            wildcards
                .filter(|it| it.hostname.contains(host))
                .find(visible)
        })
    }

    /// Takes a finding about the field at `at`.
    pub fn report<T>(&self, code: Code, found: &Found<'_, T>, at: &FieldPath, text: String) {
        let message = found.message(code, at, text);
        let mut messages = self.messages.borrow_mut();
        if !messages.contains(&message) {
            messages.push(message);
        }
    }

    /// What was reported.
    pub fn into_messages(self) -> Vec<Message> {
        self.messages.into_inner()
    }
}

impl<T> Found<'_, T> {
    /// The text that is written at `path`; empty if there is none.
    pub fn written(&self, path: &FieldPath) -> &str {
        self.resource.document.text_at(path).unwrap_or_default()
    }

    /// `namespace/name`.
    pub fn full_name(&self) -> String {
        self.resource.config.meta().to_string()
    }

    /// The namespace.
    pub fn namespace(&self) -> &NamespaceName {
        &self.resource.config.meta().namespace
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.resource.config.meta().name
    }

    fn message(&self, code: Code, at: &FieldPath, text: String) -> Message {
        let document = &self.resource.document;
        let meta = self.resource.config.meta();
        let namespace = meta.namespace.as_str();
        Message {
            code,
            resource: ResourceLabel {
                kind: document.kind.clone(),
                namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
                name: meta.name.to_string(),
            },
            file: document.file.clone(),
            line: document.line_of(at),
            text,
        }
    }
}

/// The path of the field `name` of a resource's spec.
pub(crate) fn spec(name: &str) -> FieldPath {
    FieldPath::root().field("spec").field(name)
}

/// The path of a resource's name.
pub(crate) fn metadata_name() -> FieldPath {
    FieldPath::root().field("metadata").field("name")
}

/// A list as messages print it: `[a b]`.
pub(crate) fn list(items: impl IntoIterator<Item = impl ToString>) -> String {
    let items: Vec<_> = items.into_iter().map(|it| it.to_string()).collect();
    format!("[{}]", items.join(" "))
}

/// A list as selectors print it: `a,b`.
pub(crate) fn list_with_commas(items: impl IntoIterator<Item = String>) -> String {
    items.into_iter().collect::<Vec<_>>().join(",")
}
