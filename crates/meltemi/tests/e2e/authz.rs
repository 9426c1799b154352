//! What `meltemi authz` shows of manifests, which needs no mesh.

use super::mesh::{Tool, meltemi};

#[test]
fn the_policies_of_manifests_are_shown_without_a_mesh() {
    let directory = tempfile::tempdir().unwrap();
    let manifests = directory.path().join("manifests.yaml");
    let policy = |name: &str, namespace: &str, spec: &str| {
        format!(
            "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n\
             metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
        )
    };
    let text = [
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\nspec:\n  \
         template:\n    metadata: {labels: {app: web}}\n    \
         spec: {containers: [{name: a, image: b}]}\n",
        &policy("nobody", "istio-system", "{}"),
        &policy(
            "look",
            "shop",
            "{rules: [{to: [{operation: {methods: [GET]}}]}, {}]}",
        ),
        &policy("wrong", "shop", "{action: DENI, rules: [{}]}"),
        &policy(
            "other",
            "shop",
            "{selector: {matchLabels: {app: b}}, action: DENY, rules: [{}]}",
        ),
    ]
    .concat();
    std::fs::write(&manifests, text).unwrap();
    let answer = Tool::run(
        meltemi()
            .args(["authz", "check", "web.shop", "-f"])
            .arg(&manifests),
    );
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let expected = "ACTION   AuthorizationPolicy   RULES
DENY     wrong.shop            1
ALLOW    look.shop             2
ALLOW    nobody.istio-system   1
";
    assert_eq!(answer.stdout, expected, "{}", answer.stderr);
    assert!(
        answer.stderr.contains("it denies every request"),
        "{}",
        answer.stderr
    );
}

/// A workload that takes mutual TLS only, and the policies that hold for it.
const GUARDED: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: a, image: b, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: shop}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: look, namespace: shop}
spec:
  rules:
  - from: [{source: {principals: [cluster.local/ns/default/sa/sleep]}}]
    to: [{operation: {methods: [GET]}}]
  - when: [{key: 'request.auth.claims[group]', values: [admin]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: never, namespace: shop}
spec: {action: DENY, rules: [{to: [{operation: {paths: [/admin*]}}]}]}
";

#[test]
fn who_decides_about_a_request_is_explained() {
    let directory = tempfile::tempdir().unwrap();
    let manifests = directory.path().join("manifests.yaml");
    std::fs::write(&manifests, GUARDED).unwrap();
    let sleep = "--from=cluster.local/ns/default/sa/sleep";
    let other = "--from=cluster.local/ns/default/sa/other";
    let cases: [(&[&str], &str); 7] = [
        (
            &[sleep],
            "ALLOWED: ALLOW policy look.shop, rule 0, lets it in",
        ),
        (
            &[sleep, "--method=POST"],
            "DENIED: there are ALLOW policies, and none lets it in",
        ),
        // As the proxy normalizes it.
        (
            &[sleep, "--path=/a/%2e%2e/admin/x"],
            "DENIED: DENY policy never.shop, rule 0, refuses it",
        ),
        (
            &[other, "--method=PUT", "--claim=group=[\"admin\"]"],
            "ALLOWED: ALLOW policy look.shop, rule 1, lets it in",
        ),
        (
            &[other, "--claim=group=guest"],
            "DENIED: there are ALLOW policies, and none lets it in",
        ),
        (
            &["--method=GET"],
            "DENIED: the port takes mutual TLS only, and the caller has no certificate (say --from PRINCIPAL)",
        ),
        // A port that no service has is guarded as well.
        (
            &[other, "--port=9"],
            "DENIED: there are ALLOW policies, and none lets it in",
        ),
    ];
    for (flags, expected) in cases {
        let answer = Tool::run(
            meltemi()
                .args(["authz", "check", "web.shop", "-f"])
                .arg(&manifests)
                .args(flags),
        );
        let last = answer.stdout.lines().last();
        assert_eq!(last, Some(expected), "{flags:?}: {answer:?}");
        let code = if expected.starts_with("ALLOWED") {
            0
        } else {
            1
        };
        assert_eq!(answer.code, Some(code), "{flags:?}");
    }
    let answer = Tool::run(
        meltemi()
            .args(["authz", "check", "web.shop", "-f"])
            .arg(&manifests)
            .args([sleep, "--method=POST"]),
    );
    let expected = r#"POST / from spiffe://cluster.local/ns/default/sa/sleep, port 8080

ACTION   AuthorizationPolicy   RULE   MATCHES   WHY
DENY     never.shop            0      no        it is not so that the path begins with "/admin"
ALLOW    look.shop             0      no        it is not so that header :method is "GET"
ALLOW    look.shop             1      no        it is not so that the token's claim group has one that is "admin" or is "admin"

DENIED: there are ALLOW policies, and none lets it in
"#;
    assert_eq!(answer.stdout, expected);
}
