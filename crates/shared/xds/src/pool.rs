//! The descriptors of every generated type, for code that handles messages by name.

use std::sync::{Mutex, MutexGuard, PoisonError};

use prost_reflect::DescriptorPool;

/// The decoded descriptors while they are in use: a constant, held because decoding takes
/// some 50 ms and given back because it takes some 15 MiB.
static POOL: Mutex<Option<DescriptorPool>> = Mutex::new(None);

/// The descriptors of every type in [`crate::pb`] and of Google's well-known types, options such as
/// `(validate.rules)` and `deprecated` included. Decoded at the first call, and at the first
/// after [`release_pool`].
pub fn pool() -> DescriptorPool {
    let decode = || {
        DescriptorPool::decode(include_bytes!("../descriptors.binpb").as_slice())
            .expect("the committed descriptor set is valid: `cargo xtask protos` decodes it")
    };
    lock().get_or_insert_with(decode).clone()
}

/// Gives the memory of the descriptors back; for a process that reads or prints messages
/// seldom, such as a proxy after its start.
pub fn release_pool() {
    *lock() = None;
}

fn lock() -> MutexGuard<'static, Option<DescriptorPool>> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}
