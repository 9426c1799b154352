//! A mesh of 300 services with every feature of Istio's traffic resources in use, served to a stock
//! Envoy and to our proxy: neither refuses anything, and both give the same answers.
//!
//! In: what [`services`] makes. Out: what differs. The two stand in the same places one after the
//! other: as the gateway, and as the sidecar of a client that calls every service.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use meltemi_testkit::{Client, RawClient, Response};
use serde_json::{Value, json};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::world::{Envoy, Form, GATEWAY, Interception, Pod, World};
use crate::{admin, echo, services};
use services::{At, Call, Place, Words};

/// How long a proxy may take to have everything of so large a mesh.
const SYNCED: Duration = Duration::from_secs(30);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);

/// Who calls.
const CLIENT: Pod = Pod {
    name: "client",
    namespace: "client",
    service_account: "client",
    labels: &[("app", "client")],
    number: 1,
    port: Some(8080),
};

/// What differs between two runs without anybody's doing, and the upstream's time.
const OF_THE_MOMENT: [&str; 3] = ["date", "x-envoy-upstream-service-time", "x-request-id"];

/// Runs the mesh on a network of its own.
pub async fn compare(network: u8, binary: &Path) {
    let place = Place {
        network,
        echo: echo::serve().await,
        gateway: format!("127.{network}.1.{}", GATEWAY.number),
    };
    let (documents, calls) = services::generate(&place);
    let mut world = World::over(network, &json!({}), &[CLIENT, GATEWAY], &documents);
    let envoys =
        [CLIENT, GATEWAY].map(|pod| world.envoy(binary, pod, Form::Delta, Interception::None));
    settled(&world, Some(&envoys)).await;
    let wanted = answers(&world, &calls).await;
    drop(envoys);
    world.sidecar(CLIENT);
    world.sidecar(GATEWAY);
    settled(&world, None).await;
    let got = answers(&world, &calls).await;
    let different: Vec<_> = calls
        .iter()
        .zip(wanted.iter().zip(&got))
        .filter(|(_, (wanted, got))| wanted != got)
        .map(|(call, (wanted, got))| format!("{}\n  Envoy: {wanted}\n  ours:  {got}", call.about))
        .collect();
    assert!(
        different.is_empty(),
        "{} of {} answers differ:\n{}",
        different.len(),
        calls.len(),
        different
            .iter()
            .take(20)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n")
    );
    let mut statuses = BTreeMap::<_, usize>::new();
    for answer in &wanted {
        *statuses.entry(answer["status"].to_string()).or_default() += 1;
    }
    // If all failed in the same way, that would be the same too.
    assert!(statuses["200"] > 2000, "{statuses:?}");
    for status in ["302", "401", "403", "418", "503"] {
        assert!(statuses.contains_key(status), "{statuses:?}");
    }
}

/// Both proxies have confirmed everything and refused nothing.
async fn settled(world: &World, envoys: Option<&[Envoy; 2]>) {
    for (place, pod) in [CLIENT, GATEWAY].into_iter().enumerate() {
        let by = tokio::time::Instant::now() + SYNCED;
        loop {
            let rows = world.syncz(pod).await;
            let kinds = ["cds", "eds", "lds", "rds"];
            let synced = |row: &Value| kinds.iter().all(|kind| row["states"][kind] == "SYNCED");
            if rows.iter().any(synced) {
                break;
            }
            let output = envoys.map(|it| it[place].process.output());
            let late = tokio::time::Instant::now() > by;
            assert!(!late, "{}: {rows:#?}\n{output:?}", pod.name);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let stats = admin::ask(world.address(pod, 15000), "/stats?filter=update_rejected").await;
        let refused = stats.lines().filter(|it| !it.ends_with(": 0"));
        let refused: Vec<_> = refused.collect();
        let output = envoys.map(|it| it[place].process.output());
        assert!(refused.is_empty(), "{}: {refused:?} {output:?}", pod.name);
    }
}

async fn answers(world: &World, calls: &[Call]) -> Vec<Value> {
    let mut answers = Vec::new();
    for call in calls {
        let (pod, http) = match call.at {
            At::Gateway => (GATEWAY, services::HTTP),
            At::Sidecar => (CLIENT, 15080),
        };
        answers.push(match &call.words {
            Words::Http(request) => {
                let client = Client::new(world.address(pod, http)).timeout(ANSWER);
                match client.send(request).await {
                    Ok(response) => of_http(&response),
                    Err(error) => json!({"status": 0, "error": error.to_string()}),
                }
            }
            Words::Bytes(port, bytes) => of_bytes(world.address(pod, *port), bytes).await,
            Words::Hello(name) => {
                let hello = client_hello(name);
                of_bytes(world.address(pod, services::TLS), &hello).await
            }
        });
    }
    answers
}

fn of_http(response: &Response) -> Value {
    let mut headers = BTreeMap::<_, Vec<_>>::new();
    for (name, value) in response.headers.iter() {
        if !OF_THE_MOMENT.contains(&name) {
            headers.entry(name).or_default().push(value);
        }
    }
    json!({"status": response.status, "headers": headers, "body": response.text()})
}

/// What is answered to bytes; null where the connection is refused or closed without a word.
async fn of_bytes(address: SocketAddr, bytes: &[u8]) -> Value {
    let talk = async {
        let mut client = RawClient::connect(address).await.ok()?;
        client.send_bytes(bytes).await.ok()?;
        let answer = client.read_some().await.ok()?;
        Some(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = tokio::time::timeout(ANSWER, talk).await;
    json!({"bytes": answer.ok().flatten()})
}

/// The beginning of TLS, as a client of this name sends it.
fn client_hello(name: &str) -> Vec<u8> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = name.to_owned().try_into().unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}
