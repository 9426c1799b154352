//! Addresses for service entries that have none, so that DNS has an answer for their hosts.
//!
//! In: the services of entries, the oldest first. Out: an address of 240.240.0.0/16 (and one of
//! 2001:2::/48) for each host, which depends on namespace and host and hardly on anything else: hashed,
//! with a second hash where two meet, as Istio's first allocator does.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use meltemi_model::{EntryResolution, Hostname, NamespaceName, Service, ServiceAddresses};

/// How many places there are.
const PLACES: u32 = 256 * 254;
/// The prime of the second hash.
const PRIME: u32 = 65011;
/// Addresses end before this.
const LAST_OCTET: u32 = 255;

/// The addresses of hosts, IPv4 and IPv6.
pub(crate) type AutoAddresses = BTreeMap<(NamespaceName, Hostname), [IpAddr; 2]>;

/// Gives addresses to those services that have none and could use one.
pub(crate) fn allocate<'a>(services: impl Iterator<Item = &'a Service>) -> AutoAddresses {
    let mut places: BTreeMap<u32, (NamespaceName, Hostname)> = BTreeMap::new();
    for service in services.filter(|it| wants(it)) {
        let key = (service.meta.namespace.clone(), service.hostname.clone());
        let hash = fnv(format!("{}/{}", key.0, key.1).as_bytes());
        let mut place = hash % PLACES;
        let step = PRIME - hash % PRIME;
        let mut tries = 0;
        while places.contains_key(&place) {
            tries += 1;
            if tries > PLACES {
                return number(places);
            }
            let moved = u64::from(hash) + u64::from(tries) * u64::from(step);
            place = u32::try_from(moved % u64::from(PLACES - 1)).expect("below the places");
        }
        places.insert(place, key);
    }
    number(places)
}

/// Numbers the places that are taken; those of one host share the first of its addresses.
fn number(places: BTreeMap<u32, (NamespaceName, Hostname)>) -> AutoAddresses {
    let mut addresses = AutoAddresses::new();
    let mut shift = 0;
    for (place, key) in places {
        let mut number = place + 1 + shift;
        if number % LAST_OCTET == 0 {
            shift += 1;
            number += 1;
        }
        if number >= PLACES {
            break;
        }
        let octet = |part: u32| u8::try_from(part).expect("below 256");
        let (high, low) = (octet(number / LAST_OCTET), octet(number % LAST_OCTET));
        let v4 = Ipv4Addr::new(240, 240, high, low);
        let last = u16::from_be_bytes([high, low]);
        let v6 = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0xf0f0, last);
        addresses.entry(key).or_insert([v4.into(), v6.into()]);
    }
    addresses
}

/// Whether an address is found for a service.
pub(crate) fn wants(service: &Service) -> bool {
    let Some(entry) = &service.entry else {
        return false;
    };
    let resolved = !matches!(
        entry.resolution,
        EntryResolution::None | EntryResolution::DynamicDns
    );
    resolved
        && !service.hostname.is_wildcard()
        && service.addresses == ServiceAddresses::Unassigned
        && entry.addresses.is_empty()
}

/// FNV-1a of 32 bits.
fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(2_166_136_261, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(16_777_619)
    })
}
