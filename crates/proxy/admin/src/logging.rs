//! `/logging`: shows levels, changes them first if asked to.

use std::fmt::Write as _;

use crate::query::Query;
use crate::reply::Reply;
use crate::{AdminState, LogLevel};

const USAGE: &str = "usage: /logging?<name>=<level> (change single level)
usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)
usage: /logging?level=<level> (change all levels)
levels: trace debug info warning error critical off
";

pub(crate) fn logging(state: &AdminState, query: &Query<'_>) -> Reply {
    match change(state, query) {
        Ok(()) => Reply::text(active(state)),
        Err(why) => Reply::bad_request(format!("error: {why}\n\n{USAGE}{}", active(state))),
    }
}

fn change(state: &AdminState, query: &Query<'_>) -> Result<(), String> {
    let level = |name: &str| {
        LogLevel::from_name(name).ok_or_else(|| format!("unknown logger level {name:?}"))
    };
    let mut parameters = query.iter().filter(|(_, value)| !value.is_empty());
    let Some((name, value)) = parameters.next() else {
        return Ok(());
    };
    if parameters.next().is_some() {
        return Err("one change at a time".to_owned());
    }
    let mut changes = Vec::new();
    match name {
        "level" => {
            state.logs.set_all(level(value)?);
            return Ok(());
        }
        "paths" => {
            for path in value.split(',') {
                let (logger, name) = path
                    .split_once(':')
                    .ok_or_else(|| format!("no level in {path:?}"))?;
                changes.push((logger, level(name)?));
            }
        }
        logger => changes.push((logger, level(value)?)),
    }
    state
        .logs
        .set(&changes)
        .map_err(|name| format!("unknown logger name {name:?}"))
}

fn active(state: &AdminState) -> String {
    let mut out = String::from("active loggers:\n");
    for (name, level) in state.logs.levels() {
        let _ = writeln!(out, "  {name}: {}", level.as_str());
    }
    out.push('\n');
    out
}
