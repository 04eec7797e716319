//! The Unix socket: lets peers in, turns others away, keeps the number of clients bounded.

use super::access::{Access, Peer};
use super::connection::{Connection, Ended, Place};
use super::listen::Listener;
use super::session::{Bounds, Session};
use super::shares::{Share, Shares};
use crate::core::error::ErrorCode;
use crate::runtime::{Origin, Service};
use crate::wire::{Reply, json, limits};
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How long to wait after a failed accept: it is a lack of descriptors that passes.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What all clients together, and each of them, may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Clients at once.
    pub clients: usize,
    /// Bytes of one line or frame.
    pub message_bytes: usize,
    /// Requests of one client without a terminal reply.
    pub pending_per_client: usize,
    /// How long a client may leave its answers unread before it is dropped.
    pub write_timeout: Duration,
    /// A client that was silent for this long gives up its place when all are taken.
    pub idle_grace: Duration,
    /// How long the clients are given when the daemon goes down.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            clients: 32,
            message_bytes: limits::MESSAGE_BYTES,
            pending_per_client: 16,
            write_timeout: Duration::from_secs(10),
            idle_grace: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// Serves the socket until `stop` becomes true and the requests under way have their replies (or
/// the drain timeout is over). The socket is unlinked when this returns.
///
/// # Errors
/// If the event loop does not take the socket.
pub async fn serve<S: Service>(
    listener: Listener,
    access: Access,
    shares: Arc<Shares>,
    limits: Limits,
    service: S,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let socket = listener.socket()?;
    socket.set_nonblocking(true)?;
    let socket = tokio::net::UnixListener::from_std(socket)?;
    let stopping = stop.clone();
    let mut door = Door { access, shares, limits, service, stop: stopping, places: Vec::new() };
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            // An error means that the sender is gone, and the daemon with it.
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = socket.accept() => match accepted {
                Ok((stream, _)) => door.receive(stream, &mut clients),
                Err(e) => {
                    tracing::warn!(error = %e, "cannot accept a client");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = clients.join_next(), if !clients.is_empty() => {}
        }
    }
    // Nobody may connect to a daemon that will not answer.
    drop((socket, listener));
    let drained =
        timeout(limits.drain_timeout, async { while clients.join_next().await.is_some() {} });
    if drained.await.is_err() {
        tracing::warn!(clients = clients.len(), "clients are dropped: the drain timeout is over");
        clients.shutdown().await;
    }
    Ok(())
}

struct Door<S> {
    access: Access,
    shares: Arc<Shares>,
    limits: Limits,
    service: S,
    stop: watch::Receiver<bool>,
    places: Vec<Weak<Place>>,
}

impl<S: Service> Door<S> {
    fn receive(&mut self, stream: UnixStream, clients: &mut JoinSet<()>) {
        match self.check(&stream) {
            Ok(peer) => {
                let place = Arc::new(Place::new());
                self.places.push(Arc::downgrade(&place));
                let share = Share::of(&peer, &self.shares);
                clients.spawn(converse(
                    stream,
                    peer,
                    share,
                    place,
                    self.service.clone(),
                    self.limits,
                    self.stop.clone(),
                ));
            }
            Err(reply) => turn_away(&stream, &reply),
        }
    }

    fn check(&mut self, stream: &UnixStream) -> Result<Peer, Reply> {
        let refuse = |code, message: String| Err(Reply::refuse(None, code, message));
        let peer = match Peer::of(stream) {
            Ok(peer) => peer,
            Err(e) => return refuse(ErrorCode::Internal, format!("cannot tell who you are: {e}")),
        };
        if !self.access.allows(&peer) {
            tracing::warn!(uid = peer.uid, gid = peer.gid, pid = peer.pid, "peer not allowed");
            let message = format!(
                "uid {} is not allowed to talk to slmd; have it added to the socket's group, or to \
                 allow-users or allow-groups in the configuration",
                peer.uid
            );
            return refuse(ErrorCode::BadRequest, message);
        }
        if !self.has_place() {
            let message =
                format!("{} clients are connected, and that is the limit", self.limits.clients);
            return refuse(ErrorCode::Busy, message);
        }
        Ok(peer)
    }

    /// Whether there is a place, or one can be had from a client that does not use it.
    fn has_place(&mut self) -> bool {
        self.places.retain(|place| place.strong_count() > 0);
        if self.places.len() < self.limits.clients {
            return true;
        }
        let idle = |(i, place): (usize, &Weak<Place>)| {
            place.upgrade().and_then(|p| p.idle_for()).map(|idle_for| (idle_for, i))
        };
        match self.places.iter().enumerate().filter_map(idle).max() {
            Some((idle_for, i)) if idle_for >= self.limits.idle_grace => {
                if let Some(place) = self.places.swap_remove(i).upgrade() {
                    place.evict.notify_one();
                }
                true
            }
            _ => false,
        }
    }
}

/// One JSON error; a fresh socket has room for it, so that nobody has to wait.
fn turn_away(stream: &UnixStream, reply: &Reply) {
    let mut line = Vec::new();
    json::write_reply(reply, &mut line);
    // Who does not hear it has gone.
    let _ = nix::unistd::write(stream, &line);
}

async fn converse<S: Service>(
    stream: UnixStream,
    peer: Peer,
    share: Share,
    place: Arc<Place>,
    service: S,
    limits: Limits,
    stop: watch::Receiver<bool>,
) {
    // A quarter stays free for terminal replies (see `Outbox::delta`): one for each request.
    let (sender, replies) = mpsc::channel(limits.pending_per_client.max(8) * 4);
    let origin = Origin {
        uid: Some(peer.uid),
        gid: Some(peer.gid),
        max_priority: share.max_priority(),
        ..Origin::new("unix")
    };
    let bounds = Bounds { message_bytes: limits.message_bytes, pending: limits.pending_per_client };
    let session = Session::new(service, origin, share, peer.is_owner(), bounds, sender);
    let write_timeout = limits.write_timeout;
    let connection = Connection { stream, session, replies, stop, place, write_timeout };
    match connection.run().await {
        Ok(()) => tracing::debug!(uid = peer.uid, pid = peer.pid, "client served"),
        Err(e @ Ended::ClientSlow(_)) => {
            tracing::warn!(uid = peer.uid, pid = peer.pid, "client dropped: {e}");
        }
        Err(e) => tracing::debug!(uid = peer.uid, pid = peer.pid, "client gone: {e}"),
    }
}
