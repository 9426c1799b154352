//! Checking: where conversions collect what is wrong.
//!
//! In: fields as written with their paths. Out: checked values, and [`Fault`]s for the rest. Every
//! conversion of this crate goes through one [`Check`], so that all faults of a resource are found,
//! not only the first.

mod domain;
mod duration;
mod header_value;
mod regex;

use std::collections::BTreeMap;
use std::time::Duration;

use meltemi_api::virtual_service::Unread;
use meltemi_api::{FieldPath, ProblemKind, nearest};

use crate::{Defaults, HeaderName, Hostname, Labels, NamespaceName};

pub(crate) use domain::{is_dns_label, is_dns_subdomain};
pub(crate) use duration::parse as parse_duration;

/// The longest regular expression that Istio takes.
const MAX_REGEX: usize = 1024;

/// One thing that is wrong with a resource.
#[derive(Debug)]
pub(crate) struct Fault {
    pub path: FieldPath,
    pub message: String,
    pub kind: ProblemKind,
}

impl Fault {
    /// Whether the resource holds in spite of it.
    pub(crate) fn is_warning(&self) -> bool {
        self.kind == ProblemKind::Warning
    }
}

/// Collects the faults of one resource and knows what its short names stand for.
#[derive(Debug)]
pub(crate) struct Check<'a> {
    /// The resource's namespace.
    pub namespace: &'a NamespaceName,
    /// What holds where the resource says nothing.
    pub defaults: &'a Defaults,
    faults: Vec<Fault>,
}

/// Which numbers a field takes.
const PORTS: std::ops::RangeInclusive<i64> = 1..=65535;

impl<'a> Check<'a> {
    pub(crate) fn new(namespace: &'a NamespaceName, defaults: &'a Defaults) -> Self {
        Self {
            namespace,
            defaults,
            faults: Vec::new(),
        }
    }

    pub(crate) fn into_faults(self) -> Vec<Fault> {
        self.faults
    }

    /// Whether nothing wrong was found yet.
    pub(crate) fn is_clean(&self) -> bool {
        self.faults.iter().all(Fault::is_warning)
    }

    /// Whether nothing wrong was found yet at `at` and below it.
    pub(crate) fn is_clean_below(&self, at: &FieldPath) -> bool {
        let mut wrong = self.faults.iter().filter(|it| !it.is_warning());
        !wrong.any(|it| at.is_prefix_of(&it.path))
    }

    /// The value at `at` is wrong.
    pub(crate) fn invalid(&mut self, at: &FieldPath, message: impl Into<String>) {
        self.fault(at, message.into(), ProblemKind::Invalid);
    }

    /// The field or value at `at` is right but not honoured yet.
    pub(crate) fn unsupported(&mut self, at: &FieldPath, what: &str) {
        self.fault(
            at,
            format!("{what} is not supported yet"),
            ProblemKind::Unsupported,
        );
    }

    /// The value at `at` is taken, and something about it has no effect.
    pub(crate) fn warn(&mut self, at: &FieldPath, message: impl Into<String>) {
        self.fault(at, message.into(), ProblemKind::Warning);
    }

    /// The field `name` of `at` is not honoured yet: it must not be written.
    pub(crate) fn unread(&mut self, at: &FieldPath, name: &str, field: Unread) {
        if field.is_some() {
            self.unsupported(&at.field(name), &format!("`{name}`"));
        }
    }

    /// A duration of at least a millisecond, in whole milliseconds.
    pub(crate) fn duration(&mut self, at: &FieldPath, text: Option<&str>) -> Option<Duration> {
        match duration::parse(text?) {
            Err(message) => self.invalid(at, message),
            Ok(duration) if duration < Duration::from_millis(1) => {
                let text = text.unwrap_or_default();
                self.invalid(at, format!("{text} is too short; write at least 1ms"));
            }
            Ok(duration) if duration.subsec_nanos() % 1_000_000 != 0 => {
                let text = text.unwrap_or_default();
                self.invalid(at, format!("{text} is too exact; write whole milliseconds"));
            }
            Ok(duration) => return Some(duration),
        }
        None
    }

    /// A port number.
    pub(crate) fn port(&mut self, at: &FieldPath, number: i64) -> Option<u16> {
        if !PORTS.contains(&number) {
            self.invalid(at, format!("{number} is not a port; write 1 to 65535"));
        }
        u16::try_from(number).ok().filter(|port| *port != 0)
    }

    /// A number from 0.
    pub(crate) fn count(&mut self, at: &FieldPath, number: Option<i64>) -> Option<u32> {
        let number = number?;
        let count = u32::try_from(number)
            .ok()
            .filter(|count| i32::try_from(*count).is_ok());
        if count.is_none() {
            self.invalid(at, format!("{number} is not between 0 and {}", i32::MAX));
        }
        count
    }

    /// A host name, perhaps a wildcard, with short names fully qualified.
    pub(crate) fn hostname(&mut self, at: &FieldPath, name: &str) -> Option<Hostname> {
        match domain::check_wildcard(name) {
            Ok(()) => Some(self.qualified(name)),
            Err(message) => {
                self.invalid(at, message);
                None
            }
        }
    }

    /// `name` as it is if it has dots or a wildcard, otherwise the host of the service of that name
    /// in the resource's namespace.
    pub(crate) fn qualified(&self, name: &str) -> Hostname {
        if name.contains(['.', '*', ':']) || name.is_empty() {
            Hostname::new(name)
        } else {
            Hostname::of_service(name, self.namespace.as_str(), &self.defaults.domain)
        }
    }

    /// Label names and values of the forms that Kubernetes has for them.
    pub(crate) fn labels(&mut self, at: &FieldPath, map: BTreeMap<String, String>) -> Labels {
        for (key, value) in &map {
            if !domain::is_label_key(key) {
                let what = format!(
                    "`{key}` is not a label name; use [prefix/]name of letters, digits, '-', '_' and '.'"
                );
                self.invalid(&at.key(key), what);
            }
            if !domain::is_label_value(value) {
                let what = format!(
                    "`{value}` is not a label value; use at most 63 letters, digits, '-', '_' and '.'"
                );
                self.invalid(&at.key(key), what);
            }
        }
        Labels::new(map)
    }

    /// The name of a header.
    pub(crate) fn header_name(&mut self, at: &FieldPath, name: &str) -> Option<HeaderName> {
        let plain = name.strip_prefix(':').unwrap_or(name);
        if http::HeaderName::try_from(plain).is_err() {
            self.invalid(at, format!("`{name}` is not a header name"));
            return None;
        }
        Some(HeaderName::new(name.to_ascii_lowercase()))
    }

    /// A header value, perhaps with Envoy's `%OPERATOR%`s.
    pub(crate) fn header_value(&mut self, at: &FieldPath, value: &str) {
        if let Err(message) = header_value::check(value) {
            self.invalid(at, message);
        }
    }

    /// An RE2 expression.
    pub(crate) fn regex(&mut self, at: &FieldPath, pattern: &str) {
        if pattern.is_empty() {
            self.invalid(
                at,
                "an empty expression matches nothing; write one or leave it out",
            );
        } else if pattern.len() > MAX_REGEX {
            let length = pattern.len();
            self.invalid(
                at,
                format!("{length} bytes are too long; write at most {MAX_REGEX}"),
            );
        } else if let Some(operators) = regex::stacked_repetition(pattern) {
            let what = "is not an RE2 expression: one repetition follows another";
            self.invalid(at, format!("`{pattern}` {what}, `{operators}`"));
        } else if let Err(error) = ::regex::Regex::new(pattern) {
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default().trim();
            let reason = reason.strip_prefix("error: ").unwrap_or(reason);
            self.invalid(
                at,
                format!("`{pattern}` is not an RE2 expression: {reason}"),
            );
        }
    }

    /// The value of an enumeration by its name, in any case.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        at: &FieldPath,
        text: &str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let found = choices
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(text));
        if found.is_none() {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            let message = match nearest(text, names.iter().copied()) {
                Some(name) => format!("unknown value `{text}`; did you mean {name}?"),
                None => format!("unknown value `{text}`; write {}", names.join(", ")),
            };
            self.invalid(at, message);
        }
        found.map(|(_, value)| *value)
    }

    fn fault(&mut self, at: &FieldPath, message: String, kind: ProblemKind) {
        self.faults.push(Fault {
            path: at.clone(),
            message,
            kind,
        });
    }
}

/// `text` unless it is empty: protobuf knows no difference.
pub(crate) fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}
