//! `docs/support.md` is what the conversions say of themselves. Regenerate it with
//! `UPDATE_GOLDEN=1 cargo test -p meltemi --test support`.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::fmt::Write as _;
use std::path::Path;

use meltemi_config::FieldState;
use meltemi_model::Support;

/// What no table shows because it is no field.
const LEFT_OUT: &str = "\
- **Interception** (`meltemi up`): loopback mode only. Applications reach the mesh through
  `http_proxy`; TCP services are not captured, and an application that ignores `http_proxy`
  bypasses the mesh. Rules for `REDIRECT` and `TPROXY` are not written by Meltemi yet, though the
  proxy serves both modes where something else writes them.
- **Sources**: directories of files and the Kubernetes API, which was tried against an emulated server only
  (`docs/kubernetes.md`); several clusters and the Gateway API come later.
- **Revisions**: `meltemi discovery --revision` (or `REVISION`): Istio's resources whose label
  `istio.io/rev` names another do not count, and the mesh configuration is `istio-REVISION`. `up` is one
  control plane, for which resources of every revision count.
- **xDS**: the aggregated service and one for each type alone, in delta and state-of-the-world form,
  for CDS, EDS, LDS, RDS, SDS and ECDS; on the aggregated one what agents take: PCDS (of Istio's ProxyConfig,
  the trust bundle), NDS (names and addresses), and what patches say of the bootstrap.
  gRPC libraries without a proxy are served in their form (`docs/grpc.md`).
  The proxy asks for virtual hosts on demand (VHDS).
- **Identity**: tokens that `up` issues, JWTs of issuers whose public keys are in a file or at an address
  (`--token-issuer`, `JWT_RULE`), what a cluster's API server says of a token (TokenReview), and client
  certificates;
  certificates for others (`ImpersonatedIdentity`) and other signers (`CertSigner`) are refused.
  Workload keys are ECDSA P-256 and P-384, or RSA of 2048, 3072 and 4096 bits. Trust bundles of other
  trust domains come later.
- **TLS**: 1.2 and 1.3, AEAD suites; no OCSP stapling, no encrypted private keys.
- **Hot restart**: sockets go over, statistics do not.
- **HTTP/3** is refused.
";

fn document() -> String {
    let mut text = String::from(
        "# What is supported\n\n\
         Made from the conversions themselves; a test holds this page to them. A field that is\n\
         refused is an error with its path (control plane) or a NACK (proxy); nothing that changes\n\
         behaviour is passed over in silence.\n\n## Left out so far\n\n",
    );
    text.push_str(LEFT_OUT);
    text.push_str("\n## Resources of the mesh\n\nLists are `[]`, maps `[*]`. A row stands for the fields below it.\n");
    let mut kind = None;
    for row in meltemi_model::support() {
        if kind != Some(row.kind) {
            kind = Some(row.kind);
            write!(
                text,
                "\n### {}\n\n| field | state | note |\n|---|---|---|\n",
                row.kind
            )
            .unwrap();
        }
        let state = match row.state {
            Support::Supported => "honoured",
            Support::Rejected => "refused",
            Support::Harmless => "without effect",
        };
        writeln!(text, "| `{}` | {state} | {} |", row.path, cell(row.note)).unwrap();
    }
    text.push_str("\n## Envoy configuration read by the proxy\n\nA message that is not named here is refused where it would be used.\n");
    let mut message = String::new();
    for row in meltemi_config::support::rows() {
        if message != row.message {
            message.clone_from(&row.message);
            write!(
                text,
                "\n### {message}\n\n| field | state | note |\n|---|---|---|\n"
            )
            .unwrap();
        }
        let state = match row.state {
            FieldState::Honoured => "honoured",
            FieldState::Partly => "honoured in part",
            FieldState::Refused => "refused",
            FieldState::Ignored => "without effect",
        };
        writeln!(text, "| `{}` | {state} | {} |", row.field, cell(row.note)).unwrap();
    }
    text
}

fn cell(note: &str) -> String {
    note.replace('|', "\\|").replace('\n', " ")
}

#[test]
fn the_support_table_is_what_the_conversions_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/support.md");
    let made = document();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == made,
        "docs/support.md is stale: UPDATE_GOLDEN=1 cargo test -p meltemi --test support"
    );
}
