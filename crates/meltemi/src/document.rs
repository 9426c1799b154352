//! Structured output: JSON as istioctl indents it, and YAML.

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{PrettyFormatter, Serializer};

/// How a command prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table.
    #[value(alias = "table")]
    Short,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// The text of `value` in a format other than a table.
///
/// # Errors
/// When the value cannot be written as YAML.
pub(crate) fn render(value: &Value, format: Format) -> Result<String> {
    match format {
        Format::Yaml => serde_saphyr::to_string(value).context("cannot be written as YAML"),
        Format::Json | Format::Short => {
            let mut text = Vec::new();
            let pretty = PrettyFormatter::with_indent(b"    ");
            value.serialize(&mut Serializer::with_formatter(&mut text, pretty))?;
            text.push(b'\n');
            Ok(String::from_utf8(text).expect("JSON is UTF-8"))
        }
    }
}
