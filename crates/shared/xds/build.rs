//! Generates the Rust types, clients and servers, and the tables by which JSON is read, from the
//! committed descriptor set.

use std::path::PathBuf;

use prost::Message as _;
use prost_types::FileDescriptorSet;

#[path = "build/schema.rs"]
mod schema;

const DESCRIPTORS: &str = "descriptors.binpb";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed={DESCRIPTORS}");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    // A build script runs in its package's directory.
    let descriptors = FileDescriptorSet::decode(std::fs::read(DESCRIPTORS)?.as_slice())?;
    #[allow(
        clippy::disallowed_methods,
        reason = "where to write, a build script is told in no other way"
    )]
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("schema.rs"), schema::source(&descriptors)?)?;

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
