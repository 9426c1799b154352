//! The emulated server judged by kubectl, and what kubectl writes as it is watched.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use meltemi_testkit::{ApiServer, find_program, skip};
use serde_json::{Value, json};

use super::watch::Watched;
use super::{policy, service};

struct Kubectl {
    program: PathBuf,
    place: tempfile::TempDir,
}

impl Kubectl {
    fn of(server: &ApiServer) -> Option<Self> {
        let program = find_program("kubectl")?;
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("config"), server.kubeconfig()).unwrap();
        Some(Self { program, place })
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        command.env("HOME", self.place.path());
        command
            .arg("--kubeconfig")
            .arg(self.place.path().join("config"));
        command.args(arguments).output().unwrap()
    }

    /// Does something with an object; the answer is what it printed.
    fn give(&self, verb: &[&str], object: &Value) -> String {
        let file = self.place.path().join("object.json");
        std::fs::write(&file, object.to_string()).unwrap();
        let mut arguments = verb.to_vec();
        let file = file.display().to_string();
        arguments.extend(["--validate=false", "-f", &file]);
        printed(&self.run(&arguments))
    }
}

fn printed(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kubectl_does_is_seen() {
    let server = ApiServer::start();
    let Some(kubectl) = Kubectl::of(&server) else {
        return skip("no kubectl on the path");
    };
    let mut watched = Watched::of(&server);
    watched.until("ready").await;
    let said = kubectl.give(&["create"], &service("a", 1));
    assert_eq!(said, "service/a created\n");
    assert_eq!(watched.until("shop/a").await, ["apply Service shop/a"]);
    kubectl.give(&["replace"], &service("a", 2));
    assert_eq!(watched.until("shop/a").await, ["apply Service shop/a"]);
    // As people change Istio's resources: with the last state that was applied in an annotation.
    let mut policy = policy("p", 1, "ALLOW");
    policy["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("resourceVersion");
    kubectl.give(&["apply"], &policy);
    assert_eq!(
        watched.until("shop/p").await,
        ["apply AuthorizationPolicy shop/p"]
    );
    policy["spec"]["action"] = "DENY".into();
    let said = kubectl.give(&["apply"], &policy);
    assert!(said.contains("p configured"), "{said}");
    assert_eq!(
        watched.until("shop/p").await,
        ["apply AuthorizationPolicy shop/p"]
    );
    let got = printed(&kubectl.run(&["get", "authorizationpolicies", "-A", "-o", "json"]));
    let got: Value = serde_json::from_str(&got).unwrap();
    assert_eq!(
        got["items"][0]["spec"],
        json!({ "action": "DENY", "rules": [{}] })
    );
    printed(&kubectl.run(&["delete", "-n", "shop", "service", "a", "--wait=false"]));
    assert_eq!(watched.until("shop/a").await, ["delete Service shop/a"]);
}

/// kubectl's own watch of the server says the same as ours.
#[tokio::test(flavor = "multi_thread")]
async fn kubectl_watches_the_server() {
    let server = ApiServer::start();
    let Some(kubectl) = Kubectl::of(&server) else {
        return skip("no kubectl on the path");
    };
    server.apply(service("a", 1));
    let config = kubectl.place.path().join("config");
    let watching = meltemi_testkit::Process::start(&mut command(&kubectl.program, &config));
    let mut watching = watching.unwrap();
    let limit = std::time::Duration::from_secs(20);
    watching.wait_for_text(limit, "ADDED service/a").unwrap();
    server.bookmark();
    server.apply(service("b", 1));
    watching.wait_for_text(limit, "ADDED service/b").unwrap();
    server.delete("services", "shop", "a");
    watching.wait_for_text(limit, "DELETED service/a").unwrap();
}

fn command(program: &Path, config: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("HOME", config.parent().unwrap());
    command.arg("--kubeconfig").arg(config);
    let columns = "jsonpath={.type} service/{.object.metadata.name}{\"\\n\"}";
    command.args([
        "get",
        "services",
        "-A",
        "--watch",
        "--output-watch-events",
        "-o",
        columns,
    ]);
    command
}
