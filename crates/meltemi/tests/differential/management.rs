//! The management servers of a suite, and what steps do with them.
//!
//! In: what a suite says that they answer, placed as files are. Out: reports. Called by `run`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use meltemi_testkit::{ManagementServer, Said};
use meltemi_xds::json;
use prost_types::Any;
use serde_json::Value;

use crate::case::{Sent, Suite};
use crate::observation::Observation;

/// What the names of answers begin with while they are among the files.
const PLACED: &str = "answer of a management server: ";

/// How long what has been taken may take to be in force.
const IN_FORCE: Duration = Duration::from_millis(100);

/// The management servers of one program.
pub struct Management {
    servers: BTreeMap<String, ManagementServer>,
    answers: BTreeMap<String, Answer>,
}

struct Answer {
    type_url: String,
    version: String,
    resources: BTreeMap<String, Any>,
}

impl Management {
    /// Starts those that a suite names; they have nothing to tell yet.
    pub fn start(named: &BTreeMap<String, Vec<String>>) -> Self {
        let start = |name: &String| (name.clone(), ManagementServer::start());
        Self {
            servers: named.keys().map(start).collect(),
            answers: BTreeMap::new(),
        }
    }

    /// Their ports.
    pub fn ports(&self) -> impl Iterator<Item = (String, u16)> {
        let servers = self.servers.iter();
        servers.map(|(name, server)| (name.clone(), server.address().port()))
    }

    /// The files of a suite, and the answers among them.
    pub fn with_answers(suite: &Suite) -> BTreeMap<String, Value> {
        let mut files = suite.files.clone();
        let answers = suite.answers.iter();
        files.extend(answers.map(|(name, it)| (format!("{PLACED}{name}"), it.clone())));
        files
    }

    /// Takes the answers, which are placed now, from the files, and gives the first ones.
    pub fn take_answers(
        &mut self,
        files: BTreeMap<String, Value>,
        suite: &Suite,
    ) -> BTreeMap<String, Value> {
        let mut rest = BTreeMap::new();
        for (name, value) in files {
            match name.strip_prefix(PLACED) {
                Some(name) => drop(self.answers.insert(name.to_owned(), Answer::new(value))),
                None => drop(rest.insert(name, value)),
            }
        }
        for (server, answers) in &suite.management {
            for answer in answers {
                self.give(server, answer);
            }
        }
        rest
    }

    /// Does what a step says, if that is about a management server.
    pub async fn step(&self, sent: &Sent, report: &mut Observation) -> bool {
        if let Some(text) = &sent.answers {
            let (server, answer) = text.split_once(' ').expect("SERVER ANSWER");
            self.give(server, answer);
            if !sent.background && !self.servers[server].settled().await {
                report.say("management: no answer");
            }
            tokio::time::sleep(IN_FORCE).await;
        } else if let Some(server) = &sent.asked {
            self.servers[server].settled().await;
            let said = self.servers[server].take_said();
            let lines: BTreeSet<_> = said.iter().filter(|it| sent.wants(it)).map(shown).collect();
            for line in lines {
                report.say(&line);
            }
        } else if let Some(server) = &sent.stops {
            self.servers[server].stop();
        } else if let Some(server) = &sent.starts {
            self.servers[server].restart();
        } else {
            return false;
        }
        true
    }

    fn give(&self, server: &str, answer: &str) {
        let known = self.answers.get(answer);
        let answer = known.unwrap_or_else(|| panic!("no answer {answer:?}"));
        self.servers[server].set(&answer.type_url, &answer.version, answer.resources.clone());
    }
}

impl Sent {
    fn wants(&self, said: &Said) -> bool {
        let line = shown(said);
        self.having.is_empty() || self.having.iter().any(|it| line.contains(it.as_str()))
    }
}

fn shown(said: &Said) -> String {
    let kind = said.type_url.rsplit('.').next().unwrap_or_default();
    format!("told: {} {kind}: {}", said.method, said.what)
}

impl Answer {
    fn new(value: Value) -> Self {
        let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
        let (version, mut type_url) = (text("version_info"), text("type_url"));
        let mut resources = BTreeMap::new();
        for resource in value["resources"].as_array().into_iter().flatten() {
            if type_url.is_empty() {
                resource["@type"]
                    .as_str()
                    .unwrap_or_default()
                    .clone_into(&mut type_url);
            }
            let name = ["name", "cluster_name"].map(|field| resource[field].as_str());
            let name = name.into_iter().flatten().next().unwrap_or_default();
            let body: Any =
                json::from_json(resource.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
            resources.insert(name.to_owned(), body);
        }
        Self {
            type_url,
            version,
            resources,
        }
    }
}
