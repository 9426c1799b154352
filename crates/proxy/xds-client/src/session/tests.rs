//! Message scripts against the session.
#![allow(clippy::unwrap_used)]

use meltemi_xds::pb::envoy::service::discovery::v3::Resource;

use super::*;

fn names(names: &[&str]) -> Interest {
    Interest::Names(names.iter().map(|name| (*name).to_owned()).collect())
}

fn delta(outgoing: Option<Outgoing>) -> DeltaDiscoveryRequest {
    match outgoing {
        Some(Outgoing::Delta(request)) => request,
        other => panic!("a delta request is due, not {other:?}"),
    }
}

fn sotw(outgoing: Option<Outgoing>) -> DiscoveryRequest {
    match outgoing {
        Some(Outgoing::Sotw(request)) => request,
        other => panic!("a request is due, not {other:?}"),
    }
}

fn answer(
    kind: ResourceType,
    nonce: &str,
    resources: &[(&str, &str)],
    removed: &[&str],
) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        type_url: kind.type_url(),
        nonce: nonce.to_owned(),
        resources: resources
            .iter()
            .map(|(name, version)| Resource {
                name: (*name).to_owned(),
                version: (*version).to_owned(),
                resource: Some(Any::default()),
                ..Resource::default()
            })
            .collect(),
        removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
        ..DeltaDiscoveryResponse::default()
    }
}

fn reject(name: &str) -> Rejection {
    Rejection {
        name: name.to_owned(),
        reason: "filters[0]: no".to_owned(),
    }
}

#[test]
fn a_refused_resource_is_not_claimed_after_a_reconnection() {
    let mut session = Session::new(
        Mode::Delta,
        Node {
            id: "me".to_owned(),
            ..Node::default()
        },
    );
    assert_eq!(
        session.set_interest(ResourceType::Cluster, Interest::Wildcard),
        None
    );
    let first = session.on_connected();
    assert_eq!(first.len(), 1);
    let first = delta(first.into_iter().next());
    assert_eq!(first.node.unwrap().id, "me");
    assert!(first.resource_names_subscribe.is_empty());

    let update = session
        .on_delta(answer(
            ResourceType::Cluster,
            "1",
            &[("a", "v1"), ("b", "v1")],
            &[],
        ))
        .unwrap();
    let nack = delta(session.acknowledge(&update, &[reject("b")]));
    assert_eq!(nack.response_nonce, "1");
    assert!(
        nack.error_detail
            .unwrap()
            .message
            .contains("b: filters[0]: no")
    );
    assert!(nack.node.is_none(), "the node goes out once a stream");

    session.on_disconnected();
    let again = delta(session.on_connected().into_iter().next());
    let known: Vec<(String, String)> = again.initial_resource_versions.into_iter().collect();
    assert_eq!(known, vec![("a".to_owned(), "v1".to_owned())]);
}

#[test]
fn a_late_acknowledgement_of_an_old_stream_says_nothing() {
    let mut session = Session::new(Mode::Delta, Node::default());
    session.set_interest(ResourceType::Cluster, Interest::Wildcard);
    session.on_connected();
    let update = session
        .on_delta(answer(ResourceType::Cluster, "1", &[("a", "v1")], &[]))
        .unwrap();
    session.on_disconnected();
    session.on_connected();
    assert_eq!(session.acknowledge(&update, &[]), None);
}

#[test]
fn delta_interest_is_told_as_a_difference() {
    let mut session = Session::new(Mode::Delta, Node::default());
    session.on_connected();
    let open = delta(session.set_interest(ResourceType::Endpoint, names(&["a", "b"])));
    assert_eq!(open.resource_names_subscribe, ["a", "b"]);
    let change = delta(session.set_interest(ResourceType::Endpoint, names(&["b", "c"])));
    assert_eq!(change.resource_names_subscribe, ["c"]);
    assert_eq!(change.resource_names_unsubscribe, ["a"]);
    assert_eq!(
        session.set_interest(ResourceType::Endpoint, names(&["b", "c"])),
        None
    );
}

#[test]
fn an_empty_set_of_names_is_never_a_wildcard() {
    for mode in [Mode::Delta, Mode::Sotw] {
        let mut session = Session::new(mode, Node::default());
        session.on_connected();
        assert_eq!(
            session.set_interest(ResourceType::Route, names(&[])),
            None,
            "{mode:?}"
        );
    }
}

#[test]
fn removal_forgets() {
    let mut session = Session::new(Mode::Delta, Node::default());
    session.set_interest(ResourceType::Listener, Interest::Wildcard);
    session.on_connected();
    let update = session
        .on_delta(answer(ResourceType::Listener, "1", &[("a", "v1")], &[]))
        .unwrap();
    session.acknowledge(&update, &[]);
    let update = session
        .on_delta(answer(ResourceType::Listener, "2", &[], &["a"]))
        .unwrap();
    assert_eq!(update.removed, ["a"]);
    session.acknowledge(&update, &[]);
    session.on_disconnected();
    let again = delta(session.on_connected().into_iter().next());
    assert!(again.initial_resource_versions.is_empty());
}

#[test]
fn names_beside_a_wildcard_are_asked_for_as_they_come() {
    let also = |list: &[&str]| match names(list) {
        Interest::Names(names) => Interest::WildcardAnd(names),
        other => other,
    };
    let mut session = Session::new(Mode::Delta, Node::default());
    session.on_connected();
    let open = delta(session.set_interest(ResourceType::VirtualHost, also(&[])));
    assert!(open.resource_names_subscribe.is_empty());
    let both = also(&["web/a.test", "web/no.test"]);
    let more = delta(session.set_interest(ResourceType::VirtualHost, both));
    assert_eq!(more.resource_names_subscribe, ["web/a.test", "web/no.test"]);
    let mut response = answer(ResourceType::VirtualHost, "1", &[("web/a", "v1")], &[]);
    response.resources[0].aliases = vec!["web/a.test".to_owned()];
    response.resources.push(Resource {
        name: "web/no.test".to_owned(),
        aliases: vec!["web/no.test".to_owned()],
        ..Resource::default()
    });
    let update = session.on_delta(response).unwrap();
    assert_eq!(update.added[0].aliases, ["web/a.test"]);
    assert!(update.added[1].body.type_url.is_empty());
    session.acknowledge(&update, &[]);
    let both = || also(&["web/a.test", "web/no.test"]);
    let more = delta(session.set_interest(ResourceType::VirtualHost, both()));
    assert_eq!(more.resource_names_subscribe, ["web/no.test"]);
    session.set_interest(ResourceType::VirtualHost, also(&["web/a.test"]));
    // what it has is known again, and so is what it wants besides everything
    session.on_disconnected();
    let again = delta(session.on_connected().pop());
    assert_eq!(again.resource_names_subscribe, ["*", "web/a.test"]);
    let known: Vec<_> = again.initial_resource_versions.keys().collect();
    assert_eq!(known, ["web/a"]);
}

#[test]
fn state_of_the_world_keeps_the_accepted_version_over_a_refusal() {
    let mut session = Session::new(Mode::Sotw, Node::default());
    session.on_connected();
    let open = sotw(session.set_interest(ResourceType::Cluster, Interest::Wildcard));
    assert_eq!(
        (open.version_info.as_str(), open.response_nonce.as_str()),
        ("", "")
    );
    let response = |version: &str, nonce: &str| DiscoveryResponse {
        type_url: ResourceType::Cluster.type_url(),
        version_info: version.to_owned(),
        nonce: nonce.to_owned(),
        resources: vec![Any::default()],
        ..DiscoveryResponse::default()
    };
    let update = session.on_sotw(response("1", "n1")).unwrap();
    assert!(update.complete);
    let ack = sotw(session.acknowledge(&update, &[]));
    assert_eq!(
        (ack.version_info.as_str(), ack.response_nonce.as_str()),
        ("1", "n1")
    );
    let update = session.on_sotw(response("2", "n2")).unwrap();
    let nack = sotw(session.acknowledge(&update, &[reject("a")]));
    assert_eq!(
        (nack.version_info.as_str(), nack.response_nonce.as_str()),
        ("1", "n2")
    );
    assert_eq!(nack.error_detail.unwrap().code, INVALID_ARGUMENT);
}
