//! Ways to a server.

use std::path::Path;

use meltemi_testkit::{ApiServer, Pki};

use crate::{Access, AccessError, Client};

/// What a kubeconfig with this cluster and this user gives.
fn read(directory: &Path, cluster: &str, user: &str) -> Result<Access, AccessError> {
    let text = format!(
        "apiVersion: v1
kind: Config
preferences: {{}}
current-context: here
contexts:
- name: here
  context: {{ cluster: c, user: u, namespace: default }}
- name: nowhere
  context: {{ cluster: d, user: u }}
clusters:
- name: c
  cluster: {{ {cluster} }}
users:
- name: u
  user: {{ {user} }}
"
    );
    let path = directory.join("config");
    std::fs::write(&path, text).unwrap();
    Access::from_kubeconfig(&path, None)
}

#[test]
fn kubeconfigs() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    Pki::new()
        .with("client", ["localhost"])
        .write(place)
        .unwrap();
    let authority = "server: 'https://10.0.0.1:6443', certificate-authority: ca.pem";
    let access = read(place, authority, "token: t").unwrap();
    assert_eq!(access.server(), "https://10.0.0.1:6443");
    read(
        place,
        authority,
        "client-certificate: client.pem, client-key: client-key.pem",
    )
    .unwrap();
    read(place, "server: 'http://127.0.0.1:8001'", "").unwrap();
    for (cluster, user, said) in [
        (
            "server: 'https://a'",
            "",
            "certificate-authority: https:// needs",
        ),
        (
            authority,
            "username: me, password: x",
            "username: not supported; give a token",
        ),
        (
            authority,
            "exec: { apiVersion: a/v1, command: aws }",
            "exec.apiVersion: `a/v1` is not one of",
        ),
        (
            authority,
            "client-key: client-key.pem",
            "client-certificate: client-key needs it",
        ),
        (authority, "as: root", "as: not supported"),
        (
            "server: 'ftp://a', certificate-authority: ca.pem",
            "",
            "`ftp://a` is not",
        ),
        (
            "server: 'https://a', insecure-skip-tls-verify: true",
            "",
            "insecure-skip-tls-verify: not supported; give certificate-authority",
        ),
        (
            "server: 'https://a', certificate-authority-data: '?'",
            "",
            "certificate-authority-data: ",
        ),
        (
            "server: 'https://a', certificate-authority: none.pem",
            "",
            "none.pem: ",
        ),
    ] {
        let error = read(place, cluster, user).err().unwrap().to_string();
        assert!(error.contains(said), "{said}: {error}");
    }
    let other = |context: &str| {
        let error = Access::from_kubeconfig(&place.join("config"), Some(context))
            .err()
            .unwrap();
        error.to_string()
    };
    assert!(other("x").ends_with("contexts: there is none called `x`"));
    assert!(other("nowhere").ends_with("clusters: there is none called `d`"));
}

#[test]
fn a_pod_finds_its_server() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let of_pod = |host, port| Access::of_pod(host, port, place);
    assert!(matches!(
        of_pod(None, Some("443")),
        Err(AccessError::NotInCluster)
    ));
    let error = of_pod(Some("10.96.0.1"), Some("443"))
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("token: "), "{error}");
    std::fs::write(place.join("token"), "t\n").unwrap();
    std::fs::write(place.join("ca.crt"), "").unwrap();
    let error = of_pod(Some("10.96.0.1"), Some("443"))
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("no certificate in PEM"), "{error}");
    Pki::new().write(place).unwrap();
    std::fs::copy(place.join("ca.pem"), place.join("ca.crt")).unwrap();
    let access = of_pod(Some("fd00::1"), Some("443")).unwrap();
    assert_eq!(access.server(), "https://[fd00::1]:443");
}

/// A kubeconfig with a program that makes a token, and notes beside it how often it was asked.
fn with_program(place: &Path, server: &str, script: &str) -> Client {
    let program = place.join("login");
    let place_of_notes = place.display();
    std::fs::write(
        &program,
        format!("echo >> {place_of_notes}/asked\n{script}"),
    )
    .unwrap();
    // A program that was just written cannot be run while another test starts one.
    let exec = format!(
        "exec: {{ apiVersion: client.authentication.k8s.io/v1, command: sh, args: ['{}', get], \
         env: [{{ name: WHO, value: me }}], interactiveMode: Never }}",
        program.display()
    );
    Client::new(read(place, &format!("server: '{server}'"), &exec).unwrap())
}

#[tokio::test]
async fn a_program_makes_tokens() {
    let server = ApiServer::start();
    let address = format!("http://{}", server.address());
    let review = async |script: &str| {
        let place = tempfile::tempdir().unwrap();
        let client = with_program(place.path(), &address, script);
        let mut said = String::new();
        for _ in 0..3 {
            said = match client.review("x", &[]).await {
                Ok(_) => "reviewed".to_owned(),
                Err(error) => error.to_string(),
            };
        }
        let asked = std::fs::read_to_string(place.path().join("asked")).unwrap();
        (said, asked.len())
    };
    let credential =
        |status: &str| format!(r#"echo '{{"kind":"ExecCredential","status":{status}}}'"#);
    let good = review(&credential(r#"{"token":"t"}"#)).await;
    assert_eq!(good, ("reviewed".to_owned(), 1), "it is kept");
    let ends = r#"{"token":"t","expirationTimestamp":"2020-01-01T00:00:00Z"}"#;
    assert_eq!(
        review(&credential(ends)).await,
        ("reviewed".to_owned(), 3),
        "it has ended"
    );
    for (script, part) in [
        (credential(r#"{"token":""}"#), "no ExecCredential with a token: no status.token"),
        ("echo nothing".to_owned(), "no ExecCredential"),
        ("echo one >&2; echo who are you >&2; exit 3".to_owned(), "exit status: 3: who are you"),
        (
            r#"[ "$1$WHO" = getme ] && echo "$KUBERNETES_EXEC_INFO" | grep -q interactive && echo told >&2; exit 1"#.to_owned(),
            "told",
        ),
    ] {
        let (said, _) = review(&script).await;
        assert!(said.contains(part), "{script}: {said}");
    }
    server.fail(Some(401));
    let (said, asked) = review(&credential(r#"{"token":"t"}"#)).await;
    assert!(
        said.contains("401") && asked == 3,
        "a token that is refused is made again: {said}"
    );
}
