//! Which localities are preferred (FEATURES R2).
//!
//! In: `localityLbSetting` of a destination's rule, else of the mesh, and where the client is. Out:
//! priorities and weights of localities. Other localities take over only where endpoints are ejected,
//! so that without outlier detection there are no priorities.

use std::borrow::Cow;

use meltemi_model::{
    Distribute, Locality, LocalityPreference, PolicySettings, PriorityLabel, Service,
    TrafficDistribution, Workload,
};
use meltemi_xds::pb::envoy::config::core::v3 as core;
use meltemi_xds::pb::envoy::config::endpoint::v3::LocalityLbEndpoints;

use crate::scope::Scope;

/// The priority of what is neither in the client's region nor in one that takes over.
const LAST: u32 = 4;

/// Labels of which a service that prefers the near has as many as possible in common with its client.
const NEAR: [&str; 4] = [
    "topology.istio.io/network",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.istio.io/subzone",
];
/// The same of one that prefers the client's node.
const HOSTNAME: &str = "kubernetes.io/hostname";

/// What holds for localities.
pub(crate) struct Chosen<'a> {
    /// Which are preferred.
    pub preference: Cow<'a, LocalityPreference>,
    /// So it is where no endpoint is ever ejected too.
    pub always: bool,
}

/// What holds for a service with these settings; `None` if localities do not matter.
pub(super) fn preference(
    scope: &Scope<'_>,
    service: &Service,
    settings: &PolicySettings,
) -> Option<LocalityPreference> {
    let Chosen { preference, always } = setting(scope, service, settings)?;
    let by_label = matches!(*preference, LocalityPreference::Priority(_));
    if *scope.locality == Locality::default() && !by_label {
        return None;
    }
    let distributes = matches!(*preference, LocalityPreference::Distribute(_));
    let fails_over = always || settings.outlier_detection.is_some();
    (distributes || fails_over).then(|| preference.into_owned())
}

/// The setting that holds: the rule's, else the service's, else the mesh's; `None` where it is off.
pub(crate) fn setting<'a>(
    scope: &'a Scope<'_>,
    service: &Service,
    settings: &'a PolicySettings,
) -> Option<Chosen<'a>> {
    let own = settings.load_balancer.as_ref();
    let own = own.and_then(|it| it.locality.as_ref());
    if own.is_none()
        && let Some(preference) = of_service(service.distribution)
    {
        return Some(Chosen {
            preference: Cow::Owned(preference),
            always: true,
        });
    }
    let setting = own.unwrap_or(&scope.mesh().locality);
    (setting.enabled != Some(false)).then_some(Chosen {
        preference: Cow::Borrowed(&setting.preference),
        always: false,
    })
}

/// What a service prefers by itself.
fn of_service(distribution: TrafficDistribution) -> Option<LocalityPreference> {
    let host = match distribution {
        TrafficDistribution::Any => return None,
        TrafficDistribution::Near => None,
        TrafficDistribution::SameNode => Some(HOSTNAME),
    };
    let labels = NEAR.into_iter().chain(host).map(|key| PriorityLabel {
        key: key.to_owned(),
        value: None,
    });
    Some(LocalityPreference::Priority(labels.collect()))
}

/// The priority of an endpoint; priorities may have gaps between them.
pub(super) fn priority(
    scope: &Scope<'_>,
    preference: &Option<LocalityPreference>,
    workload: &Workload,
    locality: &Locality,
) -> u32 {
    let client = scope.locality;
    match preference {
        None | Some(LocalityPreference::Distribute(_)) => 0,
        Some(LocalityPreference::Nearest) => nearness(client, locality),
        Some(LocalityPreference::Failover(regions)) => {
            let near = nearness(client, locality);
            let mut regions = regions.iter();
            let takes_over = regions.find(|(from, _)| *from == client.region);
            match takes_over {
                Some((_, to)) if near == 3 && *to != locality.region => LAST,
                _ => near,
            }
        }
        Some(LocalityPreference::Priority(labels)) => {
            let differs = labels.iter().position(|it| {
                let own = label(scope.labels, client, &it.key);
                let wanted = it.value.as_deref().or(own);
                wanted != label(&workload.meta.labels, locality, &it.key)
            });
            let rest = differs.map_or(0, |it| labels.len() - it);
            u32::try_from(rest).unwrap_or(u32::MAX)
        }
    }
}

/// The value of a label, those of topology being what the locality says.
fn label<'a>(
    labels: &'a meltemi_model::Labels,
    locality: &'a Locality,
    key: &str,
) -> Option<&'a str> {
    labels.get(key).or(locality.label(key))
}

fn nearness(client: &Locality, other: &Locality) -> u32 {
    if client.region != other.region {
        3
    } else if client.zone != other.zone {
        2
    } else {
        u32::from(client.subzone != other.subzone)
    }
}

/// Gives each locality its share, where shares are written for the client's; those without one get
/// no requests.
pub(super) fn distributed(
    scope: &Scope<'_>,
    preference: &Option<LocalityPreference>,
    mut localities: Vec<LocalityLbEndpoints>,
) -> Vec<LocalityLbEndpoints> {
    let Some(LocalityPreference::Distribute(entries)) = preference else {
        return localities;
    };
    let client = core::Locality {
        region: scope.locality.region.clone(),
        zone: scope.locality.zone.clone(),
        sub_zone: scope.locality.subzone.clone(),
    };
    let Some(Distribute { to, from: _ }) = entries.iter().find(|it| is_in(&client, &it.from))
    else {
        return localities;
    };
    let place = |it: &LocalityLbEndpoints| it.locality.clone().unwrap_or_default();
    let mut shared: Vec<Option<u32>> = vec![None; localities.len()];
    // The most exact of several patterns is the longest.
    let mut patterns: Vec<_> = to.iter().collect();
    patterns.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.len()));
    for (pattern, share) in patterns {
        let chosen: Vec<_> = (0..localities.len())
            .filter(|&it| shared[it].is_none() && is_in(&place(&localities[it]), pattern))
            .collect();
        let weight = |it: usize| localities[it].load_balancing_weight.unwrap_or(1);
        let total: u32 = chosen.iter().map(|&it| weight(it)).sum();
        for it in chosen {
            let part = (weight(it) * share).div_ceil(total.max(1));
            shared[it] = Some(part.max(1));
        }
    }
    for (locality, weight) in localities.iter_mut().zip(shared) {
        match weight {
            Some(weight) => locality.load_balancing_weight = Some(weight),
            None => locality.lb_endpoints.clear(),
        }
    }
    localities.retain(|it| !it.lb_endpoints.is_empty());
    localities
}

/// Whether a locality is meant by `REGION/ZONE/SUBZONE`, of which the end may be left out or `*`.
fn is_in(locality: &core::Locality, pattern: &str) -> bool {
    let parts = [&locality.region, &locality.zone, &locality.sub_zone];
    pattern
        .split('/')
        .zip(parts)
        .all(|(wanted, part)| wanted == "*" || wanted == part)
}
