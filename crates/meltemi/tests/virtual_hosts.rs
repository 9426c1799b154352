//! Virtual hosts on demand, in a stock Envoy and in `meltemi proxy`: a request for a host that the
//! route table lacks waits until the management server has been asked, and goes on with its answer.
#![allow(clippy::unwrap_used)]

#[path = "interop/admin.rs"]
mod admin;
#[path = "differential/program.rs"]
mod program;

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use meltemi_testkit::{Client, Request as ClientRequest, envoy_binary, free_port, skip};
use meltemi_xds::pb::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
use meltemi_xds::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use meltemi_xds::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use meltemi_xds::pb::envoy::service::route::v3::virtual_host_discovery_service_server::{
    VirtualHostDiscoveryService, VirtualHostDiscoveryServiceServer,
};
use meltemi_xds::{any, json as messages, type_url};
use program::Program;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A management server that has a virtual host for whatever ends in `.test`.
#[derive(Clone, Default)]
struct Server {
    /// What was asked for, and what was refused.
    log: Arc<Mutex<Vec<String>>>,
    port: u16,
}

/// What the server has of a kind, given what is asked for.
type Have = fn(&Server, &str) -> Option<Resource>;

impl Server {
    async fn start() -> (Self, SocketAddr) {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listener = listener.await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Self {
            port: address.port(),
            ..Self::default()
        };
        let router = tonic::transport::Server::builder()
            .add_service(AggregatedDiscoveryServiceServer::new(server.clone()))
            .add_service(VirtualHostDiscoveryServiceServer::new(server.clone()));
        tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
        (server, address)
    }

    fn serve(
        &self,
        mut requests: Streaming<DeltaDiscoveryRequest>,
        kind: String,
        have: Have,
    ) -> Answers<DeltaDiscoveryResponse> {
        let (sender, receiver) = mpsc::channel(16);
        let server = self.clone();
        tokio::spawn(async move {
            let mut count = 0;
            while let Ok(Some(request)) = requests.message().await {
                if let Some(error) = &request.error_detail {
                    server.note(format!("refused: {}", error.message));
                }
                if request.type_url != kind {
                    continue;
                }
                let mut names = request.resource_names_subscribe;
                if count == 0 && names.is_empty() {
                    names.push("*".to_owned());
                }
                let names = names.iter();
                let resources: Vec<_> = names.filter_map(|name| have(&server, name)).collect();
                if resources.is_empty() {
                    continue;
                }
                count += 1;
                let answer = DeltaDiscoveryResponse {
                    type_url: kind.clone(),
                    nonce: format!("{kind} {count}"),
                    resources,
                    ..DeltaDiscoveryResponse::default()
                };
                if sender.send(Ok(answer)).await.is_err() {
                    return;
                }
            }
        });
        Box::pin(ReceiverStream::new(receiver))
    }

    fn note(&self, line: String) {
        self.log.lock().unwrap().push(line);
    }

    fn table(&self, name: &str) -> Option<Resource> {
        let source = json!({ "resource_api_version": "V3", "api_config_source": {
            "api_type": "DELTA_GRPC",
            "transport_api_version": "V3",
            "grpc_services": [ { "envoy_grpc": { "cluster_name": "xds" } } ],
        } });
        let table = json!({
            "name": name,
            "vhds": { "config_source": source },
            "virtual_hosts": [host("fixed.test")],
        });
        let table: RouteConfiguration = messages::from_json(table).unwrap();
        Some(Resource {
            name: name.to_owned(),
            version: self.port.to_string(),
            resource: Some(any::pack(&table)),
            ..Resource::default()
        })
    }

    fn host(&self, alias: &str) -> Option<Resource> {
        // Envoy waits for a first answer, and so gets one
        if alias == "*" {
            let host: VirtualHost = messages::from_json(host("early.test")).unwrap();
            return Some(Resource {
                name: "web/early".to_owned(),
                version: "1".to_owned(),
                resource: Some(any::pack(&host)),
                ..Resource::default()
            });
        }
        let (table, domain) = alias.rsplit_once('/')?;
        self.note(format!("asked: {alias}"));
        if !domain.ends_with(".test") {
            return Some(Resource {
                name: alias.to_owned(),
                aliases: vec![alias.to_owned()],
                ..Resource::default()
            });
        }
        let host: VirtualHost = messages::from_json(host(domain)).unwrap();
        Some(Resource {
            name: format!("{table}/host of {domain}"),
            aliases: vec![alias.to_owned()],
            version: "1".to_owned(),
            resource: Some(any::pack(&host)),
            ..Resource::default()
        })
    }
}

fn host(domain: &str) -> Value {
    json!({ "name": domain, "domains": [domain], "routes": [{
        "match": { "prefix": "/" },
        "direct_response": { "status": 200, "body": { "inline_string": domain } },
    }] })
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Server {
    type StreamAggregatedResourcesStream = Answers<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Answers<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        _request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("delta only"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let kind = type_url::<RouteConfiguration>();
        let answers = self.serve(request.into_inner(), kind, Self::table);
        Ok(Response::new(answers))
    }
}

#[tonic::async_trait]
impl VirtualHostDiscoveryService for Server {
    type DeltaVirtualHostsStream = Answers<DeltaDiscoveryResponse>;

    async fn delta_virtual_hosts(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaVirtualHostsStream>, Status> {
        let kind = type_url::<VirtualHost>();
        Ok(Response::new(self.serve(
            request.into_inner(),
            kind,
            Self::host,
        )))
    }
}

fn loopback(port: u16) -> Value {
    json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } })
}

fn bootstrap(admin: u16, listener: u16, server: u16) -> Value {
    let filter = |name: &str, path: &str| {
        let kind = format!("type.googleapis.com/envoy.extensions.filters.http.{path}");
        json!({ "name": name, "typed_config": { "@type": kind } })
    };
    json!({
        "node": { "id": "demanding", "cluster": "test" },
        "admin": { "address": loopback(admin) },
        "dynamic_resources": { "ads_config": {
            "api_type": "DELTA_GRPC",
            "transport_api_version": "V3",
            "grpc_services": [ { "envoy_grpc": { "cluster_name": "xds" } } ],
        } },
        "static_resources": {
            "clusters": [ {
                "name": "xds",
                "type": "STATIC",
                "connect_timeout": "1s",
                "http2_protocol_options": {},
                "load_assignment": { "cluster_name": "xds", "endpoints": [ { "lb_endpoints": [
                    { "endpoint": { "address": loopback(server) } },
                ] } ] },
            } ],
            "listeners": [ {
                "name": "main",
                "address": loopback(listener),
                "filter_chains": [ { "filters": [ { "name": "hcm", "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.\
                              http_connection_manager.v3.HttpConnectionManager",
                    "stat_prefix": "main",
                    "rds": {
                        "route_config_name": "web",
                        "config_source": { "ads": {}, "resource_api_version": "V3" },
                    },
                    "http_filters": [
                        filter("envoy.filters.http.on_demand", "on_demand.v3.OnDemand"),
                        filter("envoy.filters.http.router", "router.v3.Router"),
                    ],
                } } ] } ],
            } ],
        },
    })
}

/// What a program makes of requests, each with what the server was asked for it.
async fn observe(program: Program) -> Vec<String> {
    let (server, address) = Server::start().await;
    let (admin, listener) = (free_port(), free_port());
    let directory = tempfile::tempdir().unwrap();
    let document = bootstrap(admin, listener, address.port());
    let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, admin));
    let path = directory.path().to_owned();
    let process = tokio::task::spawn_blocking(move || {
        program.start(&path, "demand", (&document, &[]), admin)
    });
    let _process = process.await.unwrap();
    let client = Client::new(SocketAddr::from((Ipv4Addr::LOCALHOST, listener)));
    let mut seen = Vec::new();
    let hosts = [
        "fixed.test",
        "early.test",
        "a.test",
        "A.test",
        "a.test:80",
        "no.where",
        "no.where",
    ];
    for host in hosts {
        let request = ClientRequest::get("/").header("host", host);
        let response = client.send(&request).await.unwrap();
        let asked = std::mem::take(&mut *server.log.lock().unwrap());
        seen.push(format!(
            "{host}: {} {} {asked:?}",
            response.status,
            response.text()
        ));
    }
    let dump = admin::ask(admin, "/config_dump?resource=dynamic_route_configs").await;
    seen.push(format!("shown: {}", dump.contains("\"a.test\"")));
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_comes_when_it_is_asked_for() {
    let ours = observe(Program::Meltemi).await;
    let expected = [
        r#"fixed.test: 200 fixed.test []"#,
        r#"early.test: 200 early.test []"#,
        r#"a.test: 200 a.test ["asked: web/a.test"]"#,
        r#"A.test: 200 a.test []"#,
        r#"a.test:80: 404  ["asked: web/a.test:80"]"#,
        r#"no.where: 404  ["asked: web/no.where"]"#,
        r#"no.where: 404  ["asked: web/no.where"]"#,
        "shown: true",
    ];
    assert_eq!(ours, expected);
    match envoy_binary() {
        Some(envoy) => {
            // which knows for a while that there is no such host
            let theirs = observe(Program::Envoy(envoy)).await;
            let again = expected.len() - 2;
            assert_eq!(theirs[..again], expected[..again]);
            assert!(theirs[again].starts_with("no.where: 404"), "{theirs:?}");
        }
        None => skip("no Envoy: set ENVOY_BIN, or have envoy on the path"),
    }
}
