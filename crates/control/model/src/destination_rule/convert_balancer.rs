//! Load balancers: from written to valid (FEATURES R1, R2).

use std::time::Duration;

use meltemi_api::{FieldPath, destination_rule as api};

use super::{
    BalancerPolicy, ConsistentHash, Distribute, HashAlgorithm, HashKey, LoadBalancer,
    LocalityPreference, LocalitySetting, PriorityLabel, Warmup,
};
use crate::check::{Check, filled, parse_duration};

/// Checks `loadBalancer`.
pub(super) fn convert_balancer(
    written: Option<api::LoadBalancerSettings>,
    policy: &FieldPath,
    check: &mut Check<'_>,
) -> Option<LoadBalancer> {
    let api::LoadBalancerSettings {
        simple,
        consistent_hash,
        locality_lb_setting,
        warmup_duration_secs,
        warmup,
    } = written?;
    let at = policy.field("loadBalancer");
    let choices = [
        ("UNSPECIFIED", 0),
        ("ROUND_ROBIN", 1),
        ("RANDOM", 2),
        ("LEAST_REQUEST", 3),
        ("LEAST_CONN", 3),
        ("PASSTHROUGH", 4),
    ];
    let simple = filled(simple);
    if simple.is_some() && consistent_hash.is_some() {
        check.invalid(&at, "has simple and consistentHash; keep one");
    }
    let number = simple.and_then(|text| check.choice(&at.field("simple"), &text, &choices));
    let mut chosen = match number {
        Some(1) => BalancerPolicy::RoundRobin,
        Some(2) => BalancerPolicy::Random,
        Some(3) => BalancerPolicy::LeastRequest,
        Some(4) => BalancerPolicy::Passthrough,
        _ => BalancerPolicy::Unspecified,
    };
    if let Some(written) = consistent_hash {
        let hash = convert_hash(written, &at.field("consistentHash"), check);
        chosen = hash.map_or(BalancerPolicy::Unspecified, BalancerPolicy::ConsistentHash);
    }
    let at_locality = at.field("localityLbSetting");
    let locality = locality_lb_setting.map(|it| convert_locality_setting(it, &at_locality, check));
    let old = check.duration(
        &at.field("warmupDurationSecs"),
        warmup_duration_secs.as_deref(),
    );
    let warmup = match warmup {
        Some(written) => convert_warmup(written, &at.field("warmup"), check),
        None => old.map(|duration| Warmup {
            duration,
            minimum_percent: 10.0,
            aggression: 1.0,
        }),
    };
    let warms = matches!(
        chosen,
        BalancerPolicy::Unspecified | BalancerPolicy::RoundRobin | BalancerPolicy::LeastRequest
    );
    if warmup.is_some() && !warms {
        let what = "is for ROUND_ROBIN and LEAST_REQUEST only";
        check.invalid(&at.field("warmup"), what);
    }
    Some(LoadBalancer {
        policy: chosen,
        locality,
        warmup,
    })
}

fn convert_hash(
    written: api::ConsistentHashLb,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<ConsistentHash> {
    let api::ConsistentHashLb {
        http_header_name,
        http_cookie,
        use_source_ip,
        http_query_parameter_name,
        ring_hash,
        maglev,
        minimum_ring_size,
    } = written;
    let header = filled(http_header_name);
    let parameter = filled(http_query_parameter_name);
    let keys = [
        header.is_some(),
        http_cookie.is_some(),
        use_source_ip,
        parameter.is_some(),
    ];
    if keys.into_iter().filter(|it| *it).count() != 1 {
        let what = "httpHeaderName, httpCookie, useSourceIp, httpQueryParameterName";
        check.invalid(at, format!("write one of {what}"));
        return None;
    }
    let key = if let Some(name) = header {
        HashKey::Header(check.header_name(&at.field("httpHeaderName"), &name)?)
    } else if let Some(cookie) = http_cookie {
        let at = at.field("httpCookie");
        let api::HttpCookie {
            name,
            path,
            ttl,
            attributes,
        } = cookie;
        if name.is_empty() {
            check.invalid(&at.field("name"), "a cookie needs a name");
        }
        HashKey::Cookie {
            name,
            path: filled(path),
            ttl: ttl.and_then(|text| match parse_duration(&text) {
                Ok(ttl) => Some(ttl),
                Err(message) => {
                    check.invalid(&at.field("ttl"), message);
                    None
                }
            }),
            attributes: attributes
                .into_iter()
                .map(|api::CookieAttribute { name, value }| (name, value))
                .collect(),
        }
    } else if let Some(name) = parameter {
        HashKey::QueryParameter(name)
    } else {
        HashKey::SourceIp
    };
    if ring_hash.is_some() && maglev.is_some() {
        check.invalid(at, "has ringHash and maglev; keep one");
    }
    if minimum_ring_size.is_some_and(|it| it != 0) {
        let at = at.field("minimumRingSize");
        if ring_hash.is_some() || maglev.is_some() {
            let what = "is of a ring, of which ringHash or maglev says otherwise; remove it";
            check.invalid(&at, what);
        } else {
            check.warn(&at, "is deprecated; write ringHash.minimumRingSize");
        }
    }
    let size = |check: &mut Check<'_>, at: FieldPath, size: Option<i64>| -> Option<u64> {
        check
            .count(&at, size)
            .map(u64::from)
            .filter(|size| *size != 0)
    };
    let algorithm = if let Some(api::MagLev { table_size }) = maglev {
        let at = at.field("maglev").field("tableSize");
        let table_size = size(check, at.clone(), table_size);
        match table_size {
            Some(size) if !is_prime(size) || size >= MAX_TABLE => {
                check.invalid(&at, format!("{size} is not a prime below {MAX_TABLE}"));
            }
            Some(_) => {}
            None => check.invalid(&at, "a size is needed, such as 65537"),
        }
        HashAlgorithm::Maglev { table_size }
    } else {
        let old = size(check, at.field("minimumRingSize"), minimum_ring_size);
        let at = at.field("ringHash").field("minimumRingSize");
        let own = ring_hash
            .and_then(|api::RingHash { minimum_ring_size }| size(check, at, minimum_ring_size));
        HashAlgorithm::RingHash {
            minimum_size: own.or(old).unwrap_or(1024),
        }
    };
    Some(ConsistentHash { key, algorithm })
}

/// The largest table that Envoy has.
const MAX_TABLE: u64 = 5_000_011;

fn is_prime(number: u64) -> bool {
    number > 1
        && (2..)
            .take_while(|it| it * it <= number)
            .all(|it| !number.is_multiple_of(it))
}

fn convert_warmup(
    written: api::WarmupConfiguration,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<Warmup> {
    let api::WarmupConfiguration {
        duration,
        minimum_percent,
        aggression,
    } = written;
    let at_duration = at.field("duration");
    if duration.is_none() {
        check.invalid(&at_duration, "a duration is needed");
    }
    let minimum_percent = minimum_percent.unwrap_or(10.0);
    if !(0.0..=100.0).contains(&minimum_percent) {
        check.invalid(
            &at.field("minimumPercent"),
            format!("{minimum_percent} is not between 0 and 100"),
        );
    }
    let aggression = aggression.unwrap_or(1.0);
    if aggression < 1.0 {
        check.invalid(&at.field("aggression"), format!("{aggression} is below 1"));
    }
    let duration: Duration = check.duration(&at_duration, duration.as_deref())?;
    Some(Warmup {
        duration,
        minimum_percent,
        aggression,
    })
}

/// Checks `localityLbSetting`.
pub(crate) fn convert_locality_setting(
    written: api::LocalityLbSetting,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> LocalitySetting {
    let api::LocalityLbSetting {
        distribute,
        failover,
        failover_priority,
        enabled,
    } = written;
    if !distribute.is_empty() && !failover.is_empty() {
        check.invalid(at, "has distribute and failover; keep one");
    }
    let region = failover_priority.iter().find(|it| {
        let key = it.split_once('=').map_or(it.as_str(), |(key, _)| key);
        TOPOLOGY.contains(&key)
    });
    if let Some(label) = region.filter(|_| !failover.is_empty()) {
        let what = format!("orders localities by {label}, as failover does; keep one");
        check.invalid(&at.field("failoverPriority"), what);
    }
    let at_distribute = at.field("distribute");
    let froms: Vec<_> = distribute.iter().map(|it| it.from.as_str()).collect();
    check_overlaps(&froms, &at_distribute, check);
    let mut shares = Vec::new();
    for (index, api::Distribute { from, to }) in distribute.into_iter().enumerate() {
        let at = at_distribute.index(index);
        let mut sum = 0;
        let mut converted = std::collections::BTreeMap::new();
        let tos: Vec<_> = to.keys().map(String::as_str).collect();
        check_overlaps(&tos, &at.field("to"), check);
        for (locality, share) in to {
            let at = at.field("to").key(&locality);
            check_locality(&locality, &at, check);
            let share = check.count(&at, Some(share)).unwrap_or_default();
            if share == 0 {
                check.invalid(&at, "a share of 0 is no share; leave it out");
            }
            sum += share;
            converted.insert(locality, share);
        }
        check_locality(&from, &at.field("from"), check);
        if sum != 100 {
            check.invalid(
                &at.field("to"),
                format!("the shares are {sum} in sum, not 100"),
            );
        }
        shares.push(Distribute {
            from,
            to: converted,
        });
    }
    let at_failover = at.field("failover");
    let mut regions = Vec::new();
    for (index, api::Failover { from, to }) in failover.into_iter().enumerate() {
        let at = at_failover.index(index);
        if from == to {
            check.invalid(&at.field("to"), "is the same region as `from`");
        }
        for (name, region) in [("from", &from), ("to", &to)] {
            if region.is_empty() || region.contains(['/', '*']) {
                check.invalid(&at.field(name), "write a region");
            }
        }
        regions.push((from, to));
    }
    let labels: Vec<_> = failover_priority
        .into_iter()
        .map(|text| match text.split_once('=') {
            Some((key, value)) => PriorityLabel {
                key: key.to_owned(),
                value: Some(value.to_owned()),
            },
            None => PriorityLabel {
                key: text,
                value: None,
            },
        })
        .collect();
    LocalitySetting {
        enabled,
        preference: if !shares.is_empty() {
            LocalityPreference::Distribute(shares)
        } else if !labels.is_empty() {
            LocalityPreference::Priority(labels)
        } else if !regions.is_empty() {
            LocalityPreference::Failover(regions)
        } else {
            LocalityPreference::Nearest
        },
    }
}

/// Labels that say where something is.
const TOPOLOGY: [&str; 3] = [
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.istio.io/subzone",
];

/// No place may be within another of a list: which of the two holds for it?
fn check_overlaps(places: &[&str], at: &FieldPath, check: &mut Check<'_>) {
    let within = |inner: &str, outer: &str| {
        let whole = outer.trim_end_matches('*').trim_end_matches('/');
        let rest = inner.strip_prefix(whole);
        rest.is_some_and(|it| whole.is_empty() || it.is_empty() || it.starts_with('/'))
    };
    for (index, place) in places.iter().enumerate() {
        let mut before = places[..index].iter();
        if let Some(other) = before.find(|it| within(place, it) || within(it, place)) {
            check.invalid(at, format!("`{place}` and `{other}` overlap; keep one"));
        }
    }
}

fn check_locality(text: &str, at: &FieldPath, check: &mut Check<'_>) {
    let wildcard = text.find('*').is_some_and(|it| it + 1 != text.len());
    if text.is_empty() || wildcard || text.split('/').count() > 3 || text.contains("//") {
        check.invalid(
            at,
            format!("`{text}` is not REGION/ZONE/SUBZONE, perhaps with * at its end"),
        );
    }
}
