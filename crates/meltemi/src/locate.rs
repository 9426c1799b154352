//! Finding a mesh: its control plane, and the proxies that people name.
//!
//! In: flags, environment, the state file of `up`; a name such as `webapp`, `webapp-1.shop` or
//! `deployment/webapp`. Out: addresses to ask. Called by the tools that look into a running mesh.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use meltemi_local::sync::{SYNC_PATH, SyncStatus};
use meltemi_local::{MeshState, default_state_dir, http};

use crate::cli::Global;
use crate::env::Environment;

const DEFAULT_DEBUG: &str = "127.0.0.1:15014";

/// The administration port of proxies.
pub(crate) const ADMIN_PORT: u16 = 15000;

/// Where to look.
#[derive(Debug, Clone)]
pub(crate) struct Locator {
    /// As somebody said.
    named: Option<String>,
    state_dir: PathBuf,
}

/// A proxy that can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proxy {
    /// Its pod.
    pub pod: String,
    /// The pod's namespace.
    pub namespace: String,
    /// Its Deployment, where that is known.
    pub workload: Option<String>,
    /// Where its administration listens.
    pub admin: SocketAddr,
}

impl Locator {
    pub(crate) fn new(global: &Global, environment: &Environment) -> Self {
        let named = global.discovery_address.clone();
        Self {
            named: named.or_else(|| environment.discovery.clone()),
            state_dir: state_dir(global, environment).0,
        }
    }

    /// The control plane's debug address.
    pub(crate) fn debug_address(&self) -> Result<String> {
        if let Some(named) = &self.named {
            let bare = named.strip_prefix("http://").unwrap_or(named);
            return Ok(bare.trim_end_matches('/').to_owned());
        }
        let state = MeshState::load(&self.state_dir)?;
        Ok(state.map_or_else(|| DEFAULT_DEBUG.to_owned(), |it| it.debug.to_string()))
    }

    /// How far each connected proxy has come.
    pub(crate) async fn sync_statuses(&self) -> Result<Vec<SyncStatus>> {
        let address = self.debug_address()?;
        let answer = http::get(&address, SYNC_PATH).await.with_context(|| {
            format!(
                "no control plane answers at {address}; start one with `meltemi up DIR`, or say where it is with --discovery-address or --state-dir"
            )
        })?;
        if !answer.status.is_success() {
            let body = String::from_utf8_lossy(&answer.body);
            bail!(
                "http://{address}{SYNC_PATH}: {} {}",
                answer.status,
                body.trim()
            );
        }
        SyncStatus::parse(&answer.body)
            .with_context(|| format!("http://{address}{SYNC_PATH} is not understood"))
    }

    /// The proxy that `name` means.
    pub(crate) async fn proxy(&self, name: &str, admin_port: u16) -> Result<Proxy> {
        let mut proxies = self.proxies().await?;
        if admin_port != ADMIN_PORT {
            for proxy in &mut proxies {
                proxy.admin.set_port(admin_port);
            }
        }
        choose(&proxies, name).cloned()
    }

    /// Every proxy: those of the mesh that `up` runs, else those that the control plane knows.
    async fn proxies(&self) -> Result<Vec<Proxy>> {
        let state = match self.named {
            None => MeshState::load(&self.state_dir)?,
            Some(_) => None,
        };
        if let Some(state) = state {
            let pods = state.pods.into_iter().filter_map(|pod| {
                Some(Proxy {
                    admin: pod.admin?,
                    pod: pod.name,
                    namespace: pod.namespace,
                    workload: Some(pod.workload),
                })
            });
            return Ok(pods.collect());
        }
        let statuses = self.sync_statuses().await?;
        Ok(statuses.iter().filter_map(of_status).collect())
    }
}

/// The state directory, and whether somebody named it.
pub(crate) fn state_dir(global: &Global, environment: &Environment) -> (PathBuf, bool) {
    let named = global
        .state_dir
        .clone()
        .or_else(|| environment.state_dir.clone());
    match named {
        Some(directory) => (directory, true),
        None => (default_state_dir(environment.runtime_dir.as_deref()), false),
    }
}

fn of_status(status: &SyncStatus) -> Option<Proxy> {
    let (pod, namespace) = status.proxy.rsplit_once('.')?;
    let ip: IpAddr = status.node_id.split('~').nth(1)?.parse().ok()?;
    Some(Proxy {
        pod: pod.to_owned(),
        namespace: namespace.to_owned(),
        workload: None,
        admin: SocketAddr::new(ip, ADMIN_PORT),
    })
}

/// The proxy that is meant: a pod's whole name, else a Deployment's, else the beginning of a name; with
/// the namespace after a dot where the rest does not tell.
fn choose<'a>(proxies: &'a [Proxy], name: &str) -> Result<&'a Proxy> {
    let bare = match name.split_once('/') {
        Some(("deployment" | "deploy" | "pod" | "po", bare)) => bare,
        Some((kind, _)) => bail!("{kind}/ is not understood: name a pod, or deployment/NAME"),
        None => name,
    };
    let spellings = [
        Some((bare, None)),
        bare.rsplit_once('.').map(|(pod, ns)| (pod, Some(ns))),
    ];
    let mut found = Vec::new();
    for (pod, namespace) in spellings.into_iter().flatten() {
        let inside = |it: &&Proxy| namespace.is_none_or(|namespace| it.namespace == namespace);
        let exact = |it: &&Proxy| it.pod == pod;
        let owned = |it: &&Proxy| it.workload.as_deref() == Some(pod);
        let begun = |it: &&Proxy| {
            let rest = it.pod.strip_prefix(pod);
            rest.is_some_and(|rest| rest.starts_with('-'))
        };
        let ways: [&dyn Fn(&&Proxy) -> bool; 3] = [&exact, &owned, &begun];
        for way in ways {
            if found.is_empty() {
                found = proxies.iter().filter(inside).filter(way).collect();
            }
        }
    }
    let same = found.windows(2).all(|pair| {
        pair[0].namespace == pair[1].namespace && deployment(pair[0]) == deployment(pair[1])
    });
    match found.first() {
        Some(first) if same => Ok(first),
        Some(_) => bail!("{name} is ambiguous: it may be {}", names(&found)),
        None if proxies.is_empty() => bail!("no proxy is connected to the control plane"),
        None => bail!(
            "no proxy {name}; there are {}",
            names(&proxies.iter().collect::<Vec<_>>())
        ),
    }
}

/// The Deployment of a pod: known, or its name without the two parts that are added to each.
fn deployment(proxy: &Proxy) -> &str {
    match &proxy.workload {
        Some(workload) => workload,
        None => proxy.pod.rsplitn(3, '-').last().unwrap_or(&proxy.pod),
    }
}

fn names(proxies: &[&Proxy]) -> String {
    let names = proxies
        .iter()
        .map(|it| format!("{}.{}", it.pod, it.namespace));
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{Proxy, choose};

    fn proxy(pod: &str, namespace: &str, workload: Option<&str>) -> Proxy {
        Proxy {
            pod: pod.to_owned(),
            namespace: namespace.to_owned(),
            workload: workload.map(str::to_owned),
            admin: "127.0.0.1:15000".parse().unwrap(),
        }
    }

    #[test]
    fn names_are_found_by_their_beginning() {
        let proxies = [
            proxy("webapp-abc-0", "shop", Some("webapp")),
            proxy("webapp-abc-1", "shop", Some("webapp")),
            proxy("webapp-admin-abc-0", "shop", Some("webapp-admin")),
            proxy("catalog-v1-abc-0", "shop", None),
            proxy("catalog-v2-def-0", "shop", None),
            proxy("forum-abc-0", "one", Some("forum")),
            proxy("forum-abc-0", "two", Some("forum")),
        ];
        let cases = [
            ("webapp", Ok("webapp-abc-0.shop")),
            ("webapp.shop", Ok("webapp-abc-0.shop")),
            ("deployment/webapp-admin", Ok("webapp-admin-abc-0.shop")),
            ("webapp-abc-1", Ok("webapp-abc-1.shop")),
            ("catalog-v2", Ok("catalog-v2-def-0.shop")),
            ("catalog", Err("ambiguous")),
            ("forum", Err("ambiguous")),
            ("forum.two", Ok("forum-abc-0.two")),
            ("webap", Err("no proxy webap; there are webapp-abc-0.shop")),
            ("service/webapp", Err("service/ is not understood")),
        ];
        for (name, expected) in cases {
            let found = choose(&proxies, name).map(|it| format!("{}.{}", it.pod, it.namespace));
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{name}"),
                (Err(error), Err(part)) => {
                    assert!(error.to_string().contains(part), "{name}: {error}");
                }
                (found, expected) => panic!("{name}: {found:?}, not {expected:?}"),
            }
        }
    }
}
