//! Where a key goes: the route of its prefix, and what of it is hashed.

use bytes::Bytes;
use meltemi_ir::{RedisRoute, RedisRoutes};
use meltemi_upstream::{MURMUR_SEED, murmur_hash2};

/// The route of a key, and the key as the upstream gets it.
pub(crate) fn route<'a>(routes: &'a RedisRoutes, key: &Bytes) -> Option<(&'a RedisRoute, Bytes)> {
    let begins = |route: &&RedisRoute| {
        let beginning = key.get(..route.prefix.len());
        beginning.is_some_and(|beginning| match routes.case_insensitive {
            true => beginning.eq_ignore_ascii_case(route.prefix.as_bytes()),
            false => *beginning == *route.prefix.as_bytes(),
        })
    };
    let longest = routes.routes.iter().filter(begins);
    let longest = longest.max_by_key(|route| route.prefix.len());
    let route = longest.or(routes.catch_all.as_ref())?;
    let key = match route.remove_prefix {
        // a key that is caught may be shorter than what is taken from it
        true => key.slice(route.prefix.len().min(key.len())..),
        false => key.clone(),
    };
    Some((route, key))
}

/// The hash by which a host is chosen for a key: of what stands in its first braces, where that
/// counts and is not empty.
pub(crate) fn hash(key: &[u8], tags: bool) -> u64 {
    let tag = if tags { tag(key) } else { None };
    murmur_hash2(tag.unwrap_or(key), MURMUR_SEED)
}

/// What stands in a key's first braces.
fn tag(key: &[u8]) -> Option<&[u8]> {
    let open = key.iter().position(|byte| *byte == b'{')?;
    let inner = &key[open + 1..];
    let close = inner.iter().position(|byte| *byte == b'}')?;
    Some(&inner[..close]).filter(|tag| !tag.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(prefix: &str, remove_prefix: bool) -> RedisRoute {
        RedisRoute {
            prefix: prefix.to_owned(),
            remove_prefix,
            cluster: prefix.into(),
        }
    }

    fn to(routes: &RedisRoutes, key: &'static str) -> Option<(String, Bytes)> {
        let (route, key) = route(routes, &key.into())?;
        Some((route.cluster.to_string(), key))
    }

    #[test]
    fn the_longest_prefix_counts() {
        let mut routes = RedisRoutes {
            routes: vec![of("a", false), of("a:b:", true), of("c", false)],
            ..RedisRoutes::default()
        };
        assert_eq!(to(&routes, "a:b"), Some(("a".into(), "a:b".into())));
        assert_eq!(to(&routes, "a:b:k"), Some(("a:b:".into(), "k".into())));
        assert_eq!(to(&routes, "A:B:k"), None);
        assert_eq!(to(&routes, ""), None);
        routes.case_insensitive = true;
        assert_eq!(to(&routes, "A:B:k"), Some(("a:b:".into(), "k".into())));
        routes.catch_all = Some(of("all", true));
        assert_eq!(to(&routes, "zz"), Some(("all".into(), "".into())));
    }

    #[test]
    fn hash_tags() {
        for (key, hashed) in [
            ("{a}.b", "a"),
            ("x{a}{b}", "a"),
            ("{}a", "{}a"),
            ("{a", "{a"),
            ("}a{", "}a{"),
            ("a}{b}", "b"),
        ] {
            let expected = murmur_hash2(hashed.as_bytes(), MURMUR_SEED);
            assert_eq!(hash(key.as_bytes(), true), expected, "{key}");
        }
        assert_ne!(hash(b"{a}.b", false), hash(b"{a}.b", true));
    }
}
