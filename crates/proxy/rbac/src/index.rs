//! Policies by the exact texts without one of which they cannot match.

use std::collections::HashMap;

use crate::Facts;
use crate::matcher::{Key, Matcher};

/// Fewer policies than this are simply asked one after the other.
const WORTHWHILE: usize = 8;

/// Texts of which a request must have one.
type Texts<'m> = Vec<(&'m Key, &'m [u8])>;

/// Positions of policies, in order, by a text.
type ByText = HashMap<Box<[u8]>, Vec<u32>>;

/// Which policies may match a request.
#[derive(Debug, Default)]
pub(crate) struct Index {
    by_text: Vec<(Key, ByText)>,
    /// Those that ask for no exact text, in order.
    others: Vec<u32>,
}

impl Index {
    /// An index of policies, each being permissions and principals; none where it is not worth it.
    pub fn new(policies: &[(Matcher, Matcher)]) -> Option<Self> {
        if policies.len() < WORTHWHILE {
            return None;
        }
        let choices: Vec<Vec<Texts<'_>>> = policies
            .iter()
            .map(|(permissions, principals)| {
                let mut choices = needs(permissions);
                choices.extend(needs(principals));
                choices
            })
            .collect();
        // how many policies could be found by a text: the fewer, the better it tells them apart
        let mut common: HashMap<(&Key, &[u8]), usize> = HashMap::new();
        for text in choices.iter().flatten().flatten() {
            *common.entry(*text).or_default() += 1;
        }
        let mut index = Self::default();
        for (number, choices) in choices.iter().enumerate() {
            let number = u32::try_from(number).ok()?;
            let crowd = |texts: &&Texts<'_>| -> usize {
                texts
                    .iter()
                    .map(|text| common.get(text).copied().unwrap_or(0))
                    .sum()
            };
            match choices.iter().min_by_key(crowd) {
                None => index.others.push(number),
                Some(texts) => {
                    for (key, text) in texts {
                        index.add(key, text, number);
                    }
                }
            }
        }
        (!index.by_text.is_empty()).then_some(index)
    }

    fn add(&mut self, key: &Key, text: &[u8], number: u32) {
        let at = self.by_text.iter().position(|(known, _)| known == key);
        let at = at.unwrap_or_else(|| {
            self.by_text.push((key.clone(), HashMap::new()));
            self.by_text.len() - 1
        });
        self.by_text[at]
            .1
            .entry(text.into())
            .or_default()
            .push(number);
    }

    /// The first policy that may match and does, as `matches` says; in order.
    pub fn first(&self, facts: &Facts<'_>, mut matches: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut found: Vec<u32> = Vec::new();
        for (key, by_text) in &self.by_text {
            key.any(facts, |text| {
                if let Some(numbers) = by_text.get(text) {
                    found.extend_from_slice(numbers);
                }
                false
            });
        }
        found.sort_unstable();
        found.dedup();
        let mut others = self.others.iter().copied().peekable();
        let mut found = found.into_iter().peekable();
        loop {
            let next = match (found.peek(), others.peek()) {
                (Some(one), Some(other)) if one < other => found.next(),
                (Some(_), None) => found.next(),
                (_, Some(_)) => others.next(),
                (None, None) => return None,
            }?;
            if matches(next) {
                return Some(next);
            }
        }
    }
}

/// Lists of texts; of each list, a request must have one for the matcher to hold.
fn needs(matcher: &Matcher) -> Vec<Texts<'_>> {
    match matcher {
        Matcher::Text(key, values) => vec![values.iter().map(|text| (key, &**text)).collect()],
        Matcher::All(all) => all.iter().flat_map(needs).collect(),
        Matcher::AnyOf(any) => {
            let mut texts = Vec::new();
            for one in any {
                match needs(one).into_iter().min_by_key(Vec::len) {
                    Some(more) => texts.extend(more),
                    None => return Vec::new(),
                }
            }
            vec![texts]
        }
        Matcher::Always | Matcher::Not(_) | Matcher::Leaf(_) => Vec::new(),
    }
}
