//! Load: keep-alive clients that send requests one after another until told to stop, and count every failure by kind.
//!
//! Nothing is retried: a connection that breaks under a request is a failed request. A response with
//! `Connection: close` ends a connection without a failure.

use crate::client::Connection;
use crate::netns::Namespace;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// What each client asks for, and which answer is right.
#[derive(Debug, Clone)]
pub struct Want {
    /// Host header.
    pub host: String,
    /// Path.
    pub target: String,
    /// Services that may answer.
    pub services: Vec<String>,
}

/// What became of the requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Requests with the right answer.
    pub good: u64,
    /// All others, by kind, with how often.
    pub failures: BTreeMap<String, u64>,
    /// Right answers by pod.
    pub pods: BTreeMap<String, u64>,
}

/// Clients at work. Stopped and joined by [`Load::finish`].
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Outcome>>,
}

impl Load {
    /// Starts `clients` threads in a namespace; each goes round `wants` over a connection of its own.
    #[must_use]
    pub fn start(from: &Arc<Namespace>, to: SocketAddr, clients: usize, wants: &[Want]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |_| {
            let (from, wants, stop) = (from.clone(), wants.to_vec(), stop.clone());
            std::thread::spawn(move || work(&from, to, &wants, &stop))
        };
        Self { clients: (0..clients).map(client).collect(), stop }
    }

    /// Stops after the requests that are under way, and adds up.
    #[must_use]
    pub fn finish(self) -> Outcome {
        self.stop.store(true, Ordering::SeqCst);
        let mut sum = Outcome::default();
        for client in self.clients {
            let one = client.join().expect("a client of the load counts failures and does not panic");
            sum.good += one.good;
            one.failures.into_iter().for_each(|(kind, count)| *sum.failures.entry(kind).or_default() += count);
            one.pods.into_iter().for_each(|(pod, count)| *sum.pods.entry(pod).or_default() += count);
        }
        sum
    }
}

fn work(from: &Namespace, to: SocketAddr, wants: &[Want], stop: &AtomicBool) -> Outcome {
    let mut outcome = Outcome::default();
    let mut open: Option<Connection> = None;
    for want in wants.iter().cycle() {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let connection = match open.take().map_or_else(|| Connection::plain(from, to), Ok) {
            Ok(connection) => connection,
            Err(error) => {
                outcome.fail(format!("connect: {error:#}"));
                continue;
            }
        };
        match ask(connection, want) {
            Ok((pod, connection)) => {
                outcome.good += 1;
                *outcome.pods.entry(pod).or_default() += 1;
                open = connection;
            }
            Err(kind) => outcome.fail(kind),
        }
    }
    outcome
}

fn ask(mut connection: Connection, want: &Want) -> Result<(String, Option<Connection>), String> {
    let response = connection.get(&want.host, &want.target).map_err(|error| format!("{error:#}"))?;
    if response.status != 200 {
        return Err(format!("status {} for {}{}: {}", response.status, want.host, want.target, response.text().trim()));
    }
    let echo: crate::echo::Echo =
        serde_json::from_slice(&response.body).map_err(|error| format!("damaged body: {error}"))?;
    if !want.services.contains(&echo.identity.service) || echo.path != want.target {
        let identity = &echo.identity;
        return Err(format!("{}{} answered by {} with {}", want.host, want.target, identity.service, echo.path));
    }
    let close = response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    Ok((echo.identity.pod, (!close).then_some(connection)))
}

impl Outcome {
    fn fail(&mut self, kind: String) {
        *self.failures.entry(kind).or_default() += 1;
    }
}
