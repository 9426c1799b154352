//! One process takes the place of another: it asks the one before it for the listening sockets,
//! begins to serve, and then tells it to drain and to end. No connection is refused meanwhile, since
//! the sockets themselves go over with whoever waits at them.
//!
//! In: how the process was started. Out: sockets for the listener manager, and on the other side
//! requests that the assembly carries out. Called by the assembly.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use meltemi_listener::ListenerManager;
use meltemi_net::{Handover, listen_for_successor};
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

/// What a process and its successor speak; a change of it keeps one from following the other.
pub(crate) const VERSION: &str = "meltemi.1";

/// How long the process before may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a process is started that may be replaced, or that replaces one.
#[derive(Clone, Debug)]
pub struct HotRestart {
    /// The how-manieth in a row of processes; 0 replaces none (`--restart-epoch`).
    pub epoch: u32,
    /// Tells rows of processes on one machine apart (`--base-id`).
    pub base_id: u32,
    /// What the names of the sockets begin with (`--socket-path`).
    pub socket_path: String,
    /// When the process before is told to end though it still drains.
    pub parent_shutdown_time: Duration,
    /// Start all the same where there is no process before.
    pub skip_on_no_parent: bool,
}

impl HotRestart {
    fn name(&self, epoch: u32) -> String {
        format!("{}_{}_{epoch}", self.socket_path, self.base_id)
    }
}

/// What the next process asks of this one.
pub(crate) enum Request {
    /// Leave the administration endpoint's address.
    StopAdmin(oneshot::Sender<()>),
    /// The next process did not come into service: take the address again.
    ResumeAdmin,
    /// The next process serves: accept no more, and let connections end.
    Drain(oneshot::Sender<()>),
    /// End now.
    Terminate(oneshot::Sender<()>),
}

/// Waits for the next process, on a thread of its own.
pub(crate) fn await_successor(
    config: &HotRestart,
    listeners: Arc<ListenerManager>,
) -> Result<mpsc::UnboundedReceiver<Request>> {
    let name = config.name(config.epoch);
    let socket = listen_for_successor(&name)
        .with_context(|| format!("unable to bind domain socket {name} (see --base-id option)"))?;
    let (requests, receiver) = mpsc::unbounded_channel();
    let thread = std::thread::Builder::new().name("hot-restart".to_owned());
    let serve = move || {
        while let Ok(successor) = Handover::accept(&socket) {
            if let Err(error) = serve(&successor, &listeners, &requests)
                && error.kind() != io::ErrorKind::UnexpectedEof
            {
                warn!("the next process: {error}");
            }
        }
    };
    thread.spawn(serve)?;
    Ok(receiver)
}

fn serve(
    successor: &Handover,
    listeners: &ListenerManager,
    requests: &mpsc::UnboundedSender<Request>,
) -> io::Result<()> {
    let mut resume = ResumeAdmin {
        requests,
        stopped: false,
    };
    let ask = |request: fn(oneshot::Sender<()>) -> Request| {
        let (done, carried_out) = oneshot::channel();
        let gone = || io::Error::other("this process ends");
        requests.send(request(done)).map_err(|_| gone())?;
        carried_out.blocking_recv().map_err(|_| gone())
    };
    let mut sockets = Vec::new().into_iter();
    loop {
        let (line, _) = successor.receive()?;
        match line.as_str() {
            "sockets" => {
                sockets = listeners.hand_over()?.into_iter();
                successor.send("ok", &[])?;
            }
            "next" => match sockets.next() {
                Some((address, sockets)) => successor.send(&address.to_string(), &sockets)?,
                None => successor.send("end", &[])?,
            },
            "admin" => {
                ask(Request::StopAdmin)?;
                resume.stopped = true;
                successor.send("ok", &[])?;
            }
            "drain" => {
                resume.stopped = false;
                ask(Request::Drain)?;
                successor.send("ok", &[])?;
            }
            "terminate" => {
                resume.stopped = false;
                successor.send("ok", &[])?;
                ask(Request::Terminate)?;
            }
            _ => successor.send("unknown", &[])?,
        }
    }
}

/// Takes the administration endpoint's address again when the next process goes before it serves.
struct ResumeAdmin<'a> {
    requests: &'a mpsc::UnboundedSender<Request>,
    stopped: bool,
}

impl Drop for ResumeAdmin<'_> {
    fn drop(&mut self) {
        if self.stopped {
            // ignored: a process that ends needs no endpoint
            let _ = self.requests.send(Request::ResumeAdmin);
        }
    }
}

/// The process before.
pub(crate) struct Predecessor(Handover);

impl Predecessor {
    /// Finds it; none for the first process, and where there is none and need not be.
    pub fn find(config: &HotRestart) -> Result<Option<Self>> {
        let Some(before) = config.epoch.checked_sub(1) else {
            return Ok(None);
        };
        let name = config.name(before);
        match Handover::connect(&name, PATIENCE) {
            Ok(handover) => Ok(Some(Self(handover))),
            Err(error) if config.skip_on_no_parent => {
                info!("no process of epoch {before}: {error}");
                Ok(None)
            }
            Err(error) => Err(error)
                .with_context(|| format!("--restart-epoch {}: no process at {name}", config.epoch)),
        }
    }

    /// Its listening sockets, which it goes on accepting on.
    pub fn sockets(&self) -> Result<HashMap<SocketAddr, Vec<TcpListener>>> {
        self.ask("sockets")?;
        let mut all = HashMap::new();
        loop {
            self.0.send("next", &[])?;
            let (line, sockets) = self.0.receive()?;
            if line == "end" {
                return Ok(all);
            }
            let address = line.parse();
            let address = address.with_context(|| format!("the process before said {line:?}"))?;
            all.insert(address, sockets);
        }
    }

    /// Has it leave the administration endpoint's address.
    pub fn stop_admin(&self) -> Result<()> {
        self.ask("admin")
    }

    /// Has it accept no more and drain.
    pub fn drain(&self) -> Result<()> {
        self.ask("drain")
    }

    /// Has it end.
    pub fn terminate(&self) -> Result<()> {
        self.ask("terminate")
    }

    fn ask(&self, what: &str) -> Result<()> {
        self.0.send(what, &[])?;
        let (line, _) = self.0.receive()?;
        if line != "ok" {
            bail!("the process before answered {line:?} to {what:?}");
        }
        Ok(())
    }
}
