//! The watcher on a real directory; every wait is for an event.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use meltemi_model::Defaults;
use tokio::sync::mpsc;

use crate::{Event, load, watch};

fn namespace(name: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n")
}

async fn next(events: &mut mpsc::Receiver<Event>) -> String {
    let event = tokio::time::timeout(Duration::from_secs(20), events.recv()).await;
    match event.expect("an event in time").expect("the watcher lives") {
        Event::Init => "init".to_owned(),
        Event::Ready => "ready".to_owned(),
        Event::Apply(config) => format!("apply {}", config.id()),
        Event::Delete(id) => format!("delete {id}"),
        Event::Problems(it) => format!("problems +{} -{}", it.new.len(), it.resolved.len()),
    }
}

fn start(directory: &Path) -> mpsc::Receiver<Event> {
    let (sender, receiver) = mpsc::channel(16);
    let watching = watch(vec![directory.to_owned()], Defaults::default(), sender);
    tokio::spawn(async move { watching.await.expect("the directory can be watched") });
    receiver
}

#[tokio::test]
async fn follows_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::fs::write(at("a.yaml"), namespace("a")).unwrap();
    std::fs::write(at("meltemi.yaml"), "images: {}").unwrap();
    std::fs::write(at(".hidden.yaml"), namespace("hidden")).unwrap();
    let mut events = start(directory.path());
    for expected in ["init", "apply Namespace a", "ready"] {
        assert_eq!(next(&mut events).await, expected);
    }

    std::fs::create_dir(at("below")).unwrap();
    std::fs::write(
        at("below/b.json"),
        r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "b"}}"#,
    )
    .unwrap();
    assert_eq!(next(&mut events).await, "apply Namespace b");

    // As editors do it: write beside, rename over.
    std::fs::write(at("a.yaml~"), namespace("c")).unwrap();
    std::fs::rename(at("a.yaml~"), at("a.yaml")).unwrap();
    assert_eq!(next(&mut events).await, "apply Namespace c");
    assert_eq!(next(&mut events).await, "delete Namespace a");

    std::fs::write(at("a.yaml"), "a: [").unwrap();
    assert_eq!(next(&mut events).await, "problems +1 -0");
    std::fs::write(at("a.yaml"), namespace("c")).unwrap();
    assert_eq!(next(&mut events).await, "problems +0 -1");

    std::fs::remove_dir_all(at("below")).unwrap();
    assert_eq!(next(&mut events).await, "delete Namespace b");
}

#[tokio::test]
async fn follows_a_single_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.yaml");
    std::fs::write(&file, namespace("a")).unwrap();
    std::fs::write(directory.path().join("b.yaml"), namespace("b")).unwrap();
    let mut events = start(&file);
    for expected in ["init", "apply Namespace a", "ready"] {
        assert_eq!(next(&mut events).await, expected);
    }
    std::fs::write(&file, namespace("c")).unwrap();
    assert_eq!(next(&mut events).await, "apply Namespace c");
}

/// The next event that says something new.
async fn news(events: &mut mpsc::Receiver<Event>) -> String {
    loop {
        let event = next(events).await;
        if event != "problems +0 -0" {
            return event;
        }
    }
}

#[tokio::test]
async fn a_half_written_file_changes_nothing_and_is_named_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.yaml");
    std::fs::write(&path, namespace("a")).unwrap();
    let mut events = start(directory.path());
    for expected in ["init", "apply Namespace a", "ready"] {
        assert_eq!(next(&mut events).await, expected);
    }
    let mut file = std::fs::File::create(&path).unwrap();
    let mut write = |text: &str| {
        file.write_all(text.as_bytes()).unwrap();
        file.flush().unwrap();
    };
    // The file is empty now, which is no reason to take its resources away.
    std::fs::write(directory.path().join("c.yaml"), namespace("c")).unwrap();
    assert_eq!(next(&mut events).await, "apply Namespace c");
    write("apiVersion: v1\nkind: Namespace\nmetadata: {name: b,");
    assert_eq!(news(&mut events).await, "problems +1 -0");
    for part in [" labels: {", "x: y", ", z: \"w"] {
        write(part);
    }
    write("\"}}\n");
    drop(file);
    for expected in ["apply Namespace b", "delete Namespace a", "problems +0 -1"] {
        assert_eq!(news(&mut events).await, expected);
    }
}

#[tokio::test]
async fn a_directory_that_is_gone_loses_nothing_and_is_followed_when_it_is_back() {
    let place = tempfile::tempdir().unwrap();
    let (root, aside) = (place.path().join("root"), place.path().join("aside"));
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("a.yaml"), namespace("a")).unwrap();
    let mut events = start(&root);
    for expected in ["init", "apply Namespace a", "ready"] {
        assert_eq!(next(&mut events).await, expected);
    }
    std::fs::rename(&root, &aside).unwrap();
    assert_eq!(next(&mut events).await, "problems +1 -0");
    // Another one of its name, as a deployment may put it there.
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("a.yaml"), namespace("b")).unwrap();
    for expected in ["apply Namespace b", "delete Namespace a", "problems +0 -1"] {
        assert_eq!(next(&mut events).await, expected);
    }
    std::fs::write(root.join("c.yaml"), namespace("c")).unwrap();
    assert_eq!(next(&mut events).await, "apply Namespace c");
}

#[tokio::test]
async fn what_a_link_leads_to_is_followed() {
    // As Kubernetes mounts a ConfigMap: a link to a link to a directory, which is replaced.
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for (number, name) in [("..1", "a"), ("..2", "b")] {
        std::fs::create_dir(at(number)).unwrap();
        std::fs::write(at(number).join("it.yaml"), namespace(name)).unwrap();
    }
    symlink("..1", at("..data")).unwrap();
    symlink("..data/it.yaml", at("it.yaml")).unwrap();
    let mut events = start(directory.path());
    for expected in ["init", "apply Namespace a", "ready"] {
        assert_eq!(next(&mut events).await, expected);
    }
    symlink("..2", at("..data_tmp")).unwrap();
    std::fs::rename(at("..data_tmp"), at("..data")).unwrap();
    assert_eq!(next(&mut events).await, "apply Namespace b");
    assert_eq!(next(&mut events).await, "delete Namespace a");
}

#[tokio::test]
async fn thousands_of_changes_end_in_the_last_and_a_large_file_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let mut events = start(directory.path());
    for expected in ["init", "ready"] {
        assert_eq!(next(&mut events).await, expected);
    }
    for turn in 0..1200 {
        let file = directory.path().join(format!("{}.yaml", turn % 30));
        std::fs::write(file, namespace(&format!("n-{turn}"))).unwrap();
    }
    std::fs::write(directory.path().join("last.yaml"), namespace("last")).unwrap();
    let mut there = BTreeSet::new();
    while !(there.len() == 31 && there.contains("last") && there.contains("n-1199")) {
        let event = next(&mut events).await;
        match event.split_once(" Namespace ").unwrap() {
            ("apply", name) => there.insert(name.to_owned()),
            (_, name) => there.remove(name),
        };
    }
    // Twenty megabytes: half of them are one comment, so that the test stays quick.
    let mut large = "#".repeat(10 << 20);
    for number in 0..300 {
        let text = "x".repeat(32 << 10);
        large.push_str(&format!(
            "\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m-{number}}}\ndata: {{text: {text}}}"
        ));
    }
    std::fs::write(directory.path().join("large.yaml"), large).unwrap();
    let mut count = 0;
    while count < 300 {
        let event = next(&mut events).await;
        assert!(event.starts_with("apply ConfigMap default/m-"), "{event}");
        count += 1;
    }
}

#[tokio::test]
async fn a_missing_directory_is_an_error() {
    let (sender, _receiver) = mpsc::channel(1);
    let result = watch(vec!["/nowhere/at/all".into()], Defaults::default(), sender).await;
    assert!(result.is_err());
}

#[test]
fn loads_everything_at_once() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a.yaml"), namespace("a")).unwrap();
    std::fs::write(directory.path().join("b.yml"), "a: [").unwrap();
    let (configs, problems) = load(&[directory.path().to_owned()], Defaults::default()).unwrap();
    assert_eq!((configs.len(), problems.len()), (1, 1));
}
