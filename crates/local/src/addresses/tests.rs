#![allow(clippy::unwrap_used)]

use super::{Addresses, Loopback, PODS, Pool};

#[test]
fn a_part_is_written_in_two_ways() {
    for text in ["127.77.0.0/16", "127.77", "127.77.0.0"] {
        let part: Loopback = text.parse().unwrap();
        assert_eq!(part.to_string(), "127.77.0.0/16", "{text}");
        assert_eq!(part.control_plane().to_string(), "127.77.0.1");
    }
    for text in [
        "",
        "127",
        "127.",
        "127.300",
        "10.0.0.0/16",
        "127.77.0.0/8",
        "127.77.1.0/16",
    ] {
        assert!(text.parse::<Loopback>().is_err(), "{text}");
    }
}

#[test]
fn names_keep_their_addresses() {
    let mut addresses = Addresses::new(Loopback::default());
    let first = addresses.pod("a").unwrap();
    assert_eq!(first.to_string(), "127.77.1.1");
    assert_eq!(Loopback::application(first).to_string(), "127.77.129.1");
    assert_eq!(addresses.pod("b").unwrap().to_string(), "127.77.1.2");
    assert_eq!(addresses.pod("a").unwrap(), first);
    addresses.return_pod("a");
    assert_eq!(addresses.pod("c").unwrap().to_string(), "127.77.1.3");
    assert_eq!(addresses.service("a").unwrap().to_string(), "127.77.64.1");
}

#[test]
fn the_last_address_is_followed_by_the_one_given_back_first() {
    let mut pool = Pool::default();
    for n in 0..PODS {
        assert_eq!(pool.take(&n.to_string(), PODS), Ok(n));
    }
    assert!(pool.take("more", PODS).is_err());
    pool.give_back("7");
    pool.give_back("3");
    assert_eq!(pool.take("more", PODS), Ok(7));
    let last = Loopback::default().nth(1, PODS - 1);
    assert_eq!(last.to_string(), "127.77.63.254");
}
