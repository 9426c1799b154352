//! Joins a workload with the services that it serves.
//!
//! In: a workload's namespace, labels and addresses. Out: [`ServiceTarget`]s: the ports of services
//! that select it, of service entries that have an endpoint at its address, and of services whose
//! endpoint slices have its address.

use std::net::IpAddr;

use meltemi_model::{EndpointAddress, Labels, NamespaceName, Protocol, Service, Workload};

use crate::service::target_port;
use crate::{ServiceTarget, Snapshot};

/// A workload, as far as services know it.
#[derive(Debug, Clone, Copy)]
pub struct Served<'a> {
    /// Its namespace.
    pub namespace: &'a NamespaceName,
    /// Its labels.
    pub labels: &'a Labels,
    /// Its addresses.
    pub addresses: &'a [IpAddr],
    /// What is declared of it, which is asked for named ports.
    pub workload: Option<&'a Workload>,
}

impl Snapshot {
    /// The ports on which a workload serves, the oldest service first, ties by host; UDP ports are
    /// left out.
    pub fn targets(&self, served: &Served<'_>) -> Vec<ServiceTarget> {
        let mut services: Vec<_> = self.services.in_namespace(served.namespace).collect();
        services.sort_by(|left, right| {
            let key = |it: &Service| it.meta.created;
            key(left)
                .cmp(&key(right))
                .then_with(|| left.hostname.cmp(&right.hostname))
        });
        let mut targets: Vec<ServiceTarget> = Vec::new();
        for service in services {
            for port in &service.ports {
                if port.protocol == Protocol::Udp {
                    continue;
                }
                let mut numbers = self.numbers(service, port, served);
                numbers.sort_unstable();
                numbers.dedup();
                targets.extend(numbers.into_iter().map(|target| ServiceTarget {
                    service: service.clone(),
                    port: port.clone(),
                    target,
                }));
            }
        }
        targets
    }

    /// The workload's ports that a service port leads to.
    fn numbers(
        &self,
        service: &Service,
        port: &meltemi_model::ServicePort,
        served: &Served<'_>,
    ) -> Vec<u16> {
        let selects = |selector: &Labels| !selector.is_empty() && selector.selects(served.labels);
        if service.selector.as_ref().is_some_and(selects)
            && let Some(target) = target_port(port, served.workload)
        {
            return vec![target];
        }
        if let Some(entry) = &service.entry {
            let here = entry.endpoints.iter().filter(|it| match &it.address {
                EndpointAddress::Ip(ip) => served.addresses.contains(ip),
                EndpointAddress::Name(_) | EndpointAddress::Unix(_) | EndpointAddress::Absent => {
                    false
                }
            });
            return here.map(|it| it.port(port)).collect();
        }
        let slices = self
            .endpoint_slices
            .of_service(&service.meta.namespace, &service.meta.name);
        slices
            .iter()
            .filter(|slice| {
                let mut all = slice.endpoints.iter().flat_map(|it| &it.addresses);
                all.any(|ip| served.addresses.contains(ip))
            })
            .flat_map(|slice| &slice.ports)
            .filter(|(name, _)| *name == port.name)
            .map(|(_, number)| *number)
            .collect()
    }
}
