//! Replacing the mesh's root while it serves, and what of its secrets can be seen from outside.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use meltemi_testkit::{Load, Output, Request};
use serde_json::Value;

use super::mesh::{Mesh, eventually};

fn state(mesh: &Mesh) -> Value {
    let told = mesh.tool(&["ca", "status", "-o", "json"]).stdout;
    serde_json::from_str(&told).unwrap()
}

#[test]
fn the_root_is_replaced_under_requests() {
    let mesh = Mesh::start(11);
    // Every agent has taken the bundle.
    let before = eventually("five proxies confirm", || {
        let state = state(&mesh);
        let proxies = state["proxies"].as_array()?;
        let confirmed = proxies.iter().filter(|it| it["state"] == "CONFIRMED");
        (confirmed.count() == 5).then_some(state)
    });
    let load = Load::start(mesh.gateway, Request::get("/api/catalog"), 2);
    let root = |state: &Value| state["roots"][0]["fingerprint"].clone();
    let roots = mesh.state_dir().join("ca/mesh-roots.pem");
    let file = std::fs::read_to_string(&roots).unwrap();
    for turn in 1..=2 {
        let told = mesh.tool(&["ca", "rotate", "--wait", "--timeout", "2m"]);
        assert!(told.stdout.starts_with("steady: "), "{told:?}");
        for step in ["distributing: ", "replacing: "] {
            assert!(told.stderr.contains(step), "turn {turn}: {told:?}");
        }
    }
    let after = state(&mesh);
    assert_eq!(after["roots"].as_array().unwrap().len(), 1);
    assert_ne!(root(&before), root(&after));
    let report = load.stop();
    let output = mesh.process.lines(Output::Stderr).join("\n");
    assert_eq!(report.errors, [""; 0], "{output}");
    assert_eq!(
        report.statuses.keys().collect::<Vec<_>>(),
        [&200],
        "{report:?}"
    );
    // Pods that start from now on trust the new root from the beginning.
    eventually("the file follows", || {
        let now = std::fs::read_to_string(&roots).unwrap();
        (now != file && now.matches("BEGIN").count() == 1).then_some(())
    });
    mesh.edit("apps.yaml", |text| {
        text.replacen("replicas: 1", "replicas: 2", 1)
    });
    eventually("a new pod has a certificate of the new root", || {
        let proxies = state(&mesh)["proxies"].as_array()?.len();
        (proxies == 6).then_some(())
    });
    let table = mesh.tool(&["ca", "status"]).stdout;
    for part in [
        "TRUST DOMAIN     cluster.local",
        "steady, since 20",
        "signs",
        "CONFIRMED",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let refused = mesh.try_tool(&["ca", "rotate", "--force"]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("no rotation is under way"),
        "{refused:?}"
    );
    no_key_is_to_be_seen(&mesh);
}

/// Neither in what is logged and shown, nor in files that others can read.
fn no_key_is_to_be_seen(mesh: &Mesh) {
    let directory = mesh.state_dir();
    let mut secrets = vec![
        "PRIVATE KEY".to_owned(),
        // The same in base64, however it is shifted.
        "UFJJVkFURSBLRV".to_owned(),
        "BSSVZBVEUgS0VZ".to_owned(),
        "QUklWQVRFIEtFW".to_owned(),
    ];
    for file in files(&directory) {
        let name = file.to_string_lossy().into_owned();
        let mode = std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let private = name.contains("/ca/") || name.contains("/tokens/");
        if private {
            assert_eq!(mode, 0o600, "{name}");
        }
        if name.contains("/tokens/") || name.ends_with("token-key") {
            secrets.push(text.trim().to_owned());
        }
        if name.ends_with("ca-key.pem") {
            secrets.extend(text.lines().nth(1).map(str::to_owned));
        }
    }
    assert!(secrets.len() > 8, "{secrets:?}");
    let mut shown = vec![("up".to_owned(), mesh.process.output())];
    for file in files(&directory.join("logs")) {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        shown.push((file.display().to_string(), text));
    }
    for path in [
        "/config_dump?include_eds",
        "/certs",
        "/listeners?format=json",
        "/clusters?format=json",
    ] {
        shown.push((path.to_owned(), mesh.admin("webapp", path)));
    }
    for path in [
        "syncz",
        "config_dump?proxyID=webapp",
        "configz",
        "adsz",
        "registryz",
        "ca",
        "problems",
    ] {
        shown.push((path.to_owned(), mesh.debug(&format!("/debug/{path}"))));
    }
    for (place, text) in &shown {
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{place} shows a secret");
        }
    }
    let dump = shown
        .iter()
        .find(|(place, _)| place.starts_with("/config_dump"));
    assert!(dump.unwrap().1.contains("ListenersConfigDump"), "a dump");
}

fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}
