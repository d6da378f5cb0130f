//! Turns in the life of the agent: the first configuration is there, and signals.
//!
//! Goes in: SIGTERM, SIGINT, and what a [`Teller`] says. Comes out: one [`Turn`] after the other.

use anyhow::Context;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The first configuration was published.
    Configured,
    /// The agent is to end.
    End,
}

/// What happens.
pub struct Turns {
    turns: Receiver<Turn>,
    teller: Teller,
}

/// Tells that the first configuration was published.
#[derive(Clone)]
pub struct Teller(Sender<Turn>);

impl Teller {
    /// It was.
    pub fn configured(&self) {
        // Nobody listens any more when the agent ends.
        self.0.send(Turn::Configured).unwrap_or_default();
    }
}

impl Turns {
    /// Listens to signals from now on.
    pub fn start() -> anyhow::Result<Self> {
        let (sender, turns) = channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut terminate, mut interrupt) = {
            let _guard = runtime.enter();
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
        };
        let teller = Teller(sender.clone());
        let listen = async move {
            loop {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                tracing::info!(signal = name, "ending");
                if sender.send(Turn::End).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("signals".to_owned());
        thread.spawn(move || runtime.block_on(listen)).context("cannot start the thread for signals")?;
        Ok(Self { turns, teller })
    }

    /// For whoever publishes.
    pub fn teller(&self) -> Teller {
        self.teller.clone()
    }

    /// The next turn; `None`: there was none in this time.
    pub fn next(&self, wait: Option<Duration>) -> Option<Turn> {
        match wait {
            // The teller in here keeps it open.
            None => self.turns.recv().ok(),
            Some(wait) => self.turns.recv_timeout(wait).ok(),
        }
    }

    /// Waits for the end.
    pub fn end(&self) {
        while self.next(None) == Some(Turn::Configured) {}
    }
}
