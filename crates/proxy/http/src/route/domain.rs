//! Which virtual host serves an authority: exact names, then the longest `*.suffix`, then
//! the longest `prefix.*`, then `*`. The route table builds the index once; every request
//! asks it. Names are compared without regard to ASCII case and without allocating.

use std::collections::HashMap;

use meltemi_ir as ir;

/// An index from authority to the position of its virtual host.
#[derive(Debug, Default)]
pub(crate) struct DomainIndex {
    exact: HashMap<Box<str>, u32>,
    suffixes: Vec<ByLength>,
    prefixes: Vec<ByLength>,
    any: Option<u32>,
    ignore_port: bool,
}

#[derive(Debug)]
struct ByLength {
    length: usize,
    names: HashMap<Box<str>, u32>,
}

impl DomainIndex {
    /// Indexes the domains of `hosts`; where two say the same, the first keeps it.
    pub(crate) fn new(hosts: &[std::sync::Arc<ir::VirtualHost>], ignore_port: bool) -> Self {
        let mut index = Self {
            ignore_port,
            ..Self::default()
        };
        for (position, host) in (0u32..).zip(hosts) {
            for domain in &host.domains {
                index.add(&domain.to_ascii_lowercase(), position);
            }
        }
        for list in [&mut index.suffixes, &mut index.prefixes] {
            list.sort_by_key(|entry| std::cmp::Reverse(entry.length));
        }
        index
    }

    fn add(&mut self, domain: &str, position: u32) {
        if domain == "*" {
            self.any.get_or_insert(position);
        } else if let Some(suffix) = domain.strip_prefix('*') {
            insert(&mut self.suffixes, suffix, position);
        } else if let Some(prefix) = domain.strip_suffix('*') {
            insert(&mut self.prefixes, prefix, position);
        } else {
            self.exact.entry(domain.into()).or_insert(position);
        }
    }

    /// The virtual host for an authority.
    pub(crate) fn find(&self, authority: &str) -> Option<u32> {
        if self.exact.is_empty() && self.suffixes.is_empty() && self.prefixes.is_empty() {
            return self.any;
        }
        let host = if self.ignore_port {
            without_port(authority)
        } else {
            authority
        };
        if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return self.find_lower(&host.to_ascii_lowercase());
        }
        self.find_lower(host)
    }

    fn find_lower(&self, host: &str) -> Option<u32> {
        if let Some(position) = self.exact.get(host) {
            return Some(*position);
        }
        // The star stands for at least one character.
        for entry in &self.suffixes {
            if entry.length < host.len()
                && let Some(tail) = host.get(host.len() - entry.length..)
                && let Some(position) = entry.names.get(tail)
            {
                return Some(*position);
            }
        }
        for entry in &self.prefixes {
            if entry.length < host.len()
                && let Some(head) = host.get(..entry.length)
                && let Some(position) = entry.names.get(head)
            {
                return Some(*position);
            }
        }
        self.any
    }
}

fn insert(list: &mut Vec<ByLength>, name: &str, position: u32) {
    let entry = match list.iter_mut().find(|entry| entry.length == name.len()) {
        Some(entry) => entry,
        None => {
            list.push(ByLength {
                length: name.len(),
                names: HashMap::new(),
            });
            list.last_mut().expect("just pushed")
        }
    };
    entry.names.entry(name.into()).or_insert(position);
}

/// The authority without its port; an IPv6 literal keeps its brackets.
pub(crate) fn without_port(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(colon)
            if authority.rfind(']').is_none_or(|bracket| bracket < colon)
                && !authority[..colon].contains(':')
                || authority[..colon].ends_with(']') =>
        {
            let port = &authority[colon + 1..];
            if port.bytes().all(|byte| byte.is_ascii_digit()) {
                &authority[..colon]
            } else {
                authority
            }
        }
        _ => authority,
    }
}

/// The authority's port, if it names one.
pub(crate) fn port_of(authority: &str) -> Option<u16> {
    let host = without_port(authority);
    authority.get(host.len() + 1..)?.parse().ok()
}
