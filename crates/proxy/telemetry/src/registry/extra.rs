//! The statistics of HTTP filters, by name; the same name gives the same block.

use std::sync::Arc;

use crate::{
    CompressorStats, DecompressorStats, FaultStats, GrpcMethodStats, LocalRateLimitStats, Sharded,
    StatBlock, StatsRegistry,
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

    /// `<stat_prefix>.http_local_rate_limit.*`.
    pub fn local_rate_limit(&self, prefix: &str) -> Arc<Sharded<LocalRateLimitStats>> {
        let labels = vec![("envoy_local_http_ratelimit_prefix", prefix.to_owned())];
        let name = format!("{prefix}.http_local_rate_limit.");
        self.labelled(name, "http_local_rate_limit", labels)
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
