//! Listeners, clusters, route tables and endpoints that come from files (`path_config_source`): each
//! file is read at the start, and again when another takes its place.
//!
//! In: what is wanted of which files. Out: updates, or why there is none. Called by the discovery loop.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use meltemi_xds::any;
use meltemi_xds::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use meltemi_xds::pb::envoy::config::route::v3::RouteConfiguration;
use meltemi_xds_client::{Received, ResourceType, Update};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::secret_files::{LOOK, mark};

/// What is wanted of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wanted {
    /// Resources of this kind.
    pub kind: ResourceType,
    /// The file.
    pub path: PathBuf,
    /// The one of this name, where not all are wanted.
    pub name: Option<String>,
}

/// What became of a file.
#[derive(Debug)]
pub(crate) enum News {
    /// It has been read.
    Update(Update),
    /// It has been read, and holds something else than what is wanted.
    Unfit(String),
    /// It cannot be read.
    Unread(String),
}

/// The files that are followed.
pub(crate) struct FileSources {
    followed: BTreeMap<Wanted, Follower>,
    news: mpsc::Sender<(Wanted, News)>,
}

/// A task; it ends when this is dropped.
struct Follower(JoinHandle<()>);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl FileSources {
    /// None yet, and where their news come.
    pub fn new() -> (Self, mpsc::Receiver<(Wanted, News)>) {
        let (news, receiver) = mpsc::channel(16);
        let sources = Self {
            followed: BTreeMap::new(),
            news,
        };
        (sources, receiver)
    }

    /// Follows these, and nothing else.
    pub fn follow(&mut self, wanted: BTreeSet<Wanted>) {
        self.followed.retain(|one, _| wanted.contains(one));
        for one in wanted {
            let news = self.news.clone();
            let start = |one: &Wanted| Follower(tokio::spawn(follow(one.clone(), news)));
            self.followed.entry(one).or_insert_with_key(start);
        }
    }

    /// Whether it is followed still, which news may be too late for.
    pub fn follows(&self, wanted: &Wanted) -> bool {
        self.followed.contains_key(wanted)
    }
}

async fn follow(wanted: Wanted, news: mpsc::Sender<(Wanted, News)>) {
    let mut before = None;
    loop {
        let now = mark(&wanted.path);
        // A file that is gone is none that came into its place.
        if before.is_none_or(|before| before != now && now.is_some()) {
            let read = read(&wanted);
            if news.send((wanted.clone(), read)).await.is_err() {
                return;
            }
        }
        before = Some(now);
        tokio::time::sleep(LOOK).await;
    }
}

fn read(wanted: &Wanted) -> News {
    match update(wanted.kind, &wanted.path) {
        Err(reason) => News::Unread(reason),
        Ok(update) => match check(wanted, &update) {
            Err(reason) => News::Unfit(reason),
            Ok(()) => News::Update(update),
        },
    }
}

fn update(kind: ResourceType, path: &Path) -> Result<Update, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let response = meltemi_config::discovery_response(&text, path);
    let response = response.map_err(|errors| errors.to_string())?;
    let version = response.version_info;
    let received = |body| Received {
        name: String::new(),
        version: version.clone(),
        aliases: Vec::new(),
        body,
    };
    Ok(Update {
        kind,
        nonce: String::new(),
        added: response.resources.into_iter().map(received).collect(),
        removed: Vec::new(),
        complete: kind.is_complete_in_sotw(),
        version,
    })
}

/// Where one resource is wanted there may be no other.
fn check(wanted: &Wanted, update: &Update) -> Result<(), String> {
    let Some(name) = &wanted.name else {
        return Ok(());
    };
    let body = match update.added.as_slice() {
        [] => return Ok(()),
        [received] => &received.body,
        many => {
            return Err(format!(
                "resources: one is wanted, there are {}",
                many.len()
            ));
        }
    };
    let (field, found) = match wanted.kind {
        ResourceType::Route => (
            "name",
            any::unpack::<RouteConfiguration>(body).map(|it| it.name),
        ),
        ResourceType::Endpoint => (
            "cluster_name",
            any::unpack::<ClusterLoadAssignment>(body).map(|it| it.cluster_name),
        ),
        ResourceType::Cluster
        | ResourceType::Listener
        | ResourceType::VirtualHost
        | ResourceType::Secret
        | ResourceType::Extension => return Ok(()),
    };
    let found = found.map_err(|error| format!("resources[0]: {error}"))?;
    if found != *name {
        return Err(format!(
            "resources[0].{field}: {name:?} is wanted, this is {found:?}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
