//! The names that an agent's DNS proxy answers for (NDS), compared with files:
//! `name_table/PROXY.golden.yaml`. Set `UPDATE_GOLDEN=1` to write them anew.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

#[path = "support/case.rs"]
mod case;

use std::collections::BTreeMap;
use std::path::Path;

use case::{Proxy, configs};
use meltemi_snapshot::Snapshot;
use meltemi_translate::{Part, Translator, group_key, name_table};
use meltemi_xds::json::to_json;

#[test]
fn names_have_the_addresses_that_the_golden_files_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/name_table");
    let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
    let snapshot = Snapshot::of(configs(&read("input.yaml")));
    let proxies = read("proxies.yaml");
    let proxies: BTreeMap<String, Proxy> = serde_saphyr::from_str(&proxies).unwrap();
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    for (name, proxy) in proxies {
        let node = proxy.node();
        let table = name_table(&snapshot, &node)["default"].clone();
        let made = serde_saphyr::to_string(&to_json(&*table.any)["table"]).unwrap();
        let golden = root.join(format!("{name}.golden.yaml"));
        if update {
            std::fs::write(&golden, &made).unwrap();
        }
        let written = std::fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(made, written, "{name}; UPDATE_GOLDEN=1 writes it anew");

        // A group has the same table as each of its proxies.
        let key = group_key(&snapshot, &node);
        let of_group = Translator::new(&snapshot, key.node()).make(&Part::NameTable);
        assert_eq!(of_group.resources, [table], "{name}");
    }
}
