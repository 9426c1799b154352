//! Compiles one file at a time and merges the results into one `FileDescriptorSet`.
//!
//! One at a time because files that use relative names clash when they are compiled together.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Context as _;
use prost::encoding::{DecodeContext, decode_key, skip_field};
use prost_reflect::DescriptorPool;
use protox::Compiler;
use protox::file::{File, FileResolver, GoogleFileResolver};

use super::sources::ProtoTree;

/// Names that do not resolve as written: (file, as written, fully qualified).
const QUALIFIED: [(&str, &str, &str); 1] = [(
    "envoy/extensions/clusters/dynamic_forward_proxy/v3/cluster.proto",
    " common.dynamic_forward_proxy.v3.DnsCacheConfig ",
    " .envoy.extensions.common.dynamic_forward_proxy.v3.DnsCacheConfig ",
)];

/// The number of `FileDescriptorSet.file`.
const FILE_OF_SET: u32 = 1;

/// The number of `FileDescriptorProto.source_code_info`: positions and comments.
const SOURCE_INFO_OF_FILE: u32 = 9;

/// The files so far, imports before importers.
#[derive(Default)]
pub struct MergedSet {
    seen: BTreeSet<String>,
    encoded: Vec<u8>,
}

impl MergedSet {
    /// Compiles a file and adds it with everything that it imports, except what is there already.
    pub fn add(&mut self, trees: &Arc<[ProtoTree]>, name: &str) -> anyhow::Result<()> {
        if self.seen.contains(name) {
            return Ok(());
        }
        let mut compiler = Compiler::with_file_resolver(TreeResolver {
            trees: Arc::clone(trees),
        });
        compiler.include_imports(true).include_source_info(false);
        compiler.open_file(name).with_context(|| name.to_owned())?;
        for file in compiler.descriptor_pool().files() {
            if self.seen.insert(file.name().to_owned()) {
                // Encoded by the pool and not through prost's types, which drop extension options.
                let file = without_source_info(&file.encode_to_vec())?;
                prost::encoding::bytes::encode(FILE_OF_SET, &file, &mut self.encoded);
            }
        }
        Ok(())
    }

    /// Checks that the set is consistent as a whole; answers with the number of files and the
    /// encoded set.
    pub fn finish(self) -> anyhow::Result<(usize, Vec<u8>)> {
        let pool = DescriptorPool::decode(self.encoded.as_slice()).context("the merged set")?;
        Ok((pool.files().len(), self.encoded))
    }
}

/// Finds a file in the first tree that has it, else among Google's own.
struct TreeResolver {
    trees: Arc<[ProtoTree]>,
}

impl FileResolver for TreeResolver {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let google = GoogleFileResolver::new();
        if let Ok(file) = google.open_file(name) {
            return Ok(file);
        }
        for tree in self.trees.iter() {
            let path = tree.path(name);
            if path.is_file() {
                let source = std::fs::read_to_string(&path).map_err(protox::Error::new)?;
                return File::from_source(name, &qualify(name, source));
            }
        }
        Err(protox::Error::file_not_found(name))
    }
}

fn qualify(name: &str, mut source: String) -> String {
    for (file, written, qualified) in QUALIFIED {
        if file == name {
            source = source.replace(written, qualified);
        }
    }
    source
}

/// Copies the fields of an encoded `FileDescriptorProto`, all but the source info.
fn without_source_info(file: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut kept = Vec::with_capacity(file.len());
    let mut rest = file;
    while !rest.is_empty() {
        let field = rest;
        let (number, wire_type) = decode_key(&mut rest)?;
        skip_field(wire_type, number, &mut rest, DecodeContext::default())?;
        if number != SOURCE_INFO_OF_FILE {
            kept.extend_from_slice(&field[..field.len() - rest.len()]);
        }
    }
    Ok(kept)
}
