//! A mesh of a given size, as files, and changes to it.

use std::fmt;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use meltemi_xds::json::from_json;
use meltemi_xds::pb::envoy::config::core::v3::Node;
use tempfile::TempDir;

/// How large a mesh is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub services: usize,
    /// Endpoints of each service.
    pub endpoints: usize,
    /// Sidecars, the first endpoints of services.
    pub proxies: usize,
    pub namespaces: usize,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            services,
            endpoints,
            proxies,
            namespaces,
        } = self;
        write!(
            f,
            "{services} services with {endpoints} endpoints each, {proxies} proxies, {namespaces} namespaces"
        )
    }
}

/// A mesh in a directory.
pub struct Mesh {
    size: Size,
    directory: TempDir,
    /// For each service, which of many addresses its last endpoint has.
    moved: Vec<usize>,
    /// For each service, the seconds of its timeout.
    timeouts: Vec<usize>,
}

impl Mesh {
    /// Writes it. `narrow`: each namespace sees itself alone.
    pub fn write(size: Size, narrow: bool) -> Result<Self> {
        let mesh = Self {
            size,
            directory: TempDir::new()?,
            moved: vec![0; size.services],
            timeouts: vec![5; size.services],
        };
        let mut text = String::new();
        for number in 0..size.namespaces {
            write!(
                text,
                "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: ns-{number}, labels: {{istio-injection: enabled}}}}\n"
            )?;
        }
        if narrow {
            text.push_str(
                "---\napiVersion: networking.istio.io/v1\nkind: Sidecar\n\
                 metadata: {name: default, namespace: istio-system}\n\
                 spec: {egress: [{hosts: ['./*', 'istio-system/*']}]}\n",
            );
        }
        std::fs::write(mesh.directory().join("namespaces.yaml"), text)?;
        for service in 0..size.services {
            mesh.write_service(service)?;
            mesh.write_routes(service)?;
        }
        Ok(mesh)
    }

    /// Where the files are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Another address for one endpoint of a service in a namespace with proxies.
    pub fn move_endpoint(&mut self, place: usize) -> Result<()> {
        let service = self.with_proxies(place);
        self.moved[service] = self.moved[service] % 200 + 1;
        self.write_service(service)
    }

    /// Another timeout for a service in a namespace with proxies.
    pub fn change_route(&mut self, place: usize) -> Result<()> {
        let service = self.with_proxies(place);
        self.timeouts[service] = self.timeouts[service] % 50 + 1;
        self.write_routes(service)
    }

    /// The namespaces that have proxies.
    pub fn used_namespaces(&self) -> usize {
        // In a small run the proxies are in two namespaces, however many there are.
        if self.size.proxies < self.size.services {
            2
        } else {
            self.size.namespaces
        }
    }

    /// The node of a proxy.
    pub fn node(&self, proxy: usize) -> Node {
        let per_namespace = self.size.proxies / self.used_namespaces();
        let namespace = proxy / per_namespace;
        let services = self.size.services / self.size.namespaces;
        let inside = proxy % per_namespace;
        let service = namespace * services + inside % services;
        let endpoint = inside / services;
        let address = self.address(service, endpoint);
        from_json(serde_json::json!({
            "id": format!("sidecar~{address}~pod-{service}-{endpoint}.ns-{namespace}~ns-{namespace}.svc.cluster.local"),
            "metadata": {
                "NAMESPACE": format!("ns-{namespace}"),
                "CLUSTER_ID": "Kubernetes",
                "ISTIO_VERSION": "1.30.0",
                "LABELS": {"app": format!("app-{service}"), "version": "v1"},
                "SERVICE_ACCOUNT": format!("app-{service}"),
            },
        }))
        .expect("a node")
    }

    fn with_proxies(&self, place: usize) -> usize {
        let services = self.size.services / self.size.namespaces * self.used_namespaces();
        // By steps that lead from namespace to namespace.
        place * 37 % services
    }

    fn namespace(&self, service: usize) -> usize {
        service / (self.size.services / self.size.namespaces)
    }

    fn address(&self, service: usize, endpoint: usize) -> String {
        let number = service * self.size.endpoints + endpoint;
        let last = endpoint + 1 == self.size.endpoints;
        let net = if last { self.moved[service] } else { 0 };
        match net {
            0 => format!("10.{}.{}.{}", number >> 16, number >> 8 & 255, number & 255),
            net => format!("172.{net}.{}.{}", service >> 8, service & 255),
        }
    }

    fn write_service(&self, service: usize) -> Result<()> {
        let namespace = self.namespace(service);
        let mut text = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: svc-{service}, namespace: ns-{namespace}}}\n\
             spec:\n  clusterIP: 10.{}.{}.{}\n  selector: {{app: app-{service}}}\n\
             \x20 ports: [{{name: http, port: 80, targetPort: 8080}}]\n",
            128 + (service >> 16),
            service >> 8 & 255,
            service & 255,
        );
        for endpoint in 0..self.size.endpoints {
            let address = self.address(service, endpoint);
            write!(
                text,
                "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: pod-{service}-{endpoint}\n  namespace: ns-{namespace}\n\
                 \x20 labels: {{app: app-{service}, version: v1}}\n\
                 spec: {{serviceAccountName: app-{service}, containers: [{{name: app, image: app}}]}}\n\
                 status: {{podIP: {address}}}\n"
            )?;
        }
        let file = self.directory().join(format!("svc-{service}.yaml"));
        Ok(std::fs::write(file, text)?)
    }

    fn write_routes(&self, service: usize) -> Result<()> {
        let namespace = self.namespace(service);
        let host = format!("svc-{service}.ns-{namespace}.svc.cluster.local");
        let timeout = self.timeouts[service];
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\n\
             metadata: {{name: svc-{service}, namespace: ns-{namespace}}}\n\
             spec:\n  hosts: [{host}]\n  http:\n  - timeout: {timeout}s\n    retries: {{attempts: 2}}\n\
             \x20   route: [{{destination: {{host: {host}}}}}]\n"
        );
        let file = self.directory().join(format!("route-{service}.yaml"));
        Ok(std::fs::write(file, text)?)
    }
}
