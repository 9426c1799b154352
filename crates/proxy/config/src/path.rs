//! Where a conversion is: a chain of steps on the stack, spelled out only when something is wrong.
//!
//! A conversion that finds a problem reports it here and goes on with a stand-in, so that one
//! refusal names every problem; [`Problems::finish`] throws the stand-ins away.

use std::cell::RefCell;
use std::fmt::{self, Display};

use meltemi_ir::ResourceSource;

use crate::error::{ConfigError, ConfigErrors};

/// The problems found so far in one resource.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    found: RefCell<Found>,
    /// What delivers the resource.
    source: ResourceSource,
}

#[derive(Debug, Default)]
struct Found {
    errors: Vec<ConfigError>,
    more: usize,
}

impl Problems {
    /// Converts one resource: its value, where nothing was wrong.
    pub(crate) fn collect<T>(
        convert: impl FnOnce(&At<'_>) -> Option<T>,
    ) -> Result<T, ConfigErrors> {
        Self::collect_from(&ResourceSource::Ads, convert)
    }

    /// The same of a resource that `source` delivered.
    pub(crate) fn collect_from<T>(
        source: &ResourceSource,
        convert: impl FnOnce(&At<'_>) -> Option<T>,
    ) -> Result<T, ConfigErrors> {
        let problems = Self {
            found: RefCell::default(),
            source: source.clone(),
        };
        let value = convert(&At::root(&problems));
        let Found { errors, more } = problems.found.into_inner();
        if errors.is_empty() {
            value.ok_or_else(|| ConfigError::whole("is not valid").into())
        } else {
            Err(ConfigErrors { errors, more })
        }
    }
}

/// A place in the message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At<'a> {
    problems: &'a Problems,
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Root,
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> At<'a> {
    fn root(problems: &'a Problems) -> Self {
        Self {
            problems,
            parent: None,
            step: Step::Root,
        }
    }

    fn step(&'a self, step: Step<'a>) -> Self {
        Self {
            problems: self.problems,
            parent: Some(self),
            step,
        }
    }

    /// A field of this message. A Rust raw identifier loses its `r#`.
    pub(crate) fn field(&'a self, name: &'a str) -> Self {
        self.step(Step::Field(name.strip_prefix("r#").unwrap_or(name)))
    }

    /// An element of this list.
    pub(crate) fn index(&'a self, index: usize) -> Self {
        self.step(Step::Index(index))
    }

    /// A value of this map.
    pub(crate) fn key(&'a self, key: &'a str) -> Self {
        self.step(Step::Key(key))
    }

    /// What delivers the resource that this is of.
    pub(crate) fn source(&self) -> &ResourceSource {
        &self.problems.source
    }

    /// Something is wrong here.
    pub(crate) fn problem(&self, problem: impl Display) {
        let mut found = self.problems.found.borrow_mut();
        if found.errors.len() == ConfigErrors::LIMIT {
            found.more += 1;
            return;
        }
        found.errors.push(ConfigError {
            path: self.to_string(),
            problem: problem.to_string(),
        });
    }

    /// What stands here is something that the proxy does not do.
    pub(crate) fn refuse(&self, why: &str) {
        if why.is_empty() {
            self.problem("is not supported");
        } else {
            self.problem(format_args!("is not supported: {why}"));
        }
    }

    /// Converts each element; those that come to nothing have been reported.
    pub(crate) fn each<T, U>(
        &self,
        list: &[T],
        mut convert: impl FnMut(&T, &At<'_>) -> Option<U>,
    ) -> Vec<U> {
        // As much as is needed and no more: most lists have one element, and stay.
        let mut converted = Vec::with_capacity(list.len());
        let items = list.iter().enumerate();
        converted.extend(items.filter_map(|(index, item)| convert(item, &self.index(index))));
        converted
    }
}

impl Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        let first = self
            .parent
            .is_none_or(|parent| matches!(parent.step, Step::Root) && parent.parent.is_none());
        match self.step {
            Step::Root => Ok(()),
            Step::Field(name) if first => f.write_str(name),
            Step::Field(name) => write!(f, ".{name}"),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(key) => write!(f, "[{key:?}]"),
        }
    }
}
