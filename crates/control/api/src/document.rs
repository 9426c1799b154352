//! Documents: a file taken apart into resources.
//!
//! In: the text of a file. Out: [`Document`]s with `apiVersion`, `kind`, metadata and the means to
//! decode the rest. Called by `source` for files and by `model` for text inside a ConfigMap.

use std::path::Path;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::decode::{self, Decoded, Strictness};
use crate::metadata::ObjectMeta;
use crate::tree::{self, Node, Value};
use crate::{FieldPath, Problem, ProblemKind, ResourceLabel, nearest};

/// One resource as written.
#[derive(Debug, Clone)]
pub struct Document {
    /// The file it is from.
    pub file: Option<Arc<Path>>,
    /// `apiVersion`, such as `networking.istio.io/v1`; empty if missing.
    pub api_version: String,
    /// `kind`; empty if missing.
    pub kind: String,
    root: Node,
}

/// Takes a file apart. Empty documents are left out and the items of a `List` become documents of
/// their own.
///
/// # Errors
/// The one [`Problem`] that keeps the text from being YAML.
pub fn parse(file: Option<Arc<Path>>, text: &str) -> Result<Vec<Document>, Box<Problem>> {
    let nodes = tree::read(text)
        .map_err(|(line, message)| Box::new(Problem::of_file(file.clone(), line, message)))?;
    let mut documents = Vec::new();
    for node in nodes {
        collect(file.as_ref(), node, &mut documents);
    }
    Ok(documents)
}

fn collect(file: Option<&Arc<Path>>, node: Node, documents: &mut Vec<Document>) {
    if node.value == Value::Null {
        return;
    }
    let document = Document::of(file.cloned(), node);
    if let (true, Some(Value::List(items))) = (
        document.kind.ends_with("List"),
        document.root.get("items").map(|items| &items.value),
    ) {
        for item in items {
            collect(file, item.clone(), documents);
        }
        return;
    }
    documents.push(document);
}

impl Document {
    /// The resource that a tree describes. `file` is what it is called in problems.
    pub fn of(file: Option<Arc<Path>>, root: Node) -> Self {
        let text = |key: &str| {
            let text = root.get(key).and_then(Node::as_text);
            text.unwrap_or_default().to_owned()
        };
        Self {
            file,
            api_version: text("apiVersion"),
            kind: text("kind"),
            root,
        }
    }

    /// The group of `apiVersion`: `networking.istio.io`, or empty for Kubernetes' core.
    pub fn group(&self) -> &str {
        self.api_version
            .split_once('/')
            .map_or("", |(group, _)| group)
    }

    /// The version of `apiVersion`: `v1beta1`.
    pub fn version(&self) -> &str {
        self.api_version
            .split_once('/')
            .map_or(self.api_version.as_str(), |(_, version)| version)
    }

    /// The tree of the document.
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// The line of the field at `path`, or of what is written nearest around it; 0 if it never had lines.
    pub fn line_of(&self, path: &FieldPath) -> u32 {
        self.root.line_of(path)
    }

    /// `metadata`; its unknown fields are passed over, since servers write many.
    pub fn metadata(&self) -> Decoded<ObjectMeta> {
        self.section("metadata", Strictness::Lenient)
    }

    /// The field `name` of the document, decoded as a `T`; the default if it is not written.
    pub fn section<T: DeserializeOwned + Default>(
        &self,
        name: &str,
        strictness: Strictness,
    ) -> Decoded<T> {
        let at = FieldPath::root().field(name);
        match self.root.get(name) {
            Some(node) => decode::decode(node, &at, strictness),
            None => Decoded {
                value: T::default(),
                faults: Vec::new(),
                set_aside: Vec::new(),
            },
        }
    }

    /// The document as a whole, decoded as a `T`.
    pub fn whole<T: DeserializeOwned + Default>(&self, strictness: Strictness) -> Decoded<T> {
        decode::decode(&self.root, &FieldPath::root(), strictness)
    }

    /// The fields of the document itself that are none of `known`, with what may have been meant.
    pub fn unknown_sections(&self, known: &[&str]) -> Vec<(FieldPath, String)> {
        let Value::Map(entries) = &self.root.value else {
            return Vec::new();
        };
        let unknown = entries
            .iter()
            .filter(|entry| !known.contains(&entry.key.as_str()));
        unknown
            .map(|entry| {
                let message = match nearest(&entry.key, known.iter().copied()) {
                    Some(name) => format!("unknown field; did you mean `{name}`?"),
                    None => format!("unknown field; known here: {}", known.join(", ")),
                };
                (FieldPath::root().field(&entry.key), message)
            })
            .collect()
    }

    /// The YAML text at `path` of this document as a document of its own whose lines are those of
    /// the file; kind and version are the given ones. `None` if there is no text.
    ///
    /// # Errors
    /// The problem that keeps the text from being YAML.
    pub fn nested(&self, path: &FieldPath, kind: &str) -> Option<Result<Self, Box<Problem>>> {
        let text = self.text_at(path)?;
        // A block scalar begins on the line after its key; a text in quotes is taken for one.
        let line = self.line_of(path);
        let root = tree::read(text)
            .map_err(|(inner, message)| {
                let line = Some(line + inner.unwrap_or(0));
                Box::new(Problem::of_file(self.file.clone(), line, message))
            })
            .map(|nodes| {
                let empty = Node {
                    line: 1,
                    value: Value::Null,
                };
                let mut root = nodes.into_iter().next().unwrap_or(empty);
                root.shift(line);
                Self {
                    file: self.file.clone(),
                    api_version: String::new(),
                    kind: kind.to_owned(),
                    root,
                }
            });
        Some(root)
    }

    /// A problem of this document at `path`.
    pub fn problem(
        &self,
        kind: ProblemKind,
        resource: Option<ResourceLabel>,
        path: FieldPath,
        message: impl Into<String>,
    ) -> Problem {
        Problem {
            file: self.file.clone(),
            line: Some(self.line_of(&path)).filter(|line| *line > 0),
            resource,
            path: (!path.segments().is_empty()).then_some(path),
            message: message.into(),
            kind,
        }
    }

    /// The text that is written at `path`.
    pub fn text_at(&self, path: &FieldPath) -> Option<&str> {
        let mut node = &self.root;
        for segment in path.segments() {
            node = match (segment, &node.value) {
                (crate::Segment::Index(index), Value::List(list)) => list.get(*index)?,
                (crate::Segment::Field(key) | crate::Segment::Key(key), _) => node.get(key)?,
                (crate::Segment::Index(_), _) => return None,
            };
        }
        node.as_text()
    }
}
