//! The state of a set of files: what they give, and what is wrong with them.
//!
//! In: the contents of files as they are read ([`FileState::set`], [`FileState::remove`]), or documents
//! that somebody else has read and that are called like files ([`FileState::set_document`]). Out: the
//! events that lead from what was said before to what holds now ([`FileState::changes`]). No file
//! system, no clock. Called by `watch` and `load`, and by the Kubernetes source.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::path::Path;
use std::sync::Arc;

use meltemi_api::Document;
use meltemi_model::{
    Config, Defaults, FieldPath, Problem, ProblemKind, ResourceId, ResourceLabel, convert_in_part,
    fallback, identify,
};

use crate::{Event, FileProblems};

type Resources = BTreeMap<ResourceId, Resource>;

/// What reading a file gave: its text, or why there is none.
pub type Read = Result<String, String>;

/// The state of a set of files.
#[derive(Debug)]
pub struct FileState {
    defaults: Defaults,
    files: BTreeMap<Arc<Path>, File>,
    /// The files that give a resource.
    givers: BTreeMap<ResourceId, BTreeSet<Arc<Path>>>,
    /// The resources as last said.
    said: BTreeMap<ResourceId, Arc<Config>>,
    /// The problems as last said.
    said_problems: BTreeMap<Arc<Path>, Vec<Problem>>,
    /// Resources and files that may be others than was last said.
    touched: BTreeSet<ResourceId>,
    touched_files: BTreeSet<Arc<Path>>,
}

#[derive(Debug)]
struct File {
    read: Fingerprint,
    resources: Resources,
    problems: Vec<Problem>,
}

/// By which it is told that a file reads as before, without keeping its text.
#[derive(Debug, PartialEq, Eq)]
struct Fingerprint(u64);

/// A resource that a file gives, perhaps from before it became invalid.
#[derive(Debug, Clone)]
struct Resource {
    id: ResourceId,
    config: Arc<Config>,
    line: u32,
    /// The document was never valid, and this keeps shut what it was to guard: what that means.
    stands_in: Option<&'static str>,
}

impl Fingerprint {
    fn of(read: &impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        read.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// The documents of a file, or the one problem that keeps it from having any.
type Taken = Result<Vec<Document>, Box<Problem>>;

impl FileState {
    /// No files yet. `defaults` go into every resource.
    pub fn new(defaults: Defaults) -> Self {
        Self {
            defaults,
            files: BTreeMap::new(),
            givers: BTreeMap::new(),
            said: BTreeMap::new(),
            said_problems: BTreeMap::new(),
            touched: BTreeSet::new(),
            touched_files: BTreeSet::new(),
        }
    }

    /// The file at `path` reads like this now.
    pub fn set(&mut self, path: &Arc<Path>, read: Read) {
        self.put(path, Fingerprint::of(&read), || match read {
            Ok(text) => meltemi_api::parse(Some(path.clone()), &text),
            Err(reason) => {
                let message = format!("cannot be read: {reason}");
                let problem = Problem::of_file(Some(path.clone()), None, message);
                Err(Box::new(problem))
            }
        });
    }

    /// The file at `path` is this one document now, which somebody else has read. It is made only if
    /// `version` is another one than the last time.
    pub fn set_document(
        &mut self,
        path: &Arc<Path>,
        version: &str,
        document: impl FnOnce() -> Document,
    ) {
        self.put(path, Fingerprint::of(&version), || Ok(vec![document()]));
    }

    fn put(&mut self, path: &Arc<Path>, fingerprint: Fingerprint, taken: impl FnOnce() -> Taken) {
        let known = self.files.get(path);
        if known.is_some_and(|file| file.read == fingerprint) {
            return;
        }
        let before = self.take(path).map(|file| file.resources);
        let file = self.read_file(path, taken(), fingerprint, before.unwrap_or_default());
        for id in file.resources.keys() {
            self.touched.insert(id.clone());
            let givers = self.givers.entry(id.clone()).or_default();
            givers.insert(path.clone());
        }
        self.files.insert(path.clone(), file);
        self.touched_files.insert(path.clone());
    }

    /// The file at `path` is gone.
    pub fn remove(&mut self, path: &Path) {
        self.take(path);
    }

    /// The file at `path`, which is another one or gone from now on.
    fn take(&mut self, path: &Path) -> Option<File> {
        let (path, file) = self.files.remove_entry(path)?;
        for id in file.resources.keys() {
            self.touched.insert(id.clone());
            if let Some(givers) = self.givers.get_mut(id) {
                givers.remove(&path);
                if givers.is_empty() {
                    self.givers.remove(id);
                }
            }
        }
        self.touched_files.insert(path);
        Some(file)
    }

    /// The events that lead from what was said last to what holds now: new and changed resources,
    /// then those that are gone, then the files whose problems have changed.
    pub fn changes(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let mut gone = Vec::new();
        let mut files = std::mem::take(&mut self.touched_files);
        for id in std::mem::take(&mut self.touched) {
            files.extend(self.givers.get(&id).into_iter().flatten().cloned());
            match self.holder(&id).map(|(_, it)| it.config.clone()) {
                Some(config) if self.said.get(&id) == Some(&config) => {}
                Some(config) => {
                    events.push(Event::Apply(config.clone()));
                    self.said.insert(id, config);
                }
                None if self.said.remove(&id).is_some() => gone.push(Event::Delete(id)),
                None => {}
            }
        }
        events.append(&mut gone);
        for path in files {
            let (now, then) = (self.problems_of(&path), self.said_problems.remove(&path));
            if then.as_ref() != (!now.is_empty()).then_some(&now) {
                events.push(Event::Problems(difference(&path, &now, then.as_deref())));
            }
            if !now.is_empty() {
                self.said_problems.insert(path, now);
            }
        }
        events
    }

    /// What holds: of several definitions of a resource the first in the order of paths.
    fn holder(&self, id: &ResourceId) -> Option<(&Arc<Path>, &Resource)> {
        let path = self.givers.get(id)?.first()?;
        Some((path, self.files.get(path)?.resources.get(id)?))
    }

    /// The problems of a file, and those that it has beside others.
    fn problems_of(&self, path: &Arc<Path>) -> Vec<Problem> {
        let Some(file) = self.files.get(path) else {
            return Vec::new();
        };
        let mut problems = file.problems.clone();
        for resource in file.resources.values() {
            // Nearly all have one giver, and need no search.
            if self.givers.get(&resource.id).is_none_or(|it| it.len() < 2) {
                continue;
            }
            match self.holder(&resource.id) {
                Some((owner, first)) if owner != path => {
                    problems.push(duplicate(path, resource, owner, first));
                }
                Some(_) | None => {}
            }
        }
        problems.sort_by_key(|it| it.line);
        problems
    }

    /// The resources as last said.
    pub fn resources(&self) -> impl Iterator<Item = &Arc<Config>> {
        self.said.values()
    }

    /// The resources that only keep shut what invalid ones were to guard.
    pub fn stand_ins(&self) -> BTreeSet<ResourceId> {
        let resources = self.files.values().flat_map(|it| it.resources.values());
        let stand_ins = resources.filter(|it| it.stands_in.is_some());
        stand_ins.map(|it| it.id.clone()).collect()
    }

    /// The problems as last said, by file and line.
    pub fn problems(&self) -> Vec<Problem> {
        self.said_problems.values().flatten().cloned().collect()
    }

    fn read_file(
        &self,
        path: &Arc<Path>,
        taken: Taken,
        fingerprint: Fingerprint,
        before: Resources,
    ) -> File {
        let documents = match taken {
            Ok(documents) => documents,
            Err(problem) => {
                return File {
                    read: fingerprint,
                    resources: before,
                    problems: vec![*problem],
                };
            }
        };
        let mut resources = Resources::new();
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
            match resources.entry(resource.id.clone()) {
                Entry::Occupied(first) => {
                    problems.push(duplicate(path, &resource, path, first.get()));
                }
                Entry::Vacant(place) => drop(place.insert(resource)),
            }
        }
        File {
            read: fingerprint,
            resources,
            problems,
        }
    }

    /// The resource of an invalid document as it was when it was valid.
    fn last_good(&self, document: &Document, before: &Resources) -> Option<Resource> {
        before.get(&identify(document, &self.defaults)?).cloned()
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
}

fn difference(path: &Arc<Path>, now: &[Problem], then: Option<&[Problem]>) -> FileProblems {
    let then = then.unwrap_or_default();
    // A file that is not YAML may be so in another way while it is written: that was said.
    let whole =
        |of: &[Problem]| matches!(of, [one] if one.resource.is_none() && one.path.is_none());
    if whole(now) && whole(then) {
        return FileProblems {
            file: path.clone(),
            current: now.to_vec(),
            new: Vec::new(),
            resolved: Vec::new(),
        };
    }
    // A problem that only moved to another line is the same problem.
    let key = |it: &Problem| format!("{:?} {:?} {}", it.resource, it.path, it.message);
    let missing_from = |these: &[Problem], those: &[Problem]| {
        let known: HashSet<_> = those.iter().map(key).collect();
        let news = these.iter().filter(|it| !known.contains(&key(it)));
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
