//! What runs often: a program that counts is built and put under the loads of the benchmarks, and what it
//! counted is made into the profile that the compiler optimises by.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::{Build, build, directory, rustc};
use crate::bench::measure::{self, Plan};
use crate::bench::{Programs, Work, control_plane};

/// Where the program that counts is built, below the target directory.
const PLACE: &str = "training";

/// The oldest LLVM whose tool reads what today's compiler counts.
const OLDEST: u32 = 19;

/// How long each load lasts.
const LOAD: Duration = Duration::from_secs(3);

/// Changes of the control plane's configuration.
const CHANGES: usize = 20;

/// Makes the profile.
pub fn collect() -> Result<PathBuf> {
    let tool = tool()?;
    let place = Build {
        flags: None,
        place: Some(PLACE),
    };
    let target = directory(&place)?;
    let counts = target.join("counts");
    // ignored: there were none
    let _ = std::fs::remove_dir_all(&counts);
    eprintln!("building a program that counts what runs");
    let program = build(&Build {
        flags: Some(format!("-Cprofile-generate={}", text(&counts)?)),
        ..place
    })?;
    // what cargo itself ran may have counted
    let _ = std::fs::remove_dir_all(&counts);
    load(program)?;
    let profile = target.join("meltemi.profdata");
    let merged = Command::new(&tool)
        .args(["merge", "-o"])
        .arg(&profile)
        .arg(&counts)
        .status()
        .with_context(|| tool.clone())?;
    if !merged.success() {
        bail!("{tool} cannot read {}", counts.display());
    }
    Ok(profile)
}

/// What the compiler is told to optimise by a profile.
pub fn use_of(profile: &Path) -> Result<String> {
    Ok(format!("-Cprofile-use={}", text(profile)?))
}

/// Puts the program under every kind of load, as proxy and as control plane.
fn load(program: PathBuf) -> Result<()> {
    let programs = Programs {
        meltemi: program,
        bench: std::env::current_exe()?,
    };
    for work in Work::ALL {
        let plan = Plan {
            work,
            round: LOAD,
            rounds: 1,
            concurrency: work.concurrency(),
            body: 1024,
            virtual_hosts: 100,
            only: Some("meltemi".to_owned()),
        };
        measure::run(&plan, &programs)?;
    }
    control_plane::run(&programs, Some("namespace"), CHANGES)
}

/// LLVM's tool that merges counts: rustup's, or the system's.
fn tool() -> Result<String> {
    let platform = super::platform()?;
    let own = PathBuf::from(rustc(&["--print", "sysroot"])?)
        .join("lib/rustlib")
        .join(platform)
        .join("bin/llvm-profdata");
    let numbered = (OLDEST..OLDEST + 10)
        .rev()
        .map(|it| format!("llvm-profdata-{it}"));
    let names = [text(&own)?.to_owned(), "llvm-profdata".to_owned()];
    for name in names.into_iter().chain(numbered) {
        let Ok(output) = Command::new(&name).arg("--version").output() else {
            continue;
        };
        if version(&String::from_utf8_lossy(&output.stdout)).is_some_and(|it| it >= OLDEST) {
            return Ok(name);
        }
    }
    bail!(
        "no llvm-profdata of LLVM {OLDEST} or later is installed (rustup: the component llvm-tools; Debian: \
         the package llvm-{OLDEST}); --plain builds without"
    )
}

/// The first number of `LLVM version 19.1.7`.
fn version(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("LLVM version ")?;
    rest.split('.').next()?.trim().parse().ok()
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a target directory in UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tools_version_is_read() {
        let debian = "Debian LLVM version 19.1.7\n  Optimized build.\n";
        assert_eq!(version(debian), Some(19));
        let own = "LLVM (http://llvm.org/):\n  LLVM version 22.1.2-rust-1.95.0-stable\n";
        assert_eq!(version(own), Some(22));
        assert_eq!(version("not found"), None);
    }
}
