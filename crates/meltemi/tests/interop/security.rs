//! The ninth chapter of the book: who is let in.
//!
//! In: a world, and who stands in the places of its proxies. Out: nothing, or a panic. The manifests
//! and the tokens are the book's.

use std::path::PathBuf;

use meltemi_testkit::{Reply, Request, Response, Upstream};
use serde_json::{Value, json};

use crate::world::{GATEWAY, WEBAPP, World};

/// Where the external authorizer of these tests listens.
pub const AUTHORIZER: (u8, u16) = (9, 8000);

/// What the authorizer says to those that it does not let in.
const DENIAL: &str = "denied by ext_authz for not found header `x-ext-authz: allow` in the request";

/// The host for which the book's policies are.
const HOST: &str = "webapp.istioinaction.io";

/// The book's chapter.
pub struct Chapter(pub PathBuf);

impl Chapter {
    fn text(&self, name: &str) -> String {
        let path = self.0.join(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn token(&self, name: &str) -> String {
        format!("Bearer {}", self.text(name).trim())
    }
}

/// The mesh's configuration: where the authorizer is.
pub fn mesh_config() -> Value {
    json!({ "extensionProviders": [{
        "name": "sample-ext-authz-http",
        "envoyExtAuthzHttp": {
            "service": "ext-authz.istioinaction.global",
            "port": AUTHORIZER.1,
            "pathPrefix": "/check",
            "includeRequestHeadersInCheck": ["x-ext-authz"],
        },
    }]})
}

/// All of the chapter.
pub async fn all(world: &World, chapter: &Chapter) {
    mutual_tls(world, chapter).await;
    identities(world, chapter).await;
    tokens(world, chapter).await;
    custom(world, chapter).await;
}

/// Only callers with the mesh's certificates get through to a strict workload, and everybody to a
/// permissive one.
async fn mutual_tls(world: &World, chapter: &Chapter) {
    let (direct, gateway) = (world.address(WEBAPP, 8080), world.address(GATEWAY, 8080));
    let request = Request::get("/");
    world
        .until(direct, &request, "in plain text, permissive", is(200))
        .await;
    world.apply(
        "strict.yaml",
        &chapter.text("meshwide-strict-peer-authn.yaml"),
    );
    world
        .until_refused(direct, &request, "in plain text, strict")
        .await;
    world
        .until(gateway, &request, "from the mesh, strict", is(200))
        .await;
    let permissive = "apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: webapp, namespace: istioinaction }
spec:
  selector: { matchLabels: { app: webapp } }
  mtls: { mode: PERMISSIVE }
";
    world.apply("permissive.yaml", permissive);
    world
        .until(direct, &request, "in plain text, permissive again", is(200))
        .await;
    world.remove("permissive.yaml");
    world
        .until_refused(direct, &request, "in plain text, strict again")
        .await;
    world.remove("strict.yaml");
    world
        .until(direct, &request, "in plain text, in the end", is(200))
        .await;
}

/// Nobody, then somebody: the caller's identity, and what it does.
async fn identities(world: &World, chapter: &Chapter) {
    let (direct, gateway) = (world.address(WEBAPP, 8080), world.address(GATEWAY, 8080));
    world.apply("deny-all.yaml", &chapter.text("policy-deny-all-mesh.yaml"));
    let request = Request::get("/");
    let denied = world
        .until(gateway, &request, "nobody gets in", is(403))
        .await;
    assert_eq!(denied.text(), "RBAC: access denied");
    let viewer = "apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: viewers, namespace: istioinaction }
spec:
  selector: { matchLabels: { app: webapp } }
  rules:
  - from: [{ source: { principals: [cluster.local/ns/istio-system/sa/istio-ingressgateway] } }]
    to: [{ operation: { methods: [GET] } }]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: anybody, namespace: istio-system }
spec:
  selector: { matchLabels: { istio: ingressgateway } }
  rules: [{}]
";
    world.apply("viewers.yaml", viewer);
    world
        .until(gateway, &request, "the gateway may look", is(200))
        .await;
    let write = Request::post("/", "x");
    world
        .until(gateway, &write, "the gateway may not write", is(403))
        .await;
    world
        .until(
            direct,
            &request,
            "a caller without a name may not look",
            is(403),
        )
        .await;
    // A policy that is wrong keeps everybody out, since nobody knows whom it was to let in.
    world.remove("viewers.yaml");
    world.remove("deny-all.yaml");
    world
        .until(direct, &request, "everybody again", is(200))
        .await;
    world.apply(
        "wrong.yaml",
        &viewer.replace("methods: [GET]", "methodz: [GET]"),
    );
    world
        .until(direct, &request, "a wrong policy", is(403))
        .await;
    world.remove("wrong.yaml");
    world.until(direct, &request, "no policy", is(200)).await;
}

/// The matrix of tokens.
async fn tokens(world: &World, chapter: &Chapter) {
    let gateway = world.address(GATEWAY, 8080);
    let with = |method: &str, token: Option<&str>| {
        let request = Request::new(method, "/").host(HOST);
        match token {
            Some(file) => request.header("authorization", &chapter.token(file)),
            None => request,
        }
    };
    let ask = |method: &str, token: Option<&str>, status: u16| {
        let request = with(method, token);
        let what = format!("{method} with {token:?} is {status}");
        async move { world.until(gateway, &request, &what, is(status)).await }
    };
    let (user, admin) = (Some("enduser/user.jwt"), Some("enduser/admin.jwt"));
    let strangers = [
        Some("enduser/not-configured-issuer.jwt"),
        Some("enduser/user-wrong-issuer.jwt"),
    ];
    ask("GET", None, 200).await;
    // What is wrong verifies nothing: who shows a token is not let in as if nobody had asked for one.
    let written = chapter.text("enduser/jwt-token-request-authn.yaml");
    world.apply("wrong-authn.yaml", &written.replace("jwks:", "jwkz:"));
    ask("GET", user, 401).await;
    ask("GET", admin, 401).await;
    ask("GET", None, 200).await;
    world.remove("wrong-authn.yaml");
    ask("GET", user, 200).await;
    world.apply(
        "authn.yaml",
        &chapter.text("enduser/jwt-token-request-authn.yaml"),
    );
    for stranger in strangers {
        let refused = ask("GET", stranger, 401).await;
        assert_eq!(refused.text(), "Jwt issuer is not configured");
    }
    ask("GET", None, 200).await;
    ask("GET", user, 200).await;
    let broken = with("GET", None).header("authorization", "Bearer a.b.c");
    world
        .until(gateway, &broken, "a broken token", is(401))
        .await;

    world.apply(
        "requires.yaml",
        &chapter.text("enduser/app-gw-requires-jwt.yaml"),
    );
    ask("GET", None, 403).await;
    ask("GET", user, 200).await;
    ask("POST", user, 200).await;

    world.apply(
        "all.yaml",
        &chapter.text("enduser/allow-all-with-jwt-to-webapp.yaml"),
    );
    world.apply(
        "admin.yaml",
        &chapter.text("enduser/allow-mesh-all-ops-admin.yaml"),
    );
    ask("POST", user, 403).await;
    ask("GET", user, 200).await;
    ask("POST", admin, 200).await;
    ask("GET", None, 403).await;
    ask("GET", strangers[0], 401).await;
    for file in ["authn.yaml", "requires.yaml", "all.yaml", "admin.yaml"] {
        world.remove(file);
    }
    ask("POST", None, 200).await;
}

/// Somebody else decides.
async fn custom(world: &World, chapter: &Chapter) {
    let authorizer = Upstream::start_on(world.place(AUTHORIZER.0, AUTHORIZER.1));
    authorizer.on("/check/api/catalog", Reply::status(200));
    authorizer.fallback(Reply::status(403).body(DENIAL));
    let entry = format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: ext-authz, namespace: istioinaction }}
spec:
  hosts: [ext-authz.istioinaction.global]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{{ number: {}, name: http, protocol: HTTP }}]
  endpoints: [{{ address: {} }}]
",
        AUTHORIZER.1,
        world.place(AUTHORIZER.0, 0).ip()
    );
    // Before the provider's service is there, nobody gets through.
    let gateway = world.address(GATEWAY, 8080);
    let (right, wrong) = (Request::get("/api/catalog"), Request::get("/elsewhere"));
    world
        .until(gateway, &wrong, "without a policy", is(200))
        .await;
    world.apply(
        "custom.yaml",
        &chapter.text("custom-authorization-policy.yaml"),
    );
    world
        .until(gateway, &right, "without a provider", is(403))
        .await;
    world.apply("ext-authz.yaml", &entry);
    world
        .until(gateway, &right, "as the provider allows", is(200))
        .await;
    let denied = world
        .until(gateway, &wrong, "as the provider denies", is(403))
        .await;
    assert_eq!(denied.text(), DENIAL);
    assert!(authorizer.count("/check/api/catalog") > 0);
    world.remove("custom.yaml");
    world
        .until(gateway, &wrong, "without a policy again", is(200))
        .await;
}

fn is(status: u16) -> impl Fn(&Response) -> bool {
    move |response| response.status == status
}
