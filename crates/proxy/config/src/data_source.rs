//! Bytes from a file, from the configuration itself, or (refused) from the environment.

use meltemi_xds::pb::envoy::config::core::v3::DataSource;
use meltemi_xds::pb::envoy::config::core::v3::data_source::Specifier;

use crate::fields::fields;
use crate::path::At;

/// The bytes; a file is read now.
pub(crate) fn bytes(message: &DataSource, at: &At<'_>) -> Option<Vec<u8>> {
    fields!(at, message, DataSource {
        oneof { specifier {
            filename: Partly "read once, when the configuration arrives",
            inline_bytes: Honoured "",
            inline_string: Honoured "",
            environment_variable: Refused "the environment is not read",
        } }
        refused { watched_directory: "files are read once; deliver what changes by xDS" }
    });
    match specifier {
        Some(Specifier::Filename(path)) => match std::fs::read(path) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                at.field("filename")
                    .problem(format_args!("{path}: {error}"));
                None
            }
        },
        Some(Specifier::InlineBytes(bytes)) => Some(bytes.clone()),
        Some(Specifier::InlineString(text)) => Some(text.clone().into_bytes()),
        Some(Specifier::EnvironmentVariable(_)) => {
            at.field("environment_variable")
                .refuse("the environment is not read");
            None
        }
        None => {
            at.problem("needs a filename, inline_bytes or inline_string");
            None
        }
    }
}

/// The text, as [`bytes`].
pub(crate) fn text(message: &DataSource, at: &At<'_>) -> Option<String> {
    match String::from_utf8(bytes(message, at)?) {
        Ok(text) => Some(text),
        Err(_) => {
            at.problem("is not UTF-8");
            None
        }
    }
}
