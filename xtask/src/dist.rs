//! The program as it is handed out: optimised as a whole, by what runs often under load, and with the functions
//! that run while a proxy starts and rests beside each other, so that few pages of its file are in memory.
//!
//! In: `startup.txt`, the names of those functions. Out: `target/dist/meltemi`. With `--record` the list is made
//! again from what runs.

mod profile;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::bench::Work;
use crate::bench::configuration::{self, Setting};

/// The list, and who links by it, below the repository's root.
const LIST: &str = "xtask/startup.txt";
const LINKER: &str = "xtask/startup-cc";

/// How often a connection is tried until the proxy listens, and the pause between; a program that is observed
/// is some fifty times slower.
const TRIES: usize = 600;
const PAUSE: Duration = Duration::from_millis(100);

/// How long the proxy rests before it is asked, and after.
const REST: Duration = Duration::from_secs(5);

/// What to do.
#[derive(clap::Args)]
pub struct Arguments {
    /// Note which functions run while a proxy starts, rests and answers, and build again. Needs valgrind.
    #[arg(long)]
    record: bool,
    /// Build once, without a look at what runs often under load. Needs no llvm-profdata, half the time, and makes
    /// a slower program.
    #[arg(long)]
    plain: bool,
}

/// One build of the program.
#[derive(Default)]
struct Build<'a> {
    /// What the compiler is told besides.
    flags: Option<String>,
    /// Where it goes, below the target directory; none is the usual place.
    place: Option<&'a str>,
}

/// Builds the program, and records what runs where that is wanted.
pub fn run(arguments: &Arguments) -> Result<()> {
    let mut last = Build::default();
    if !arguments.plain {
        last.flags = Some(profile::use_of(&profile::collect()?)?);
    }
    let program = build(&last)?;
    if arguments.record {
        let functions = record(&program)?;
        let text: String = functions.iter().map(|it| format!("{it}\n")).collect();
        std::fs::write(LIST, text).context(LIST)?;
        println!("{LIST}: {} functions", functions.len());
        // What is linked already is not linked again because of the list.
        cargo("clean", &last)?;
        build(&last)?;
    }
    let bytes = std::fs::metadata(&program)?.len();
    println!("{}: {} MB", program.display(), bytes / 1_000_000);
    Ok(())
}

/// Builds the program, and puts it where it is looked for. The platform is named, so that what runs while
/// building is built without the program's flags.
fn build(build: &Build<'_>) -> Result<PathBuf> {
    cargo("build", build)?;
    let target = directory(build)?;
    let program = target.join("dist/meltemi");
    std::fs::create_dir_all(target.join("dist"))?;
    std::fs::copy(target.join(platform()?).join("dist/meltemi"), &program)?;
    Ok(program)
}

/// The directory that a build goes to.
fn directory(build: &Build<'_>) -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let target = here.parent().and_then(Path::parent);
    let target = target.context("the target directory")?;
    Ok(build
        .place
        .map_or_else(|| target.to_owned(), |place| target.join(place)))
}

/// This platform, as the compiler names it.
fn platform() -> Result<String> {
    rustc(&["--print", "host-tuple"])
}

fn rustc(arguments: &[&str]) -> Result<String> {
    let output = Command::new("rustc")
        .args(arguments)
        .output()
        .context("rustc")?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Builds the program, or forgets that it was built.
fn cargo(verb: &str, build: &Build<'_>) -> Result<()> {
    let mut command = Command::new(env!("CARGO"));
    command
        .args([verb, "--profile", "dist", "-p", "meltemi", "--target"])
        .arg(platform()?)
        .arg("--target-dir")
        .arg(directory(build)?);
    if let Some(flags) = &build.flags {
        command.env("RUSTFLAGS", flags);
    }
    // Only this platform's linker takes an order of functions unless told otherwise.
    if cfg!(all(
        target_arch = "x86_64",
        target_os = "linux",
        target_env = "gnu"
    )) {
        let here = std::env::current_dir()?;
        command
            .env(
                "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER",
                here.join(LINKER),
            )
            .env("STARTUP", here.join(LIST));
    }
    if !command.status().context("cargo")?.success() {
        bail!("cargo {verb} failed");
    }
    Ok(())
}

/// The functions of the program that run while a proxy starts, rests, answers once and ends, in order of their
/// names and without the hash that ends each.
fn record(program: &Path) -> Result<BTreeSet<String>> {
    let directory = tempfile::tempdir()?;
    let listen = crate::bench::measure::free_address()?;
    let setting = Setting {
        work: Work::Http1,
        listen,
        upstream: crate::bench::measure::free_address()?,
        directory: directory.path(),
        virtual_hosts: 1,
        clusters: 1,
    };
    let bootstrap = directory.path().join("envoy.yaml");
    std::fs::write(&bootstrap, configuration::bootstrap(&setting))?;
    let out = directory.path().join("callgrind.out");
    let mut observed = Command::new("valgrind")
        .args(["--tool=callgrind", "--demangle=no", "--quiet"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .args(["proxy", "--concurrency", "1", "-l", "warning", "-c"])
        .arg(&bootstrap)
        .stdin(Stdio::null())
        .spawn()
        .context("cannot start valgrind; is it installed?")?;
    let asked = ask(&mut observed, listen);
    Command::new("kill")
        .arg(observed.id().to_string())
        .status()?;
    observed.wait()?;
    asked?;
    let text = std::fs::read_to_string(&out).context("callgrind has written nothing")?;
    Ok(functions(&text, program))
}

fn ask(observed: &mut Child, listen: SocketAddr) -> Result<()> {
    for _ in 0..TRIES {
        if let Some(status) = observed.try_wait()? {
            bail!("the proxy ended: {status}");
        }
        if let Ok(mut stream) = TcpStream::connect(listen) {
            std::thread::sleep(REST);
            stream.write_all(b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")?;
            stream.read_to_end(&mut Vec::new())?;
            std::thread::sleep(REST);
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
    bail!("the proxy does not listen")
}

/// The functions of the program itself in what callgrind wrote, whose format compresses names: `fn=(1) name`
/// first, `fn=(1)` then; `ob=` says in which file those that follow are, and a name may also come first where
/// it is called (`cfn=`).
fn functions(text: &str, program: &Path) -> BTreeSet<String> {
    let program = program.to_string_lossy();
    let (mut names, mut files) = (Names::default(), Names::default());
    let mut is_own = false;
    let mut found = BTreeSet::new();
    for line in text.lines() {
        match line.split_once('=') {
            Some(("ob", rest)) => is_own = files.read(rest) == program,
            Some(("cob", rest)) => {
                files.read(rest);
            }
            Some(("cfn", rest)) => {
                names.read(rest);
            }
            Some(("fn", rest)) => {
                let name = names.read(rest);
                if is_own && !name.starts_with("0x") {
                    found.insert(without_hash(name).to_owned());
                }
            }
            _ => {}
        }
    }
    found
}

/// Names by the numbers that stand for them.
#[derive(Default)]
struct Names(std::collections::HashMap<String, String>);

impl Names {
    fn read(&mut self, text: &str) -> &str {
        let (number, name) = text.split_once(' ').unwrap_or((text, ""));
        let known = self.0.entry(number.to_owned()).or_default();
        if !name.is_empty() {
            name.clone_into(known);
        }
        known
    }
}

/// A mangled name without its hash, nor callgrind's mark of recursion (`'2`).
fn without_hash(name: &str) -> &str {
    let name = name.split('\'').next().unwrap_or(name);
    let hash = name.rsplit_once("17h");
    match hash {
        Some((stem, rest)) if rest.len() == 17 && rest.ends_with('E') => stem,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_functions_are_read_by_name_and_by_number() {
        let text = "ob=(1) /bin/meltemi\nfn=(1) _ZN1a1b17h0123456789abcdefE\n1 2\ncob=(2) /lib/libc.so\n\
                    cfn=(2) malloc\nob=(2)\nfn=(2)\nob=(1)\nfn=(3) AES_encrypt'2\nfn=(1)\nfn=(4) 0x123\n";
        let found = functions(text, Path::new("/bin/meltemi"));
        let found: Vec<_> = found.iter().map(String::as_str).collect();
        assert_eq!(found, ["AES_encrypt", "_ZN1a1b"]);
    }
}
