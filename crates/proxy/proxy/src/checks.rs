//! Whether what a resource asks for would ever come.
//!
//! In: clusters and listeners as they are understood. Out: why they are refused. Called by whoever
//! applies them.

use std::sync::Arc;

use meltemi_ir as ir;
use meltemi_listener::wanted_routes;

use crate::apply::Applier;

impl Applier {
    /// Refuses a cluster whose secrets or endpoints nobody would deliver.
    pub fn check_cluster(&self, cluster: &ir::Cluster) -> Result<(), String> {
        if let ir::Discovery::Eds { source, .. } = &cluster.discovery {
            self.check_resource_source("eds_cluster_config.eds_config.api_config_source", source)?;
        }
        let own = cluster
            .tls
            .as_deref()
            .into_iter()
            .map(|tls| ("transport_socket".to_owned(), tls));
        let matches = cluster.transport_socket_matches.iter().enumerate();
        let matched = matches.filter_map(|(index, one)| {
            Some((
                format!("transport_socket_matches[{index}].transport_socket"),
                one.tls.as_ref()?,
            ))
        });
        for (path, tls) in own.chain(matched) {
            self.check_secrets(&path, &tls.certificates, tls.validation.as_ref())?;
        }
        Ok(())
    }

    /// Refuses a listener whose secrets nobody would deliver, and one that asks for a route table
    /// elsewhere than the others do: a name is of one table.
    pub fn check_listener(&self, listener: &ir::Listener) -> Result<(), String> {
        let known = self.listeners.wanted_routes();
        for (index, chain) in listener
            .filter_chains
            .iter()
            .chain(&listener.default_filter_chain)
            .enumerate()
        {
            let routes = wanted_routes(chain);
            if let Some(routes) = &routes {
                let path = format!("filter_chains[{index}].rds.config_source.api_config_source");
                self.check_resource_source(&path, &routes.source)?;
            }
            let elsewhere = routes.and_then(|routes| {
                known.iter().find(|(name, it)| {
                    let same = it.source.from == routes.source.from;
                    *name != listener.name && it.name == routes.name && !same
                })
            });
            if let Some((other, routes)) = elsewhere {
                return Err(format!(
                    "filter_chains[{index}].rds.config_source: listener {other:?} has the route \
                     table {:?} from elsewhere",
                    routes.name
                ));
            }
            let Some(tls) = &chain.tls else { continue };
            let path = format!("filter_chains[{index}].transport_socket");
            self.check_secrets(&path, &tls.certificates, tls.validation.as_ref())?;
            if let ir::TicketKeySource::Given(keys) = &tls.tickets.keys {
                self.check_source(&path, source_of(keys))?;
            }
        }
        Ok(())
    }

    fn check_secrets(
        &self,
        path: &str,
        certificates: &[ir::SecretRef<ir::TlsCertificate>],
        validation: Option<&ir::SecretRef<ir::ValidationContext>>,
    ) -> Result<(), String> {
        for certificate in certificates {
            self.check_source(path, source_of(certificate))?;
        }
        self.check_source(path, validation.and_then(source_of))
    }

    /// Envoy too wants services behind clusters that are there from the beginning and need no service.
    pub fn check_resource_source(
        &self,
        path: &str,
        source: &ir::ConfigSource,
    ) -> Result<(), String> {
        let ir::ResourceSource::Service(service) = &source.from else {
            return Ok(());
        };
        let fixed = &self.fixed_clusters;
        let known = fixed.iter().find(|it| it.name == service.cluster);
        let usable = |it: &Arc<ir::Cluster>| !matches!(it.discovery, ir::Discovery::Eds { .. });
        if known.is_some_and(usable) {
            return Ok(());
        }
        Err(format!(
            "{path}.grpc_services[0].envoy_grpc.cluster_name: {:?} is not a cluster of the bootstrap \
             with endpoints of its own",
            service.cluster
        ))
    }

    pub fn is_known_cluster(&self, name: &str) -> bool {
        let fixed = &self.fixed_clusters;
        fixed.iter().any(|known| known.name == name) || self.clusters.get(name).is_some()
    }

    fn check_source(
        &self,
        path: &str,
        named: Option<(&str, &ir::CertificateSource)>,
    ) -> Result<(), String> {
        let source = match named {
            None => return Ok(()),
            Some((name, ir::CertificateSource::Static)) if self.secrets.get(name).is_none() => {
                return Err(format!(
                    "{path}.typed_config.common_tls_context: static_resources.secrets has no {name:?}"
                ));
            }
            Some((_, ir::CertificateSource::Static)) => return Ok(()),
            Some((_, ir::CertificateSource::Discovered(source))) => source,
        };
        match &source.from {
            ir::ResourceSource::Ads | ir::ResourceSource::Path(_) => Ok(()),
            ir::ResourceSource::Service(service)
                if self.delivered_clusters.contains(&service.cluster)
                    || self.is_known_cluster(&service.cluster) =>
            {
                Ok(())
            }
            ir::ResourceSource::Service(service) => Err(format!(
                "{path}.typed_config.common_tls_context: sds_config.api_config_source: \
                 grpc_services[0].envoy_grpc.cluster_name: no cluster {:?}",
                service.cluster
            )),
        }
    }
}

/// The name of a secret, and what delivers it.
fn source_of<T>(secret: &ir::SecretRef<T>) -> Option<(&str, &ir::CertificateSource)> {
    match secret {
        ir::SecretRef::Inline(_) => None,
        ir::SecretRef::Sds { name, source } => Some((name, source)),
    }
}
