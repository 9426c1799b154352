//! The value of a patch: as written, and as the message that it is.

use std::sync::{Arc, OnceLock};

use serde_json::Value;

/// An Envoy message as protobuf JSON, with room for its encoded form, which is made once by whoever
/// knows Envoy's messages and is shared by every copy.
#[derive(Debug, Clone)]
pub struct PatchValue {
    written: Value,
    encoded: Arc<OnceLock<Option<Arc<[u8]>>>>,
}

impl PatchValue {
    /// The value as written.
    pub fn new(written: Value) -> Self {
        Self {
            written,
            encoded: Arc::default(),
        }
    }

    /// The value as written.
    pub fn written(&self) -> &Value {
        &self.written
    }

    /// The message in its encoded form: what `encode` makes of it when this is first asked; `None` if
    /// it is no message.
    pub fn encoded(&self, encode: impl FnOnce(&Value) -> Option<Vec<u8>>) -> Option<&Arc<[u8]>> {
        let made = self
            .encoded
            .get_or_init(|| encode(&self.written).map(Arc::from));
        made.as_ref()
    }
}

impl PartialEq for PatchValue {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}
