//! 300 services, each with a feature of Istio's resources, and the calls that show it.
//!
//! In: the first numbers of the addresses and the ports of the servers behind them. Out: documents for a
//! control plane, and calls at a gateway and at a sidecar. Everything follows from a service's number,
//! so that two runs are the same.

use meltemi_testkit::{Request, TokenSigner};
use serde_json::{Value, json};

/// How many services.
pub const SERVICES: usize = 300;
/// How many namespaces they are in.
const TEAMS: usize = 10;
/// The gateway's ports: HTTP, TLS that is passed through, and the first of those for TCP.
pub const HTTP: u16 = 8080;
pub const TLS: u16 = 8443;
const TCP: u16 = 9000;

/// Where the servers are, and which gateway is in front.
pub struct Place {
    /// Second number of all addresses, `127.NETWORK.x.y`.
    pub network: u8,
    /// Where the servers behind all of them listen.
    pub echo: u16,
    /// The gateway's own address.
    pub gateway: String,
}

/// Who is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    Gateway,
    Sidecar,
}

/// What is said.
#[derive(Debug, Clone)]
pub enum Words {
    Http(Request),
    /// Bytes to a port of the proxy.
    Bytes(u16, &'static [u8]),
    /// The beginning of TLS for this name.
    Hello(String),
}

/// A call.
#[derive(Debug, Clone)]
pub struct Call {
    pub at: At,
    pub words: Words,
    pub about: String,
}

/// What a service shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Feature {
    Plain,
    Subsets,
    Weighted,
    Rewrite,
    RewriteRegex,
    Redirect,
    DirectResponse,
    Abort,
    Delay,
    Retries,
    Mirror,
    Cors,
    Headers,
    Matches,
    Delegate,
    Hash,
    Pools,
    PortLevel,
    Headless,
    ExternalName,
    EntryStatic,
    EntryDns,
    EntryRoundRobin,
    EntryNone,
    EntryWorkload,
    Grpc,
    Patched,
    Unrouted,
    Tcp,
    Passthrough,
}

impl Feature {
    const ALL: [Self; 30] = [
        Self::Plain,
        Self::Subsets,
        Self::Weighted,
        Self::Rewrite,
        Self::RewriteRegex,
        Self::Redirect,
        Self::DirectResponse,
        Self::Abort,
        Self::Delay,
        Self::Retries,
        Self::Mirror,
        Self::Cors,
        Self::Headers,
        Self::Matches,
        Self::Delegate,
        Self::Hash,
        Self::Pools,
        Self::PortLevel,
        Self::Headless,
        Self::ExternalName,
        Self::EntryStatic,
        Self::EntryDns,
        Self::EntryRoundRobin,
        Self::EntryNone,
        Self::EntryWorkload,
        Self::Grpc,
        Self::Patched,
        Self::Unrouted,
        Self::Tcp,
        Self::Passthrough,
    ];

    fn is_entry(self) -> bool {
        matches!(
            self,
            Self::EntryStatic
                | Self::EntryDns
                | Self::EntryRoundRobin
                | Self::EntryNone
                | Self::EntryWorkload
        )
    }

    /// Pods of two versions, where it can be told which of them is called.
    fn versions(self) -> usize {
        match self {
            Self::Subsets | Self::Weighted | Self::Hash | Self::Mirror => 2,
            _ => 1,
        }
    }
}

/// One of the services.
struct Service<'a> {
    number: usize,
    feature: Feature,
    place: &'a Place,
}

/// Every document, and every call.
pub fn generate(place: &Place) -> (Vec<Value>, Vec<Call>) {
    let mut documents = shared(place);
    let mut calls = Vec::new();
    for number in 0..SERVICES {
        let service = Service {
            number,
            feature: Feature::ALL[number % Feature::ALL.len()],
            place,
        };
        documents.extend(service.documents());
        calls.extend(service.calls());
    }
    (documents, calls)
}

/// What all of them share: namespaces, the gateway, and policies for it.
fn shared(place: &Place) -> Vec<Value> {
    let mut documents: Vec<_> = (0..TEAMS)
        .map(|team| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("team-{team}")}}))
        .collect();
    let tcp = (0..SERVICES).filter(|it| Feature::ALL[it % Feature::ALL.len()] == Feature::Tcp);
    let bind = &place.gateway;
    let tcp = tcp.map(|number| {
        let port =
            json!({"number": tcp_port(number), "name": format!("tcp-{number}"), "protocol": "TCP"});
        json!({"port": port, "bind": bind, "hosts": ["*"]})
    });
    let http = json!({"port": {"number": HTTP, "name": "http", "protocol": "HTTP"}, "bind": bind, "hosts": ["*"]});
    let tls = json!({"port": {"number": TLS, "name": "tls", "protocol": "TLS"}, "bind": bind, "hosts": ["*.example.com"], "tls": {"mode": "PASSTHROUGH"}});
    let servers: Vec<_> = [http, tls].into_iter().chain(tcp).collect();
    let selector = json!({"matchLabels": {"istio": "ingressgateway"}});
    documents.push(resource(
        "networking.istio.io/v1",
        "Gateway",
        "istio-system",
        "entry",
        &json!({
            "selector": {"istio": "ingressgateway"}, "servers": servers,
        }),
    ));
    documents.push(resource("security.istio.io/v1", "AuthorizationPolicy", "istio-system", "not-this", &json!({
        "selector": selector, "action": "DENY",
        "rules": [{"to": [{"operation": {"hosts": ["svc-30.example.com"], "paths": ["/submit"]}}]},
                  {"when": [{"key": "request.headers[x-user]", "values": ["mallory"]}]}],
    })));
    documents.push(resource("security.istio.io/v1", "RequestAuthentication", "istio-system", "tokens", &json!({
        "selector": selector, "jwtRules": [{"issuer": "https://issuer.example", "jwks": TokenSigner::new().key_set().to_string()}],
    })));
    documents.push(resource(
        "telemetry.istio.io/v1",
        "Telemetry",
        "istio-system",
        "logs",
        &json!({
            "accessLogging": [{"providers": [{"name": "envoy"}]}],
        }),
    ));
    documents.push(resource(
        "security.istio.io/v1",
        "PeerAuthentication",
        "istio-system",
        "default",
        &json!({
            "mtls": {"mode": "PERMISSIVE"},
        }),
    ));
    documents
}

fn tcp_port(number: usize) -> u16 {
    TCP + u16::try_from(number).expect("a few hundred")
}

fn resource(api: &str, kind: &str, namespace: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec})
}

impl Service<'_> {
    fn name(&self) -> String {
        format!("svc-{}", self.number)
    }

    fn namespace(&self) -> String {
        format!("team-{}", self.number % TEAMS)
    }

    /// By which the mesh knows it.
    fn host(&self) -> String {
        match self.feature.is_entry() {
            true => format!("{}.entry.example", self.name()),
            false => format!("{}.{}.svc.cluster.local", self.name(), self.namespace()),
        }
    }

    /// By which it is called from outside.
    fn outside(&self) -> String {
        format!("{}.example.com", self.name())
    }

    /// The address of the pod of a version, from 0.
    fn address(&self, version: usize) -> String {
        let (high, low) = (self.number / 100, self.number % 100);
        format!(
            "127.{}.{}.{}",
            self.place.network,
            10 + high,
            2 * low + version + 1
        )
    }

    fn in_network(&self, kind: &str, name: &str, spec: &Value) -> Value {
        resource(
            "networking.istio.io/v1",
            kind,
            &self.namespace(),
            name,
            spec,
        )
    }

    fn port(&self) -> u16 {
        match self.feature {
            Feature::Tcp => tcp_port(self.number),
            Feature::Passthrough => 443,
            _ => 80,
        }
    }

    fn documents(&self) -> Vec<Value> {
        let mut documents = match self.feature.is_entry() {
            true => self.entry(),
            false => self.service(),
        };
        documents.extend(self.routes());
        documents.extend(self.rule());
        if self.feature == Feature::Patched {
            documents.push(self.patch());
        }
        documents
    }

    fn service(&self) -> Vec<Value> {
        let target = self.place.echo;
        let name = match self.feature {
            Feature::Tcp => "tcp",
            Feature::Passthrough => "tls",
            Feature::Grpc => "grpc",
            _ => "http",
        };
        let ports = json!([{"name": name, "port": self.port(), "targetPort": target}]);
        let labels = json!({"app": self.name()});
        let spec = match self.feature {
            Feature::Headless => json!({"clusterIP": "None", "selector": labels, "ports": ports}),
            Feature::ExternalName => json!({
                "type": "ExternalName", "externalName": "svc-0.team-0.svc.cluster.local", "ports": ports,
            }),
            _ => {
                let ip = format!("10.96.{}.{}", self.number / 200, self.number % 200 + 1);
                json!({"clusterIP": ip, "selector": labels, "ports": ports})
            }
        };
        let service = resource("v1", "Service", &self.namespace(), &self.name(), &spec);
        let pods = (0..self.feature.versions()).map(|version| {
            let name = format!("{}-v{}", self.name(), version + 1);
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": name, "namespace": self.namespace(),
                             "labels": {"app": self.name(), "version": format!("v{}", version + 1)}},
                "spec": {"serviceAccountName": self.name(),
                         "containers": [{"name": "main", "image": "app", "ports": [{"containerPort": target}]}]},
                "status": {"podIP": self.address(version), "conditions": [{"type": "Ready", "status": "True"}]},
            })
        });
        match self.feature {
            Feature::ExternalName => vec![service],
            _ => [service].into_iter().chain(pods).collect(),
        }
    }

    fn entry(&self) -> Vec<Value> {
        let ports = json!([{"number": 80, "name": "http", "protocol": "HTTP", "targetPort": self.place.echo}]);
        let mut spec = json!({"hosts": [self.host()], "ports": ports, "location": "MESH_EXTERNAL"});
        let endpoints = json!([{"address": self.address(0), "labels": {"app": self.name()}}]);
        let mut documents = Vec::new();
        match self.feature {
            Feature::EntryNone => spec["resolution"] = json!("NONE"),
            Feature::EntryWorkload => {
                spec["resolution"] = json!("STATIC");
                spec["location"] = json!("MESH_INTERNAL");
                spec["workloadSelector"] = json!({"labels": {"app": self.name()}});
                let workload = json!({"address": self.address(0), "labels": {"app": self.name()}});
                documents.push(self.in_network("WorkloadEntry", &self.name(), &workload));
            }
            feature => {
                spec["endpoints"] = endpoints;
                spec["resolution"] = json!(match feature {
                    Feature::EntryDns => "DNS",
                    Feature::EntryRoundRobin => "DNS_ROUND_ROBIN",
                    _ => "STATIC",
                });
            }
        }
        documents.push(self.in_network("ServiceEntry", &self.name(), &spec));
        documents
    }

    fn to(&self, subset: Option<&str>) -> Value {
        let mut destination = json!({"host": self.host(), "port": {"number": self.port()}});
        if let Some(subset) = subset {
            destination["subset"] = json!(subset);
        }
        json!({"destination": destination})
    }

    /// Virtual services, for the mesh and the gateway at once.
    fn routes(&self) -> Vec<Value> {
        let gateways = json!(["mesh", "istio-system/entry"]);
        let hosts = json!([self.host(), self.outside()]);
        let route = json!([self.to(None)]);
        match self.feature {
            // Whoever was connected to is connected to: through a gateway that would be itself.
            Feature::EntryNone => vec![self.in_network("VirtualService", &self.name(), &json!({
                "hosts": [self.host()], "http": [{"timeout": "1s", "route": route}],
            }))],
            // Only the gateway needs to be told of it.
            Feature::Unrouted => vec![self.in_network("VirtualService", &self.name(), &json!({
                "hosts": [self.outside()], "gateways": ["istio-system/entry"], "http": [{"route": route}],
            }))],
            Feature::Tcp => vec![self.in_network("VirtualService", &self.name(), &json!({
                "hosts": ["*"], "gateways": ["istio-system/entry"],
                "tcp": [{"match": [{"port": self.port()}], "route": route}],
            }))],
            Feature::Passthrough => vec![self.in_network("VirtualService", &self.name(), &json!({
                "hosts": [self.outside()], "gateways": ["istio-system/entry"],
                "tls": [{"match": [{"port": TLS, "sniHosts": [self.outside()]}], "route": route}],
            }))],
            Feature::Delegate => {
                let delegate = format!("{}-delegate", self.name());
                vec![
                    self.in_network("VirtualService", &self.name(), &json!({
                        "hosts": hosts, "gateways": gateways,
                        "http": [{"match": [{"uri": {"prefix": "/v2"}}],
                                  "delegate": {"name": delegate, "namespace": self.namespace()}},
                                 {"route": route}],
                    })),
                    self.in_network("VirtualService", &delegate, &json!({
                        "http": [{"match": [{"uri": {"prefix": "/v2/items"}}], "rewrite": {"uri": "/delegated"},
                                  "route": route}],
                    })),
                ]
            }
            _ => vec![self.in_network("VirtualService", &self.name(), &json!({
                "hosts": hosts, "gateways": gateways, "http": self.http(),
            }))],
        }
    }

    fn http(&self) -> Value {
        let route = json!([self.to(None)]);
        let beta = json!([{"headers": {"x-user": {"exact": "beta"}}}]);
        let second = json!([{"uri": {"prefix": "/v2"}}]);
        match self.feature {
            Feature::Subsets => json!([
                {"match": beta, "route": [self.to(Some("v2"))]},
                {"name": "others", "route": [self.to(Some("v1"))]},
            ]),
            Feature::Weighted => {
                let (mut first, mut none) = (self.to(Some("v2")), self.to(Some("v1")));
                first["weight"] = json!(100);
                none["weight"] = json!(0);
                json!([{"route": [first, none]}])
            }
            Feature::Rewrite => json!([
                {"match": second, "rewrite": {"uri": "/v1", "authority": "inner.example"}, "route": route},
                {"route": route},
            ]),
            Feature::RewriteRegex => json!([
                {"match": [{"uri": {"regex": "/v[0-9]+/.*"}}],
                 "rewrite": {"uriRegexRewrite": {"match": "^/v([0-9]+)/(.*)$", "rewrite": "/\\2/of/\\1"}}, "route": route},
                {"route": route},
            ]),
            Feature::Redirect => json!([
                {"match": second, "redirect": {"uri": "/moved", "authority": "other.example", "redirectCode": 302}},
                {"match": [{"uri": {"exact": "/submit"}}], "redirect": {"scheme": "https", "port": 8444}},
                {"route": route},
            ]),
            Feature::DirectResponse => json!([
                {"match": [{"uri": {"exact": "/submit"}}], "directResponse": {"status": 418, "body": {"string": "short and stout"}}},
                {"route": route},
            ]),
            Feature::Abort => json!([
                {"match": beta, "fault": {"abort": {"httpStatus": 503, "percentage": {"value": 100}}}, "route": route},
                {"match": [{"uri": {"exact": "/submit"}}], "fault": {"abort": {"grpcStatus": "UNAVAILABLE", "percentage": {"value": 100}}}, "route": route},
                {"route": route},
            ]),
            Feature::Delay => json!([
                {"fault": {"delay": {"fixedDelay": "5ms", "percentage": {"value": 100}}}, "route": route},
            ]),
            Feature::Retries => json!([
                {"match": second, "timeout": "0.2s", "route": route},
                {"timeout": "3s", "retries": {"attempts": 2, "perTryTimeout": "1s", "retryOn": "5xx,connect-failure,reset"}, "route": route},
            ]),
            Feature::Mirror => json!([
                {"route": [self.to(Some("v1"))], "mirror": self.to(Some("v2"))["destination"], "mirrorPercentage": {"value": 100}},
            ]),
            Feature::Cors => json!([
                {"corsPolicy": {"allowOrigins": [{"exact": "https://shop.example"}, {"regex": "https://.*\\.test"}],
                                "allowMethods": ["GET", "POST"], "allowHeaders": ["x-user"], "exposeHeaders": ["x-answer"],
                                "maxAge": "10m", "allowCredentials": true}, "route": route},
            ]),
            Feature::Headers => json!([
                {"headers": {"request": {"set": {"x-user": "set"}, "add": {"x-more": "%PROTOCOL%"}, "remove": ["origin"]},
                             "response": {"set": {"x-answer": "mine"}, "add": {"x-code": "%RESPONSE_CODE%"}, "remove": ["x-echo"]}},
                 "route": route},
            ]),
            Feature::Matches => json!([
                {"match": [{"queryParams": {"kind": {"exact": "a"}}, "headers": {"x-user": {"prefix": "be"}}},
                           {"method": {"exact": "OPTIONS"}}],
                 "headers": {"response": {"set": {"x-match": "first"}}}, "route": route},
                {"match": [{"withoutHeaders": {"origin": {}}, "uri": {"prefix": "/"}, "ignoreUriCase": true}],
                 "headers": {"response": {"set": {"x-match": "second"}}}, "route": route},
                {"headers": {"response": {"set": {"x-match": "third"}}}, "route": route},
            ]),
            _ => json!([{"route": route}]),
        }
    }

    fn rule(&self) -> Option<Value> {
        let subsets = json!([{"name": "v1", "labels": {"version": "v1"}}, {"name": "v2", "labels": {"version": "v2"}}]);
        let mut spec = match self.feature {
            Feature::Subsets | Feature::Weighted | Feature::Mirror => json!({"subsets": subsets}),
            Feature::Hash => {
                json!({"trafficPolicy": {"loadBalancer": {"consistentHash": {"httpHeaderName": "x-user"}}}})
            }
            Feature::Pools => json!({"trafficPolicy": {
                "connectionPool": {"tcp": {"maxConnections": 50, "connectTimeout": "1s", "tcpKeepalive": {"time": "60s"}},
                                   "http": {"http1MaxPendingRequests": 20, "maxRequestsPerConnection": 3, "idleTimeout": "5s"}},
                "outlierDetection": {"consecutive5xxErrors": 50, "interval": "10s", "baseEjectionTime": "1s"},
                "loadBalancer": {"simple": "RANDOM"},
            }}),
            Feature::PortLevel => json!({"trafficPolicy": {
                "loadBalancer": {"simple": "LEAST_REQUEST", "warmup": {"duration": "30s"}},
                "portLevelSettings": [{"port": {"number": 80}, "loadBalancer": {"simple": "ROUND_ROBIN"},
                                       "connectionPool": {"http": {"maxRetries": 5}}}],
            }}),
            _ => return None,
        };
        spec["host"] = json!(self.host());
        Some(self.in_network("DestinationRule", &self.name(), &spec))
    }

    /// A header that its virtual hosts add, by a patch.
    fn patch(&self) -> Value {
        let added = json!({"response_headers_to_add": [{"header": {"key": "x-patched", "value": self.name()}}]});
        let of = |name: String| {
            json!({"applyTo": "VIRTUAL_HOST",
                   "match": {"routeConfiguration": {"vhost": {"name": name}}},
                   "patch": {"operation": "MERGE", "value": added}})
        };
        let spec = json!({"configPatches": [of(format!("{}:80", self.host())), of(format!("{}:{HTTP}", self.outside()))]});
        resource(
            "networking.istio.io/v1alpha3",
            "EnvoyFilter",
            "istio-system",
            &self.name(),
            &spec,
        )
    }

    fn calls(&self) -> Vec<Call> {
        let about = |words: &str| format!("{} ({:?}): {words}", self.name(), self.feature);
        let call = |at, words, text: &str| Call {
            at,
            words,
            about: about(text),
        };
        match self.feature {
            Feature::Tcp => [At::Gateway, At::Sidecar]
                .map(|at| call(at, Words::Bytes(self.port(), b"who are you?"), "bytes"))
                .into(),
            Feature::EntryNone => Vec::new(),
            Feature::Passthrough => vec![call(At::Gateway, Words::Hello(self.outside()), "TLS")],
            _ => {
                let both = [(At::Gateway, self.outside()), (At::Sidecar, self.host())];
                // Without the header that is hashed, either pod may answer.
                let is_hashed = |it: &Request| it.headers.contains("x-user");
                let calls = both.into_iter().flat_map(|(at, host)| {
                    let all = requests().into_iter();
                    let all = all.filter(|it| self.feature != Feature::Hash || is_hashed(it));
                    all.map(move |it| (at, it.host(&host)))
                });
                calls
                    .map(|(at, request)| {
                        let text = format!("{at:?} {} {}", request.method, request.target);
                        call(at, Words::Http(request), &text)
                    })
                    .collect()
            }
        }
    }
}

/// What every service is asked.
fn requests() -> Vec<Request> {
    vec![
        Request::get("/"),
        Request::get("/v2/items?x=1&kind=a").header("x-user", "beta"),
        Request::post("/submit", "hello").header("origin", "https://shop.example"),
        Request::new("OPTIONS", "/V2//items/../other;x=%2f")
            .header("origin", "https://a.test")
            .header("access-control-request-method", "POST"),
        Request::get("/v2/")
            .header("x-user", "mallory")
            .header("authorization", "Bearer none.at.all"),
    ]
}
