//! What patches say of the proxy's bootstrap, from the control plane.
//!
//! In: the bootstrap that the agent makes. Out: the same with the BOOTSTRAP patches of EnvoyFilters
//! merged onto it, as they are when the proxy starts. Called by `run`, once. The control plane is waited
//! for a while; a proxy that it cannot patch starts as it is, and that is said.

use std::time::Duration;

use meltemi_merge::{Lists, merged};
use meltemi_proxy::Bootstrap;
use meltemi_xds::any;
use meltemi_xds::pb::envoy::config::bootstrap::v3 as bootstrap_v3;
use meltemi_xds::pb::envoy::service::discovery::v3::DiscoveryResponse;
use prost::{Message as _, Name as _};
use tracing::{debug, error, info, warn};

use crate::stream::StreamSource;

/// For how long the control plane is asked.
const LIMIT: Duration = Duration::from_secs(5);
/// How long after a failure it is asked again.
const RETRY: Duration = Duration::from_millis(250);

/// Where patches come from.
pub(crate) struct PatchSource<'a>(pub &'a StreamSource);

impl PatchSource<'_> {
    /// The bootstrap with what patches say of it; `None` if that is nothing.
    pub async fn patch(&self, bootstrap: &Bootstrap) -> Option<Bootstrap> {
        let mut reason = "it does not answer".to_owned();
        let asked = tokio::time::timeout(LIMIT, self.ask(&mut reason)).await;
        let Ok(answer) = asked else {
            warn!(
                waited = ?LIMIT,
                "the proxy starts without patches to its bootstrap: the control plane: {reason}"
            );
            return None;
        };
        let patched = patched(bootstrap, &answer);
        match &patched {
            Ok(Some(_)) => info!("EnvoyFilters patch the bootstrap"),
            Ok(None) => {}
            Err(reason) => {
                error!("the proxy starts without the patches to its bootstrap: {reason}");
            }
        }
        patched.ok().flatten()
    }

    /// Asks until there is an answer; `reason` is why there was none.
    async fn ask(&self, reason: &mut String) -> DiscoveryResponse {
        loop {
            let answer = match self.0.open::<bootstrap_v3::Bootstrap>().await {
                Ok(mut stream) => stream.next().await,
                Err(reason) => Err(reason),
            };
            match answer {
                Ok(answer) => return answer,
                Err(why) => {
                    debug!("no patches to the bootstrap yet: {why}");
                    *reason = why;
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// The bootstrap with what an answer says; `None` if it says nothing.
fn patched(bootstrap: &Bootstrap, answer: &DiscoveryResponse) -> Result<Option<Bootstrap>, String> {
    let Some(body) = answer.resources.first() else {
        return Ok(None);
    };
    let patch: bootstrap_v3::Bootstrap = any::unpack(body).map_err(|error| error.to_string())?;
    if patch.node.as_ref().is_some_and(|it| !it.id.is_empty()) {
        // istiod of some versions makes the whole of it, by its own template.
        return Err("the control plane sent a whole bootstrap, and not patches".to_owned());
    }
    if body.value.is_empty() {
        return Ok(None);
    }
    let name = bootstrap_v3::Bootstrap::full_name();
    let merged = merged(
        &name,
        &bootstrap.encoded,
        &patch.encode_to_vec(),
        Lists::Grow,
    );
    meltemi_xds::release_pool();
    let merged = merged.ok_or_else(|| "the answer is no bootstrap".to_owned())?;
    let patched = Bootstrap::from_encoded(merged).map_err(|error| format!("{error:#}"))?;
    Ok(Some(patched))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn made() -> Bootstrap {
        let text = json!({
            "node": {"id": "sidecar~10.0.0.1~a.b~b.svc.cluster.local", "metadata": {"A": "1"}},
            "layered_runtime": {"layers": [{"name": "admin", "admin_layer": {}}]},
        });
        Bootstrap::from_yaml(&text.to_string(), "bootstrap").expect("a bootstrap")
    }

    fn answer(patch: Value) -> DiscoveryResponse {
        let patch: bootstrap_v3::Bootstrap = meltemi_xds::json::from_json(patch).expect("a patch");
        DiscoveryResponse {
            resources: vec![any::pack(&patch)],
            ..DiscoveryResponse::default()
        }
    }

    #[test]
    fn a_patch_is_merged_onto_what_the_agent_makes() {
        let layer = json!({"name": "more", "static_layer": {"x": 1}});
        let patch = answer(json!({
            "layered_runtime": {"layers": [layer]},
            "node": {"metadata": {"B": "2"}},
        }));
        let patched = patched(&made(), &patch).expect("it is taken");
        let patched = patched.expect("there is something to patch");
        let now = bootstrap_v3::Bootstrap::decode(patched.encoded.as_slice()).expect("one");
        let layers = now.layered_runtime.expect("layers").layers;
        let names: Vec<_> = layers.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["admin", "more"]);
        let metadata = patched.node.metadata.expect("metadata").fields;
        assert_eq!(metadata.keys().collect::<Vec<_>>(), ["A", "B"]);
    }

    #[test]
    fn what_cannot_be_merged_leaves_the_bootstrap_as_it_is() {
        for nothing in [answer(json!({})), DiscoveryResponse::default()] {
            assert!(patched(&made(), &nothing).expect("fine").is_none());
        }
        let whole = answer(json!({"node": {"id": "x"}}));
        let refused = answer(json!({"stats_flush_interval": "0.000001s", "hds_config": {}}));
        for answer in [whole, refused] {
            patched(&made(), &answer).expect_err("it is refused");
        }
    }
}
