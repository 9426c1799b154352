//! Accepting on one worker.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use meltemi_http::WorkerContext;
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::spawn_local;
use tracing::warn;

use crate::manager::AddressMap;
use crate::{ActiveListener, ListenerManager, connection};

/// The pause after the system refused to accept, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A socket for a worker to accept on.
pub struct Accept {
    pub(crate) listener: Arc<ActiveListener>,
    pub(crate) socket: std::net::TcpListener,
}

/// What connections of one worker share.
pub(crate) struct Acceptor {
    pub worker: Rc<WorkerContext>,
    pub by_address: Arc<ArcSwap<AddressMap>>,
    /// The connections of Redis proxies to upstreams.
    pub redis: Rc<meltemi_redis::Connections>,
}

/// Accepts on every socket that the manager hands over, until the manager is gone. Call
/// inside the worker's runtime.
pub async fn serve_worker(
    manager: &ListenerManager,
    worker: Rc<WorkerContext>,
    mut sockets: UnboundedReceiver<Accept>,
) {
    let acceptor = Rc::new(Acceptor {
        worker,
        by_address: Arc::clone(manager.by_address()),
        redis: meltemi_redis::Connections::new(),
    });
    while let Some(Accept { listener, socket }) = sockets.recv().await {
        match TcpListener::from_std(socket) {
            Ok(socket) => drop(spawn_local(accept(Rc::clone(&acceptor), listener, socket))),
            Err(error) => warn!(listener = listener.name(), "cannot accept: {error}"),
        }
    }
}

async fn accept(acceptor: Rc<Acceptor>, listener: Arc<ActiveListener>, socket: TcpListener) {
    let mut stop = listener.stop_signal();
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = socket.accept() => accepted,
            () = stop.draining() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                // Small answers must not wait for the peer's acknowledgement of larger ones.
                let _ = stream.set_nodelay(true);
                spawn_local(connection::serve(
                    Rc::clone(&acceptor),
                    Arc::clone(&listener),
                    stream,
                    peer,
                ));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                warn!(listener = listener.name(), "accept: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The connection was gone before it was accepted; the next one may be fine.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}
