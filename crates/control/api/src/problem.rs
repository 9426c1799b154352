//! What is wrong with a file, and where.
//!
//! In: faults found while reading, decoding and validating. Out: [`Problem`], whose text is one line
//! for a log or a terminal: `routing.yaml:14: VirtualService istioinaction/catalog:
//! spec.http[0].route[1].weight: -1 is not between 0 and 2147483647`.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::FieldPath;

/// One thing that is wrong with one place of one file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Problem {
    /// The file; `None` for text that came from elsewhere.
    pub file: Option<Arc<Path>>,
    /// The line, from 1; `None` if the file could not be read.
    pub line: Option<u32>,
    /// The resource; `None` if the file is not YAML.
    pub resource: Option<ResourceLabel>,
    /// The field; `None` if the resource as a whole is meant.
    pub path: Option<FieldPath>,
    /// What is wrong, and what to write instead.
    pub message: String,
    /// What sort of problem it is.
    pub kind: ProblemKind,
}

/// The name of a resource as it is written, whether or not the mesh knows its kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceLabel {
    /// `kind`.
    pub kind: String,
    /// Its namespace; `None` for kinds without one.
    pub namespace: Option<String>,
    /// `metadata.name`.
    pub name: String,
}

/// Sorts of problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProblemKind {
    /// The file cannot be read or is not YAML.
    Syntax,
    /// A field is unknown or its value is wrong.
    Invalid,
    /// A field or value that Istio knows and this mesh does not yet honour.
    Unsupported,
    /// A kind of resource that this mesh does not take yet; the resource is left out.
    UnsupportedKind,
    /// A second definition of a resource; the first holds.
    Duplicate,
    /// The resource holds, but something in it has no effect, or hardly the one that is meant.
    Warning,
}

impl ProblemKind {
    /// Whether a resource with such a problem is not valid. Kinds that the mesh does not take are none of its
    /// business, and warnings are for people.
    pub fn is_error(self) -> bool {
        match self {
            Self::Syntax | Self::Invalid | Self::Unsupported | Self::Duplicate => true,
            Self::UnsupportedKind | Self::Warning => false,
        }
    }
}

impl Problem {
    /// A problem that is not of one resource.
    pub fn of_file(file: Option<Arc<Path>>, line: Option<u32>, message: impl Into<String>) -> Self {
        Self {
            file,
            line,
            resource: None,
            path: None,
            message: message.into(),
            kind: ProblemKind::Syntax,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}:", file.display())?;
        }
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        if self.file.is_some() || self.line.is_some() {
            f.write_str(" ")?;
        }
        if let Some(resource) = &self.resource {
            write!(f, "{resource}: ")?;
        }
        if let Some(path) = self
            .path
            .as_ref()
            .filter(|path| !path.segments().is_empty())
        {
            write!(f, "{path}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl fmt::Display for ResourceLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            _ if self.name.is_empty() => write!(f, "{} without a name", self.kind),
            Some(namespace) => write!(f, "{} {}/{}", self.kind, namespace, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}
