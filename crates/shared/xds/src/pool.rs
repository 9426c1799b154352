//! The descriptors of every generated type, for code that handles messages by name.

use std::sync::LazyLock;

use prost_reflect::DescriptorPool;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(include_bytes!("../descriptors.binpb").as_slice())
        .expect("the committed descriptor set is valid: `cargo xtask protos` decodes it")
});

/// The descriptors of every type in [`crate::pb`] and of Google's well-known types, options such as
/// `(validate.rules)` and `deprecated` included. Decoded at the first call.
pub fn pool() -> &'static DescriptorPool {
    &POOL
}
