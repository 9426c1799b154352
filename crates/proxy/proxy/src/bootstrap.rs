//! A bootstrap as it was read and as it is understood.

use std::path::Path;

use anyhow::{Context as _, Result};
use meltemi_ir as ir;
use meltemi_xds::pb::envoy::config::bootstrap::v3::Bootstrap as Message;
use meltemi_xds::{json, with_pool_released};

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

    /// Reads a file of YAML or JSON.
    ///
    /// # Errors
    /// When it cannot be read, and every problem inside.
    pub fn from_file(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Self::from_yaml(&text, &path.display().to_string())
    }

    /// Takes JSON.
    ///
    /// # Errors
    /// Every problem, with the path of its field.
    pub fn from_json(value: serde_json::Value) -> Result<Self> {
        Self::from_message(with_pool_released(|| json::from_json(value))?)
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
