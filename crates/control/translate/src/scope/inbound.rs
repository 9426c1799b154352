//! What a proxy's workload takes in (FEATURES T14, T17).
//!
//! In: the services that lead to the workload, or its Sidecar's ingress listeners. Out: an
//! [`InboundPort`] for each of its ports.

use std::sync::Arc;

use meltemi_model::{CaptureMode, IngressListener, Protocol, Service};

use super::Scope;
use crate::ProxyRole;

/// Ports that belong to the proxy itself.
const RESERVED: [u16; 8] = [15000, 15001, 15006, 15020, 15021, 15053, 15080, 15090];

/// A port of the workload.
#[derive(Debug, Clone)]
pub(crate) struct InboundPort<'a> {
    /// The workload's port.
    pub number: u16,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// The address under which chains and listeners are named.
    pub bind: String,
    /// The services that lead to it, the oldest first, and the port of each.
    pub services: Vec<(Arc<Service>, u16)>,
    /// The Sidecar's listener, where one says what the port is.
    pub ingress: Option<&'a IngressListener>,
}

impl InboundPort<'_> {
    /// The port that clients address.
    pub fn service_port(&self) -> u16 {
        match (self.ingress, self.services.first()) {
            (None, Some((_, port))) => *port,
            _ => self.number,
        }
    }

    /// The host that clients ask for; empty if there is no service.
    pub fn host(&self) -> &str {
        self.services
            .first()
            .map_or("", |(service, _)| service.hostname.as_str())
    }

    /// Whether connections come to a listener of the port's own.
    pub fn is_bound(&self, binds: bool) -> bool {
        match self
            .ingress
            .map_or(CaptureMode::Default, |it| it.capture_mode)
        {
            CaptureMode::Default => binds,
            CaptureMode::Iptables => false,
            CaptureMode::None => true,
        }
    }
}

impl<'a> Scope<'a> {
    /// The ports of the proxy's workload, one entry for each, by number. Ports that the proxy needs
    /// itself are left out where it binds them.
    pub fn inbound(&self) -> Vec<InboundPort<'a>> {
        if self.node.role == ProxyRole::Router {
            return Vec::new();
        }
        let mut ports = match self.sidecar.filter(|it| !it.ingress.is_empty()) {
            Some(sidecar) => {
                let ingress = sidecar.ingress.iter();
                ingress.map(|it| self.ingress_port(it)).collect()
            }
            None => self.served_ports(),
        };
        ports.retain(|it| !self.binds() || !self.is_reserved(it.number));
        ports.sort_by_key(|it| it.number);
        ports
    }

    fn served_ports(&self) -> Vec<InboundPort<'a>> {
        let mut ports: Vec<InboundPort<'a>> = Vec::new();
        for target in self.targets() {
            let service = (target.service, target.port.number);
            match ports.iter_mut().find(|it| it.number == target.target) {
                Some(port) => {
                    let known = |it: &(Arc<Service>, u16)| it.0.hostname == service.0.hostname;
                    if !port.services.iter().any(known) {
                        port.services.push(service);
                    }
                }
                None => ports.push(InboundPort {
                    number: target.target,
                    protocol: target.port.protocol,
                    bind: self.any_address(),
                    services: vec![service],
                    ingress: None,
                }),
            }
        }
        ports
    }

    fn ingress_port(&self, listener: &'a IngressListener) -> InboundPort<'a> {
        let number = listener.port.number;
        let targets = self.targets().into_iter();
        let bind = listener.bind.unwrap_or(self.node.ip);
        InboundPort {
            number,
            protocol: listener.port.protocol,
            bind: bind.to_string(),
            services: targets
                .filter(|it| it.target == number)
                .map(|it| (it.service, it.port.number))
                .collect(),
            ingress: Some(listener),
        }
    }

    fn is_reserved(&self, port: u16) -> bool {
        RESERVED.contains(&port) || self.http_proxy_port() == Some(port)
    }
}
