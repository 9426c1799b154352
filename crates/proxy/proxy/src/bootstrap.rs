//! A bootstrap as it was read and as it is understood.

use anyhow::Result;
use meltemi_ir as ir;
use meltemi_xds::pb::envoy::config::bootstrap::v3::Bootstrap as Message;

/// A bootstrap as it was read and as it is understood.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    /// Envoy's message, for display and for the node that is told to management servers.
    pub message: Message,
    /// What the proxy serves.
    pub config: ir::Bootstrap,
}

impl Bootstrap {
    /// Reads YAML or JSON; `file` is named where it is wrong.
    ///
    /// # Errors
    /// Every problem, with the path of its field.
    pub fn from_yaml(text: &str, file: &str) -> Result<Self> {
        let (message, config) = meltemi_config::bootstrap_from_yaml(text, file)?;
        Ok(Self { message, config })
    }

    /// Takes Envoy's message.
    ///
    /// # Errors
    /// Every problem, with the path of its field.
    pub fn from_message(message: Message) -> Result<Self> {
        let config = meltemi_config::bootstrap(&message)?;
        Ok(Self { message, config })
    }
}
