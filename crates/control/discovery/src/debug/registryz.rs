//! `/debug/registryz` and `/debug/endpointz`: services and where their workloads serve them.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::net::IpAddr;

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use meltemi_model::{Service, ServiceAddresses, ServicePort, TargetPort};
use meltemi_snapshot::{Endpoint, Snapshot};
use serde::Serialize;

use crate::debug::json;
use crate::http::Observed;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ServiceRow {
    hostname: String,
    name: String,
    namespace: String,
    /// `ClusterIP`, `Headless`, `ExternalName`, or `Unassigned` while the platform has given none.
    r#type: &'static str,
    addresses: Vec<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_name: Option<String>,
    ports: Vec<PortRow>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PortRow {
    name: String,
    port: u16,
    target: String,
    protocol: String,
    endpoints: Vec<EndpointRow>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EndpointRow {
    address: String,
    endpoint_port: u16,
    workload: String,
    namespace: String,
    labels: BTreeMap<String, String>,
    service_account: String,
    /// `istio` or `disabled`.
    tls_mode: &'static str,
}

#[derive(Serialize)]
struct PortEndpoints {
    /// `host:port name`.
    svc: String,
    ep: Vec<EndpointRow>,
}

pub(super) async fn services(State(observed): State<Observed>) -> Response {
    let state = observed.state();
    let services = state.snapshot.services();
    let rows: Vec<_> = services
        .iter()
        .map(|service| service_row(&state.snapshot, service))
        .collect();
    json(&rows)
}

pub(super) async fn endpoints(
    State(observed): State<Observed>,
    Query(parameters): Query<HashMap<String, String>>,
) -> Response {
    let state = observed.state();
    let services = state.snapshot.services();
    let ports = services
        .iter()
        .flat_map(|service| service.ports.iter().map(move |port| (service, port)));
    let rows: Vec<_> = ports
        .map(|(service, port)| PortEndpoints {
            svc: format!("{}:{}", service.hostname, port.name),
            ep: endpoint_rows(&state.snapshot, service, port),
        })
        .collect();
    if !parameters.contains_key("brief") {
        return json(&rows);
    }
    let mut text = String::new();
    for row in rows {
        for endpoint in row.ep {
            let _ = writeln!(
                text,
                "{} {}:{} {}/{} {}",
                row.svc,
                endpoint.address,
                endpoint.endpoint_port,
                endpoint.namespace,
                endpoint.workload,
                endpoint.service_account
            );
        }
    }
    text.into_response()
}

fn service_row(snapshot: &Snapshot, service: &Service) -> ServiceRow {
    let r#type = match (&service.external_name, &service.addresses) {
        (Some(_), _) => "ExternalName",
        (None, ServiceAddresses::Headless) => "Headless",
        (None, ServiceAddresses::Assigned(_)) => "ClusterIP",
        (None, ServiceAddresses::Unassigned) => "Unassigned",
    };
    ServiceRow {
        hostname: service.hostname.to_string(),
        name: service.meta.name.to_string(),
        namespace: service.meta.namespace.to_string(),
        r#type,
        addresses: service.cluster_ips().to_vec(),
        external_name: service.external_name.as_ref().map(ToString::to_string),
        ports: service
            .ports
            .iter()
            .map(|port| PortRow {
                name: port.name.clone(),
                port: port.number,
                target: match &port.target {
                    TargetPort::Number(number) => number.to_string(),
                    TargetPort::Name(name) => name.clone(),
                },
                protocol: format!("{:?}", port.protocol),
                endpoints: endpoint_rows(snapshot, service, port),
            })
            .collect(),
    }
}

fn endpoint_rows(snapshot: &Snapshot, service: &Service, port: &ServicePort) -> Vec<EndpointRow> {
    let endpoints = snapshot.endpoints(service);
    let endpoints = endpoints.map_or(&[][..], |it| it.port(port.number));
    endpoints.iter().map(endpoint_row).collect()
}

fn endpoint_row(endpoint: &Endpoint) -> EndpointRow {
    let workload = &endpoint.workload;
    let labels = workload.meta.labels.iter();
    EndpointRow {
        address: endpoint.address.to_string(),
        endpoint_port: endpoint.port,
        workload: workload.meta.name.to_string(),
        namespace: workload.meta.namespace.to_string(),
        labels: labels
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        service_account: workload.service_account.to_string(),
        tls_mode: if endpoint.mtls { "istio" } else { "disabled" },
    }
}
