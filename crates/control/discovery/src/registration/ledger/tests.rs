//! Scripts: what happens to the streams of proxies, and what becomes of entries.

#![allow(clippy::unwrap_used)]

use meltemi_model::{Defaults, Metadata, convert};
use meltemi_translate::ProxyNode;
use meltemi_xds::pb::envoy::config::core::v3::{Locality, Node};
use serde_json::json;

use super::*;

const GROUP: &str = "
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: { name: ratings, namespace: shop }
spec:
  metadata:
    labels: { app: ratings, of: metadata, both: metadata }
    annotations: { note: x }
  template:
    ports: { http: 9080 }
    labels: { of-template: yes, both: template, class: template }
    network: far
    locality: r/z/s
    weight: 3
    serviceAccount: ratings
";

const GRACE: Duration = Duration::from_secs(10);

/// A ledger, what counts, and the time.
struct Script {
    ledger: Ledger,
    configs: Configs,
    now: Instant,
}

fn configs(text: &str) -> Configs {
    let documents = meltemi_api::parse(None, text).unwrap();
    let configs = documents.iter().map(|document| {
        let config = convert(document, &Defaults::default()).unwrap();
        (config.id(), Arc::new(config))
    });
    configs.collect()
}

fn node(ip: &str, metadata: serde_json::Value) -> Node {
    let id = format!("sidecar~{ip}~vm.shop~shop.svc.cluster.local");
    meltemi_xds::json::from_json(json!({ "id": id, "metadata": metadata })).unwrap()
}

fn claim_of(node: &Node, account: Option<&str>) -> Option<Claim> {
    let id = account.map(|it| format!("spiffe://cluster.local/ns/shop/sa/{it}"));
    let id = id.map(|it| it.parse().unwrap());
    Claim::of(node, &ProxyNode::parse(node).unwrap(), id)
}

fn claim(ip: &str, metadata: serde_json::Value, account: &str) -> Claim {
    claim_of(&node(ip, metadata), Some(account)).unwrap()
}

fn ratings() -> Claim {
    let metadata = json!({"AUTO_REGISTER_GROUP": "ratings"});
    claim("10.0.0.7", metadata, "ratings")
}

impl Script {
    fn new(text: &str) -> Self {
        Self {
            ledger: Ledger::new("here".to_owned(), GRACE),
            configs: configs(text),
            now: Instant::now(),
        }
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
    }

    fn connect(&mut self, claim: Claim) -> (ResourceId, Vec<String>) {
        let wall = self.wall();
        let (id, steps) = self
            .ledger
            .connect(claim, &self.configs, wall)
            .unwrap()
            .unwrap();
        (id, said(steps))
    }

    fn refusal(&mut self, claim: Claim) -> Refusal {
        let wall = self.wall();
        let refused = self.ledger.connect(claim, &self.configs, wall);
        refused.unwrap_err()
    }

    fn disconnect(&mut self, id: &ResourceId) -> Vec<String> {
        let (now, wall) = (self.now, self.wall());
        said(self.ledger.disconnect(id, now, wall))
    }

    /// Time passes.
    fn pass(&mut self, seconds: u64) -> Vec<String> {
        self.now += Duration::from_secs(seconds);
        said(self.ledger.expire(self.now))
    }

    /// What counts is something else.
    fn follow(&mut self, text: &str) -> Vec<String> {
        self.configs = configs(text);
        let wall = self.wall();
        said(self.ledger.follow(&self.configs, wall))
    }

    fn report(&mut self, id: &ResourceId, health: Result<(), &str>) -> Vec<Step> {
        self.ledger.report(id, health.map_err(str::to_owned))
    }
}

/// What steps say, without the entry.
fn said(steps: Vec<Step>) -> Vec<String> {
    let text = |step: Step| step.to_string().split_once(": ").unwrap().1.to_owned();
    steps.into_iter().map(text).collect()
}

#[test]
fn an_entry_is_made_of_group_and_node() {
    let mut node = node(
        "10.0.0.7",
        json!({
            "AUTO_REGISTER_GROUP": "ratings",
            "NETWORK": "vm-net",
            "LABELS": {"class": "node", "own": "1"},
            "PROXY_CONFIG": {"readinessProbe": {"tcpSocket": {"port": 9080}}},
        }),
    );
    node.locality = Some(Locality {
        region: "here".to_owned(),
        ..Locality::default()
    });
    let mut script = Script::new(GROUP);
    let wall = script.wall();
    let claim = claim_of(&node, Some("ratings")).unwrap();
    let connected = script.ledger.connect(claim, &script.configs, wall);
    let (id, mut steps) = connected.unwrap().unwrap();
    assert_eq!(id.to_string(), "WorkloadEntry shop/ratings-10.0.0.7-vm-net");
    let Some(What::Made(entry)) = steps.pop().map(|it| it.what) else {
        panic!("nothing was made");
    };
    assert!(entry.takes_reports() && !entry.is_ready());
    let WorkloadEntry { meta, endpoint, .. } = *entry;
    let labels = json!({
        "app": "ratings", "of": "metadata", "both": "metadata", "of-template": "yes",
        "class": "node", "own": "1",
    });
    assert_eq!(json!(endpoint.labels.as_map()), labels);
    assert_eq!(meta.labels, endpoint.labels);
    assert_eq!(
        json!(meta.annotations),
        json!({
            "istio.io/autoRegistrationGroup": "ratings",
            "istio.io/workloadController": "here",
            "istio.io/connectedAt": "2023-11-14T22:13:20Z",
            "proxy.istio.io/health-checks-enabled": "true",
            "note": "x",
        })
    );
    assert_eq!(endpoint.address.to_string(), "10.0.0.7");
    assert_eq!(endpoint.ports["http"], 9080);
    assert_eq!(endpoint.weight, 3);
    assert_eq!(endpoint.network.as_deref(), Some("vm-net"));
    assert_eq!(endpoint.locality.unwrap().region, "here");
    assert_eq!(endpoint.service_account.as_deref(), Some("ratings"));
}

#[test]
fn names_are_made_by_istios_rule() {
    let name = |ip: &str, metadata| claim(ip, metadata, "ratings").entry().name.to_string();
    let group = |group: &str| json!({"AUTO_REGISTER_GROUP": group});
    assert_eq!(name("10.0.0.7", group("a")), "a-10.0.0.7");
    assert_eq!(name("2001:db8::1", group("a")), "a-2001-db8--1");
    let first = json!({"AUTO_REGISTER_GROUP": "a", "INSTANCE_IPS": "10.9.9.9,10.0.0.7"});
    assert_eq!(name("10.0.0.7", first), "a-10.9.9.9");
    let long = "x".repeat(260);
    let cut = name("10.0.0.7", group(&long));
    assert_eq!(cut.len(), 253);
    assert!(cut.ends_with("x-10.0.0.7"));
    assert_eq!(claim_of(&node("10.0.0.7", json!({})), None), None);
}

#[test]
fn several_streams_are_one_workload_and_who_comes_back_keeps_the_entry() {
    let mut script = Script::new(GROUP);
    let (id, made) = script.connect(ratings());
    assert_eq!(made, ["registered"]);
    assert!(script.connect(ratings()).1.is_empty(), "a second stream");
    assert!(script.disconnect(&id).is_empty());
    assert_eq!(script.ledger.due(), None);
    assert_eq!(script.disconnect(&id), ["its workload has left"]);
    assert!(script.pass(9).is_empty());
    assert_eq!(script.connect(ratings()).1, ["its workload is back"]);
    assert!(script.pass(60).is_empty());
    script.disconnect(&id);
    assert!(script.ledger.due().is_some());
    let over = ["removed, its workload has not come back"];
    assert_eq!(script.pass(10), over);
    assert_eq!(script.ledger.due(), None);
    assert_eq!(script.connect(ratings()).1, ["registered"]);
}

#[test]
fn who_comes_back_as_somebody_else_has_another_entry() {
    let mut script = Script::new(GROUP);
    let (id, _) = script.connect(ratings());
    script.disconnect(&id);
    let metadata = json!({"AUTO_REGISTER_GROUP": "ratings", "LABELS": {"version": "v2"}});
    let wall = script.wall();
    let changed = claim("10.0.0.7", metadata, "ratings");
    let connected = script.ledger.connect(changed, &script.configs, wall);
    let (_, mut steps) = connected.unwrap().unwrap();
    let Some(What::Back(entry)) = steps.pop().map(|it| it.what) else {
        panic!("it is back");
    };
    assert_eq!(entry.meta.labels.get("version"), Some("v2"));
    assert_eq!(entry.meta.labels.get("app"), Some("ratings"));
}

#[test]
fn who_may_not_have_the_entry_is_told_why() {
    let mut script = Script::new(GROUP);
    let metadata = json!({"AUTO_REGISTER_GROUP": "ratings"});
    let other = claim("10.0.0.7", metadata.clone(), "other");
    let unproven = claim_of(&node("10.0.0.7", metadata), None).unwrap();
    let group = json!({"AUTO_REGISTER_GROUP": "reviews"});
    let absent = claim("10.0.0.7", group, "ratings");
    for (claim, part) in [
        (other.clone(), "for the service account ratings"),
        (unproven, "takes a proven identity"),
    ] {
        let Refusal::Denied(reason) = script.refusal(claim) else {
            panic!("{part}");
        };
        assert!(reason.contains(part), "{reason}");
    }
    let Refusal::NotYet(reason) = script.refusal(absent) else {
        panic!("it can come back");
    };
    let part = "create the WorkloadGroup reviews in the namespace shop";
    assert!(reason.contains(part), "{reason}");
    assert!(script.ledger.held.is_empty());

    // Nor does anybody take over the entry of another.
    script.connect(ratings());
    let Refusal::Denied(_) = script.refusal(other) else {
        panic!("it is another's");
    };
}

#[test]
fn health_is_passed_on_when_it_changes() {
    let mut script = Script::new(GROUP);
    let (id, _) = script.connect(ratings());
    let changes = |steps: Vec<Step>| -> Vec<_> {
        let changes = steps.into_iter().flat_map(Step::changes);
        let health = changes.map(|it| match it {
            Change::Health(_, health) => health,
            other => panic!("{other:?}"),
        });
        health.collect()
    };
    assert_eq!(changes(script.report(&id, Ok(()))), [Some(true)]);
    assert_eq!(script.report(&id, Ok(())), []);
    let failed = script.report(&id, Err("refused"));
    assert_eq!(said(failed.clone()), ["not healthy: refused"]);
    assert_eq!(changes(failed), [Some(false)]);
    assert_eq!(changes(script.report(&id, Ok(()))), [Some(true)]);
}

#[test]
fn entries_go_with_their_group_and_come_back_with_it() {
    let mut script = Script::new(GROUP);
    let (id, _) = script.connect(ratings());
    let changed = GROUP.replace("weight: 3", "weight: 4");
    assert!(
        script.follow(&changed).is_empty(),
        "a template is for entries that come later"
    );
    assert_eq!(
        script.follow(""),
        ["removed, its WorkloadGroup was deleted"]
    );
    assert!(script.report(&id, Ok(())).is_empty());
    assert!(matches!(script.refusal(ratings()), Refusal::NotYet(_)));
    assert_eq!(script.follow(GROUP), ["registered"]);
    assert_eq!(
        script.follow(""),
        ["removed, its WorkloadGroup was deleted"]
    );
    script.disconnect(&id);
    assert!(script.follow(GROUP).is_empty(), "nobody is there for it");
    assert!(script.pass(10).is_empty());
    assert!(script.ledger.held.is_empty());
}

#[test]
fn a_written_entry_has_its_health_reported_where_it_asks_for_that() {
    let entry = |annotation: &str| {
        format!(
            "
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{ name: vm, namespace: shop, annotations: {{ {annotation} }} }}
spec: {{ address: 10.0.0.7, serviceAccount: ratings }}
"
        )
    };
    let asking = entry("proxy.istio.io/health-checks-enabled: 'true'");
    let vm = || claim("10.0.0.7", json!({"WORKLOAD_ENTRY": "vm"}), "ratings");
    let mut script = Script::new(&entry("a: b"));
    let wall = script.wall();
    let unnoted = script.ledger.connect(vm(), &script.configs, wall);
    assert_eq!(unnoted, Ok(None));

    script.follow(&asking);
    let other = claim("10.0.0.7", json!({"WORKLOAD_ENTRY": "vm"}), "other");
    assert!(matches!(script.refusal(other), Refusal::Denied(_)));
    let (id, steps) = script.connect(vm());
    assert_eq!((id.name.as_ref(), steps.len()), ("vm", 0));
    assert_eq!(said(script.report(&id, Ok(()))), ["healthy"]);
    assert!(script.disconnect(&id).is_empty());
    assert_eq!(script.pass(10), ["nobody reports its health any more"]);

    let mut script = Script::new("");
    let Refusal::NotYet(reason) = script.refusal(vm()) else {
        panic!("it can come back");
    };
    assert!(reason.contains("no WorkloadEntry shop/vm"), "{reason}");

    // One that is written under the name that a group would give is not replaced.
    let own = asking.replace("name: vm", "name: ratings-10.0.0.7");
    let mut script = Script::new(&format!("{own}---{GROUP}"));
    let (id, steps) = script.connect(ratings());
    assert_eq!((id.name.as_ref(), steps.len()), ("ratings-10.0.0.7", 0));
}

#[test]
fn what_is_taken_away_leaves_no_health_behind() {
    let id = ResourceId::of(Kind::WorkloadEntry, &Metadata::named("vm", "shop"));
    let gone = Step {
        entry: id,
        what: What::Gone("x"),
    };
    let changes = gone.changes();
    assert!(matches!(
        changes.as_slice(),
        [Change::Health(_, None), Change::Delete(_)]
    ));
}
