//! Replacing the root, step by step, and when a step may be taken.
//!
//! In: who signs, who is trusted beside it, how far each proxy has come, which certificates are still
//! about. Out: whether the next step may be taken, or what it waits for. Pure. Called by
//! `authorities`.
//!
//! ```text
//! steady        the old root signs and is trusted
//! distributing  the old root signs; both are trusted, and every proxy has to confirm that
//! replacing     the new root signs; both are trusted until every proxy has confirmed a certificate
//!               of the new one, and no certificate of the old one is about any more
//! steady        the new root signs and is trusted
//! ```
//!
//! The control plane's own certificate changes hands last: until then a proxy that was away can come
//! back with the old root alone.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use crate::{CertificateAuthority, chain};

/// How far a rotation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// There is none.
    Steady,
    /// The new root is made known.
    Distributing,
    /// The new root signs; certificates of the old one are replaced.
    Replacing,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Steady => "steady",
            Self::Distributing => "distributing",
            Self::Replacing => "replacing",
        })
    }
}

/// Who signs and who is trusted at one moment.
#[derive(Clone)]
pub struct Standing {
    /// How far a rotation has come.
    pub phase: Phase,
    /// Since when.
    pub since: SystemTime,
    /// Signs for workloads.
    pub signer: Arc<CertificateAuthority>,
    /// The other authority of a rotation: the next one, or the last one.
    pub other: Option<Arc<CertificateAuthority>>,
}

impl Standing {
    /// No rotation.
    pub(crate) fn steady(signer: Arc<CertificateAuthority>, since: SystemTime) -> Self {
        Self {
            phase: Phase::Steady,
            since,
            signer,
            other: None,
        }
    }

    /// Signs for the control plane itself.
    pub fn server_signer(&self) -> &Arc<CertificateAuthority> {
        match (self.phase, &self.other) {
            (Phase::Replacing, Some(last)) => last,
            _ => &self.signer,
        }
    }

    /// Everything that is trusted, the root that signs for workloads first.
    pub fn bundle(&self) -> Vec<CertificateDer<'static>> {
        let other = self.other.iter().flat_map(|it| it.roots());
        let mut bundle: Vec<CertificateDer<'static>> = Vec::new();
        for root in self.signer.roots().iter().chain(other) {
            if !bundle.contains(root) {
                bundle.push(root.clone());
            }
        }
        bundle
    }

    /// The same in PEM, one certificate each.
    pub fn bundle_pem(&self) -> Vec<String> {
        self.bundle().iter().map(chain::pem).collect()
    }

    /// What follows; nothing follows a steady state by itself.
    pub(crate) fn next(&self, now: SystemTime) -> Option<Self> {
        let other = self.other.clone()?;
        match self.phase {
            Phase::Steady => None,
            Phase::Distributing => Some(Self {
                phase: Phase::Replacing,
                since: now,
                signer: other,
                other: Some(self.signer.clone()),
            }),
            Phase::Replacing => Some(Self::steady(self.signer.clone(), now)),
        }
    }
}

/// How far a connected proxy has come with the trust bundle of the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confirmation {
    /// It has confirmed it: it trusts the bundle, and has a certificate of the first root in it.
    Confirmed,
    /// It has been sent it, or is about to be.
    Waiting,
    /// It has refused it, in these words.
    Refused(String),
    /// It does not ask for trust bundles.
    Silent,
    /// It was there a moment ago, or has a certificate and has not come back yet.
    Away,
}

/// A connected proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyTrust {
    /// `pod.namespace`.
    pub proxy: String,
    /// How far it has come.
    pub confirmation: Confirmation,
}

/// Certificates that are still about and were not signed by the authority that signs now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outstanding {
    /// How many.
    pub count: usize,
    /// When the last one ends.
    pub until: Option<SystemTime>,
    /// Who has some of them.
    pub holders: Vec<String>,
}

/// What the next step waits for; empty when it may be taken.
pub(crate) fn obstacles(
    phase: Phase,
    proxies: &[ProxyTrust],
    outstanding: &Outstanding,
) -> Vec<String> {
    if phase == Phase::Steady {
        return Vec::new();
    }
    let mut obstacles = Vec::new();
    for ProxyTrust {
        proxy,
        confirmation,
    } in proxies
    {
        let what = match (confirmation, phase) {
            (Confirmation::Confirmed, _) => continue,
            (Confirmation::Waiting, Phase::Replacing) => {
                "has not confirmed a certificate of the new root".to_owned()
            }
            (Confirmation::Waiting, _) => "has not confirmed the trust bundle".to_owned(),
            (Confirmation::Away, _) => "is away and may come back".to_owned(),
            (Confirmation::Refused(words), _) => format!("refused the trust bundle: {words}"),
            (Confirmation::Silent, _) => {
                "does not take trust bundles, so that it cannot be known whom it trusts".to_owned()
            }
        };
        obstacles.push(format!("{proxy} {what}"));
    }
    if phase == Phase::Replacing && outstanding.count > 0 {
        obstacles.push(format!(
            "certificates of the old root that were neither replaced nor have expired: {}, of {}",
            outstanding.count,
            outstanding.holders.join(", ")
        ));
    }
    obstacles
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(confirmations: &[Confirmation]) -> Vec<ProxyTrust> {
        let named = confirmations.iter().enumerate();
        named
            .map(|(number, confirmation)| ProxyTrust {
                proxy: format!("web-{number}.shop"),
                confirmation: confirmation.clone(),
            })
            .collect()
    }

    #[test]
    fn every_proxy_has_to_confirm_before_anything_goes_on() {
        use Confirmation::{Away, Confirmed, Refused, Silent, Waiting};
        let none = Outstanding::default();
        let old = Outstanding {
            count: 2,
            until: Some(SystemTime::UNIX_EPOCH),
            holders: vec!["spiffe://cluster.local/ns/shop/sa/web".to_owned()],
        };
        let refused = Refused("no PEM".to_owned());
        for (phase, confirmations, outstanding, expected) in [
            (Phase::Steady, vec![Silent, Waiting], &old, vec![]),
            (Phase::Distributing, vec![], &old, vec![]),
            (
                Phase::Distributing,
                vec![Confirmed, Confirmed],
                &old,
                vec![],
            ),
            (
                Phase::Distributing,
                vec![Confirmed, Waiting, refused, Silent, Away],
                &none,
                vec![
                    "web-1.shop has not confirmed the trust bundle",
                    "web-2.shop refused the trust bundle: no PEM",
                    "web-3.shop does not take trust bundles, so that it cannot be known whom it trusts",
                    "web-4.shop is away and may come back",
                ],
            ),
            (Phase::Replacing, vec![Confirmed], &none, vec![]),
            (
                Phase::Replacing,
                vec![Confirmed, Waiting],
                &old,
                vec![
                    "web-1.shop has not confirmed a certificate of the new root",
                    "certificates of the old root that were neither replaced nor have expired: 2, of spiffe://cluster.local/ns/shop/sa/web",
                ],
            ),
        ] {
            let found = obstacles(phase, &proxies(&confirmations), outstanding);
            assert_eq!(found, expected, "{phase} {confirmations:?}");
        }
    }
}
