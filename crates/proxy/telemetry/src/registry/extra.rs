//! The statistics of HTTP filters, by name; the same name gives the same block.

use std::sync::Arc;

use crate::{
    ClusterExtAuthzStats, CompressorStats, CorsStats, DecompressorStats, DnsCacheStats,
    ExtAuthzStats, FaultStats, GrpcMethodStats, JwtAuthnStats, LocalRateLimitStats,
    RbacPolicyStats, RbacShadowStats, RbacStats, Sharded, StatBlock, StatsRegistry,
};

const MANAGER: &str = "envoy_http_conn_manager_prefix";

impl StatsRegistry {
    /// `http.<stat_prefix>.fault.*`, or those of one downstream cluster.
    pub fn fault(&self, prefix: &str, cluster: Option<&str>) -> Arc<Sharded<FaultStats>> {
        let mut labels = vec![(MANAGER, prefix.to_owned())];
        match cluster {
            None => self.labelled(format!("http.{prefix}.fault."), "http_fault", labels),
            Some(cluster) => {
                labels.insert(0, ("envoy_fault_downstream_cluster", cluster.to_owned()));
                let name = format!("http.{prefix}.fault.{cluster}.");
                self.labelled(name, "http_fault", labels)
            }
        }
    }

    /// `dns_cache.<name>.*`.
    pub fn dns_cache(&self, name: &str) -> Arc<Sharded<DnsCacheStats>> {
        self.extension("dns_cache", "envoy_dns_cache_name", name)
    }

    /// `http.<stat_prefix>.cors.*`.
    pub fn cors(&self, prefix: &str) -> Arc<Sharded<CorsStats>> {
        let labels = vec![(MANAGER, prefix.to_owned())];
        self.labelled(format!("http.{prefix}.cors."), "http_cors", labels)
    }

    /// `<stat_prefix>.http_local_rate_limit.*`.
    pub fn local_rate_limit(&self, prefix: &str) -> Arc<Sharded<LocalRateLimitStats>> {
        let labels = vec![("envoy_local_http_ratelimit_prefix", prefix.to_owned())];
        let name = format!("{prefix}.http_local_rate_limit.");
        self.labelled(name, "http_local_rate_limit", labels)
    }

    /// `http.<stat_prefix>.rbac.[<rules_stat_prefix>.]*`.
    pub fn http_rbac(&self, prefix: &str, rules: &str) -> Arc<Sharded<RbacStats>> {
        let (name, labels) = rbac_names(prefix, rules);
        self.labelled(name, "http_rbac", labels)
    }

    /// `http.<stat_prefix>.rbac.[<shadow_rules_stat_prefix>.]*`.
    pub fn http_rbac_shadow(&self, prefix: &str, rules: &str) -> Arc<Sharded<RbacShadowStats>> {
        let (name, labels) = rbac_names(prefix, rules);
        self.labelled(name, "http_rbac", labels)
    }

    /// `http.<stat_prefix>.rbac.[<rules_stat_prefix>.]policy.<policy>.*`.
    pub fn http_rbac_policy(
        &self,
        prefix: &str,
        rules: &str,
        policy: &str,
    ) -> Arc<Sharded<RbacPolicyStats>> {
        let (name, mut labels) = rbac_names(prefix, rules);
        labels.insert(0, ("envoy_rbac_policy_name", policy.to_owned()));
        self.labelled(
            format!("{name}policy.{policy}."),
            "http_rbac_policy",
            labels,
        )
    }

    /// `<stat_prefix>.rbac.*`.
    pub fn network_rbac(&self, prefix: &str) -> Arc<Sharded<RbacStats>> {
        let prefix = prefix.trim_end_matches('.');
        let labels = vec![("envoy_rbac_prefix", prefix.to_owned())];
        self.labelled(format!("{prefix}.rbac."), "rbac", labels)
    }

    /// `<stat_prefix>.rbac.[<shadow_rules_stat_prefix>.]*`.
    pub fn network_rbac_shadow(&self, prefix: &str, rules: &str) -> Arc<Sharded<RbacShadowStats>> {
        let prefix = prefix.trim_end_matches('.');
        let mut labels = vec![("envoy_rbac_prefix", prefix.to_owned())];
        let mut name = format!("{prefix}.rbac.");
        if !rules.is_empty() {
            labels.insert(0, ("envoy_rbac_network_prefix", rules.to_owned()));
            name.push_str(&joined(rules));
        }
        self.labelled(name, "rbac", labels)
    }

    /// `http.<stat_prefix>.jwt_authn.*`, with what the filter adds to the names.
    pub fn jwt_authn(&self, prefix: &str, added: &str) -> Arc<Sharded<JwtAuthnStats>> {
        let labels = vec![(MANAGER, prefix.to_owned())];
        let name = format!("http.{prefix}.jwt_authn.{}", dotted(added));
        self.labelled(name, "http_jwt_authn", labels)
    }

    /// `http.<stat_prefix>.ext_authz.*`, with what the filter adds to the names.
    pub fn ext_authz(&self, prefix: &str, added: &str) -> Arc<Sharded<ExtAuthzStats>> {
        let labels = vec![(MANAGER, prefix.to_owned())];
        let name = format!("http.{prefix}.ext_authz.{}", dotted(added));
        self.labelled(name, "http_ext_authz", labels)
    }

    /// `cluster.<name>.ext_authz.*`, with what the filter adds to the names.
    pub fn cluster_ext_authz(
        &self,
        cluster: &str,
        added: &str,
    ) -> Arc<Sharded<ClusterExtAuthzStats>> {
        let labels = vec![("envoy_cluster_name", cluster.to_owned())];
        let name = format!("cluster.{cluster}.ext_authz.{}", dotted(added));
        self.labelled(name, "cluster_ext_authz", labels)
    }

    /// `http.<stat_prefix>.compressor.<name>.*`.
    pub fn compressor(&self, prefix: &str, name: &str) -> Arc<Sharded<CompressorStats>> {
        self.coder(prefix, "compressor", name)
    }

    /// `http.<stat_prefix>.decompressor.<name>.*`.
    pub fn decompressor(&self, prefix: &str, name: &str) -> Arc<Sharded<DecompressorStats>> {
        self.coder(prefix, "decompressor", name)
    }

    fn coder<T>(&self, prefix: &str, kind: &str, name: &str) -> Arc<Sharded<T>>
    where
        T: StatBlock + Default + std::fmt::Debug + 'static,
    {
        let labels = vec![
            ("envoy_compressor_library", name.to_owned()),
            (MANAGER, prefix.to_owned()),
        ];
        let metric = if kind == "compressor" {
            "http_compressor"
        } else {
            "http_decompressor"
        };
        self.labelled(format!("http.{prefix}.{kind}.{name}."), metric, labels)
    }

    /// `cluster.<name>.grpc.*`, or those of one service and method.
    pub fn grpc(
        &self,
        cluster: &str,
        method: Option<(&str, &str)>,
    ) -> Arc<Sharded<GrpcMethodStats>> {
        let label = ("envoy_cluster_name", cluster.to_owned());
        match method {
            None => {
                let name = format!("cluster.{cluster}.grpc.");
                self.labelled(name, "cluster_grpc", vec![label])
            }
            Some((service, method)) => {
                let labels = vec![
                    label,
                    ("envoy_grpc_bridge_service", service.to_owned()),
                    ("envoy_grpc_bridge_method", method.to_owned()),
                ];
                let name = format!("cluster.{cluster}.grpc.{service}.{method}.");
                self.labelled(name, "cluster_grpc", labels)
            }
        }
    }
}

/// What the statistics of HTTP policies begin with, and the labels that stand for it.
fn rbac_names(prefix: &str, rules: &str) -> (String, Vec<(&'static str, String)>) {
    let mut labels = vec![(MANAGER, prefix.to_owned())];
    let mut name = format!("http.{prefix}.rbac.");
    if !rules.is_empty() {
        labels.insert(0, ("envoy_rbac_http_prefix", rules.to_owned()));
        name.push_str(&joined(rules));
    }
    (name, labels)
}

/// A part of a name, with the dot after it.
fn joined(part: &str) -> String {
    format!("{}.", part.strip_suffix('.').unwrap_or(part))
}

/// What a filter adds to the names of its statistics, with a dot after it unless it is nothing.
fn dotted(added: &str) -> String {
    match added {
        "" => String::new(),
        added if added.ends_with('.') => added.to_owned(),
        added => format!("{added}."),
    }
}
