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
