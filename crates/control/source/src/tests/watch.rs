//! The watcher on a real directory; every wait is for an event.

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
