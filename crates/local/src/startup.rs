//! Waiting until a mesh that starts is complete.
//!
//! In: what each pod lacks, what the control plane says of its proxies. Out: what is still missing.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::http;
use crate::pod::ProxyKind;
use crate::runner::RunningPod;
use crate::sync::{SYNC_PATH, SyncStatus};

/// How long a start may take before what is missing is told.
const LIMIT: Duration = Duration::from_secs(60);

/// How often the control plane is asked.
const INTERVAL: Duration = Duration::from_millis(100);

/// A mesh that starts.
#[derive(Debug)]
pub(crate) struct Startup {
    deadline: Instant,
    synced: watch::Receiver<BTreeSet<String>>,
    asking: JoinHandle<()>,
}

impl Startup {
    /// Begins to ask the control plane at `debug`.
    pub(crate) fn begin(debug: SocketAddr) -> Self {
        let (sender, synced) = watch::channel(BTreeSet::new());
        Self {
            deadline: Instant::now() + LIMIT,
            synced,
            asking: tokio::spawn(ask(debug, sender)),
        }
    }

    /// What is missing, one line for each pod; nothing when the mesh is ready.
    pub(crate) fn lacking<'a>(&self, pods: impl Iterator<Item = &'a RunningPod>) -> Vec<String> {
        let synced = self.synced.borrow();
        let lacks = |pod: &RunningPod| {
            let name = pod.plan.pod.to_string();
            let own = pod.lacks();
            let configured = pod.plan.proxy == ProxyKind::None || synced.contains(&name);
            let what = match own {
                Some(what) => what,
                None if !configured => "its proxy has not confirmed its configuration".to_owned(),
                None => return None,
            };
            Some(format!("{name}: {what}"))
        };
        pods.filter_map(lacks).collect()
    }

    /// Whether it takes too long.
    pub(crate) fn is_late(&self) -> bool {
        Instant::now() >= self.deadline
    }
}

impl Drop for Startup {
    fn drop(&mut self) {
        self.asking.abort();
    }
}

async fn ask(debug: SocketAddr, synced: watch::Sender<BTreeSet<String>>) {
    loop {
        if let Ok(answer) = http::get(&debug.to_string(), SYNC_PATH).await
            && let Ok(statuses) = SyncStatus::parse(&answer.body)
        {
            let done = statuses.into_iter().filter(SyncStatus::is_synced);
            synced.send_replace(done.map(|it| it.proxy).collect());
        }
        sleep(INTERVAL).await;
    }
}
