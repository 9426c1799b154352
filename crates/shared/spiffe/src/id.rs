//! SPIFFE IDs: `spiffe://<trust domain>/<path>`.

use std::fmt;
use std::str::FromStr;

/// Why a name is no SPIFFE ID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The scheme is another one.
    #[error("a SPIFFE ID begins with spiffe://, this one is {0:?}")]
    Scheme(String),
    /// The trust domain is empty or has a character outside `a-z 0-9 . - _`.
    #[error("{0:?} is not a trust domain: use lower-case letters, digits, '.', '-' and '_'")]
    TrustDomain(String),
    /// The path is malformed.
    #[error(
        "{0:?} is not the path of a SPIFFE ID: segments of letters, digits, '.', '-', '_', none empty, '.' or '..'"
    )]
    Path(String),
    /// Longer than the specification's 2048 bytes.
    #[error("a SPIFFE ID has at most 2048 bytes, this one has {0}")]
    TooLong(usize),
}

/// A trust domain, such as `cluster.local`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(String);

impl TrustDomain {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let fine = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_')
        };
        if text.is_empty() || text.len() > 255 || !text.bytes().all(fine) {
            return Err(IdError::TrustDomain(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A SPIFFE ID.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId {
    trust_domain: TrustDomain,
    path: String,
}

impl SpiffeId {
    /// The identity of a Kubernetes service account, as Istio writes it:
    /// `spiffe://<trust domain>/ns/<namespace>/sa/<account>`.
    ///
    /// # Errors
    /// When a name holds a character that a SPIFFE path may not.
    pub fn workload(
        trust_domain: &TrustDomain,
        namespace: &str,
        account: &str,
    ) -> Result<Self, IdError> {
        for name in [namespace, account] {
            if !is_segment(name) {
                return Err(IdError::Path(name.to_owned()));
            }
        }
        Ok(Self {
            trust_domain: trust_domain.clone(),
            path: format!("/ns/{namespace}/sa/{account}"),
        })
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The path with its leading slash; empty for the trust domain itself.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Namespace and service account, where the path has Istio's form.
    pub fn namespace_and_account(&self) -> Option<(&str, &str)> {
        let (namespace, account) = self.path.strip_prefix("/ns/")?.split_once("/sa/")?;
        (is_segment(namespace) && is_segment(account)).then_some((namespace, account))
    }
}

fn is_segment(text: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !text.is_empty() && text != "." && text != ".." && text.bytes().all(fine)
}

impl FromStr for SpiffeId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.len() > 2048 {
            return Err(IdError::TooLong(text.len()));
        }
        let rest = text
            .strip_prefix("spiffe://")
            .ok_or_else(|| IdError::Scheme(text.to_owned()))?;
        let (domain, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, ""),
        };
        let well_formed = path.is_empty() || path[1..].split('/').all(is_segment);
        if !well_formed {
            return Err(IdError::Path(path.to_owned()));
        }
        Ok(Self {
            trust_domain: domain.parse()?,
            path: path.to_owned(),
        })
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}{}", self.trust_domain, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_or_say_why_not() {
        for (text, fine) in [
            ("spiffe://cluster.local/ns/default/sa/web", true),
            ("spiffe://cluster.local", true),
            ("https://cluster.local/ns/a/sa/b", false),
            ("spiffe:///ns/a/sa/b", false),
            ("spiffe://Cluster.Local/ns/a/sa/b", false),
            ("spiffe://cluster.local:8080/ns/a/sa/b", false),
            ("spiffe://cluster.local/ns//sa/b", false),
            ("spiffe://cluster.local/ns/../sa/b", false),
            ("spiffe://cluster.local/ns/a/sa/b/", false),
            ("spiffe://cluster.local/ns/a/sa/b?x=y", false),
            ("spiffe://cluster.local/ns/a%2f/sa/b", false),
        ] {
            assert_eq!(text.parse::<SpiffeId>().is_ok(), fine, "{text}");
        }
    }

    #[test]
    fn a_workload_name_reads_back() {
        let domain: TrustDomain = "cluster.local".parse().expect("a trust domain");
        let id = SpiffeId::workload(&domain, "istioinaction", "webapp").expect("a name");
        assert_eq!(
            id.to_string(),
            "spiffe://cluster.local/ns/istioinaction/sa/webapp"
        );
        assert_eq!(
            id.namespace_and_account(),
            Some(("istioinaction", "webapp"))
        );
        assert!(SpiffeId::workload(&domain, "a/b", "c").is_err());
    }
}
