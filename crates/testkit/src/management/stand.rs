//! What one stream wants and has, and what it is to be sent.
//!
//! In: requests. Out: answers that are due. Without I/O; called by `stream`.

use std::collections::{BTreeMap, BTreeSet};

use meltemi_xds::pb::envoy::config::core::v3::ControlPlane;
use meltemi_xds::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use meltemi_xds::pb::google::rpc::Status;
use prost_types::Any;

/// The types that are complete where nobody asks for names.
const WHOLE: [&str; 2] = ["Cluster", "Listener"];

/// The resources of a type.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    version: String,
    /// Each with the version in which it became what it is.
    resources: BTreeMap<String, (String, Any)>,
}

impl Answer {
    /// Has these from now on.
    pub fn replace(&mut self, version: &str, resources: BTreeMap<String, Any>) {
        let version = version.to_owned();
        let resources = resources.into_iter().map(|(name, body)| {
            let known = self
                .resources
                .get(&name)
                .filter(|(_, known)| *known == body);
            let since = known.map_or(&version, |(since, _)| since).clone();
            (name, (since, body))
        });
        self.resources = resources.collect();
        self.version = version;
    }
}

/// All of one stream.
#[derive(Debug, Default)]
pub(super) struct Stand {
    types: BTreeMap<String, Want>,
    count: u64,
}

#[derive(Debug, Default)]
struct Want {
    wildcard: bool,
    names: BTreeSet<String>,
    /// Something is due whatever was sent.
    due: bool,
    /// The version that was sent (state of the world).
    version: Option<String>,
    /// Name and version of what was sent (delta).
    sent: BTreeMap<String, String>,
    /// The last answer's, and its version.
    nonce: String,
    offered: String,
}

impl Stand {
    /// A request has come; says what it is about in words, and which answer it answers for.
    pub fn receive(&mut self, request: &DiscoveryRequest) -> Option<String> {
        let first = !self.types.contains_key(&request.type_url);
        let want = self.types.entry(request.type_url.clone()).or_default();
        if request.response_nonce != want.nonce {
            return None;
        }
        let names: BTreeSet<String> = request.resource_names.iter().cloned().collect();
        let other = first || names != want.names;
        want.due |= other;
        want.wildcard = names.is_empty();
        want.names = names;
        if other {
            let has = &request.version_info;
            return Some(format!(
                "asks for {:?}, has {has:?}",
                request.resource_names
            ));
        }
        Some(verdict(
            &want.offered,
            request.error_detail.as_ref(),
            &request.version_info,
        ))
    }

    /// The same in the delta form.
    pub fn receive_delta(&mut self, request: &DeltaDiscoveryRequest) -> String {
        let first = !self.types.contains_key(&request.type_url);
        let want = self.types.entry(request.type_url.clone()).or_default();
        let (more, fewer) = (
            &request.resource_names_subscribe,
            &request.resource_names_unsubscribe,
        );
        if first {
            want.wildcard = more.is_empty() || more.iter().any(|name| name == "*");
            want.due = true;
            want.sent.clone_from(&request.initial_resource_versions);
        }
        want.names
            .extend(more.iter().filter(|it| *it != "*").cloned());
        for name in fewer {
            want.names.remove(name);
            want.sent.remove(name);
        }
        if first || !more.is_empty() || !fewer.is_empty() {
            let has = &request.initial_resource_versions;
            return format!("asks for {more:?}, not for {fewer:?}, has {has:?}");
        }
        verdict(&want.offered, request.error_detail.as_ref(), "")
    }

    /// The answers that are due.
    pub fn answers(&mut self, all: &BTreeMap<String, Answer>) -> Vec<DiscoveryResponse> {
        let mut due = Vec::new();
        for (type_url, want) in &mut self.types {
            let Some(answer) = all.get(type_url) else {
                continue;
            };
            if !want.due && want.version.as_ref() == Some(&answer.version) {
                continue;
            }
            want.due = false;
            let wanted = answer.resources.iter().filter(|(name, _)| want.wants(name));
            let resources: Vec<_> = wanted.map(|(_, (_, body))| body.clone()).collect();
            let whole = WHOLE.iter().any(|kind| type_url.ends_with(kind));
            if resources.is_empty() && !whole {
                continue;
            }
            self.count += 1;
            want.nonce = self.count.to_string();
            want.offered.clone_from(&answer.version);
            want.version = Some(answer.version.clone());
            due.push(DiscoveryResponse {
                version_info: answer.version.clone(),
                resources,
                type_url: type_url.clone(),
                nonce: want.nonce.clone(),
                control_plane: Some(identity()),
                ..DiscoveryResponse::default()
            });
        }
        due
    }

    /// The same in the delta form.
    pub fn delta_answers(&mut self, all: &BTreeMap<String, Answer>) -> Vec<DeltaDiscoveryResponse> {
        let mut due = Vec::new();
        for (type_url, want) in &mut self.types {
            let Some(answer) = all.get(type_url) else {
                continue;
            };
            let wanted = answer.resources.iter().filter(|(name, _)| want.wants(name));
            let fresh = wanted.filter(|(name, (since, _))| want.sent.get(*name) != Some(since));
            let resources: Vec<_> = fresh
                .map(|(name, (since, body))| Resource {
                    name: name.clone(),
                    version: since.clone(),
                    resource: Some(body.clone()),
                    ..Resource::default()
                })
                .collect();
            let gone = want
                .sent
                .keys()
                .filter(|it| !answer.resources.contains_key(*it));
            let removed: Vec<_> = gone.cloned().collect();
            let opening = std::mem::take(&mut want.due) && want.wildcard;
            if resources.is_empty() && removed.is_empty() && !opening {
                continue;
            }
            for resource in &resources {
                want.sent
                    .insert(resource.name.clone(), resource.version.clone());
            }
            want.sent.retain(|name, _| !removed.contains(name));
            self.count += 1;
            want.nonce = self.count.to_string();
            want.offered.clone_from(&answer.version);
            due.push(DeltaDiscoveryResponse {
                system_version_info: answer.version.clone(),
                resources,
                type_url: type_url.clone(),
                removed_resources: removed,
                nonce: want.nonce.clone(),
                control_plane: Some(identity()),
                ..DeltaDiscoveryResponse::default()
            });
        }
        due
    }
}

impl Stand {
    /// What has been sent as it is now: type URL and name.
    pub fn has(&self, all: &BTreeMap<String, Answer>) -> BTreeSet<(String, String)> {
        let mut has = BTreeSet::new();
        for (type_url, want) in &self.types {
            let Some(answer) = all.get(type_url) else {
                continue;
            };
            let whole = want.version.as_ref() == Some(&answer.version);
            let sent = answer.resources.iter().filter(|(name, (since, _))| {
                want.sent.get(*name) == Some(since) || (whole && want.wants(name))
            });
            has.extend(sent.map(|(name, _)| (type_url.clone(), name.clone())));
        }
        has
    }
}

impl Want {
    fn wants(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }
}

fn verdict(offered: &str, error: Option<&Status>, kept: &str) -> String {
    match error {
        None => format!("accepts {offered:?}"),
        Some(_) => format!("refuses {offered:?}, keeps {kept:?}"),
    }
}

fn identity() -> ControlPlane {
    ControlPlane {
        identifier: "scripted".to_owned(),
    }
}
