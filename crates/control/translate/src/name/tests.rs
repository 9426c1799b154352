//! Tests of names.

use super::{SubsetKey, host_port, wildcard};

#[test]
fn cluster_names_come_apart_and_together() {
    let cases = [
        ("outbound|80||a.b", Some((80, "", "a.b"))),
        ("outbound|80|v1|a.b", Some((80, "v1", "a.b"))),
        ("outbound|x||a.b", None),
        ("outbound|80||", None),
        ("outbound|80", None),
        ("inbound|80||", None),
        ("PassthroughCluster", None),
        ("", None),
    ];
    for (name, expected) in cases {
        let key = SubsetKey::parse(name);
        assert_eq!(
            key.map(|it| (it.port, it.subset, it.host)),
            expected,
            "{name}"
        );
        if let Some(key) = key {
            assert_eq!(key.cluster(), name);
        }
    }
    let key = SubsetKey {
        port: 80,
        subset: "v1",
        host: "a.b",
    };
    assert_eq!(key.server_name(), "outbound_.80_.v1_.a.b");
}

#[test]
fn ipv6_addresses_stand_in_brackets() {
    assert_eq!(host_port("a.b", 80), "a.b:80");
    assert_eq!(host_port("10.0.0.1", 80), "10.0.0.1:80");
    assert_eq!(host_port("fd00::1", 80), "[fd00::1]:80");
    assert_eq!(wildcard("fd00::1".parse().ok()), "::");
    assert_eq!(wildcard(None), "0.0.0.0");
}
