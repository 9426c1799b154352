//! Single variables: a name enters, a value of the wanted type or an error naming it leaves.

use std::str::FromStr;
use std::time::Duration;

use http::StatusCode;

use super::ConfigError;
use crate::duration;

/// Typed access to variables; an empty value counts as none.
pub(super) struct Lookup<'a>(&'a dyn Fn(&str) -> Option<String>);

impl<'a> Lookup<'a> {
    pub(super) fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self(lookup)
    }

    pub(super) fn text(&self, variable: &str) -> Option<String> {
        (self.0)(variable).filter(|value| !value.is_empty())
    }

    pub(super) fn error(&self, variable: &'static str, problem: &'static str) -> ConfigError {
        ConfigError {
            variable,
            value: self.text(variable).unwrap_or_default(),
            problem,
        }
    }

    pub(super) fn optional<T: FromStr>(
        &self,
        variable: &'static str,
        problem: &'static str,
    ) -> Result<Option<T>, ConfigError> {
        let parsed = self.text(variable).map(|text| text.trim().parse());
        parsed
            .transpose()
            .map_err(|_| self.error(variable, problem))
    }

    pub(super) fn parsed<T: FromStr>(
        &self,
        variable: &'static str,
        default: T,
        problem: &'static str,
    ) -> Result<T, ConfigError> {
        Ok(self.optional(variable, problem)?.unwrap_or(default))
    }

    pub(super) fn status(
        &self,
        variable: &'static str,
        default: StatusCode,
    ) -> Result<StatusCode, ConfigError> {
        let code = self.parsed(variable, default, "no HTTP status")?;
        let sendable = code.as_u16() >= 200;
        if sendable {
            Ok(code)
        } else {
            Err(self.error(variable, "no final HTTP status"))
        }
    }

    pub(super) fn duration(
        &self,
        variable: &'static str,
        default: Duration,
    ) -> Result<Duration, ConfigError> {
        match self.text(variable) {
            None => Ok(default),
            Some(text) => duration::parse(text.trim())
                .ok_or_else(|| self.error(variable, "no duration such as 150ms or 1m30s")),
        }
    }

    /// A truth value in any of Go's spellings.
    pub(super) fn flag(&self, variable: &'static str, default: bool) -> Result<bool, ConfigError> {
        match self.text(variable).as_deref() {
            None => Ok(default),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
            Some(_) => Err(self.error(variable, "neither true nor false")),
        }
    }

    /// A comma-separated list, empty entries left out.
    pub(super) fn list<T>(
        &self,
        variable: &'static str,
        parse: impl Fn(&str) -> Result<T, &'static str>,
    ) -> Result<Vec<T>, ConfigError> {
        let text = self.text(variable).unwrap_or_default();
        let entries = text
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty());
        entries
            .map(parse)
            .collect::<Result<_, _>>()
            .map_err(|problem| self.error(variable, problem))
    }
}
