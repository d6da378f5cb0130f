//! The terminator: accepts connections, ends TLS, reads HTTP/1.1 and HTTP/2, and passes each request to an endpoint of its route.
//!
//! Goes in: listeners, limits and what [`crate::publish`] serves. Comes out: responses, counters and the access log.
//! One thread and one `current_thread` runtime for each worker; no lock and no other thread on the path of a request.
//! Does not know Kubernetes, eBPF or administration.

mod admission;
mod body;
mod buffer;
mod client;
mod clock;
mod connection;
mod conversation;
mod endpoint;
mod exchange;
mod facts;
mod fields;
mod flow;
mod forwarded;
#[doc(hidden)]
pub mod fuzz;
mod grpc;
mod h2;
mod handshake;
mod head;
mod hsts;
mod identity;
mod link;
mod listener;
mod parked;
mod passthrough;
mod plan;
mod proxy_protocol;
mod record;
mod relay;
mod respond;
mod select;
mod splice;
mod tls;
mod trailers;
mod tunnel;
mod upstream;
mod worker;

pub use listener::{BindError, BindMode, Listener, Protocol, bind};
pub use splice::{Account, Pending, Splice, Splicing};
pub use tls::{Keys, TlsError, suite_names};

use crate::config::{self, Limits};
use crate::publish::Publisher;
use crate::telemetry::{AccessLog, Counters};
use ipnet::IpNet;
use rustls::crypto::{GetRandomFailed, aws_lc_rs};
use splice::account::Ledger;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tls::Terminator;
use tokio::runtime::{LocalOptions, LocalRuntime};
use tokio::sync::watch;
use worker::{Parts, Phase};

/// What a [`Proxy`] is made of.
#[derive(Debug)]
pub struct Setup {
    /// Bounds of the request path.
    pub limits: Limits,
    /// TLS that ends here.
    pub tls: config::Tls,
    /// Peers whose connections begin with a PROXY protocol header, and whom it is believed.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Where the Snapshot comes from.
    pub publisher: Arc<Publisher>,
    /// Keys of certificates.
    pub keys: Arc<Keys>,
    /// Sockets; each must have been bound for as many workers as there are counters.
    pub listeners: Vec<Listener>,
    /// One for each worker: their number is the number of workers.
    pub counters: Vec<Arc<Counters>>,
    /// The access log.
    pub access_log: AccessLog,
    /// How connections are handed to the kernel; `None`: it carries none.
    pub splicing: Option<Splicing>,
}

/// The proxy cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No worker at all.
    #[error("there is no worker to serve with")]
    NoWorkers,
    /// A listener was bound for another number of workers.
    #[error("the listener of {served} has {sockets} sockets for {workers} workers")]
    Sockets {
        /// Address of the listener.
        served: std::net::SocketAddr,
        /// Sockets that it has.
        sockets: usize,
        /// Workers that there are.
        workers: usize,
    },
    /// A thread or its runtime.
    #[error("cannot start a worker: {0}")]
    Worker(#[from] io::Error),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Random numbers for request ids.
    #[error("the kernel gives no random numbers")]
    Random,
}

/// Workers that serve.
#[derive(Debug)]
pub struct Proxy {
    phase: watch::Sender<Phase>,
    threads: Vec<JoinHandle<usize>>,
}

impl Proxy {
    /// Starts the workers.
    ///
    /// # Errors
    /// [`StartError`]; no thread is left behind then, and the listeners are closed.
    pub fn start(setup: Setup) -> Result<Self, StartError> {
        let workers = setup.counters.len();
        let listeners = share_out(setup.listeners, workers)?;
        let tls = Arc::new(Terminator::new(&setup.tls, setup.publisher.clone(), setup.keys)?);
        let in_front: Arc<[IpNet]> = setup.proxy_protocol_from.into();
        let open = Arc::new(AtomicUsize::new(0));
        let splicing = setup.splicing.map(|splicing| Arc::new(Ledger::new(splicing, setup.access_log.clone())));
        let (phase, watching) = watch::channel(Phase::Serving);
        let mut proxy = Self { phase, threads: Vec::with_capacity(workers) };
        for (index, (counters, listeners)) in setup.counters.into_iter().zip(listeners).enumerate() {
            let parts = Parts {
                limits: setup.limits.clone(),
                counters,
                log: setup.access_log.clone(),
                reader: setup.publisher.reader(),
                epoch: setup.publisher.epoch(),
                tls: tls.clone(),
                hsts: setup.tls.hsts,
                in_front: in_front.clone(),
                open: open.clone(),
                splicing: splicing.clone(),
                seed: seed()?,
            };
            proxy.threads.push(spawn(index, parts, listeners, watching.clone())?);
        }
        Ok(proxy)
    }

    /// Accepts what waits to be accepted, then closes the listeners. Idle connections are closed, the others after
    /// the response to the request in work, which says `Connection: close`.
    pub fn stop_accepting(&self) {
        self.phase.send_if_modified(|phase| {
            let serving = *phase == Phase::Serving;
            if serving {
                *phase = Phase::Stopping;
            }
            serving
        });
    }

    /// Waits until all connections are done, at most `limit`; answers how many were cut.
    #[must_use]
    pub fn drain(self, limit: Duration) -> usize {
        self.phase.send_replace(Phase::Draining(Instant::now() + limit));
        // A thread that panicked has lost its connections; how many, nobody knows.
        self.threads.into_iter().map(|thread| thread.join().unwrap_or(0)).sum()
    }
}

type Sockets = Vec<(std::net::SocketAddr, Protocol, std::net::TcpListener)>;

/// The sockets of each worker.
fn share_out(listeners: Vec<Listener>, workers: usize) -> Result<Vec<Sockets>, StartError> {
    if workers == 0 {
        return Err(StartError::NoWorkers);
    }
    let mut shares: Vec<Sockets> = std::iter::repeat_with(Vec::new).take(workers).collect();
    for listener in listeners {
        let (served, protocol, sockets) = (listener.served, listener.protocol, listener.sockets().len());
        if sockets != workers {
            return Err(StartError::Sockets { served, sockets, workers });
        }
        for (share, socket) in shares.iter_mut().zip(listener.into_sockets()) {
            share.push((served, protocol, socket));
        }
    }
    Ok(shares)
}

/// Starts the thread of a worker and waits until it serves, or cannot.
fn spawn(index: usize, parts: Parts, sockets: Sockets, phase: watch::Receiver<Phase>) -> io::Result<JoinHandle<usize>> {
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name(format!("proxy-{index}")).spawn(move || {
        let ready = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build_local(LocalOptions::default())
            .and_then(|runtime| register(&runtime, sockets).map(|listeners| (runtime, listeners)));
        let (outcome, ready) = match ready {
            Ok(ready) => (Ok(()), Some(ready)),
            Err(error) => (Err(error), None),
        };
        // It is received: the starting thread waits for it.
        let _ = tell.send(outcome);
        ready.map_or(0, |(runtime, listeners)| runtime.block_on(worker::run(parts, listeners, phase)))
    })?;
    told.recv().unwrap_or_else(|_| Err(io::Error::other("the thread of the worker ended")))?;
    Ok(thread)
}

fn register(
    runtime: &LocalRuntime,
    sockets: Sockets,
) -> io::Result<Vec<(std::net::SocketAddr, Protocol, tokio::net::TcpListener)>> {
    let _inside = runtime.enter();
    let register = |(served, protocol, socket)| Ok((served, protocol, tokio::net::TcpListener::from_std(socket)?));
    sockets.into_iter().map(register).collect()
}

fn seed() -> Result<u64, StartError> {
    let mut bytes = [0; 8];
    let filled: Result<(), GetRandomFailed> = aws_lc_rs::default_provider().secure_random.fill(&mut bytes);
    filled.map_err(|_| StartError::Random)?;
    Ok(u64::from_ne_bytes(bytes))
}
