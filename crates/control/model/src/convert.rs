//! From a document to a valid resource.
//!
//! In: [`Document`]s. Out: [`Config`] values, or every [`Problem`] of the resource. Called by
//! `source` and by the tools; the rules of each kind stand beside its type.

use std::sync::Arc;

use meltemi_api::authorization_policy::AuthorizationPolicySpec;
use meltemi_api::peer_authentication::PeerAuthenticationSpec;
use meltemi_api::request_authentication::RequestAuthenticationSpec;
use meltemi_api::{Document, FieldPath, Problem, ProblemKind, ResourceLabel, Strictness};
use serde::de::DeserializeOwned;

use crate::check::{Check, Fault};
use crate::{
    Config, Judge, Kind, Metadata, NamespaceName, ResourceId, Workload, authorization_policy,
    destination_rule, endpoint_slice, envoy_filter, gateway, mesh_config, metadata, namespace,
    peer_authentication, proxy_config, request_authentication, secret, service, service_entry,
    sidecar, telemetry, virtual_service, workload, workload_group,
};

/// What holds where a resource says nothing.
#[derive(Debug, Clone)]
pub struct Defaults {
    /// The namespace of resources that name none: `default`.
    pub namespace: NamespaceName,
    /// The namespace that the mesh configuration is read from: `istio-system`.
    pub root_namespace: NamespaceName,
    /// The DNS domain of services: `cluster.local`.
    pub domain: String,
    /// The revision of the control plane, which has a mesh configuration of its own (`istio-REVISION`);
    /// none for the one without a name, or `default`.
    pub revision: Option<String>,
    /// Who judges what this crate does not know; nobody by default.
    pub judge: Judge,
}

impl Defaults {
    /// The name of the ConfigMap with the mesh configuration.
    pub fn mesh_config_map(&self) -> String {
        match self.revision.as_deref() {
            None | Some("" | "default") => "istio".to_owned(),
            Some(revision) => format!("istio-{revision}"),
        }
    }
}

/// The top-level fields of an Istio resource.
const SECTIONS: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];

impl Default for Defaults {
    fn default() -> Self {
        Self {
            namespace: "default".into(),
            root_namespace: "istio-system".into(),
            domain: "cluster.local".to_owned(),
            revision: None,
            judge: Judge::default(),
        }
    }
}

/// Converts a document to the resource that it describes.
///
/// # Errors
/// Every problem of the resource, in the order of their lines, unless all of them are warnings. A kind
/// that the mesh does not take is the one problem of kind [`ProblemKind::UnsupportedKind`].
pub fn convert(document: &Document, defaults: &Defaults) -> Result<Config, Vec<Problem>> {
    match convert_in_part(document, defaults) {
        (Some(config), problems) if problems.iter().all(is_warning) => Ok(config),
        (_, problems) => Err(problems),
    }
}

/// The same, with what can be taken in spite of its problems: a mesh configuration whose only problems
/// are options that are not supported yet, and that nobody relies on for safety, holds without them,
/// a workload without what is wrong with the settings of its proxy, and everything in spite of
/// warnings.
pub fn convert_in_part(document: &Document, defaults: &Defaults) -> (Option<Config>, Vec<Problem>) {
    let (kind, label) = match recognize(document, defaults) {
        Ok(recognized) => recognized,
        Err(problem) => return (None, vec![*problem]),
    };
    let namespace = namespace_of(document, kind, defaults);
    let mut source = Source::new(document, Check::new(&namespace, defaults));
    let meta = source.metadata(kind);
    let config = source.config(kind, meta);
    let (config, nested) = match config {
        Ok(config) => (Some(config), Vec::new()),
        Err(Nested { problems, rest }) => (rest.map(|it| *it), problems),
    };
    let faults = source.into_faults();
    let config = config.filter(|_| faults.iter().all(Fault::is_warning));
    let mut problems: Vec<_> = faults
        .into_iter()
        .map(|it| document.problem(it.kind, Some(label.clone()), it.path, it.message))
        .chain(nested.into_iter().map(|it| Problem {
            resource: Some(label.clone()),
            ..it
        }))
        .collect();
    problems.sort_by(|a, b| (a.line, &a.path).cmp(&(b.line, &b.path)));
    problems.dedup();
    let judged = config.as_ref().map(|it| defaults.judge.judge(it));
    let found = judged.unwrap_or_default();
    let config = config.filter(|_| found.is_empty());
    problems.extend(found.into_iter().map(|(path, message)| {
        document.problem(ProblemKind::Invalid, Some(label.clone()), path, message)
    }));
    (config, problems)
}

fn is_warning(problem: &Problem) -> bool {
    problem.kind == ProblemKind::Warning
}

/// What holds in the place of an invalid document that was never valid before: a policy that keeps
/// people out is not left out because of a mistake in it, but keeps everybody out. With it, what to
/// say of that. `None` for resources that open nothing by being absent.
pub fn fallback(document: &Document, defaults: &Defaults) -> Option<(Config, &'static str)> {
    let (kind, _) = recognize(document, defaults).ok()?;
    let namespace = namespace_of(document, kind, defaults);
    let check = &mut Check::new(&namespace, defaults);
    let meta = || {
        let unchecked = &mut Check::new(&namespace, defaults);
        metadata::convert(document.metadata().value, kind, unchecked)
    };
    let made = match kind {
        Kind::AuthorizationPolicy => {
            let decoded = document.section("spec", Strictness::Lenient);
            let mut spec: AuthorizationPolicySpec = decoded.value;
            if !tells_for_whom(&decoded.set_aside) {
                spec = AuthorizationPolicySpec::default();
            }
            let made = authorization_policy::refuse_everything(meta(), spec, check);
            (
                Config::AuthorizationPolicy(made),
                "until it is right, it denies every request to what it is for",
            )
        }
        Kind::PeerAuthentication => {
            let decoded = document.section("spec", Strictness::Lenient);
            let mut spec: PeerAuthenticationSpec = decoded.value;
            if !tells_for_whom(&decoded.set_aside) {
                spec = PeerAuthenticationSpec::default();
            }
            let made = peer_authentication::require_everywhere(meta(), spec, check);
            (
                Config::PeerAuthentication(made),
                "until it is right, mutual TLS is required of every caller of what it is for",
            )
        }
        Kind::RequestAuthentication => {
            let decoded = document.section("spec", Strictness::Lenient);
            let mut spec: RequestAuthenticationSpec = decoded.value;
            if !tells_for_whom(&decoded.set_aside) {
                spec.selector = None;
                spec.target_ref = None;
                spec.target_refs = Vec::new();
            }
            let made = request_authentication::verify_nothing(meta(), spec, check);
            (
                Config::RequestAuthentication(made),
                "until it is right, it refuses every token of its issuers",
            )
        }
        _ => return None,
    };
    (!made.0.meta().name.is_empty()).then_some(made)
}

/// Whether a policy still says for whom it is, without the parts that could not be read.
fn tells_for_whom(unread: &[FieldPath]) -> bool {
    let spec = FieldPath::root().field("spec");
    let fields = ["selector", "targetRef", "targetRefs"].map(|it| spec.field(it));
    let touches = |path: &FieldPath| {
        let mut fields = fields.iter();
        fields.any(|it| it.is_prefix_of(path) || path.is_prefix_of(it))
    };
    !unread.iter().any(touches)
}

/// The id of the resource that a document describes, valid or not; `None` if its kind is not one of
/// the mesh or it has no name.
pub fn identify(document: &Document, defaults: &Defaults) -> Option<ResourceId> {
    let (kind, label) = recognize(document, defaults).ok()?;
    let namespace = namespace_of(document, kind, defaults);
    (!label.name.is_empty()).then(|| ResourceId {
        kind,
        namespace,
        name: label.name.into(),
    })
}

/// The kind of a document and how it is called in problems.
fn recognize(
    document: &Document,
    defaults: &Defaults,
) -> Result<(Kind, ResourceLabel), Box<Problem>> {
    let meta = document.metadata().value;
    let written = match &document.kind {
        kind if kind.is_empty() => "resource".to_owned(),
        kind => kind.clone(),
    };
    let namespaced = document.kind != "Namespace";
    let namespace = meta
        .namespace
        .clone()
        .unwrap_or_else(|| defaults.namespace.as_str().to_owned());
    let label = ResourceLabel {
        kind: written,
        namespace: namespaced.then_some(namespace),
        name: meta.name.clone(),
    };
    let problem = |kind, path: FieldPath, message: String| {
        let label = (!document.kind.is_empty()).then(|| label.clone());
        Box::new(document.problem(kind, label, path, message))
    };
    if document.kind.is_empty() {
        let message = "not a Kubernetes resource: `kind` is missing".to_owned();
        return Err(problem(ProblemKind::Invalid, FieldPath::root(), message));
    }
    let at = FieldPath::root().field("apiVersion");
    let kind = match (document.group(), document.kind.as_str()) {
        ("", "Namespace") => Kind::Namespace,
        ("", "Node") => Kind::Node,
        ("", "Service") => Kind::Service,
        ("", "ServiceAccount") => Kind::ServiceAccount,
        ("", "Pod") => Kind::Pod,
        ("", "Secret") => Kind::Secret,
        ("", "ConfigMap") => {
            let root = label.namespace.as_deref() == Some(defaults.root_namespace.as_str());
            let mesh = root && label.name == defaults.mesh_config_map();
            if mesh {
                Kind::MeshConfig
            } else {
                Kind::ConfigMap
            }
        }
        ("apps", "Deployment") => Kind::Deployment,
        ("networking.istio.io", "Gateway") => Kind::Gateway,
        ("networking.istio.io", "VirtualService") => Kind::VirtualService,
        ("networking.istio.io", "DestinationRule") => Kind::DestinationRule,
        ("networking.istio.io", "ServiceEntry") => Kind::ServiceEntry,
        ("networking.istio.io", "WorkloadEntry") => Kind::WorkloadEntry,
        ("networking.istio.io", "WorkloadGroup") => Kind::WorkloadGroup,
        ("networking.istio.io", "Sidecar") => Kind::Sidecar,
        ("security.istio.io", "PeerAuthentication") => Kind::PeerAuthentication,
        ("networking.istio.io", "EnvoyFilter") => Kind::EnvoyFilter,
        ("networking.istio.io", "ProxyConfig") => Kind::ProxyConfig,
        ("telemetry.istio.io", "Telemetry") => Kind::Telemetry,
        ("security.istio.io", "RequestAuthentication") => Kind::RequestAuthentication,
        ("security.istio.io", "AuthorizationPolicy") => Kind::AuthorizationPolicy,
        ("discovery.k8s.io", "EndpointSlice") => Kind::EndpointSlice,
        (_, "Deployment") => {
            let message = format!(
                "`{}` has no Deployment; write apps/v1",
                document.api_version
            );
            return Err(problem(ProblemKind::Invalid, at, message));
        }
        _ => {
            let message = format!(
                "kind {} ({}) is not supported yet",
                document.kind, document.api_version
            );
            return Err(problem(
                ProblemKind::UnsupportedKind,
                FieldPath::root(),
                message,
            ));
        }
    };
    let versions: &[&str] = match document.group() {
        "networking.istio.io" if kind == Kind::ProxyConfig => &["v1beta1"],
        "networking.istio.io" => &["v1", "v1beta1", "v1alpha3"],
        "security.istio.io" => &["v1", "v1beta1"],
        "telemetry.istio.io" => &["v1", "v1alpha1"],
        "discovery.k8s.io" => &["v1", "v1beta1"],
        _ => &["v1"],
    };
    if !versions.contains(&document.version()) {
        let message = format!(
            "`{}` is not a version of {}; write {}",
            document.version(),
            document.kind,
            versions.join(", ")
        );
        return Err(problem(ProblemKind::Invalid, at, message));
    }
    Ok((kind, label))
}

fn namespace_of(document: &Document, kind: Kind, defaults: &Defaults) -> NamespaceName {
    match (kind, document.metadata().value.namespace) {
        (Kind::Namespace | Kind::Node, _) => NamespaceName::new(""),
        (_, Some(namespace)) => NamespaceName::new(namespace),
        (_, None) => defaults.namespace.clone(),
    }
}

/// Problems of a text inside the document, which have their lines already.
struct Nested {
    problems: Vec<Problem>,
    /// What can be taken in spite of them.
    rest: Option<Box<Config>>,
}

/// A document on its way into a resource.
struct Source<'a> {
    document: &'a Document,
    check: Check<'a>,
    faults: Vec<Fault>,
    set_aside: Vec<FieldPath>,
}

/// What is wrong in a document that stands at `at` in another.
fn nested_problem(document: &Document, at: &FieldPath, fault: Fault) -> Problem {
    let path = fault.path.below(at);
    let problem = document.problem(fault.kind, None, fault.path, fault.message);
    Problem {
        path: Some(path),
        ..problem
    }
}

impl<'a> Source<'a> {
    fn new(document: &'a Document, check: Check<'a>) -> Self {
        Self {
            document,
            check,
            faults: Vec::new(),
            set_aside: Vec::new(),
        }
    }
}

impl Source<'_> {
    fn metadata(&mut self, kind: Kind) -> Metadata {
        let decoded = self.document.metadata();
        self.note(decoded.faults, decoded.set_aside);
        metadata::convert(decoded.value, kind, &mut self.check)
    }

    fn config(&mut self, kind: Kind, meta: Metadata) -> Result<Config, Nested> {
        use Strictness::{Lenient, Strict};
        let config = match kind {
            Kind::Namespace => Config::Namespace(namespace::convert(meta)),
            Kind::Node => Config::Node(workload::convert_node(meta)),
            Kind::ServiceAccount => Config::ServiceAccount(crate::ServiceAccount { meta }),
            Kind::Service => {
                let spec = self.section("spec", Lenient);
                Config::Service(service::convert(meta, spec, &mut self.check))
            }
            Kind::Deployment => {
                let spec = self.section("spec", Lenient);
                let made = workload::convert_deployment(meta, spec, &mut self.check);
                let at = FieldPath::root().field("spec").field("template");
                return self.with_proxy_config(&at, Config::Deployment(made));
            }
            Kind::Pod => {
                let spec = self.section("spec", Lenient);
                let status = self.section("status", Lenient);
                let written = self.section("metadata", Lenient);
                let pod = workload::convert_pod(meta, &written, spec, status, &mut self.check);
                return self.with_proxy_config(&FieldPath::root(), Config::Pod(Box::new(pod)));
            }
            Kind::ConfigMap => {
                let written = self.whole(Lenient);
                Config::ConfigMap(secret::convert_config_map(meta, written))
            }
            Kind::Secret => {
                let written = self.whole(Lenient);
                Config::Secret(secret::convert_secret(meta, written, &mut self.check))
            }
            Kind::Gateway => {
                let spec = self.section("spec", Strict);
                Config::Gateway(gateway::convert(meta, spec, &mut self.check))
            }
            Kind::VirtualService => {
                let spec = self.section("spec", Strict);
                Config::VirtualService(virtual_service::convert(meta, spec, &mut self.check))
            }
            Kind::DestinationRule => {
                let spec = self.section("spec", Strict);
                Config::DestinationRule(destination_rule::convert(meta, spec, &mut self.check))
            }
            Kind::EndpointSlice => {
                let written = self.whole(Lenient);
                Config::EndpointSlice(endpoint_slice::convert(meta, written, &mut self.check))
            }
            Kind::ServiceEntry => {
                let spec = self.section("spec", Strict);
                Config::ServiceEntry(service_entry::convert(meta, spec, &mut self.check))
            }
            Kind::WorkloadEntry => {
                let spec = self.section("spec", Strict);
                let status = self.section("status", Lenient);
                let check = &mut self.check;
                let made = service_entry::convert_workload_entry(meta, spec, status, check);
                Config::WorkloadEntry(made)
            }
            Kind::WorkloadGroup => {
                let spec = self.section("spec", Strict);
                Config::WorkloadGroup(workload_group::convert(meta, spec, &mut self.check))
            }
            Kind::Sidecar => {
                let spec = self.section("spec", Strict);
                Config::Sidecar(sidecar::convert(meta, spec, &mut self.check))
            }
            Kind::PeerAuthentication => {
                let spec = self.section("spec", Strict);
                let made = peer_authentication::convert(meta, spec, &mut self.check);
                Config::PeerAuthentication(made)
            }
            Kind::EnvoyFilter => {
                let spec = self.section("spec", Strict);
                Config::EnvoyFilter(envoy_filter::convert(meta, spec, &mut self.check))
            }
            Kind::ProxyConfig => {
                let spec = self.section("spec", Strict);
                Config::ProxyConfig(proxy_config::convert(meta, spec, &mut self.check))
            }
            Kind::Telemetry => {
                let spec = self.section("spec", Strict);
                Config::Telemetry(telemetry::convert(meta, spec, &mut self.check))
            }
            Kind::RequestAuthentication => {
                let spec = self.section("spec", Strict);
                let made = request_authentication::convert(meta, spec, &mut self.check);
                Config::RequestAuthentication(made)
            }
            Kind::AuthorizationPolicy => {
                let spec = self.section("spec", Strict);
                let made = authorization_policy::convert(meta, spec, &mut self.check);
                Config::AuthorizationPolicy(made)
            }
            Kind::MeshConfig => return self.mesh_config(meta),
        };
        Ok(config)
    }

    /// Workloads with what their annotation `proxy.istio.io/config` says, which is YAML of its own. They
    /// hold without what is wrong there.
    fn with_proxy_config(&self, at: &FieldPath, mut config: Config) -> Result<Config, Nested> {
        let annotations = at.field("metadata").field("annotations");
        let at = annotations.key(workload::PROXY_CONFIG);
        let document = match self.document.nested(&at, "ProxyConfig") {
            None => return Ok(config),
            Some(Ok(document)) => document,
            Some(Err(problem)) => {
                return Err(Nested {
                    problems: vec![*problem],
                    rest: Some(Box::new(config)),
                });
            }
        };
        let check = Check::new(self.check.namespace, self.check.defaults);
        let mut inner = Source::new(&document, check);
        let written = inner.whole(Strictness::Strict);
        let root = FieldPath::root();
        let patch = mesh_config::convert_proxy_config(written, &root, &mut inner.check);
        let set = |workload: &mut Workload| {
            let annotated = workload.proxy_config.take();
            let annotated = annotated.map(|it| it.start.clone()).unwrap_or_default();
            let mut patch = patch.clone();
            patch.start = patch.start.annotated(annotated);
            workload.proxy_config = Some(Arc::new(patch));
        };
        match &mut config {
            Config::Pod(pod) => set(pod),
            Config::Deployment(it) => it.workloads.iter_mut().for_each(set),
            _ => {}
        }
        let faults = inner.into_faults().into_iter();
        let problems: Vec<_> = faults
            .map(|it| nested_problem(&document, &at, it))
            .collect();
        if problems.is_empty() {
            return Ok(config);
        }
        Err(Nested {
            problems,
            rest: Some(Box::new(config)),
        })
    }

    /// The mesh configuration is YAML of its own under the key `mesh`.
    fn mesh_config(&mut self, meta: Metadata) -> Result<Config, Nested> {
        let at = FieldPath::root().field("data").key("mesh");
        let document = match self.document.nested(&at, "MeshConfig") {
            None => {
                let config = crate::MeshConfig {
                    meta,
                    ..crate::MeshConfig::default()
                };
                return Ok(Config::MeshConfig(Box::new(config)));
            }
            Some(Err(problem)) => {
                return Err(Nested {
                    problems: vec![*problem],
                    rest: None,
                });
            }
            Some(Ok(document)) => document,
        };
        let check = Check::new(self.check.namespace, self.check.defaults);
        let mut inner = Source::new(&document, check);
        let written = inner.whole(Strictness::Strict);
        let config = mesh_config::convert(meta, written, &mut inner.check);
        let faults = inner.into_faults();
        if faults.is_empty() {
            return Ok(Config::MeshConfig(Box::new(config)));
        }
        let harmless = faults.iter().all(|it| {
            let unsupported = it.kind == ProblemKind::Unsupported;
            it.is_warning() || unsupported && mesh_config::can_be_left_out(&it.path)
        });
        let rest = harmless.then(|| Box::new(Config::MeshConfig(Box::new(config))));
        let problems = faults.into_iter();
        let problems = problems.map(|it| nested_problem(&document, &at, it));
        Err(Nested {
            problems: problems.collect(),
            rest,
        })
    }

    fn section<T: DeserializeOwned + Default>(&mut self, name: &str, strictness: Strictness) -> T {
        let decoded = self.document.section(name, strictness);
        self.note(decoded.faults, decoded.set_aside);
        if strictness == Strictness::Strict {
            self.note(self.document.unknown_sections(&SECTIONS), Vec::new());
        }
        decoded.value
    }

    fn whole<T: DeserializeOwned + Default>(&mut self, strictness: Strictness) -> T {
        let decoded = self.document.whole(strictness);
        self.note(decoded.faults, decoded.set_aside);
        decoded.value
    }

    fn note(&mut self, faults: Vec<(FieldPath, String)>, set_aside: Vec<FieldPath>) {
        self.faults
            .extend(faults.into_iter().map(|(path, message)| Fault {
                path,
                message,
                kind: ProblemKind::Invalid,
            }));
        self.set_aside.extend(set_aside);
    }

    /// All faults, without those that only follow from a part that could not be read.
    fn into_faults(self) -> Vec<Fault> {
        let aside = self.set_aside;
        let follows = |fault: &Fault| {
            aside
                .iter()
                .any(|it| it.is_prefix_of(&fault.path) || fault.path.is_prefix_of(it))
        };
        let found = self
            .check
            .into_faults()
            .into_iter()
            .filter(|fault| !follows(fault));
        self.faults.into_iter().chain(found).collect()
    }
}
