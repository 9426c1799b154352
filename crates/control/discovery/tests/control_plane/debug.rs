//! What people and tools can ask.

use meltemi_discovery::DiscoveryError;
use meltemi_xds_server::Kind;

use crate::client::{Delta, plaintext, sidecar};
use crate::harness::{Plane, SERVICES, weights};

#[tokio::test(flavor = "multi_thread")]
async fn the_debug_endpoints_answer() {
    let plane = Plane::start(&[("services.yaml", SERVICES), ("routing.yaml", &weights(90))]).await;
    let node = sidecar("web", "shop", "web");
    let mut client = Delta::open(plaintext(&plane).await, node.clone(), None).await;
    client.subscribe(Kind::Cluster, &[]).await;
    client.take(Kind::Cluster).await;

    assert_eq!(plane.get("/ready").await.0, 200);
    let (status, index) = plane.get("/debug").await;
    assert_eq!(status, 200);
    assert!(index.contains("/debug/syncz"), "{index}");

    let (status, text) = plane.get("/debug/config_dump").await;
    assert_eq!(status, 400);
    assert!(text.contains("proxyID=POD.NAMESPACE"), "{text}");
    let (status, text) = plane.get("/debug/config_dump?proxyID=nobody.shop").await;
    assert_eq!(status, 404);
    assert!(text.contains("nobody.shop"), "{text}");
    let by_name = plane.json("/debug/config_dump?proxyID=web.shop").await;
    let by_id = format!("/debug/config_dump?proxyID={}", node.id);
    assert_eq!(by_name, plane.json(&by_id).await);
    let types = |dump: &serde_json::Value| -> Vec<String> {
        let configs = dump["configs"].as_array().unwrap();
        let url = |it: &serde_json::Value| it["@type"].as_str().unwrap().to_owned();
        configs
            .iter()
            .map(|it| url(it).rsplit('.').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        types(&by_name),
        [
            "BootstrapConfigDump",
            "ClustersConfigDump",
            "EcdsConfigDump",
            "ListenersConfigDump",
            "RoutesConfigDump",
            "SecretsConfigDump"
        ]
    );
    let clusters = by_name["configs"][1]["dynamic_active_clusters"].as_array();
    let has = |it: &serde_json::Value| {
        it["cluster"]["name"] == "outbound|80||catalog.shop.svc.cluster.local"
    };
    assert!(clusters.unwrap().iter().any(has), "{by_name}");
    let with = plane
        .json("/debug/config_dump?proxyID=web.shop&include_eds=true")
        .await;
    assert!(types(&with).contains(&"EndpointsConfigDump".to_owned()));

    assert_eq!(plane.get("/debug/edsz").await.0, 400);
    let assignments = plane.json("/debug/edsz?proxyID=web.shop").await;
    let mut assignments = assignments.as_array().unwrap().iter();
    let catalog =
        assignments.find(|it| it["cluster_name"] == "outbound|80||catalog.shop.svc.cluster.local");
    let address = "/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/address";
    assert_eq!(catalog.unwrap().pointer(address).unwrap(), "10.1.0.5");

    let services = plane.json("/debug/registryz").await;
    assert_eq!(services[0]["hostname"], "catalog.shop.svc.cluster.local");
    let endpoint = &services[0]["ports"][0]["endpoints"][0];
    assert_eq!(endpoint["address"], "10.1.0.5");
    assert_eq!(endpoint["endpointPort"], 3000);
    assert_eq!(endpoint["tlsMode"], "istio");
    let endpoints = plane.json("/debug/endpointz").await;
    assert_eq!(endpoints[0]["svc"], "catalog.shop.svc.cluster.local:http");
    let (_, brief) = plane.get("/debug/endpointz?brief").await;
    assert!(brief.contains("10.1.0.5:3000"), "{brief}");
    let configs = plane.json("/debug/configz").await;
    let kinds: Vec<_> = configs
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["kind"])
        .collect();
    assert!(
        kinds.iter().any(|kind| *kind == "VirtualService"),
        "{kinds:?}"
    );
    let clients = plane.json("/debug/adsz").await;
    assert_eq!(clients["totalClients"], 1);
    assert_eq!(clients["clients"][0]["metadata"]["NAMESPACE"], "shop");
    let status = plane.json("/debug/push_status").await;
    assert_eq!(status["proxies"], 1);
    assert_eq!(status["version"], 1);

    let (_, figures) = plane.get("/metrics").await;
    for line in [
        "\npilot_services 1\n",
        "\npilot_virt_services 1\n",
        "\npilot_xds_pushes{type=\"cds\"} 1\n",
        "\n# TYPE pilot_proxy_convergence_time histogram\n",
        "\ncitadel_server_csr_count 0\n",
        "\nprocess_cpu_seconds_total ",
    ] {
        assert!(figures.contains(line), "{line:?} in {figures}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_it_from_starting_is_said() {
    let missing = Plane::with(&[], |options| {
        options.config.push("/no/such/directory".into())
    });
    let error = missing.await.err().unwrap();
    assert!(error.to_string().contains("/no/such/directory"), "{error}");

    let exposed = Plane::with(&[], |options| {
        options.plaintext_xds = Some("0.0.0.0:0".parse().unwrap());
    });
    let error = exposed.await.err().unwrap();
    assert!(matches!(error, DiscoveryError::Exposed(_)), "{error}");

    let first = Plane::start(&[]).await;
    let taken = Plane::with(&[], |options| {
        options.secure_xds = first.addresses.secure_xds
    });
    let error = taken.await.err().unwrap();
    assert!(error.to_string().contains("for secure xDS"), "{error}");
}
