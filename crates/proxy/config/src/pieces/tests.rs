//! What is taken out and what is left.

use meltemi_xds::pb::envoy::config::bootstrap::v3::Bootstrap;
use meltemi_xds::pb::envoy::config::bootstrap::v3::bootstrap::StaticResources;
use meltemi_xds::pb::envoy::config::cluster::v3::Cluster;
use meltemi_xds::pb::envoy::config::listener::v3::Listener;
use proptest::prelude::*;

use super::*;

/// `static_resources.clusters`.
const CLUSTERS: &[u64] = &[2, 2];

fn cluster(name: &str) -> Cluster {
    Cluster {
        name: name.to_owned(),
        ..Cluster::default()
    }
}

fn bootstrap(clusters: Vec<Cluster>, listener: &str) -> Bootstrap {
    Bootstrap {
        static_resources: Some(StaticResources {
            clusters,
            listeners: vec![Listener {
                name: listener.to_owned(),
                ..Listener::default()
            }],
            ..StaticResources::default()
        }),
        header_prefix: "x-mesh".to_owned(),
        ..Bootstrap::default()
    }
}

#[test]
fn a_message_that_comes_in_two_parts_is_both_of_them() {
    let mut encoded = bootstrap(vec![cluster("a")], "first").encode_to_vec();
    encoded.extend(bootstrap(vec![cluster("b"), cluster("c")], "second").encode_to_vec());
    let pieces = Pieces::take_out(&encoded, CLUSTERS).unwrap();
    let names = pieces
        .taken
        .iter()
        .map(|it| Cluster::decode(*it).unwrap().name);
    assert_eq!(names.collect::<Vec<_>>(), ["a", "b", "c"]);
    let mut whole = Bootstrap::decode(encoded.as_slice()).unwrap();
    whole.static_resources.as_mut().unwrap().clusters.clear();
    assert_eq!(Bootstrap::decode(pieces.rest.as_slice()).unwrap(), whole);
}

proptest! {
    #[test]
    fn what_is_left_and_what_is_taken_are_the_whole(
        names in prop::collection::vec("[a-z]{0,200}", 0..20),
        listener in "[a-z]{0,300}",
    ) {
        let clusters: Vec<_> = names.iter().map(|name| cluster(name)).collect();
        let encoded = bootstrap(clusters.clone(), &listener).encode_to_vec();
        let pieces = Pieces::take_out(&encoded, CLUSTERS).unwrap();
        let rest = Bootstrap::decode(pieces.rest.as_slice()).unwrap();
        prop_assert_eq!(rest, bootstrap(Vec::new(), &listener));
        let taken: Vec<_> = pieces.taken.iter().map(|it| Cluster::decode(*it).unwrap()).collect();
        prop_assert_eq!(taken, clusters);
    }

    #[test]
    fn any_bytes_are_taken_apart_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let pieces = Pieces::take_out(&bytes, CLUSTERS);
        if let Some(pieces) = pieces && let Ok(mut whole) = Bootstrap::decode(bytes.as_slice()) {
            if let Some(resources) = &mut whole.static_resources {
                resources.clusters.clear();
            }
            prop_assert_eq!(Bootstrap::decode(pieces.rest.as_slice()).unwrap(), whole);
        }
    }
}
