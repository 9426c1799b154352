//! What a mesh configuration cannot do without.
//!
//! In: the path of an option that is not supported. Out: whether the rest may hold without it.

use meltemi_api::{FieldPath, Segment};

/// Options whose absence could let somebody in or show something: without them the whole
/// configuration is refused.
const NEEDED: [&str; 6] = [
    "meshMTLS",
    "tlsDefaults",
    "ca",
    "caCertificates",
    "certificates",
    "discoverySelectors",
];

/// Whether the rest of a mesh configuration may hold without the unsupported option at `path`.
pub(crate) fn can_be_left_out(path: &FieldPath) -> bool {
    let mut names = path.segments().iter().filter_map(|it| match it {
        Segment::Field(name) => Some(name.as_str()),
        Segment::Key(_) | Segment::Index(_) => None,
    });
    match (names.next(), names.next()) {
        (Some("defaultConfig"), name) => {
            !matches!(name, Some("privateKeyProvider" | "caCertificatesPem"))
        }
        (Some(name), _) => !NEEDED.contains(&name),
        (None, _) => false,
    }
}
