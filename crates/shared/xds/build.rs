//! Generates the Rust types, clients and servers from the committed descriptor set.

use prost::Message as _;
use prost_types::FileDescriptorSet;

const DESCRIPTORS: &str = "descriptors.binpb";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed={DESCRIPTORS}");
    println!("cargo::rerun-if-changed=build.rs");
    // A build script runs in its package's directory.
    let descriptors = FileDescriptorSet::decode(std::fs::read(DESCRIPTORS)?.as_slice())?;

    let mut prost = prost_build::Config::new();
    // Ordered maps, so that equal messages have equal bytes and can be compared by hash.
    prost
        .btree_map(["."])
        .enable_type_names()
        .type_name_domain(["."], "type.googleapis.com");
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        .emit_rerun_if_changed(false)
        .include_file("pb.rs")
        .compile_fds_with_config(descriptors, prost)?;
    Ok(())
}
