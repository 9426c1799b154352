//! What a test finds around it: programs, free ports, data beside the repository.
//!
//! Called by tests before they start; nothing here touches the program under test.

use std::ffi::OsString;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// The Envoy to test against: `$ENVOY_BIN` when set, otherwise `envoy` on the path.
///
/// # Panics
/// When `$ENVOY_BIN` is set and names no file: a wrong setting must not pass for an absent Envoy.
#[must_use]
pub fn envoy_binary() -> Option<PathBuf> {
    match variable("ENVOY_BIN").filter(|value| !value.is_empty()) {
        Some(value) => {
            let path = PathBuf::from(value);
            assert!(
                path.is_file(),
                "$ENVOY_BIN is {} and no such file exists",
                path.display()
            );
            Some(path)
        }
        None => find_program("envoy"),
    }
}

/// The Python that has `grpcio`, a gRPC library that is its own proxy: `$GRPC_PYTHON`.
///
/// # Panics
/// When `$GRPC_PYTHON` is set and names no file.
#[must_use]
pub fn grpc_python() -> Option<PathBuf> {
    let path = PathBuf::from(variable("GRPC_PYTHON").filter(|value| !value.is_empty())?);
    assert!(
        path.is_file(),
        "$GRPC_PYTHON is {} and no such file exists",
        path.display()
    );
    Some(path)
}

/// A program on `$PATH`.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = variable("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}

/// Says on standard error that the calling test could not run, past the test harness's capture.
pub fn skip(reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // ignored: a closed standard error leaves nobody to tell
    let _ = writeln!(std::io::stderr(), "\nSKIPPED: {test}: {reason}\n");
}

/// A TCP port on 127.0.0.1 that was free a moment ago, that no client is given as its own, and that
/// no other test process gets as long as this one lives.
///
/// For programs that must be told their port; whatever can bind port 0 itself should do so.
///
/// # Panics
/// When nothing is free.
#[must_use]
pub fn free_port() -> u16 {
    // below those that the system gives to clients, which come and go at any time
    const PORTS: std::ops::Range<u32> = 10_000..30_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    static RESERVED: Mutex<Vec<UnixDatagram>> = Mutex::new(Vec::new());
    let process = std::process::id().wrapping_mul(7919);
    for _ in PORTS {
        let next = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(process);
        let port = PORTS.start + next % (PORTS.end - PORTS.start);
        let port = u16::try_from(port).expect("ports are below 30000");
        let Some(reservation) = reserve(port) else {
            continue;
        };
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            let mut reserved = RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
            reserved.push(reservation);
            return port;
        }
    }
    panic!("no port is free");
}

/// Takes a port among test processes, by a name that the system gives to one at a time; none where
/// another has it.
fn reserve(port: u16) -> Option<UnixDatagram> {
    let name = format!("meltemi-testkit-port-{port}");
    let address = SocketAddr::from_abstract_name(name).ok()?;
    UnixDatagram::bind_addr(&address).ok()
}

/// The directory `shared/data` beside the repository, when this checkout has one.
#[must_use]
pub fn shared_data() -> Option<PathBuf> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
    let data = repository.parent()?.join("shared/data");
    data.is_dir().then_some(data)
}

#[allow(
    clippy::disallowed_methods,
    reason = "test support: the environment is what it is asked about"
)]
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}
