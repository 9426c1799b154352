//! Listeners, clusters and what these name that come from files (`path_config_source`): each
//! file is read at the start, and again when another takes its place.
//!
//! In: what is wanted of which files. Out: updates, or why there is none. Called by the discovery loop.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use meltemi_ir::ResourceSource;
use meltemi_xds::any;
use meltemi_xds::pb::envoy::config::core::v3::TypedExtensionConfig;
use meltemi_xds::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use meltemi_xds::pb::envoy::config::route::v3::RouteConfiguration;
use meltemi_xds_client::{ResourceType, Update};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::discovery::{News, Origin};
use crate::secret_files::{LOOK, mark};
use crate::subscriptions::Wanted;

/// The files that are followed.
pub(crate) struct FileSources {
    followed: BTreeMap<Wanted, Follower>,
    news: mpsc::Sender<(Origin, News)>,
}

/// A task; it ends when this is dropped.
struct Follower(JoinHandle<()>);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl FileSources {
    /// None yet; `news` takes what is read.
    pub fn new(news: mpsc::Sender<(Origin, News)>) -> Self {
        Self {
            followed: BTreeMap::new(),
            news,
        }
    }

    /// Follows these, and nothing else.
    pub fn follow(&mut self, wanted: &BTreeSet<&Wanted>) {
        self.followed.retain(|one, _| wanted.contains(one));
        for one in wanted {
            if !self.followed.contains_key(*one)
                && let ResourceSource::Path(path) = &one.source
            {
                let task = follow((*one).clone(), path.clone(), self.news.clone());
                let follower = Follower(tokio::spawn(task));
                self.followed.insert((*one).clone(), follower);
            }
        }
    }
}

async fn follow(wanted: Wanted, path: PathBuf, news: mpsc::Sender<(Origin, News)>) {
    let mut before = None;
    loop {
        let now = mark(&path);
        // A file that is gone is none that came into its place.
        if before.is_none_or(|before| before != now && now.is_some()) {
            let origin = Origin::One(wanted.clone());
            if news.send((origin, read(&wanted, &path))).await.is_err() {
                return;
            }
        }
        before = Some(now);
        tokio::time::sleep(LOOK).await;
    }
}

fn read(wanted: &Wanted, path: &Path) -> News {
    match update(wanted.kind, path) {
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
    Ok(Update::from_response(kind, response))
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
        ResourceType::Extension => (
            "name",
            any::unpack::<TypedExtensionConfig>(body).map(|it| it.name),
        ),
        ResourceType::Cluster
        | ResourceType::Listener
        | ResourceType::VirtualHost
        | ResourceType::Secret => return Ok(()),
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
