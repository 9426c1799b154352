//! `meltemi.yaml`: what `meltemi up` is told beside the manifests.
//!
//! In: the optional file of a directory. Out: [`Settings`], those of all directories together. Read
//! once, at the start.
//!
//! ```yaml
//! images:               # what to run in the place of an image
//!   acme/catalog:
//!     command: [node, server.js]
//!     workingDir: ./catalog     # below the file's directory
//!     env:
//!       NODE_ENV: development
//! try:                  # printed when the mesh is ready
//! - curl {gateway}/items                # its first published address
//! - "{meltemi} proxy-config route web"  # this program, as it was called
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The file's name, in any of the directories that `up` is given.
const FILE: &str = "meltemi.yaml";

/// What `up` is told beside the manifests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// What to run for a container with this image.
    pub images: BTreeMap<String, ImageCommand>,
    /// Commands to show when the mesh is ready.
    pub r#try: Vec<String>,
}

/// What runs in the place of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ImageCommand {
    /// The program and its arguments; the container's `args` follow.
    pub command: Vec<String>,
    /// Variables, over those of the container.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Where it runs.
    #[serde(default)]
    pub working_dir: Option<PathBuf>,
}

/// Why a settings file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not of the form.
    #[error("{}: {reason}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
}

impl Settings {
    /// Reads the settings of all directories.
    pub(crate) fn load(directories: &[PathBuf]) -> Result<Self, SettingsError> {
        let mut all = Self::default();
        for directory in directories {
            let path = directory.join(FILE);
            match std::fs::read_to_string(&path) {
                Ok(text) => {
                    let Self { images, r#try } = Self::parse(&path, &text)?;
                    all.images.extend(images);
                    all.r#try.extend(r#try);
                }
                // a DIR that is a single file has no settings beside it
                Err(error) if is_absent(&error) => {}
                Err(source) => return Err(SettingsError::Read { path, source }),
            }
        }
        Ok(all)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, SettingsError> {
        let form = |reason: String| SettingsError::Form {
            path: path.to_owned(),
            reason,
        };
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let mut settings: Self =
            serde_saphyr::from_str(text).map_err(|error| form(error.to_string()))?;
        for (image, run) in &mut settings.images {
            if run.command.is_empty() {
                return Err(form(format!("images.{image}.command: name a program")));
            }
            if let (Some(below), Some(at)) = (&run.working_dir, path.parent()) {
                run.working_dir = Some(at.join(below));
            }
        }
        Ok(settings)
    }
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::Settings;

    #[test]
    fn a_file_is_read() {
        let text = "
images:
  acme/catalog:
    command: [node, server.js]
    workingDir: ./catalog
    env: {NODE_ENV: development}
try:
- curl {gateway}/items
";
        let settings = Settings::parse(Path::new("/mesh/meltemi.yaml"), text).unwrap();
        let run = &settings.images["acme/catalog"];
        assert_eq!(run.command, ["node", "server.js"]);
        assert_eq!(
            run.working_dir.as_deref(),
            Some(Path::new("/mesh/./catalog"))
        );
        assert_eq!(run.env["NODE_ENV"], "development");
        assert_eq!(settings.r#try, ["curl {gateway}/items"]);
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("image: {}", "image"),
            ("images: {a: {}}", "command"),
            ("images: {a: {command: []}}", "images.a.command"),
            ("images: {a: {command: [x], port: 1}}", "port"),
        ];
        for (text, expected) in cases {
            let error = Settings::parse(Path::new("meltemi.yaml"), text)
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(error.starts_with("meltemi.yaml: "), "{error}");
        }
    }
}
