//! The state of a set of files: what they give, and what is wrong with them.
//!
//! In: the contents of files as they are read ([`FileState::set`], [`FileState::remove`]). Out: the
//! events that lead from what was said before to what holds now ([`FileState::changes`]). No file
//! system, no clock. Called by `watch` and `load`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use meltemi_api::Document;
use meltemi_model::{
    Config, Defaults, FieldPath, Problem, ProblemKind, ResourceId, ResourceLabel, convert_in_part,
    fallback, identify,
};

use crate::{Event, FileProblems};

/// What reading a file gave: its text, or why there is none.
pub type Read = Result<String, String>;

type Resources = BTreeMap<ResourceId, Arc<Config>>;
type Problems = BTreeMap<Arc<Path>, Vec<Problem>>;

/// The state of a set of files.
#[derive(Debug)]
pub struct FileState {
    defaults: Defaults,
    files: BTreeMap<Arc<Path>, File>,
    /// The resources as last said.
    said: Resources,
    /// The problems as last said.
    said_problems: Problems,
}

#[derive(Debug)]
struct File {
    read: Read,
    resources: Vec<Resource>,
    problems: Vec<Problem>,
}

/// A resource that a file gives, perhaps from before it became invalid.
#[derive(Debug, Clone)]
struct Resource {
    id: ResourceId,
    config: Arc<Config>,
    line: u32,
    /// The document was never valid, and this keeps shut what it was to guard: what that means.
    stands_in: Option<&'static str>,
}

impl FileState {
    /// No files yet. `defaults` go into every resource.
    pub fn new(defaults: Defaults) -> Self {
        Self {
            defaults,
            files: BTreeMap::new(),
            said: BTreeMap::new(),
            said_problems: BTreeMap::new(),
        }
    }

    /// The files that there are.
    pub fn paths(&self) -> impl Iterator<Item = &Arc<Path>> {
        self.files.keys()
    }

    /// The file at `path` reads like this now.
    pub fn set(&mut self, path: &Arc<Path>, read: Read) {
        let before = self.files.remove(path);
        let file = match before {
            Some(file) if file.read == read => file,
            before => {
                let before = before.map(|file| file.resources).unwrap_or_default();
                self.read_file(path, read, before)
            }
        };
        self.files.insert(path.clone(), file);
    }

    /// The file at `path` is gone.
    pub fn remove(&mut self, path: &Path) {
        self.files.remove(path);
    }

    /// The events that lead from what was said last to what holds now: new and changed resources,
    /// then those that are gone, then the files whose problems have changed.
    pub fn changes(&mut self) -> Vec<Event> {
        let (resources, problems) = self.resolve();
        let mut events = Vec::new();
        for (id, config) in &resources {
            if self.said.get(id) != Some(config) {
                events.push(Event::Apply(config.clone()));
            }
        }
        let gone = self.said.keys().filter(|id| !resources.contains_key(*id));
        events.extend(gone.cloned().map(Event::Delete));
        let paths: BTreeSet<_> = problems.keys().chain(self.said_problems.keys()).collect();
        for path in paths {
            let (now, then) = (problems.get(path), self.said_problems.get(path));
            if now != then {
                events.push(Event::Problems(difference(path, now, then)));
            }
        }
        self.said = resources;
        self.said_problems = problems;
        events
    }

    /// The resources as last said.
    pub fn resources(&self) -> impl Iterator<Item = &Arc<Config>> {
        self.said.values()
    }

    /// The resources that only keep shut what invalid ones were to guard.
    pub fn stand_ins(&self) -> BTreeSet<ResourceId> {
        let resources = self.files.values().flat_map(|it| &it.resources);
        let stand_ins = resources.filter(|it| it.stands_in.is_some());
        stand_ins.map(|it| it.id.clone()).collect()
    }

    /// The problems as last said, by file and line.
    pub fn problems(&self) -> Vec<Problem> {
        self.said_problems.values().flatten().cloned().collect()
    }

    fn read_file(&self, path: &Arc<Path>, read: Read, before: Vec<Resource>) -> File {
        let text = match &read {
            Ok(text) => text,
            Err(reason) => {
                let message = format!("cannot be read: {reason}");
                let problem = Problem::of_file(Some(path.clone()), None, message);
                return File {
                    read,
                    resources: before,
                    problems: vec![problem],
                };
            }
        };
        let documents = match meltemi_api::parse(Some(path.clone()), text) {
            Ok(documents) => documents,
            Err(problem) => {
                return File {
                    read,
                    resources: before,
                    problems: vec![*problem],
                };
            }
        };
        let mut resources: Vec<Resource> = Vec::new();
        let mut problems = Vec::new();
        for document in documents {
            let line = document.line_of(&FieldPath::root());
            let (config, found) = convert_in_part(&document, &self.defaults);
            let resource = match config {
                Some(config) => {
                    problems.extend(found);
                    Some(Resource {
                        id: config.id(),
                        config: Arc::new(config),
                        line,
                        stands_in: None,
                    })
                }
                None => {
                    let last = self.last_good(&document, &before);
                    let holds = last.or_else(|| self.stand_in(&document, line));
                    let effect = holds.as_ref().and_then(|it| it.stands_in);
                    problems.extend(found.into_iter().map(|it| match effect {
                        Some(effect) => Problem {
                            message: format!("{}; {effect}", it.message),
                            ..it
                        },
                        None => it,
                    }));
                    holds
                }
            };
            let Some(resource) = resource else { continue };
            match resources.iter().find(|other| other.id == resource.id) {
                Some(first) => problems.push(duplicate(path, &resource, path, first)),
                None => resources.push(resource),
            }
        }
        File {
            read,
            resources,
            problems,
        }
    }

    /// The resource of an invalid document as it was when it was valid.
    fn last_good(&self, document: &Document, before: &[Resource]) -> Option<Resource> {
        let id = identify(document, &self.defaults)?;
        before.iter().find(|resource| resource.id == id).cloned()
    }

    /// What keeps shut what an invalid document, which was never valid, was to guard.
    fn stand_in(&self, document: &Document, line: u32) -> Option<Resource> {
        let (config, effect) = fallback(document, &self.defaults)?;
        Some(Resource {
            id: config.id(),
            config: Arc::new(config),
            line,
            stands_in: Some(effect),
        })
    }

    /// What holds: of several definitions of a resource the first in the order of paths.
    fn resolve(&self) -> (Resources, Problems) {
        let mut owners: BTreeMap<&ResourceId, (&Arc<Path>, &Resource)> = BTreeMap::new();
        let mut problems = BTreeMap::new();
        for (path, file) in &self.files {
            let mut found = file.problems.clone();
            for resource in &file.resources {
                match owners.get(&resource.id) {
                    Some((owner, first)) => found.push(duplicate(path, resource, owner, first)),
                    None => {
                        owners.insert(&resource.id, (path, resource));
                    }
                }
            }
            if !found.is_empty() {
                problems.insert(path.clone(), found);
            }
        }
        let resources = owners
            .into_iter()
            .map(|(id, (_, it))| (id.clone(), it.config.clone()))
            .collect();
        (resources, problems)
    }
}

fn difference(
    path: &Arc<Path>,
    now: Option<&Vec<Problem>>,
    then: Option<&Vec<Problem>>,
) -> FileProblems {
    let (now, then) = (
        now.map_or(&[][..], Vec::as_slice),
        then.map_or(&[][..], Vec::as_slice),
    );
    // A problem that only moved to another line is the same problem.
    let same = |a: &Problem, b: &Problem| {
        (&a.resource, &a.path, &a.message) == (&b.resource, &b.path, &b.message)
    };
    let missing_from = |these: &[Problem], those: &[Problem]| {
        let news = these.iter().filter(|a| !those.iter().any(|b| same(a, b)));
        news.cloned().collect()
    };
    FileProblems {
        file: path.clone(),
        current: now.to_vec(),
        new: missing_from(now, then),
        resolved: missing_from(then, now),
    }
}

fn duplicate(path: &Arc<Path>, second: &Resource, owner: &Path, first: &Resource) -> Problem {
    let id = &second.id;
    let namespace = id.namespace.as_str();
    Problem {
        file: Some(path.clone()),
        line: Some(second.line),
        resource: Some(ResourceLabel {
            kind: id.kind.to_string(),
            namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
            name: id.name.to_string(),
        }),
        path: None,
        message: format!(
            "is defined in {}:{} already, which holds; remove one",
            owner.display(),
            first.line
        ),
        kind: ProblemKind::Duplicate,
    }
}
