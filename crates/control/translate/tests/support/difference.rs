//! What is different between two JSON values, a line for each place.
#![allow(clippy::unwrap_used)]

use serde_json::Value;

/// Where `new` differs from `old`: `PATH: OLD -> NEW`, `- PATH: OLD`, `+ PATH: NEW`.
pub fn between(old: &Value, new: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    compare("", old, new, &mut lines);
    lines
}

fn compare(at: &str, old: &Value, new: &Value, lines: &mut Vec<String>) {
    match (old, new) {
        (old, new) if old == new => {}
        (Value::Object(old), Value::Object(new)) => {
            let removed = old.iter().filter(|(key, _)| !new.contains_key(*key));
            lines.extend(removed.map(|(key, it)| format!("- {}: {}", below(at, key), name(it))));
            for (key, new) in new {
                let at = below(at, key);
                match old.get(key) {
                    Some(old) => compare(&at, old, new, lines),
                    None => lines.push(format!("+ {at}: {new}")),
                }
            }
        }
        (Value::Array(old), Value::Array(new)) => elements(at, old, new, lines),
        (old, new) => lines.push(format!("{at}: {old} -> {new}")),
    }
}

/// Lists are compared without what they have in common at both ends.
fn elements(at: &str, old: &[Value], new: &[Value], lines: &mut Vec<String>) {
    let start = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[start..], &new[start..]);
    let both = old.iter().rev().zip(new.iter().rev());
    let end = both.take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[..old.len() - end], &new[..new.len() - end]);
    if old.len() == new.len() {
        for (index, (old, new)) in old.iter().zip(new).enumerate() {
            compare(&format!("{at}[{}]", start + index), old, new, lines);
        }
        return;
    }
    for (index, it) in old.iter().enumerate() {
        lines.push(format!("- {at}[{}]: {}", start + index, name(it)));
    }
    for (index, it) in new.iter().enumerate() {
        lines.push(format!("+ {at}[{}]: {it}", start + index));
    }
}

fn below(at: &str, key: &str) -> String {
    match at {
        "" => key.to_owned(),
        at => format!("{at}/{key}"),
    }
}

/// What is gone is told by its name, if it has one.
fn name(value: &Value) -> String {
    match value.get("name") {
        Some(name) => name.to_string(),
        None if value.to_string().len() > 120 => "...".to_owned(),
        None => value.to_string(),
    }
}
