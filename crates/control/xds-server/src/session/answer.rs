//! What to send of one kind: the difference between what there is and what the proxy was sent.
//!
//! In: a watch and the view. Out: [`Difference`]. Only names are looked at that may differ; all of them
//! where that is not known: at the first answer, and after a reconnect.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::watch::Watch;
use crate::{Form, Kind, ProxyView, Resource, Wanted};

/// What to send.
#[derive(Debug, Default)]
pub(super) struct Difference {
    /// Resources in the order of their names.
    pub resources: Vec<Resource>,
    /// Names that stand for nothing any more, or that were asked for and never stood for anything.
    pub gone: Vec<Arc<str>>,
}

impl Watch {
    /// Takes what is to be sent as sent; `None` if nothing is. Clusters that are gone are noted as
    /// leaving instead of being removed, and what is in `leaving` keeps what it has.
    pub(super) fn difference(
        &mut self,
        kind: Kind,
        form: Form,
        view: &dyn ProxyView,
        leaving: &BTreeSet<Arc<str>>,
    ) -> Option<Difference> {
        let first = std::mem::take(&mut self.owes_answer);
        let asked = std::mem::take(&mut self.asked);
        let candidates = self.candidates(kind, view, first, &asked);
        if candidates.as_ref().is_some_and(BTreeSet::is_empty) {
            // Most changes concern most proxies not at all.
            self.compared = view.mark();
            return None;
        }
        let mut resources = match &candidates {
            None => view.resources(kind, &self.wanted()),
            Some(names) => {
                let wanted = names.iter().filter(|it| self.wants(it));
                view.resources(kind, &Wanted::Names(wanted.map(AsRef::as_ref).collect()))
            }
        };
        let there: BTreeSet<Arc<str>> = resources.iter().map(|it| it.name.clone()).collect();
        let mut gone: Vec<Arc<str>> = match &candidates {
            None => self.known.all_sent().cloned().collect(),
            Some(names) => {
                let sent = names.iter().filter(|it| self.known.sent(it).is_some());
                sent.cloned().collect()
            }
        };
        gone.retain(|it| !there.contains(it) && !leaving.contains(it));
        let held = &mut self.held;
        let known = &self.known;
        resources.retain(|it| {
            let sent = known.sent(&it.name);
            let hold = leaving.contains(&it.name) && sent.is_some_and(|sent| sent != it.version);
            if hold {
                held.insert(it.name.clone());
            }
            !hold
        });
        let everything = candidates.is_none();
        let changed: Vec<Resource> = resources
            .iter()
            .filter(|it| known.sent(&it.name) != Some(it.version))
            .cloned()
            .collect();
        if kind == Kind::Cluster {
            self.note_clusters(&changed, &there, std::mem::take(&mut gone), everything);
        }
        let asked_for_nothing = asked.into_iter().filter(|it| !there.contains(it));
        let unknown: Vec<_> = asked_for_nothing
            .filter(|it| !self.leaving.contains(it) && !leaving.contains(it))
            .collect();
        gone.extend(unknown);
        gone.sort();
        gone.dedup();
        self.compared = view.mark();
        if changed.is_empty() && gone.is_empty() && !first {
            return None;
        }
        for resource in &changed {
            self.known.send(&resource.name, resource.version);
            if form == Form::Sotw && kind == Kind::Cluster {
                self.bodies.insert(resource.name.clone(), resource.clone());
            }
        }
        for name in &gone {
            self.known.forget(name);
        }
        let resources = match form {
            Form::Delta => changed,
            // The state of the world is all of it; of what is asked for by name a part is enough.
            Form::Sotw if kind.has_wildcard() && !everything => {
                view.resources(kind, &self.wanted())
            }
            Form::Sotw => resources,
        };
        let still_there = self.leaving.iter();
        let still_there = still_there
            .filter_map(|name| self.bodies.get(name))
            .cloned();
        let resources = match form {
            Form::Delta => resources,
            Form::Sotw => resources.into_iter().chain(still_there).collect(),
        };
        Some(Difference { resources, gone })
    }

    /// The names that may differ; `None` for all.
    fn candidates(
        &mut self,
        kind: Kind,
        view: &dyn ProxyView,
        first: bool,
        asked: &BTreeSet<Arc<str>>,
    ) -> Option<BTreeSet<Arc<str>>> {
        let held = std::mem::take(&mut self.held);
        let mark = self.compared.filter(|_| !first)?;
        let changed = view.changed_since(kind, mark)?;
        let concerned = |it: &Arc<str>| self.wants(it) || self.known.sent(it).is_some();
        let mut names: BTreeSet<_> = changed.into_iter().filter(concerned).collect();
        names.extend(asked.iter().cloned());
        names.extend(held);
        Some(names)
    }

    /// Of clusters: which are leaving, and which wait for their endpoints.
    fn note_clusters(
        &mut self,
        changed: &[Resource],
        there: &BTreeSet<Arc<str>>,
        gone: Vec<Arc<str>>,
        everything: bool,
    ) {
        if everything {
            self.leaving.clear();
        }
        self.leaving.retain(|it| !there.contains(it));
        self.leaving.extend(gone);
        let leaving = &self.leaving;
        let waits = |name: &Arc<str>| {
            let now = changed.iter().find(|it| it.name == *name);
            !leaving.contains(name) && now.is_none_or(|it| it.needs_endpoints)
        };
        self.awaiting_endpoints.retain(waits);
        let new = changed
            .iter()
            .filter(|it| it.needs_endpoints && self.known.sent(&it.name).is_none());
        self.awaiting_endpoints
            .extend(new.map(|it| it.name.clone()));
    }
}
