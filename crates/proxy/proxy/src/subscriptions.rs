//! What is asked for, of whom, and whether there has been an answer.
//!
//! In: what the proxy wants, and how long it waits for the first of it (`initial_fetch_timeout`). Out:
//! what has not come in time. Without I/O; called by the discovery loop.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use meltemi_ir::ResourceSource;
use meltemi_xds_client::ResourceType;
use tokio::time::Instant;

/// One thing that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wanted {
    /// Resources of this kind.
    pub kind: ResourceType,
    /// From there.
    pub source: ResourceSource,
    /// The one of this name, where not all are wanted.
    pub name: Option<String>,
}

/// All that is asked for.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions(BTreeMap<Wanted, Standing>);

#[derive(Debug)]
struct Standing {
    /// There was an answer, or nobody waits for one any more.
    settled: bool,
    /// Until when one is waited for; for ever where there is none.
    until: Option<Instant>,
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        match &self.name {
            Some(name) => write!(f, " {name:?}"),
            None => Ok(()),
        }
    }
}

impl Subscriptions {
    /// Asks for these, each waited for so long, zero being without limit, and for nothing else. Gives
    /// what is new, and what is over.
    pub fn follow(
        &mut self,
        wanted: &BTreeMap<Wanted, Duration>,
        now: Instant,
    ) -> (Vec<Wanted>, Vec<Wanted>) {
        let over = self.0.extract_if(.., |one, _| !wanted.contains_key(one));
        let over = over.map(|(one, _)| one).collect();
        let mut new = Vec::new();
        for (one, limit) in wanted {
            if self.0.contains_key(one) {
                continue;
            }
            let standing = Standing {
                settled: false,
                until: (!limit.is_zero()).then(|| now + *limit),
            };
            self.0.insert(one.clone(), standing);
            new.push(one.clone());
        }
        (new, over)
    }

    /// Whether it is asked for still.
    pub fn has(&self, wanted: &Wanted) -> bool {
        self.0.contains_key(wanted)
    }

    /// What is asked for of a kind there.
    pub fn of(&self, kind: ResourceType, source: &ResourceSource) -> Vec<Wanted> {
        let all = self.all_of(source);
        all.filter(|one| one.kind == kind).cloned().collect()
    }

    /// What is asked for there.
    pub fn all_of(&self, source: &ResourceSource) -> impl Iterator<Item = &Wanted> {
        self.0.keys().filter(move |one| one.source == *source)
    }

    /// There was an answer.
    pub fn settle(&mut self, wanted: &Wanted) {
        if let Some(standing) = self.0.get_mut(wanted) {
            standing.settled = true;
        }
    }

    /// Whether all of a kind have been answered, or are waited for no more.
    pub fn is_settled(&self, kind: ResourceType) -> bool {
        let mut of_kind = self.0.iter().filter(|(one, _)| one.kind == kind);
        of_kind.all(|(_, standing)| standing.settled)
    }

    /// When something is late next.
    pub fn deadline(&self) -> Option<Instant> {
        let waiting = self.0.values().filter(|standing| !standing.settled);
        waiting.filter_map(|standing| standing.until).min()
    }

    /// What has not come in time; each is said once.
    pub fn late(&mut self, now: Instant) -> Vec<Wanted> {
        let due = |standing: &Standing| {
            !standing.settled && standing.until.is_some_and(|until| until <= now)
        };
        let late = self.0.iter_mut().filter(|(_, standing)| due(standing));
        late.map(|(one, standing)| {
            standing.settled = true;
            one.clone()
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn wanted(name: &str) -> Wanted {
        Wanted {
            kind: ResourceType::Route,
            source: ResourceSource::Ads,
            name: Some(name.to_owned()),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_come_in_time_is_late_once() {
        let start = Instant::now();
        let mut all = Subscriptions::default();
        assert!(all.is_settled(ResourceType::Route));
        let limits = [("a", SECOND), ("b", SECOND * 2), ("ever", Duration::ZERO)];
        let asked = limits.map(|(name, limit)| (wanted(name), limit)).into();
        assert_eq!(all.follow(&asked, start).0.len(), 3);
        assert_eq!(all.follow(&asked, start + SECOND), (vec![], vec![]));
        assert_eq!(all.deadline(), Some(start + SECOND));
        all.settle(&wanted("a"));
        assert_eq!(all.late(start + SECOND), []);
        assert_eq!(all.late(start + SECOND * 2), [wanted("b")]);
        assert_eq!(all.late(start + SECOND * 60), []);
        assert_eq!(all.deadline(), None);
        assert!(!all.is_settled(ResourceType::Route));
        let (new, over) = all.follow(&BTreeMap::from([(wanted("b"), SECOND)]), start);
        assert_eq!((new, over), (vec![], vec![wanted("a"), wanted("ever")]));
        assert!(all.is_settled(ResourceType::Route) && !all.has(&wanted("ever")));
    }
}
