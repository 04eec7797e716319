//! Who answers: a daemon over its socket, or a model in this process.

use super::args::{LocalArgs, SocketArgs};
use super::exit::Failure;
use super::remote::Remote;
use super::term::Progress;
use super::{interrupt, local};
use crate::client::{ClientError, DEFAULT_PATH};
use crate::wire::{Answer, Ask};
use std::io;
use std::path::PathBuf;

/// Ends the request that is under way, from any thread.
pub type Cancel = Box<dyn Fn() + Send>;

/// Answers one request at a time.
pub trait Answerer {
    /// Answers; where `ask.stream` is set, `on_delta` hears the whole text in pieces.
    ///
    /// # Errors
    /// The refusal, or what went wrong.
    fn answer(&mut self, ask: &Ask, on_delta: &mut dyn FnMut(&str)) -> Result<Answer, Failure>;

    /// What ends the request that is under way when it is called, if one is.
    fn cancel(&self) -> Cancel;
}

/// As [`Answerer::answer`], with Ctrl-C ending the request.
pub fn answer(
    answerer: &mut dyn Answerer,
    ask: &Ask,
    on_delta: &mut dyn FnMut(&str),
) -> Result<Answer, Failure> {
    let _armed = interrupt::during(answerer.cancel());
    answerer.answer(ask, on_delta)
}

/// The daemon, if there is one and nothing else was asked for; else this process.
pub fn choose(
    socket: &SocketArgs,
    local: &LocalArgs,
    progress: &Progress,
) -> Result<Box<dyn Answerer>, Failure> {
    if local.is_asked_for() {
        return load(local, progress);
    }
    match connect(socket) {
        Ok(remote) => Ok(Box::new(remote)),
        Err(e) if socket.socket.is_none() && nobody_listens(&e) => load(local, progress),
        Err(e) => Err(e.into()),
    }
}

fn load(args: &LocalArgs, progress: &Progress) -> Result<Box<dyn Answerer>, Failure> {
    local::load(args, progress)
}

/// The daemon of the socket that was named, or of the first usual one that exists.
pub fn connect(socket: &SocketArgs) -> Result<Remote, ClientError> {
    match &socket.socket {
        Some(path) => Remote::connect(path),
        None => {
            let mut paths = usual_paths().into_iter();
            let first = paths.next().unwrap_or_else(|| PathBuf::from(DEFAULT_PATH));
            paths.fold(Remote::connect(&first), |found, path| match found {
                Err(e) if nobody_listens(&e) => Remote::connect(&path).map_err(|second| {
                    // The first place is the one to name if there is no daemon at all.
                    if nobody_listens(&second) { e } else { second }
                }),
                found => found,
            })
        }
    }
}

fn usual_paths() -> Vec<PathBuf> {
    let own = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    let own = own.map(|dir| PathBuf::from(dir).join("slmd/slmd.sock"));
    std::iter::once(PathBuf::from(DEFAULT_PATH)).chain(own).collect()
}

fn nobody_listens(e: &ClientError) -> bool {
    matches!(e, ClientError::Connect { source, .. }
        if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused))
}
