//! A bootstrap as it was read and as it is understood.

use anyhow::Result;
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
        Ok(Self {
            config: meltemi_config::bootstrap(&encoded)?,
            node: meltemi_config::bootstrap_node(&encoded)?,
            encoded,
        })
    }
}
