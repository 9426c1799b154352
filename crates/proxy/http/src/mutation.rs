//! Changes to headers that the configuration asks for, compiled: removals, and additions whose
//! values are literal or made by a format. Routes and filters hold and apply them.

use http::{HeaderMap, HeaderName, HeaderValue};
use meltemi_ir as ir;
use meltemi_telemetry::{FormatError, Formatter, StreamRecord};

/// Compiled header changes of one scope, in order.
#[derive(Debug)]
pub struct Mutation(Vec<Step>);

#[derive(Debug)]
enum Step {
    Remove(HeaderName),
    RemoveMatching(ir::StringMatch),
    Add(Addition),
}

#[derive(Debug)]
struct Addition {
    target: ir::HeaderTarget,
    value: Source,
    action: ir::AppendAction,
    keep_empty: bool,
}

#[derive(Debug)]
enum Source {
    Literal(HeaderValue),
    Format(Formatter),
}

/// Why header changes cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MutationError {
    /// The value is no valid format.
    #[error("add[{index}].value: {source}")]
    Format {
        /// Which addition.
        index: usize,
        /// What is wrong with it.
        source: FormatError,
    },
}

/// Where pseudo headers are written; headers go to the map beside it.
pub(crate) trait PseudoHeaders {
    /// The value of a pseudo header, if the message has it.
    fn has(&self, target: &ir::HeaderTarget) -> bool;
    /// Writes it; an unusable value is dropped.
    fn set(&mut self, target: &ir::HeaderTarget, value: HeaderValue);
}

/// A message whose pseudo headers are not to be written.
pub(crate) struct NoPseudo;

impl PseudoHeaders for NoPseudo {
    fn has(&self, _target: &ir::HeaderTarget) -> bool {
        true
    }

    fn set(&mut self, _target: &ir::HeaderTarget, _value: HeaderValue) {}
}

impl Mutation {
    /// Compiles the changes.
    ///
    /// # Errors
    /// When a value is no valid format.
    pub fn new(config: &ir::HeaderMutation) -> Result<Self, MutationError> {
        let ir::HeaderMutation { remove, add } = config;
        let mut steps: Vec<_> = remove.iter().cloned().map(Step::Remove).collect();
        for (index, addition) in add.iter().enumerate() {
            steps.push(Step::Add(Addition::compile(addition, index)?));
        }
        Ok(Self(steps))
    }

    /// Compiles changes that are made one after the other.
    ///
    /// # Errors
    /// When a value is no valid format.
    pub fn ordered(edits: &[ir::HeaderEdit]) -> Result<Self, MutationError> {
        let step = |(index, edit): (usize, &ir::HeaderEdit)| {
            Ok(match edit {
                ir::HeaderEdit::Remove(name) => Step::Remove(name.clone()),
                ir::HeaderEdit::RemoveMatching(matcher) => Step::RemoveMatching(matcher.clone()),
                ir::HeaderEdit::Append(addition) => Step::Add(Addition::compile(addition, index)?),
            })
        };
        let steps: Result<_, _> = edits.iter().enumerate().map(step).collect();
        steps.map(Self)
    }

    /// Whether it changes nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn additions(&self) -> impl Iterator<Item = &Addition> {
        self.0.iter().filter_map(|step| match step {
            Step::Add(addition) => Some(addition),
            Step::Remove(_) | Step::RemoveMatching(_) => None,
        })
    }

    /// Whether a value is made by a format, so that [`Self::apply`] needs a record.
    pub(crate) fn needs_record(&self) -> bool {
        self.additions()
            .any(|addition| matches!(addition.value, Source::Format(_)))
    }

    /// The request's headers that formats mention, if there are formats.
    pub(crate) fn format_fields(&self) -> Option<impl Iterator<Item = &HeaderName>> {
        self.needs_record().then(|| {
            self.additions()
                .filter_map(|addition| match &addition.value {
                    Source::Format(formatter) => Some(&formatter.fields().request_headers),
                    Source::Literal(_) => None,
                })
                .flatten()
        })
    }

    /// The values that formats make of the record, in order, for [`Self::apply`].
    pub(crate) fn values(&self, record: &StreamRecord<'_>) -> Vec<Option<HeaderValue>> {
        let mut text = Vec::new();
        self.additions()
            .filter_map(|addition| match &addition.value {
                Source::Literal(_) => None,
                Source::Format(formatter) => {
                    text.clear();
                    formatter.format(record, &mut text);
                    Some(HeaderValue::from_bytes(&text).ok())
                }
            })
            .collect()
    }

    /// Makes the changes to a message whose pseudo headers stay as they are.
    pub fn write(&self, headers: &mut HeaderMap, record: &StreamRecord<'_>) {
        self.apply(headers, &mut NoPseudo, self.values(record));
    }

    /// Makes the changes. `values` come from [`Self::values`]; they may be empty where
    /// [`Self::needs_record`] is false.
    pub(crate) fn apply(
        &self,
        headers: &mut HeaderMap,
        pseudo: &mut impl PseudoHeaders,
        values: Vec<Option<HeaderValue>>,
    ) {
        let mut values = values.into_iter();
        for step in &self.0 {
            let addition = match step {
                Step::Remove(name) => {
                    headers.remove(name);
                    continue;
                }
                Step::RemoveMatching(matcher) => {
                    remove_matching(headers, matcher);
                    continue;
                }
                Step::Add(addition) => addition,
            };
            let value = match &addition.value {
                Source::Literal(value) => Some(value.clone()),
                Source::Format(_) => values.next().flatten(),
            };
            if let Some(value) = value
                && (addition.keep_empty || !value.is_empty())
            {
                addition.apply(headers, pseudo, value);
            }
        }
    }
}

fn remove_matching(headers: &mut HeaderMap, matcher: &ir::StringMatch) {
    let names: Vec<HeaderName> = headers
        .keys()
        .filter(|name| matcher.matches(name.as_str()))
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
}

impl Addition {
    fn compile(config: &ir::HeaderAppend, index: usize) -> Result<Self, MutationError> {
        Self::new(config).map_err(|source| MutationError::Format { index, source })
    }

    fn new(config: &ir::HeaderAppend) -> Result<Self, FormatError> {
        let ir::HeaderAppend {
            name,
            value,
            literal,
            action,
            keep_empty,
        } = config;
        Ok(Self {
            target: name.clone(),
            value: match literal {
                Some(literal) => Source::Literal(literal.clone()),
                None => Source::Format(Formatter::parse_header(value)?),
            },
            action: *action,
            keep_empty: *keep_empty,
        })
    }

    fn apply(&self, headers: &mut HeaderMap, pseudo: &mut impl PseudoHeaders, value: HeaderValue) {
        let ir::HeaderTarget::Name(name) = &self.target else {
            let present = pseudo.has(&self.target);
            match self.action {
                ir::AppendAction::AddIfAbsent if present => {}
                ir::AppendAction::OverwriteIfExists if !present => {}
                _ => pseudo.set(&self.target, value),
            }
            return;
        };
        match self.action {
            ir::AppendAction::AppendOrAdd => {
                headers.append(name, value);
            }
            ir::AppendAction::AddIfAbsent => {
                headers.entry(name).or_insert(value);
            }
            ir::AppendAction::OverwriteOrAdd => {
                headers.insert(name, value);
            }
            ir::AppendAction::OverwriteIfExists => {
                if headers.contains_key(name) {
                    headers.insert(name, value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
