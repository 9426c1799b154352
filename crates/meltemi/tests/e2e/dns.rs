//! Names that a sidecar answers for.

use std::net::UdpSocket;
use std::time::Duration;

use serde_json::Value;

use super::mesh::{Mesh, eventually};

const CAPTURE: &str = "\
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: { name: dns, namespace: istioinaction }
spec: { environmentVariables: { ISTIO_META_DNS_CAPTURE: 'true' } }
";

const MORE: &str = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: more, namespace: istioinaction }
spec:
  hosts: [more.example.com]
  addresses: [240.1.2.3]
  ports: [{ number: 80, name: http, protocol: HTTP }]
  resolution: DNS
";

/// A question for the IPv4 addresses of a name.
fn question(name: &str) -> Vec<u8> {
    let mut message = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    message
}

#[test]
fn a_sidecar_answers_for_the_names_of_the_mesh() {
    let mesh = Mesh::start_with(19, &[("capture.yaml", CAPTURE)]);
    let told = mesh.tool(&["proxy-config", "bootstrap", "webapp", "-o", "json"]);
    let dump: Value = serde_json::from_str(&told.stdout).unwrap();
    let id = dump["bootstrap"]["node"]["id"].as_str().unwrap();
    let ip = id.split('~').nth(1).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    socket.connect(format!("{ip}:15053")).unwrap();
    let ask = |name: &str| {
        socket.send(&question(name)).unwrap();
        let mut answer = [0; 512];
        let length = socket.recv(&mut answer).ok()?;
        let [.., a, b, c, d] = answer[..length] else {
            return None;
        };
        (answer[7] > 0).then_some([a, b, c, d])
    };
    let forms = [
        "catalog",
        "catalog.istioinaction",
        "catalog.istioinaction.svc.cluster.local",
    ];
    let first = eventually("the names are there", || ask(forms[0]));
    for form in forms {
        assert_eq!(ask(form), Some(first), "{form}");
    }
    std::fs::write(mesh.directory.path().join("store/more.yaml"), MORE).unwrap();
    eventually("a name that comes later", || {
        (ask("more.example.com") == Some([240, 1, 2, 3])).then_some(())
    });
}
