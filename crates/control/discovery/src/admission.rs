//! Who may be served as which proxy.
//!
//! In: a connection's caller, its token, the node that it says it is. Out: yes, or why not; and whose
//! workload is to have a WorkloadEntry, that is registered. Called by `xds-server` at the beginning of
//! each stream.

use std::sync::Arc;

use meltemi_ca::{Authenticator, Credentials};
use meltemi_spiffe::SpiffeId;
use meltemi_translate::ProxyNode;
use meltemi_xds::pb::envoy::config::core::v3::Node;
use meltemi_xds_server::{Admission, Caller, Presence, Refusal, Unnoted};

use crate::registration::{Claim, Registrar};

/// Over TLS, a caller must prove that it runs in the namespace (and, where the node names one, as
/// the service account) of the node. In plain text, which only this machine reaches, whoever asks is
/// served, but never a secret.
pub(crate) struct ByIdentity {
    authenticator: Arc<dyn Authenticator>,
    registrar: Registrar,
}

impl ByIdentity {
    pub fn new(authenticator: Arc<dyn Authenticator>, registrar: Registrar) -> Self {
        Self {
            authenticator,
            registrar,
        }
    }

    /// Who a caller is, if the connection is one on which that can be proven.
    async fn identity(
        &self,
        caller: &Caller,
        token: Option<&str>,
    ) -> Result<Option<SpiffeId>, String> {
        if !caller.secure {
            return Ok(None);
        }
        let credentials = Credentials {
            token,
            identities: &caller.identities,
        };
        let id = self.authenticator.authenticate(&credentials).await;
        id.map(Some).map_err(|error| error.to_string())
    }
}

#[tonic::async_trait]
impl Admission for ByIdentity {
    async fn admit(
        &self,
        caller: &Caller,
        token: Option<&str>,
        node: &Node,
    ) -> Result<Box<dyn Presence>, Refusal> {
        let proxy = ProxyNode::parse(node).map_err(|error| error.to_string())?;
        let identity = self.identity(caller, token).await?;
        if let Some(id) = &identity {
            check(id, &proxy)?;
        }
        match Claim::of(node, &proxy, identity) {
            Some(claim) => self.registrar.connect(claim),
            None => Ok(Box::new(Unnoted)),
        }
    }
}

fn check(id: &SpiffeId, node: &ProxyNode) -> Result<(), String> {
    let Some((namespace, account)) = id.namespace_and_account() else {
        return Err(format!("{id} is not a workload"));
    };
    if namespace != node.namespace.as_str() {
        return Err(format!(
            "{id} may not be a proxy of the namespace {}",
            node.namespace
        ));
    }
    match &node.service_account {
        Some(claimed) if claimed != account => Err(format!(
            "{id} may not be a proxy of the service account {claimed}"
        )),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_caller_is_served_as_itself_only() {
        let id: SpiffeId = "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap();
        for (namespace, account, refusal) in [
            ("shop", Some("web"), None),
            ("shop", None, None),
            ("bank", Some("web"), Some("the namespace bank")),
            ("shop", Some("admin"), Some("the service account admin")),
        ] {
            let node = ProxyNode {
                service_account: account.map(str::to_owned),
                ..ProxyNode::parse(&Node {
                    id: format!("sidecar~10.0.0.1~pod.{namespace}~{namespace}.svc.cluster.local"),
                    ..Node::default()
                })
                .unwrap()
            };
            let answer = check(&id, &node);
            match refusal {
                None => assert_eq!(answer, Ok(())),
                Some(part) => assert!(answer.unwrap_err().contains(part), "{part}"),
            }
        }
    }
}
