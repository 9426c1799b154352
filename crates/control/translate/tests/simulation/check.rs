//! Runs a case: what is wrong with what comes out.

use std::collections::BTreeMap;

use meltemi_snapshot::Snapshot;
use meltemi_testkit::simulation::{Outcome, Simulation, invariant};
use meltemi_translate::{ResourceMap, Resources, translate};
use meltemi_xds::pb::envoy::config::cluster::v3::Cluster;
use meltemi_xds::pb::envoy::config::core::v3::{address, socket_address::PortSpecifier};
use meltemi_xds::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, lb_endpoint::HostIdentifier,
};
use meltemi_xds::pb::envoy::config::route::v3::RouteConfiguration;
use meltemi_xds::{any, json};
use serde_json::{Value, json};

use super::case::{Assertion, Expected, SimulationCase};

/// What is wrong with a case, one line each.
pub fn check(case: &SimulationCase) -> Vec<String> {
    let mut wrong = Vec::new();
    let configs = case.configs(&mut wrong);
    let snapshot = Snapshot::of(configs);
    let made = translate(&snapshot, &case.node());
    let Resources {
        clusters,
        endpoints,
        listeners,
        routes,
        ..
    } = &made;
    let clusters: Vec<Cluster> = messages(clusters);
    let endpoints: Vec<ClusterLoadAssignment> = messages(endpoints);
    let simulation = Simulation {
        listeners: messages(listeners),
        routes: routes
            .iter()
            .map(|(name, it)| (name.to_string(), any::unpack(&it.any).unwrap()))
            .collect(),
    };
    let written = &case.written;
    for name in &written.validate {
        wrong.extend(match name.as_str() {
            "listeners" => invariant::listeners(&simulation.listeners),
            "clusters" => invariant::clusters(&clusters),
            "routes" => invariant::routes(simulation.routes.values()),
            other => panic!("validate: {other}"),
        });
    }
    for call in &written.calls {
        let outcome = simulation.run(&call.call());
        if let Some(difference) = difference(&outcome, &call.expect) {
            wrong.push(format!("{}: {difference}", call.name));
        }
    }
    for (name, domains) in written.vhosts.iter().flatten() {
        let Some(domains) = domains else { continue };
        let Some(table) = simulation.routes.get(name) else {
            wrong.push(format!("there is no route table {name}"));
            continue;
        };
        for (domain, expected) in domains {
            let found = invariant::clusters_of_domain(table, domain);
            if found != *expected {
                wrong.push(format!("{name} {domain}: {found:?}, not {expected:?}"));
            }
        }
    }
    for (name, expected) in &written.domains {
        let found = simulation.routes.get(name).map(domains);
        if found.as_ref() != Some(expected) {
            wrong.push(format!("domains of {name}: {found:?}, not {expected:?}"));
        }
    }
    if let Some(expected) = &written.inbound_clusters {
        let found: BTreeMap<_, _> = clusters
            .iter()
            .filter(|it| it.name.starts_with("inbound"))
            .map(|it| (it.name.clone(), it))
            .collect();
        if !found.keys().eq(expected.keys()) {
            wrong.push(format!(
                "inbound clusters: {:?}, not {:?}",
                found.keys(),
                expected.keys()
            ));
        }
        for (name, expected) in expected {
            let Some(cluster) = found.get(name) else {
                continue;
            };
            let (endpoints, hosts) = (endpoints_of(cluster), telemetry_hosts(cluster));
            if endpoints != expected.endpoints || hosts != expected.telemetry_hosts {
                wrong.push(format!("{name}: {endpoints:?} {hosts:?}"));
            }
        }
    }
    let all = json!({
        "listeners": simulation.listeners.iter().map(json::to_json).collect::<Value>(),
        "clusters": clusters.iter().map(json::to_json).collect::<Value>(),
        "endpoints": endpoints.iter().map(json::to_json).collect::<Value>(),
        "routes": simulation.routes.values().map(json::to_json).collect::<Value>(),
    });
    wrong.extend(written.asserts.iter().filter_map(|it| assertion(&all, it)));
    wrong
}

fn messages<M: prost::Message + prost::Name + Default>(map: &ResourceMap) -> Vec<M> {
    map.values()
        .map(|it| any::unpack(&it.any).unwrap())
        .collect()
}

fn difference(found: &Outcome, expected: &Expected) -> Option<String> {
    let error = found.error.map(|it| it.to_string()).unwrap_or_default();
    let fields = [
        ("listener", &found.listener, &expected.listener_matched),
        ("chain", &found.filter_chain, &expected.filter_chain_matched),
        ("table", &found.route_config, &expected.route_config_matched),
        (
            "virtual host",
            &found.virtual_host,
            &expected.virtual_host_matched,
        ),
        ("route", &found.route, &expected.route_matched),
        ("cluster", &found.cluster, &expected.cluster_matched),
    ];
    let mut parts = Vec::new();
    if error != expected.error {
        parts.push(format!("error {error:?}, not {:?}", expected.error));
    }
    for (name, found, expected_one) in fields {
        let asked = expected.strict_match || !expected_one.is_empty();
        if asked && found != expected_one {
            parts.push(format!("{name} {found:?}, not {expected_one:?}"));
        }
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// By virtual host, its domains. What is for all other hosts has its name by the outbound policy.
fn domains(table: &RouteConfiguration) -> BTreeMap<String, Vec<String>> {
    let hosts = table.virtual_hosts.iter();
    let hosts = hosts.filter(|it| it.domains != ["*"]);
    hosts
        .map(|it| (it.name.clone(), it.domains.clone()))
        .collect()
}

fn endpoints_of(cluster: &Cluster) -> Option<Vec<String>> {
    let assignment = cluster.load_assignment.as_ref()?;
    let all = assignment.endpoints.iter().flat_map(|it| &it.lb_endpoints);
    let shown = all.filter_map(|it| match it.host_identifier.as_ref()? {
        HostIdentifier::Endpoint(endpoint) => match endpoint.address.as_ref()?.address.as_ref()? {
            address::Address::SocketAddress(socket) => match socket.port_specifier.as_ref()? {
                PortSpecifier::PortValue(port) => Some(format!("{}:{port}", socket.address)),
                PortSpecifier::NamedPort(_) => None,
            },
            address::Address::Pipe(pipe) => Some(pipe.path.clone()),
            address::Address::EnvoyInternalAddress(_) => None,
        },
        HostIdentifier::EndpointName(_) => None,
    });
    Some(shown.collect())
}

fn telemetry_hosts(cluster: &Cluster) -> Option<Vec<String>> {
    let metadata = json::to_json(cluster.metadata.as_ref()?);
    let services = metadata
        .get("filter_metadata")?
        .get("istio")?
        .get("services")?;
    let hosts = services.as_array()?.iter();
    Some(
        hosts
            .filter_map(|it| Some(it.get("host")?.as_str()?.to_owned()))
            .collect(),
    )
}

/// What is wrong with an assertion about what was made.
fn assertion(all: &Value, wanted: &Assertion) -> Option<String> {
    let found = select(all, &wanted.path);
    let holds = match wanted.op.as_str() {
        "exists" => !found.is_empty(),
        "absent" => found.is_empty(),
        "equals" => found == [&wanted.value],
        "count" => wanted.value.as_u64() == Some(found.len() as u64),
        "min_count" => wanted.value.as_u64() <= Some(found.len() as u64),
        "list" => wanted
            .value
            .as_array()
            .is_some_and(|it| found.iter().copied().eq(it)),
        "all_equal" => found.iter().all(|it| **it == wanted.value),
        other => panic!("op {other}"),
    };
    let mut shown = format!("{found:?}");
    shown.truncate(400);
    (!holds).then(|| format!("{} {} {}: {shown}", wanted.path, wanted.op, wanted.value))
}

/// What lies at a path such as `listeners[name=0.0.0.0_80].filter_chains[*].name`.
fn select<'a>(all: &'a Value, path: &str) -> Vec<&'a Value> {
    let mut found = vec![all];
    for step in steps(path) {
        let (name, filter) = match step.split_once('[') {
            Some((name, rest)) => (name, Some(rest.trim_end_matches(']'))),
            None => (step.as_str(), None),
        };
        // A message inside says its type, which says nothing here; a name with dots is in braces.
        let name = name.split('(').next().unwrap();
        let name = name.trim_start_matches('{').trim_end_matches('}');
        found = found.into_iter().filter_map(|it| it.get(name)).collect();
        found = match filter {
            None => found,
            Some(filter) => found
                .into_iter()
                .filter_map(Value::as_array)
                .flat_map(|it| pick(it, filter))
                .collect(),
        };
    }
    found
}

fn pick<'a>(list: &'a [Value], filter: &str) -> Vec<&'a Value> {
    if filter == "*" {
        return list.iter().collect();
    }
    if let Ok(index) = filter.parse::<usize>() {
        return list.get(index).into_iter().collect();
    }
    let at = |it: &'a Value, path: &str| path.split('.').try_fold(it, |it, name| it.get(name));
    if let Some(path) = filter.strip_suffix(" non-empty") {
        let filled = |it: &Value| !matches!(it, Value::Array(list) if list.is_empty());
        return list
            .iter()
            .filter(|it| at(it, path).is_some_and(filled))
            .collect();
    }
    let (path, value) = filter.split_once('=').unwrap();
    let is = |it: &Value| {
        it.as_str() == Some(value) || (it.is_u64() && it.as_u64() == value.parse().ok())
    };
    list.iter()
        .filter(|it| at(it, path).is_some_and(is))
        .collect()
}

/// The steps of a path; dots in brackets do not divide it.
fn steps(path: &str) -> Vec<String> {
    let (mut steps, mut depth) = (vec![String::new()], 0);
    for c in path.chars() {
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => depth -= 1,
            '.' if depth == 0 => {
                steps.push(String::new());
                continue;
            }
            _ => {}
        }
        steps.last_mut().unwrap().push(c);
    }
    steps
}
