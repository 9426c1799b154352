//! The descriptors of every generated type, for code that handles messages by name.

use std::sync::{Mutex, MutexGuard, PoisonError};

use prost_reflect::DescriptorPool;

/// The decoded descriptors while they are in use: a constant, held because decoding takes
/// some 50 ms and given back because it takes some 15 MiB.
static POOL: Mutex<Option<DescriptorPool>> = Mutex::new(None);

/// The descriptors of every type in [`crate::pb`] and of Google's well-known types, options such as
/// `(validate.rules)` and `deprecated` included. Decoded at the first call, and at the first
/// after [`with_pool_released`].
pub fn pool() -> DescriptorPool {
    let decode = || {
        DescriptorPool::decode(include_bytes!("../descriptors.binpb").as_slice())
            .expect("the committed descriptor set is valid: `cargo xtask protos` decodes it")
    };
    lock().get_or_insert_with(decode).clone()
}

/// Runs `work`, which reads or prints messages by name, and gives the memory of the descriptors
/// back; for a process that does so seldom, such as a proxy.
///
/// It runs on a thread of its own, since allocators keep memory by thread: what a thread leaves
/// behind whole goes back to the system, while elsewhere the next allocation above it would
/// hold all of it.
///
/// # Panics
/// When `work` does.
pub fn with_pool_released<T: Clone + Send>(work: impl FnOnce() -> T + Send) -> T {
    let scratch = || {
        let made = work();
        *lock() = None;
        // What was made lies above the descriptors; its copy takes a place below.
        made.clone()
    };
    std::thread::scope(|scope| {
        let done = scope.spawn(scratch).join();
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn lock() -> MutexGuard<'static, Option<DescriptorPool>> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}
