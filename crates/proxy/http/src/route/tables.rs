//! The route tables that discovery delivers, and the virtual hosts that it delivers for them one by
//! one (VHDS).
//!
//! In: tables and virtual hosts as they come. Out: slots in which connections find the newest table,
//! and the hosts that requests wait for. Called by whoever applies configuration, by the connection
//! manager, and by its `on_demand` filter.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use meltemi_ir as ir;
use tokio::sync::{oneshot, watch};

use super::{RouteError, RouteSlot, RouteTable, VirtualHost};

/// The route tables that discovery delivers, by name. Shared by all threads.
#[derive(Debug, Default)]
pub struct RouteTables {
    state: Mutex<State>,
    /// Told when a request asks for a host.
    asked: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    tables: HashMap<String, Entry>,
    /// Requests that wait, each with what it asked for.
    waiting: Vec<(String, oneshot::Sender<()>)>,
    /// What was asked for and not denied: `table/host`.
    aliases: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Entry {
    slot: RouteSlot,
    /// The table as it was delivered.
    base: Option<Arc<ir::RouteConfiguration>>,
    /// The virtual hosts that were delivered for it, by the names of their resources.
    hosts: BTreeMap<String, Arc<ir::VirtualHost>>,
    /// They are not all in the slot's table.
    stale: bool,
    /// Their service has answered once.
    answered: bool,
    /// There is no table to wait for.
    given_up: bool,
}

/// The virtual hosts that a table wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedHosts {
    /// From where.
    pub service: ir::DiscoveryService,
    /// What requests have asked for.
    pub aliases: BTreeSet<String>,
}

/// Why a virtual host cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Nobody asked for virtual hosts of such a table.
    #[error("no route table {0:?} with vhds")]
    NoTable(String),
    /// Another virtual host has one of its domains.
    #[error("domains: {0:?} stands in this route table twice")]
    Twice(String),
    /// It does not compile.
    #[error(transparent)]
    Route(#[from] RouteError),
}

impl Entry {
    /// Compiles the table with all that was delivered for it.
    fn compile(
        base: &Arc<ir::RouteConfiguration>,
        hosts: &BTreeMap<String, Arc<ir::VirtualHost>>,
    ) -> Result<Arc<RouteTable>, RouteError> {
        if hosts.is_empty() || base.vhds.is_none() {
            return RouteTable::new(base).map(Arc::new);
        }
        let mut whole = ir::RouteConfiguration::clone(base);
        whole.virtual_hosts.extend(hosts.values().cloned());
        RouteTable::new(&Arc::new(whole)).map(Arc::new)
    }

    /// Whether somebody else has the domain.
    fn has_domain(&self, domain: &str, besides: &str) -> bool {
        let base = self.base.iter().flat_map(|base| &base.virtual_hosts);
        let others = self.hosts.iter().filter(|(name, _)| *name != besides);
        let mut hosts = base.chain(others.map(|(_, host)| host));
        hosts.any(|host| {
            host.domains
                .iter()
                .any(|it| it.eq_ignore_ascii_case(domain))
        })
    }
}

impl RouteTables {
    /// No tables yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where tables of this name appear; empty until one does.
    pub fn slot(&self, name: &str) -> RouteSlot {
        let mut state = self.lock();
        match state.tables.get(name) {
            Some(entry) => entry.slot.clone(),
            None => state
                .tables
                .entry(name.to_owned())
                .or_default()
                .slot
                .clone(),
        }
    }

    /// Whether a table of this name is there, with the virtual hosts that its service gives without
    /// being asked.
    pub fn is_ready(&self, name: &str) -> bool {
        let state = self.lock();
        state.tables.get(name).is_some_and(|entry| {
            let alone = entry.base.as_ref().is_some_and(|base| base.vhds.is_none());
            alone || entry.answered || (entry.base.is_none() && entry.given_up)
        })
    }

    /// Nobody waits for the table any more, though it may not be there: its source gave none that can
    /// be served.
    pub fn wait_no_more(&self, name: &str) {
        let mut state = self.lock();
        state.tables.entry(name.to_owned()).or_default().given_up = true;
    }

    /// The table is waited for again.
    pub fn wait_again(&self, name: &str) {
        if let Some(entry) = self.lock().tables.get_mut(name) {
            entry.given_up = false;
        }
    }

    /// The service of a table's virtual hosts has answered.
    pub fn service_answered(&self, table: &str) {
        if let Some(entry) = self.lock().tables.get_mut(table) {
            entry.answered = true;
        }
    }

    /// Serves a route configuration under its name from the next request on.
    ///
    /// # Errors
    /// When it cannot be compiled; the old one stays.
    pub fn apply(&self, config: &Arc<ir::RouteConfiguration>) -> Result<(), RouteError> {
        let mut state = self.lock();
        let entry = state.tables.entry(config.name.clone()).or_default();
        let table = Entry::compile(config, &entry.hosts)?;
        let before = entry.base.as_ref().and_then(|base| base.vhds.as_ref());
        let other = before != config.vhds.as_ref();
        if config.vhds.is_none() {
            entry.hosts.clear();
        }
        entry.slot.store(Some(table));
        entry.base = Some(config.clone());
        entry.stale = false;
        if other {
            entry.answered = false;
            self.asked.send_replace(());
        }
        Ok(())
    }

    /// Takes a virtual host that was delivered under the name `table/host`; [`Self::publish`] has it
    /// served.
    ///
    /// # Errors
    /// When it cannot be served; the one of before stays.
    pub fn apply_host(&self, name: &str, host: Arc<ir::VirtualHost>) -> Result<(), HostError> {
        VirtualHost::new(&host, "virtual_host")?;
        let table = table_of(name);
        let mut state = self.lock();
        let entry = state.tables.get_mut(table);
        let entry =
            entry.filter(|entry| entry.base.as_ref().is_some_and(|base| base.vhds.is_some()));
        let Some(entry) = entry else {
            return Err(HostError::NoTable(table.to_owned()));
        };
        if let Some(twice) = host.domains.iter().find(|it| entry.has_domain(it, name)) {
            return Err(HostError::Twice(twice.clone()));
        }
        entry.hosts.insert(name.to_owned(), host);
        entry.stale = true;
        Ok(())
    }

    /// Takes a virtual host out again.
    pub fn remove_host(&self, name: &str) {
        let mut state = self.lock();
        if let Some(entry) = state.tables.get_mut(table_of(name)) {
            entry.stale |= entry.hosts.remove(name).is_some();
        }
    }

    /// Serves the virtual hosts that were taken, and lets requests go on that asked for what an
    /// answer was about.
    pub fn publish(&self, answered: &[String]) {
        let mut state = self.lock();
        for entry in state.tables.values_mut() {
            let Some(base) = entry.base.as_ref().filter(|_| entry.stale) else {
                continue;
            };
            // each of them compiles, and so does the table
            if let Ok(table) = Entry::compile(base, &entry.hosts) {
                entry.slot.store(Some(table));
            }
            entry.stale = false;
        }
        for alias in answered {
            let (table, host) = alias.rsplit_once('/').unwrap_or(("", alias));
            let table = state.tables.get(table).and_then(|it| it.slot.load_full());
            if !table.is_some_and(|table| table.has_host(host)) {
                // whoever asks again is to be heard
                state.aliases.remove(alias);
            }
        }
        let is_over = |asked: &String| answered.contains(asked);
        for (_, waiter) in state.waiting.extract_if(.., |(asked, _)| is_over(asked)) {
            // ignored: the request may be gone
            let _ = waiter.send(());
        }
    }

    /// Asks for the virtual host of an authority; what is given turns ready when there is an answer.
    pub(crate) fn demand(&self, table: &str, host: &str) -> oneshot::Receiver<()> {
        let alias = format!("{table}/{}", host.to_ascii_lowercase());
        let (waiter, answered) = oneshot::channel();
        let mut state = self.lock();
        state.waiting.retain(|(_, waiter)| !waiter.is_closed());
        state.waiting.push((alias.clone(), waiter));
        if state.aliases.insert(alias) {
            self.asked.send_replace(());
        }
        answered
    }

    /// Tells when requests ask for more, or tables for something else.
    pub fn demands(&self) -> watch::Receiver<()> {
        self.asked.subscribe()
    }

    /// Of each table whose virtual hosts come one by one: from where, and what requests have asked
    /// for, as `table/host`.
    pub fn wanted_hosts(&self) -> BTreeMap<String, WantedHosts> {
        let state = self.lock();
        let bases = state
            .tables
            .values()
            .filter_map(|entry| entry.base.as_ref());
        let wanted = bases.filter_map(|base| {
            let of_it = |alias: &&String| table_of(alias) == base.name;
            let wanted = WantedHosts {
                service: base.vhds.clone()?,
                aliases: state.aliases.iter().filter(of_it).cloned().collect(),
            };
            Some((base.name.clone(), wanted))
        });
        wanted.collect()
    }

    /// Forgets the table of this name unless somebody serves it: a table lives as long as a
    /// listener that names it, and Envoy too ignores a removal before that.
    pub fn remove(&self, name: &str) {
        let mut state = self.lock();
        let tables = &mut state.tables;
        if tables
            .get(name)
            .is_some_and(|entry| Arc::strong_count(&entry.slot) == 1)
        {
            tables.remove(name);
        }
    }

    /// The configurations in service, by name.
    pub fn configs(&self) -> Vec<Arc<ir::RouteConfiguration>> {
        let state = self.lock();
        let tables = state.tables.values();
        let mut configs: Vec<_> = tables
            .filter_map(|entry| entry.slot.load().as_ref().map(|table| table.config.clone()))
            .collect();
        configs.sort_by(|left, right| left.name.cmp(&right.name));
        configs
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The table that a virtual host of this name is for.
fn table_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(table, _)| table)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn host(domain: &str) -> Arc<ir::VirtualHost> {
        Arc::new(ir::VirtualHost {
            name: domain.to_owned(),
            domains: vec![domain.to_owned()],
            ..ir::VirtualHost::default()
        })
    }

    fn table(vhds: bool, domains: &[&str]) -> Arc<ir::RouteConfiguration> {
        Arc::new(ir::RouteConfiguration {
            name: "web".to_owned(),
            virtual_hosts: domains.iter().map(|domain| host(domain)).collect(),
            vhds: vhds.then(|| ir::DiscoveryService {
                cluster: "vhds".to_owned(),
                authority: None,
                delta: true,
                initial_metadata: Vec::new(),
                rate_limit: None,
            }),
            ..ir::RouteConfiguration::default()
        })
    }

    fn has(tables: &RouteTables, host: &str) -> bool {
        let table = tables.slot("web").load_full();
        table.is_some_and(|table| table.has_host(host))
    }

    #[test]
    fn hosts_come_go_and_stay_over_a_new_table() {
        let tables = RouteTables::new();
        let early = tables.apply_host("web/a", host("a.test"));
        assert!(matches!(early, Err(HostError::NoTable(name)) if name == "web"));
        tables.apply(&table(true, &["fixed.test"])).unwrap();
        assert!(!tables.is_ready("web"));
        tables.service_answered("web");
        assert!(tables.is_ready("web") && !tables.is_ready("other"));
        tables.apply_host("web/a", host("a.test")).unwrap();
        tables.apply_host("web/b", host("b.test")).unwrap();
        assert!(!has(&tables, "a.test"), "not yet published");
        tables.publish(&[]);
        assert!(has(&tables, "a.test") && has(&tables, "b.test") && has(&tables, "fixed.test"));
        let twice = tables.apply_host("web/c", host("A.test"));
        assert!(matches!(twice, Err(HostError::Twice(domain)) if domain == "A.test"));
        let twice = tables.apply_host("web/c", host("fixed.test"));
        assert!(matches!(twice, Err(HostError::Twice(_))));
        tables.apply_host("web/a", host("a.test")).unwrap();
        tables.apply(&table(true, &["other.test"])).unwrap();
        assert!(has(&tables, "a.test") && !has(&tables, "fixed.test"));
        tables.remove_host("web/a");
        tables.publish(&[]);
        assert!(!has(&tables, "a.test") && has(&tables, "b.test"));
        tables.apply(&table(false, &[])).unwrap();
        assert!(tables.is_ready("web"));
        assert!(!has(&tables, "b.test"));
        assert!(tables.wanted_hosts().is_empty());
    }

    #[test]
    fn requests_wait_for_the_answer_to_what_they_asked() {
        let tables = RouteTables::new();
        tables.apply(&table(true, &[])).unwrap();
        let demands = tables.demands();
        let mut here = tables.demand("web", "A.test");
        let mut nowhere = tables.demand("web", "no.test");
        assert!(demands.has_changed().unwrap());
        let wanted = || Vec::from_iter(tables.wanted_hosts()["web"].aliases.clone());
        assert_eq!(wanted(), ["web/a.test", "web/no.test"]);
        tables.apply_host("web/a", host("a.test")).unwrap();
        tables.publish(&["web/a.test".to_owned()]);
        assert_eq!(here.try_recv(), Ok(()));
        assert!(nowhere.try_recv().is_err());
        tables.publish(&["web/no.test".to_owned()]);
        assert_eq!(nowhere.try_recv(), Ok(()));
        assert_eq!(wanted(), ["web/a.test"]);
    }
}
