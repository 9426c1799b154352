//! A bootstrap as it was read and as it is understood.

use anyhow::Result;
use meltemi_ir as ir;
use meltemi_xds::pb::envoy::config::bootstrap::v3::Bootstrap as Message;
use meltemi_xds::pb::envoy::config::core::v3::Node;
use prost::Message as _;

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
        let message = meltemi_config::bootstrap_message(text, file)?;
        Self::from_message(&message)
    }

    /// Takes Envoy's message.
    ///
    /// # Errors
    /// Every problem, with the path of its field.
    pub fn from_message(message: &Message) -> Result<Self> {
        let config = meltemi_config::bootstrap(message)?;
        Ok(Self {
            encoded: message.encode_to_vec(),
            node: message.node.clone().unwrap_or_default(),
            config,
        })
    }
}
