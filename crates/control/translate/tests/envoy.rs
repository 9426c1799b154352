//! A stock Envoy takes what proxies get: its own validation judges every case. Skipped, and said so,
//! where there is no Envoy: set `ENVOY_BIN`, or have `envoy` on the path.

#[path = "support/envoy.rs"]
mod envoy;
#[path = "support/case.rs"]
mod support;

use meltemi_translate::{IstioFilters, translate};
use support::Case;

#[test]
fn envoy_accepts_everything() {
    let Some(envoy) = envoy::Envoy::find() else {
        return;
    };
    for case in Case::all() {
        let snapshot = case.snapshot();
        for (name, proxy) in &case.proxies {
            let node = proxy.node();
            if node.filters != IstioFilters::default() || !proxy.is_envoy() {
                continue; // Envoy as such does not have them, and is no gRPC library.
            }
            let resources = translate(&snapshot, &node);
            envoy.check(&format!("{}-{name}", case.name), &node, &resources);
        }
    }
}
