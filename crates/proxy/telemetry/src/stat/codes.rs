//! Responses by status code and class. Codes appear when they first happen.

use std::sync::OnceLock;

use super::Counter;

const CLASSES: usize = 5;
const CODES: usize = 100;

/// Counts responses by status (`upstream_rq_200`) and class (`upstream_rq_2xx`).
#[derive(Debug, Default)]
pub struct ResponseCodes {
    classes: [Counter; CLASSES],
    codes: [OnceLock<Box<[Counter; CODES]>>; CLASSES],
}

impl ResponseCodes {
    /// Counts a response; a status outside 100 to 599 is none.
    pub fn count(&self, status: u16) {
        let Some((class, code)) = split(status) else {
            return;
        };
        self.classes[class].inc();
        self.codes[class].get_or_init(|| Box::new(std::array::from_fn(|_| Counter::default())))
            [code]
            .inc();
    }

    /// How many responses had this status.
    pub fn get(&self, status: u16) -> u64 {
        split(status)
            .and_then(|(class, code)| Some(self.codes[class].get()?[code].get()))
            .unwrap_or(0)
    }

    /// Calls `visit` with the end of the name (`2xx`, `200`) and the value of all that happened.
    pub(crate) fn visit(&self, mut visit: impl FnMut(&str, u64)) {
        for (class, count) in self.classes.iter().enumerate() {
            if count.get() > 0 {
                visit(&format!("{}xx", class + 1), count.get());
            }
            let Some(codes) = self.codes[class].get() else {
                continue;
            };
            for (code, count) in codes.iter().enumerate() {
                if count.get() > 0 {
                    visit(&((class + 1) * CODES + code).to_string(), count.get());
                }
            }
        }
    }

    pub(crate) fn reset(&self) {
        for counter in &self.classes {
            counter.reset();
        }
        for counter in self
            .codes
            .iter()
            .filter_map(OnceLock::get)
            .flat_map(|codes| codes.iter())
        {
            counter.reset();
        }
    }
}

fn split(status: u16) -> Option<(usize, usize)> {
    let status = usize::from(status);
    let class = (status / CODES).checked_sub(1)?;
    (class < CLASSES).then_some((class, status % CODES))
}
