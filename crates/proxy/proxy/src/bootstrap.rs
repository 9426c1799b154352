//! A bootstrap as it was read and as it is understood.

use anyhow::{Result, bail};
use meltemi_ir as ir;
use meltemi_xds::pb::envoy::config::core::v3::Node;

/// A bootstrap as it was read and as it is understood.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    /// Envoy's message, encoded, for display.
    pub encoded: Vec<u8>,
    /// The node that is told to management servers.
    pub node: Node,
    /// What the proxy serves.
    pub config: ir::Bootstrap,
}

impl Bootstrap {
    /// Reads YAML or JSON; `file` is named where it is wrong.
    ///
    /// # Errors
    /// Every problem, with the path of its field.
    pub fn from_yaml(text: &str, file: &str) -> Result<Self> {
        Self::from_encoded(meltemi_config::encode_bootstrap(text, file)?)
    }

    /// Takes Envoy's message, encoded.
    ///
    /// # Errors
    /// Every problem, with the path of its field.
    pub fn from_encoded(encoded: Vec<u8>) -> Result<Self> {
        let config = meltemi_config::bootstrap(&encoded)?;
        if let Some((listener, filter)) = discovered(&config) {
            bail!(
                "static_resources.listeners: {listener}: {filter}: config_discovery is not supported \
                 here"
            );
        }
        Ok(Self {
            config,
            node: meltemi_config::bootstrap_node(&encoded)?,
            encoded,
        })
    }
}

/// The first static listener that asks for a filter's configuration, and the filter.
fn discovered(config: &ir::Bootstrap) -> Option<(&str, &str)> {
    for listener in &config.listeners {
        let default = listener.default_filter_chain.as_ref();
        for chain in listener.filter_chains.iter().chain(default) {
            let ir::ConnectionFilter::Http(manager) = &chain.filter else {
                continue;
            };
            let mut filters = manager.filters.iter();
            if let Some(filter) = filters.find(|it| it.kind == ir::HttpFilterKind::Missing) {
                return Some((&listener.name, &filter.name));
            }
        }
    }
    None
}
