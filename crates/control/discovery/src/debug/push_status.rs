//! `/debug/push_status`: the last pushes, why they were made and what they contained, and how far the
//! proxies have come with the last.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use meltemi_xds_server::Kind;
use serde::Serialize;

use crate::debug::{adsz, json, syncz};
use crate::http::Observed;
use crate::view::Work;

#[derive(Serialize)]
struct Status {
    version: u64,
    pushed_at: u64,
    seconds_ago: u64,
    /// The resources that it was for.
    changed: Vec<String>,
    /// The services whose endpoints are others since.
    endpoints: Vec<String>,
    problems: usize,
    proxies: usize,
    /// For how many groups of proxies resources have been made since.
    groups: usize,
    /// By kind and state: how many proxies.
    states: BTreeMap<&'static str, BTreeMap<&'static str, usize>>,
    /// The last pushes, the last one first.
    pushes: Vec<Push>,
}

/// A push, as far as it reached proxies.
#[derive(Serialize)]
struct Push {
    version: u64,
    /// The resources that it was for.
    changed: Vec<String>,
    /// The services whose endpoints were others.
    endpoints: Vec<String>,
    /// For how many groups of proxies, and workloads, was found out what it is for them.
    examined: usize,
    /// How many proxies were told of it.
    told: usize,
    /// How many services and virtual services were gone through to find what proxies see.
    visited: usize,
    /// How many parts of what proxies are sent were made again.
    remade: usize,
    /// How many resources of each kind became others by that.
    resources: BTreeMap<&'static str, usize>,
    /// Some of their names.
    examples: Vec<String>,
}

pub(super) async fn answer(State(observed): State<Observed>) -> Response {
    let state = observed.state();
    let proxies = observed.proxies.list();
    let mut states: BTreeMap<_, BTreeMap<_, usize>> = BTreeMap::new();
    for kind in Kind::ALL {
        let counts = states.entry(kind.short_name()).or_default();
        for proxy in proxies.iter().filter(|it| !it.is_agent()) {
            *counts
                .entry(syncz::word(proxy.kinds.get(&kind)))
                .or_default() += 1;
        }
    }
    let pushed_at = adsz::seconds(state.pushed);
    let now = observed.clock.since_epoch().as_secs();
    json(&Status {
        version: state.snapshot.version(),
        pushed_at,
        seconds_ago: now.saturating_sub(pushed_at),
        changed: state
            .delta
            .changed
            .iter()
            .map(ToString::to_string)
            .collect(),
        endpoints: state
            .delta
            .endpoints
            .iter()
            .map(|(_, host)| host.to_string())
            .collect(),
        problems: state.problems.len(),
        proxies: proxies.len(),
        groups: state.view.groups(),
        states,
        pushes: state.view.work().into_iter().map(push).collect(),
    })
}

fn push((version, work): (u64, Work)) -> Push {
    let Work {
        cause,
        examined,
        told,
        visited,
        made,
        changed,
        examples,
    } = work;
    Push {
        version,
        changed: cause.changed.iter().map(ToString::to_string).collect(),
        endpoints: cause
            .endpoints
            .iter()
            .map(|(_, it)| it.to_string())
            .collect(),
        examined,
        told,
        visited,
        remade: made,
        resources: changed
            .into_iter()
            .map(|(kind, count)| (kind.short_name(), count))
            .collect(),
        examples: examples.into_iter().collect(),
    }
}
