//! Empty header maps that have room: what a record keeps of a message's headers lies in one, and no
//! request needs memory of its own for that.

use std::cell::RefCell;

use http::{HeaderMap, HeaderName};

/// How many are kept at most.
const MOST: usize = 256;

/// A worker's empty header maps.
#[derive(Debug, Default)]
pub(crate) struct HeaderPool(RefCell<Vec<HeaderMap>>);

impl HeaderPool {
    /// Copies the headers that are wanted.
    pub(crate) fn keep(&self, from: &HeaderMap, wanted: &[HeaderName]) -> HeaderMap {
        let mut kept = None;
        for name in wanted {
            for value in from.get_all(name) {
                kept.get_or_insert_with(|| self.take())
                    .append(name, value.clone());
            }
        }
        kept.unwrap_or_default()
    }

    fn take(&self) -> HeaderMap {
        self.0.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes one back.
    pub(crate) fn give(&self, mut map: HeaderMap) {
        let mut pool = self.0.borrow_mut();
        if map.capacity() > 0 && pool.len() < MOST {
            map.clear();
            pool.push(map);
        }
    }
}
