//! Envoy bootstrap and xDS resources to the proxy's own configuration.
//!
//! Envoy's v3 messages enter, values of [`meltemi_ir`] leave; the proxy's assembly calls this for
//! its bootstrap and for every resource that xDS delivers. What the proxy cannot honour is refused
//! with the field's path, all of it at once; nothing is passed over in silence. [`support::rows`]
//! lists what is done with every field, from the same declarations that do it.
//!
//! ```
//! let text = "
//! static_resources:
//!   clusters:
//!   - name: backend
//!     type: STRICT_DNS
//!     use_tcp_for_dns_lookups: true
//! ";
//! let errors = meltemi_config::bootstrap_from_yaml(text, "envoy.yaml").unwrap_err();
//! assert_eq!(
//!     errors.to_string(),
//!     "static_resources.clusters[0].use_tcp_for_dns_lookups: is not supported"
//! );
//! ```

// Envoy keeps reading the fields that it has deprecated, and so must this.
#![allow(deprecated)]

mod access_log;
mod address;
mod bootstrap;
mod call;
mod cluster;
mod config_source;
mod cors;
mod data_source;
mod discovery;
mod endpoint;
mod error;
mod extension;
mod fields;
mod filter_chain;
mod forward_proxy;
mod hcm;
mod hcm_extension;
mod header;
mod http_filter;
mod http_options;
mod istio_stats;
mod listener;
mod matcher;
mod metadata;
mod network_filter;
mod path;
mod per_filter;
mod pieces;
mod proxy_protocol;
mod rbac;
mod redis_proxy;
mod resource;
mod retry;
mod route;
mod route_action;
mod route_balance;
mod route_match;
mod route_redirect;
mod scalar;
mod secret;
mod socket;
pub mod support;
mod tcp_proxy;
mod tls;
mod uri_template;
pub mod yaml;

pub use bootstrap::{
    bootstrap, bootstrap_from_yaml, bootstrap_node, discovery_response, encode_bootstrap,
    secret_messages,
};
pub use error::{ConfigError, ConfigErrors};
pub use fields::FieldState;
pub use resource::{
    Resource, cluster, cluster_from_any, cluster_of, extension_source, listener, listener_from_any,
    listener_of, load_assignment, load_assignment_from_any, route_configuration,
    route_configuration_from_any, secret, secret_from_any, virtual_host,
};
pub use support::{supported_extensions, supported_type_urls};

#[cfg(test)]
mod tests;
