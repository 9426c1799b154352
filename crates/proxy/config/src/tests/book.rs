//! The bootstraps of a book's chapter, where they are at hand.

use std::path::PathBuf;

use meltemi_ir::{Discovery, DnsFamily, HostRewrite, RouteAction, RouteSource};

use crate::bootstrap_from_yaml;

fn directory() -> Option<PathBuf> {
    let mut directory = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    while directory.pop() {
        let found = directory.join("shared/data/book/ch3");
        if found.is_dir() {
            return Some(found);
        }
    }
    None
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that cannot run says so")]
fn bootstraps_of_chapter_3_convert() {
    let Some(directory) = directory() else {
        eprintln!("SKIPPED: shared/data/book/ch3 is not beside this checkout");
        return;
    };
    for file in [
        "simple.yaml",
        "simple_change_timeout.yaml",
        "simple_retry.yaml",
    ] {
        let path = directory.join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        let bootstrap = bootstrap_from_yaml(&text, file).unwrap();
        assert_eq!(bootstrap.admin.unwrap().address.port(), 15000, "{file}");
        let Discovery::LogicalDns { family, .. } = bootstrap.clusters[0].discovery else {
            panic!("{file}: {:?}", bootstrap.clusters[0].discovery);
        };
        assert_eq!(family, DnsFamily::V4Only);
        let meltemi_ir::ConnectionFilter::Http(manager) =
            &bootstrap.listeners[0].filter_chains[0].filter
        else {
            panic!("{file} has a connection manager");
        };
        let RouteSource::Inline(routes) = &manager.routes else {
            panic!("{file} has routes");
        };
        let RouteAction::Forward(target) = &routes.virtual_hosts[0].routes[0].action else {
            panic!("{file} forwards");
        };
        assert_eq!(target.host_rewrite, HostRewrite::Endpoint);
        let seconds = target.timeout.unwrap().as_secs();
        assert_eq!(seconds, if file.contains("timeout") { 1 } else { 15 });
        assert_eq!(target.retry.is_some(), file.contains("retry"));
    }
}
