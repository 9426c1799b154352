//! A small mesh in which everything may change: what property tests and simulations run on.
//!
//! Every kind of resource that reaches proxies is here in several versions, so that a translation that
//! forgets to note what it read is found out.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_model::{Config, Defaults, KeySource, Kind, ResourceId, convert};
use meltemi_snapshot::Store;
use meltemi_xds::json::from_json;
use meltemi_xds::pb::envoy::config::core::v3::Node;

/// Something that happens to the mesh.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// A resource is there in one of its versions.
    Set(Box<Config>),
    /// A resource is gone.
    Gone(ResourceId),
    /// The keys of an issuer were fetched.
    Keys(KeySource, Arc<str>),
}

impl Change {
    pub fn apply(&self, store: &mut Store) {
        match self {
            Self::Set(config) => store.apply(Config::clone(config)),
            Self::Gone(id) => store.delete(id),
            Self::Keys(source, keys) => store.set_keys(source, keys.clone()),
        }
    }
}

/// Where the keys of issuers are.
pub(super) fn key_sources() -> [KeySource; 2] {
    [
        "https://one.example.com/keys",
        "https://two.example.com/keys",
    ]
    .map(|it| KeySource::Uri(it.into()))
}

/// Everything that may happen.
pub(super) fn changes() -> Vec<Change> {
    let documents = meltemi_api::parse(None, POOL).unwrap();
    let defaults = Defaults {
        judge: meltemi_translate::judge(),
        ..Defaults::default()
    };
    let applied: Vec<_> = documents
        .iter()
        .map(|it| {
            let config = convert(it, &defaults).unwrap();
            (config.id(), Change::Set(Box::new(config)))
        })
        .collect();
    let ids: BTreeSet<_> = applied.iter().map(|(id, _)| id.clone()).collect();
    let fetched = key_sources().into_iter().flat_map(|source| {
        let keys = ["first", "second"].map(Arc::from).into_iter();
        keys.map(move |keys| Change::Keys(source.clone(), keys))
    });
    let applied = applied.into_iter().map(|(_, change)| change);
    applied
        .chain(ids.into_iter().map(Change::Gone))
        .chain(fetched)
        .collect()
}

/// The proxies that look at it.
pub(super) fn nodes() -> Vec<Node> {
    let node = |id: &str, metadata: serde_json::Value| {
        from_json::<Node>(serde_json::json!({"id": id, "metadata": metadata})).unwrap()
    };
    let none = || serde_json::json!({});
    vec![
        node(
            "sidecar~10.1.0.1~cart-1.shop~shop.svc.cluster.local",
            none(),
        ),
        node(
            "sidecar~10.1.0.2~cart-2.shop~shop.svc.cluster.local",
            none(),
        ),
        node(
            "sidecar~10.2.0.9~batch.web~web.svc.cluster.local",
            serde_json::json!({
                "LABELS": {"app": "batch"},
                "DNS_CAPTURE": "true",
                "DNS_AUTO_ALLOCATE": "true",
                "TIER": "gold",
            }),
        ),
        node(
            "sidecar~127.0.0.7~loop.web~web.svc.cluster.local",
            serde_json::json!({"INTERCEPTION_MODE": "NONE"}),
        ),
        node(
            "router~10.9.0.1~gateway.istio-system~istio-system.svc.cluster.local",
            serde_json::json!({"LABELS": {"istio": "ingressgateway"}}),
        ),
    ]
}

/// What a read is of must change in the pool without anything else that would be noticed, or nobody
/// would miss the note of it.
#[test]
fn the_pool_moves_an_address_by_a_service_that_is_not_seen() {
    let mut store = Store::default();
    let addresses = |store: &mut Store| {
        let snapshot = store.commit().snapshot;
        let all = snapshot.services();
        all.auto_addresses_of(
            &"web".into(),
            &meltemi_model::Hostname::new("k632.example.com"),
        )
        .to_vec()
    };
    for change in changes() {
        if let Change::Set(config) = &change
            && ["aaa", "zzz"].contains(&config.id().name.as_ref())
        {
            change.apply(&mut store);
        }
    }
    let before = addresses(&mut store);
    let gone = changes()
        .into_iter()
        .find(|it| matches!(it, Change::Gone(id) if id.name.as_ref() == "aaa"));
    gone.unwrap().apply(&mut store);
    assert_ne!(before, addresses(&mut store));
}

/// A kind that is added without versions in the pool would be one of which nobody knows whether its
/// changes arrive.
#[test]
fn every_kind_is_in_the_pool() {
    // No resource of a proxy is made of these.
    let silent = [Kind::ServiceAccount, Kind::ConfigMap, Kind::WorkloadGroup];
    let changes = changes();
    for kind in Kind::ALL.iter().filter(|it| !silent.contains(it)) {
        let is_of = |it: &&Change| matches!(it, Change::Set(config) if config.id().kind == *kind);
        let versions = changes.iter().filter(is_of);
        assert!(versions.count() >= 2, "{kind} needs two versions at least");
    }
}

const POOL: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {clusterIP: 10.0.0.1, selector: {app: cart}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop, annotations: {networking.istio.io/exportTo: .}}
spec: {clusterIP: 10.0.0.1, selector: {app: cart}, ports: [{name: http, port: 80, targetPort: 8080}, {name: tcp, port: 9000}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: None, selector: {app: db}, ports: [{name: tcp, port: 5432}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: 10.0.0.2, selector: {app: db}, ports: [{port: 5432}]}
---
apiVersion: v1
kind: Service
metadata: {name: other-name, namespace: web}
spec: {type: ExternalName, externalName: cart.shop.svc.cluster.local, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: sliced, namespace: web}
spec: {clusterIP: 10.0.0.3, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: gateway, namespace: istio-system}
spec: {clusterIP: 10.0.0.4, selector: {istio: ingressgateway}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: sliced-1, namespace: web, labels: {kubernetes.io/service-name: sliced}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.2.0.5]}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: sliced-1, namespace: web, labels: {kubernetes.io/service-name: sliced}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.2.0.5]}, {addresses: [127.0.0.7]}]
---
apiVersion: v1
kind: Pod
metadata: {name: cart-1, namespace: shop, labels: {app: cart, version: v1}}
spec: {serviceAccountName: cart, containers: [{name: c, image: c}]}
status: {podIP: 10.1.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: cart-1, namespace: shop, labels: {app: cart, version: v2}}
spec: {serviceAccountName: other, containers: [{name: c, image: c}]}
status: {podIP: 10.1.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: cart-2, namespace: shop, labels: {app: cart, version: v2}}
spec: {serviceAccountName: cart, containers: [{name: c, image: c}]}
status: {podIP: 10.1.0.2}
---
apiVersion: v1
kind: Pod
metadata: {name: cart-2, namespace: shop, labels: {app: db}}
spec: {containers: [{name: c, image: c}]}
status: {podIP: 10.1.0.2}
---
apiVersion: v1
kind: Pod
metadata: {name: db-0, namespace: shop, labels: {app: db}}
spec: {containers: [{name: c, image: c}]}
status: {podIP: 10.1.0.3}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: ledger, namespace: shop}
spec:
  replicas: 1
  selector: {matchLabels: {app: db}}
  template: {metadata: {labels: {app: db}}, spec: {containers: [{name: c, image: c}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: ledger, namespace: shop}
spec:
  replicas: 3
  selector: {matchLabels: {app: db}}
  template: {metadata: {labels: {app: db, version: v2}}, spec: {containers: [{name: c, image: c}]}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside, namespace: web}
spec: {hosts: [api.example.com], ports: [{number: 443, name: tls, protocol: TLS}], resolution: DNS}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside, namespace: web}
spec:
  hosts: [api.example.com, '*.example.org']
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 192.0.2.1}, {address: 192.0.2.2, labels: {version: v2}}]
  exportTo: [.]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: machines, namespace: shop}
spec:
  hosts: [machines.internal]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  location: MESH_INTERNAL
  workloadSelector: {labels: {app: machine}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: machine-1, namespace: shop}
spec: {address: 192.0.2.7, labels: {app: machine}, serviceAccount: machine}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: machine-1, namespace: shop}
spec: {address: 192.0.2.8, labels: {app: machine}, weight: 5}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cart, namespace: shop}
spec:
  hosts: [cart.shop.svc.cluster.local]
  http:
  - match: [{headers: {who: {exact: test}}}]
    route: [{destination: {host: cart.shop.svc.cluster.local, subset: v2}}]
  - route: [{destination: {host: cart.shop.svc.cluster.local, subset: v1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cart, namespace: shop}
spec:
  hosts: [cart.shop.svc.cluster.local, shop.example.com]
  gateways: [mesh, shop/edge]
  http:
  - timeout: 3s
    match: [{sourceLabels: {app: batch}}]
    route: [{destination: {host: other-name.web.svc.cluster.local}}]
  - delegate: {name: part, namespace: shop}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: part, namespace: shop}
spec:
  http: [{route: [{destination: {host: cart.shop.svc.cluster.local}}]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: db, namespace: shop}
spec:
  hosts: [db.shop.svc.cluster.local]
  exportTo: [., web]
  tcp: [{route: [{destination: {host: db.shop.svc.cluster.local, subset: v2}}]}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: cart, namespace: shop}
spec:
  host: cart.shop.svc.cluster.local
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: cart, namespace: shop}
spec:
  host: cart.shop.svc.cluster.local
  trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: who}}, tls: {mode: ISTIO_MUTUAL}}
  subsets: [{name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: everything, namespace: istio-system}
spec:
  host: '*.local'
  trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}, outlierDetection: {consecutive5xxErrors: 3}}
  subsets: [{name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: for-batch, namespace: web}
spec: {host: '*.shop.svc.cluster.local', workloadSelector: {matchLabels: {app: batch}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: outside, namespace: web}
spec: {host: api.example.com, trafficPolicy: {tls: {mode: MUTUAL, credentialName: client}}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: narrow, namespace: shop}
spec: {egress: [{hosts: ['./*', 'istio-system/*']}]}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: narrow, namespace: shop}
spec:
  workloadSelector: {labels: {version: v2}}
  egress: [{port: {number: 9080, protocol: HTTP, name: http}, hosts: ['*/*']}, {hosts: ['web/*']}]
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: istio-system}
spec: {egress: [{hosts: ['~/*', 'shop/*']}], outboundTrafficPolicy: {mode: REGISTRY_ONLY}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: loop, namespace: web}
spec:
  ingress: [{port: {number: 8080, protocol: HTTP, name: http}, defaultEndpoint: '127.0.0.1:9999'}]
  egress: [{hosts: ['*/*']}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: shop}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: db, namespace: shop}
spec: {selector: {matchLabels: {app: db}}, mtls: {mode: DISABLE}, portLevelMtls: {5432: {mode: STRICT}}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: DISABLE}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 443, name: https, protocol: HTTPS}, hosts: [shop.example.com], tls: {mode: SIMPLE, credentialName: edge}}
  - {port: {number: 8443, name: tls, protocol: TLS}, hosts: ['*.local'], tls: {mode: AUTO_PASSTHROUGH}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 81, name: http, protocol: HTTP}, hosts: ['*']}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front, namespace: istio-system}
spec:
  selector: {istio: none}
  servers: [{port: {number: 81, name: http, protocol: HTTP}, hosts: ['*']}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: rights, namespace: shop}
spec: {selector: {matchLabels: {app: cart}}, action: DENY, rules: [{from: [{source: {notNamespaces: [web]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: rights, namespace: shop}
spec: {selector: {matchLabels: {version: v2}}, action: CUSTOM, provider: {name: asks}, rules: [{}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: everywhere, namespace: istio-system}
spec: {rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/cart]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: everywhere, namespace: istio-system}
spec:
  targetRefs: [{group: networking.istio.io, kind: Gateway, name: front}]
  action: CUSTOM
  provider: {name: asks}
  rules: [{to: [{operation: {paths: [/asked]}}]}]
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens, namespace: shop}
spec: {jwtRules: [{issuer: one, jwksUri: 'https://one.example.com/keys'}]}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens, namespace: shop}
spec:
  selector: {matchLabels: {app: cart}}
  jwtRules:
  - {issuer: two, jwksUri: 'https://two.example.com/keys', forwardOriginalToken: true}
  - {issuer: three, jwks: '{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}'}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens, namespace: istio-system}
spec:
  targetRefs: [{group: networking.istio.io, kind: Gateway, name: front}]
  jwtRules: [{issuer: two, jwksUri: 'https://two.example.com/keys'}]
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: mesh, namespace: istio-system}
spec: {accessLogging: [{providers: [{name: envoy}]}]}
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: mesh, namespace: istio-system}
spec: {accessLogging: [{match: {mode: CLIENT}, providers: [{name: taken}]}]}
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: some, namespace: shop}
spec:
  selector: {matchLabels: {version: v2}}
  accessLogging: [{disabled: true}]
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: some, namespace: shop}
spec: {accessLogging: [{providers: [{name: envoy}], filter: {expression: 'response.code >= 400'}}]}
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: timeouts, namespace: istio-system}
spec:
  configPatches:
  - applyTo: CLUSTER
    match: {context: SIDECAR_OUTBOUND, cluster: {service: cart.shop.svc.cluster.local}}
    patch: {operation: MERGE, value: {connect_timeout: 3s}}
  - applyTo: CLUSTER
    match: {proxy: {metadata: {TIER: gold}}}
    patch: {operation: ADD, value: {name: added, connect_timeout: 1s, type: STATIC}}
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: timeouts, namespace: istio-system}
spec:
  workloadSelector: {labels: {version: v2}}
  configPatches:
  - applyTo: CLUSTER
    match: {context: ANY}
    patch: {operation: MERGE, value: {connect_timeout: 7s}}
  - applyTo: VIRTUAL_HOST
    match: {context: SIDECAR_OUTBOUND}
    patch: {operation: MERGE, value: {include_request_attempt_count: false}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: aaa, namespace: shop}
spec:
  hosts: [h2279.example.com] # Its address would be that of the next one, which web cannot know.
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: DNS
  exportTo: [.]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: zzz, namespace: web}
spec: {hosts: [k632.example.com], ports: [{number: 9000, name: tcp, protocol: TCP}], resolution: DNS}
---
apiVersion: v1
kind: Secret
metadata: {name: edge, namespace: istio-system}
stringData:
  tls.crt: |
    -----BEGIN CERTIFICATE-----
    first
  tls.key: |
    -----BEGIN PRIVATE KEY-----
    first
---
apiVersion: v1
kind: Secret
metadata: {name: edge, namespace: istio-system}
stringData:
  tls.crt: |
    -----BEGIN CERTIFICATE-----
    second
  tls.key: |
    -----BEGIN PRIVATE KEY-----
    second
---
apiVersion: v1
kind: Secret
metadata: {name: client, namespace: istio-system}
data: {ca.crt: Zmlyc3Q=}
---
apiVersion: v1
kind: Secret
metadata: {name: client, namespace: istio-system}
data: {ca.crt: c2Vjb25k}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "enableAutoMtls: false"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "accessLogFile: /dev/stdout\nproxyHttpPort: 15080\noutboundTrafficPolicy: {mode: REGISTRY_ONLY}"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    extensionProviders:
    - {name: asks, envoyExtAuthzHttp: {service: cart.shop.svc.cluster.local, port: 80}}
    - {name: taken, envoyHttpAls: {service: shop/cart.shop.svc.cluster.local, port: 80}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    rootNamespace: shop
    extensionProviders:
    - {name: asks, envoyExtAuthzGrpc: {service: api.example.com, port: 80}}
"#;
