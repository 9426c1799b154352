//! How far each proxy has come, as `/debug/syncz` says it.
//!
//! In: the control plane's JSON, in istiod's form. Out: [`SyncStatus`]es in istioctl's words. Called
//! by `up`, which waits for them, and by `meltemi proxy-status`.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

/// The path that is asked.
pub const SYNC_PATH: &str = "/debug/syncz";

/// How far a proxy has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SyncStatus {
    /// `POD.NAMESPACE`.
    pub proxy: String,
    /// `sidecar` or `router`.
    pub proxy_type: String,
    /// The version that the proxy says it has.
    #[serde(alias = "istio_version")]
    pub proxy_version: String,
    /// The cluster it is in.
    pub cluster_id: String,
    /// The control plane it is connected to, where that says so.
    pub istiod: String,
    /// `TYPE~ADDRESS~POD.NAMESPACE~DOMAIN`, where the control plane says it.
    pub node_id: String,
    /// By type (`cds`, ...): the proxy's words when it refused what was last sent.
    pub errors: BTreeMap<String, String>,
    cluster_sent: String,
    cluster_acked: String,
    listener_sent: String,
    listener_acked: String,
    route_sent: String,
    route_acked: String,
    endpoint_sent: String,
    endpoint_acked: String,
    extensionconfig_sent: String,
    extensionconfig_acked: String,
}

/// How far a proxy has come with one type of configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// It has confirmed what was last sent.
    Synced,
    /// Nothing was sent.
    NotSent,
    /// It has not confirmed what was last sent, but something before.
    Stale,
    /// It has never confirmed anything.
    NeverAcknowledged,
}

impl SyncStatus {
    /// Reads the answer of [`SYNC_PATH`].
    ///
    /// # Errors
    /// When it is not of the form.
    pub fn parse(body: &[u8]) -> Result<Vec<Self>, serde_json::Error> {
        let statuses: Option<Vec<Self>> = serde_json::from_slice(body)?;
        Ok(statuses.unwrap_or_default())
    }

    /// Clusters.
    #[must_use]
    pub fn cds(&self) -> Sync {
        Sync::of(&self.cluster_sent, &self.cluster_acked)
    }

    /// Listeners.
    #[must_use]
    pub fn lds(&self) -> Sync {
        Sync::of(&self.listener_sent, &self.listener_acked)
    }

    /// Endpoints.
    #[must_use]
    pub fn eds(&self) -> Sync {
        Sync::of(&self.endpoint_sent, &self.endpoint_acked)
    }

    /// Routes.
    #[must_use]
    pub fn rds(&self) -> Sync {
        Sync::of(&self.route_sent, &self.route_acked)
    }

    /// Extensions.
    #[must_use]
    pub fn ecds(&self) -> Sync {
        Sync::of(&self.extensionconfig_sent, &self.extensionconfig_acked)
    }

    /// Whether the proxy has listeners and clusters and has confirmed all that it was sent.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        let first = [self.cds(), self.lds()];
        let rest = [self.eds(), self.rds(), self.ecds()];
        let confirmed = |it: &Sync| matches!(it, Sync::Synced | Sync::NotSent);
        first.iter().all(|it| *it == Sync::Synced) && rest.iter().all(confirmed)
    }
}

impl Sync {
    fn of(sent: &str, acknowledged: &str) -> Self {
        match (sent, acknowledged) {
            ("", _) => Self::NotSent,
            (sent, acknowledged) if sent == acknowledged => Self::Synced,
            (_, "") => Self::NeverAcknowledged,
            _ => Self::Stale,
        }
    }
}

impl fmt::Display for Sync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Synced => "SYNCED",
            Self::NotSent => "NOT SENT",
            Self::Stale => "STALE",
            Self::NeverAcknowledged => "STALE (Never Acknowledged)",
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{Sync, SyncStatus};

    #[test]
    fn the_words_are_istioctls() {
        let body = br#"[{"cluster_id":"Kubernetes","proxy":"webapp-1.shop","proxy_type":"sidecar",
            "cluster_sent":"a","cluster_acked":"a","listener_sent":"b","listener_acked":"a",
            "endpoint_sent":"c","something_new":1}]"#;
        let status = SyncStatus::parse(body).unwrap().remove(0);
        assert_eq!(status.cds(), Sync::Synced);
        assert_eq!(status.lds().to_string(), "STALE");
        assert_eq!(status.eds().to_string(), "STALE (Never Acknowledged)");
        assert_eq!(status.rds().to_string(), "NOT SENT");
        assert!(!status.is_synced());
        assert!(SyncStatus::parse(b"null").unwrap().is_empty());
        assert!(SyncStatus::parse(b"<html>").is_err());
    }
}
