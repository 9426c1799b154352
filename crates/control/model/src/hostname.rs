//! Host names, wildcards included.
//!
//! In: names that a conversion has checked and fully qualified. Out: comparison as Istio defines it.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// A fully qualified DNS name, an IP address as text, a wildcard `*.suffix`, or `*`; in lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hostname(Arc<str>);

impl Hostname {
    /// Takes a checked name and lowers its case.
    pub fn new(name: impl AsRef<str>) -> Self {
        Self(name.as_ref().to_ascii_lowercase().into())
    }

    /// The host that Istio gives to the Kubernetes service `name` in `namespace`:
    /// `name.namespace.svc.DOMAIN`, or `name.namespace` where there is no domain.
    pub fn of_service(name: &str, namespace: &str, domain: &str) -> Self {
        if domain.is_empty() {
            return Self::new(format!("{name}.{namespace}"));
        }
        Self::new(format!("{name}.{namespace}.svc.{domain}"))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is `*` or `*.suffix`.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with('*')
    }

    /// Whether every name that `other` stands for is one that this name stands for
    /// (`*` holds `*.com` holds `a.com`; `*.com` does not hold `com`).
    pub fn contains(&self, other: &Self) -> bool {
        match self.0.strip_prefix('*') {
            None => self == other,
            Some("") => true,
            Some(suffix) => {
                let rest = other.0.strip_prefix('*').unwrap_or(&other.0);
                rest.ends_with(suffix) && (other.is_wildcard() || rest.len() > suffix.len())
            }
        }
    }

    /// Whether some name is stood for by both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other) || other.contains(self)
    }

    /// Orders from most to least specific: exact names first, then wildcards from the longest suffix
    /// to `*`, ties by text. This is the order in which Istio looks for the best matching host.
    pub fn by_specificity(&self, other: &Self) -> Ordering {
        self.is_wildcard()
            .cmp(&other.is_wildcard())
            .then_with(|| {
                if self.is_wildcard() {
                    other.0.len().cmp(&self.0.len())
                } else {
                    Ordering::Equal
                }
            })
            .then_with(|| self.0.cmp(&other.0))
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl AsRef<str> for Hostname {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Hostname {
    fn borrow(&self) -> &str {
        &self.0
    }
}
