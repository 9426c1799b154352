//! Watching a server of the testkit, over loopback.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use meltemi_lifecycle::Random;
use meltemi_model::{Config, Defaults};
use meltemi_source::Event;
use meltemi_testkit::{ApiServer, Pki};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{policy, say, service};
use crate::{Access, Client, watch};

/// Longer than anything here takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

pub struct Watched(mpsc::Receiver<Event>);

impl Watched {
    fn start(access: Access) -> Self {
        let (sender, events) = mpsc::channel(16);
        let client = Arc::new(Client::new(access));
        tokio::spawn(watch(client, Defaults::default(), sender));
        Self(events)
    }

    pub fn of(server: &ApiServer) -> Self {
        Self::start(access(&server.kubeconfig()))
    }

    /// An event that comes within so many milliseconds.
    async fn soon(&mut self, milliseconds: u64) -> Option<Event> {
        let waiting = timeout(Duration::from_millis(milliseconds), self.0.recv());
        waiting.await.ok().flatten()
    }

    /// Events up to the one that is awaited, with it.
    pub async fn until(&mut self, awaited: &str) -> Vec<String> {
        let mut said = Vec::new();
        let waiting = async {
            while let Some(event) = self.0.recv().await {
                said.push(say(&event));
                if said.last().is_some_and(|it| it.contains(awaited)) {
                    return;
                }
            }
        };
        let came = timeout(LIMIT, waiting).await.is_ok();
        assert!(came, "waiting for {awaited}: {said:?}");
        said
    }
}

fn access(kubeconfig: &str) -> Access {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("config");
    std::fs::write(&path, kubeconfig).unwrap();
    Access::from_kubeconfig(&path, None).unwrap()
}

fn map(name: &str, namespace: &str) -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": name, "namespace": namespace },
        "data": { "mesh": "accessLogFile: /dev/stdout" },
    })
}

#[tokio::test]
async fn the_first_state_and_changes() {
    let server = ApiServer::start();
    server.apply(service("a", 1));
    server.apply(policy("p", 1, "ALLOW"));
    server.apply(map("istio", "istio-system"));
    server.apply(map("istio", "elsewhere"));
    server.apply(map("other", "istio-system"));
    let mut watched = Watched::of(&server);
    let mut first = watched.until("ready").await;
    first.sort();
    let expected = [
        "apply AuthorizationPolicy shop/p",
        "apply MeshConfig istio-system/istio",
        "apply Service shop/a",
        "init",
        "ready",
    ];
    assert_eq!(first, expected);
    server.apply(service("a", 2));
    assert_eq!(watched.until("shop/a").await, ["apply Service shop/a"]);
    server.delete("services", "shop", "a");
    assert_eq!(watched.until("shop/a").await, ["delete Service shop/a"]);
    let requests = server.requests();
    assert!(
        requests.iter().all(|it| it.contains("watch=true")),
        "streams alone: {requests:?}"
    );
}

#[tokio::test]
async fn pages_where_there_are_no_streaming_lists() {
    let server = ApiServer::start();
    server.stream_lists(false);
    for number in 0..1201 {
        server.apply(service(&format!("s{number}"), 1));
    }
    let mut watched = Watched::of(&server);
    let first = watched.until("ready").await;
    assert_eq!(first.len(), 1201 + 2);
    let pages = server.requests();
    let pages = pages.iter().filter(|it| it.contains("/services?limit=500"));
    assert_eq!(pages.count(), 3);
    server.apply(service("s7", 2));
    assert_eq!(watched.until("s7").await, ["apply Service shop/s7"]);
}

#[tokio::test]
async fn a_watch_that_is_cut_goes_on_where_it_was() {
    let server = ApiServer::start();
    server.apply(service("a", 1));
    let mut watched = Watched::of(&server);
    watched.until("ready").await;
    server.bookmark();
    server.apply(service("b", 1));
    watched.until("shop/b").await;
    let before = server.requests().len();
    server.cut();
    server.apply(service("c", 1));
    assert_eq!(watched.until("shop/c").await, ["apply Service shop/c"]);
    let again = server.requests();
    let services = again[before..]
        .iter()
        .filter(|it| it.contains("/services?"));
    for request in services {
        assert!(request.contains("&resourceVersion="), "{request}");
    }
}

#[tokio::test]
async fn what_is_too_old_is_listed_again_and_only_differences_are_said() {
    let server = ApiServer::start();
    for name in ["a", "b", "c"] {
        server.apply(service(name, 1));
    }
    let mut watched = Watched::of(&server);
    watched.until("ready").await;
    server.fail(Some(503));
    server.cut();
    let said = watched.until("new kubernetes: ").await;
    assert!(
        said[0].contains("the answer is 503: the server is not well"),
        "{said:?}"
    );
    server.delete("services", "shop", "b");
    server.apply(service("c", 2));
    server.apply(service("d", 1));
    server.compact();
    server.fail(None);
    let said = watched.until("delete").await;
    let mut said: Vec<_> = said
        .iter()
        .filter(|it| !it.contains("kubernetes: "))
        .collect();
    said.sort();
    assert_eq!(
        said,
        [
            "apply Service shop/c",
            "apply Service shop/d",
            "delete Service shop/b"
        ]
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_is_waited_for() {
    let server = ApiServer::start();
    let kubeconfig = server.kubeconfig();
    let address = server.address();
    drop(server);
    let mut watched = Watched::start(access(&kubeconfig));
    let said = watched.until("new kubernetes: ").await;
    assert_eq!(said[0], "init");
    assert!(
        said[1].contains(&format!("from http://{address}: ")),
        "{said:?}"
    );
    let server = ApiServer::start_on(address);
    server.apply(service("a", 1));
    let said = watched.until("ready").await;
    assert!(
        said.contains(&"apply Service shop/a".to_owned()),
        "{said:?}"
    );
}

#[tokio::test]
async fn kinds_come_and_go() {
    let server = ApiServer::start();
    server.serve_versions("gateways", &["v1beta1"]);
    server.serve_versions("telemetries", &[]);
    server.apply(json!({
        "apiVersion": "networking.istio.io/v1", "kind": "Gateway",
        "metadata": { "name": "g", "namespace": "shop" },
        "spec": { "servers": [{ "port": { "number": 80, "name": "http", "protocol": "HTTP" }, "hosts": ["*"] }] },
    }));
    server.apply(policy("p", 1, "DENY"));
    let mut watched = Watched::of(&server);
    let first = watched.until("ready").await;
    assert!(
        first.contains(&"apply Gateway shop/g".to_owned()),
        "at another version: {first:?}"
    );
    server.serve_versions("authorizationpolicies", &[]);
    assert_eq!(
        watched.until("delete").await,
        ["delete AuthorizationPolicy shop/p"]
    );
}

#[tokio::test]
async fn over_tls_a_token_is_reviewed() {
    let pki = Pki::new().with("server", ["localhost"]);
    let place = tempfile::tempdir().unwrap();
    pki.write(place.path()).unwrap();
    let server = ApiServer::start_tls(pki.server("server", &["h2", "http/1.1"]));
    server.know_token("good", "shop", "web");
    server.apply(service("a", 1));
    let kubeconfig = format!(
        "clusters: [{{ name: c, cluster: {{ server: 'https://{}', tls-server-name: localhost, \
         certificate-authority: ca.pem }} }}]\nusers: []\ncontexts: [{{ name: x, context: {{ cluster: c }} }}]\n",
        server.address()
    );
    let path = place.path().join("config");
    std::fs::write(&path, kubeconfig).unwrap();
    let access = Access::from_kubeconfig(&path, Some("x")).unwrap();
    let client = Client::new(access.clone());
    let audiences = ["istio-ca".to_owned()];
    let review = client.review("good", &audiences).await.unwrap();
    assert!(review.authenticated);
    assert_eq!(review.user.username, "system:serviceaccount:shop:web");
    assert_eq!(review.audiences, audiences);
    let review = client.review("bad", &audiences).await.unwrap();
    assert!(!review.authenticated && !review.error.is_empty());
    server.fail(Some(403));
    let refused = client.review("good", &audiences).await.unwrap_err();
    assert!(refused.to_string().contains("403"), "{refused}");
    server.fail(None);
    let mut watched = Watched::start(access);
    let first = watched.until("ready").await;
    assert!(
        first.contains(&"apply Service shop/a".to_owned()),
        "{first:?}"
    );
}

/// Whatever happens to the connections, the lists and the memory of the server, in the end everybody has the same.
#[tokio::test]
async fn it_comes_to_what_the_server_has() {
    for seed in 0..4 {
        let random = Random::seeded(seed);
        let server = ApiServer::start();
        server.stream_lists(seed % 2 == 0);
        let mut watched = Watched::of(&server);
        let mut there = BTreeMap::new();
        let mut has = BTreeMap::new();
        for turn in 0..400 {
            let name = format!("s{}", random.below(12));
            match random.below(40) {
                0 => server.cut(),
                1 => server.compact(),
                2 => server.bookmark(),
                3 => server.stream_lists(random.below(2) == 0),
                4 => {
                    server.compact();
                    server.cut();
                }
                5..15 if there.remove(&name).is_some() => server.delete("services", "shop", &name),
                _ => {
                    server.apply(service(&name, turn));
                    there.insert(name, 8000 + turn);
                }
            }
            // Now and then it is left in peace for a moment, and mostly not.
            while let Some(event) = watched.soon(random.below(3)).await {
                note(&mut has, &event);
            }
        }
        let waiting = async {
            while has != there {
                let event = watched.0.recv().await.unwrap();
                note(&mut has, &event);
            }
        };
        let came = timeout(LIMIT, waiting).await.is_ok();
        assert!(came, "seed {seed}: {has:?} is not {there:?}");
    }
}

/// The ports that there are once an event was heard, by their services' names.
fn note(has: &mut BTreeMap<String, u32>, event: &Event) {
    match event {
        Event::Apply(config) => match config.as_ref() {
            Config::Service(it) => {
                has.insert(it.meta.name.to_string(), it.ports[0].number.into());
            }
            other => panic!("{other:?}"),
        },
        Event::Delete(id) => drop(has.remove(&*id.name)),
        Event::Init | Event::Ready | Event::Problems(_) => {}
    }
}
