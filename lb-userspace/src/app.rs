//! The agent put together: the only file that knows every room.
//!
//! Goes in: a valid [`Config`]. Comes out: a process that serves until SIGTERM. Order of the start: lock, kernel,
//! administration, first Snapshot, sockets, workers, steering; so that no connection is taken before there is an answer to
//! it, however long a cluster does not answer.

mod admission;
mod descriptors;
pub mod doctor;
mod source;
mod splice;
mod state;
mod turns;

use crate::admin::{self, ListenerView, SteeringStatus};
use crate::config::{Config, SteeringMode};
use crate::kernel::{self, Steering, Unavailable};
use crate::proxy::{self, BindMode, Keys, Listener, Protocol, Proxy, Setup, Splicing};
use crate::publish::Publisher;
use crate::telemetry::{AccessLog, Counters};

use anyhow::{Context, bail};
use state::State;
use std::fs::{File, TryLockError};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use turns::{Turn, Turns};

/// Path of the control socket in a run directory.
#[must_use]
pub fn control_socket(run_dir: &Path) -> PathBuf {
    run_dir.join("sluice.sock")
}

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
/// When a part that must work cannot be started; the chain says which, why, and what to do.
pub fn run(config: Config) -> anyhow::Result<()> {
    kernel::give_back();
    let _lock = lock(&config.run_dir)?;
    descriptors::raise(&config.limits);
    let node = doctor::examine(&doctor::Node::of(&config));
    doctor::log(&node);
    let (steering, steering_status) = open_steering(&config)?;
    let (splicer, splice_status) = splice::open(&config)?;
    let steers = steering.is_some();
    let publisher = Arc::new(Publisher::default());
    let keys = Keys::new().context("cannot make the default certificate")?;
    let counters: Vec<Arc<Counters>> = (0..config.workers.get()).map(|_| Arc::default()).collect();
    // What the kernel carried to its end is counted by the splicer's threads, beside the workers.
    let of_splicing = Arc::<Counters>::default();
    let access_log = AccessLog::start(config.access_log);
    let state = Arc::new(State::new(
        &config,
        state::Parts {
            publisher: publisher.clone(),
            keys: keys.clone(),
            counters: counters.iter().chain([&of_splicing]).cloned().collect(),
            access_log: access_log.clone(),
            feeds: source::feeds(&config.source),
            reports: Arc::default(),
            steering,
            steering_status,
            splicer: splicer.clone(),
            splice_status,
            node: serde_json::to_value(node).unwrap_or_default(),
        },
    ));
    let server = admin::Server::start(config.admin, &control_socket(&config.run_dir), state.clone())?;
    tracing::info!(address = %server.address, "administration is served");
    let turns = Turns::start()?;
    let source = source::watch(&config, &state, turns.teller())?;
    if turns.next(None) == Some(Turn::End) {
        tracing::info!("stopped before there was a configuration");
        return Ok(());
    }
    let listeners = bind(&config, steers)?;
    state.listens(listeners.iter().map(|l| listener_view(l, steers)).collect());
    let steered: Vec<_> = steered_sockets(&listeners)?;
    let (limits, tls) = (config.limits.clone(), config.tls.clone());
    let proxy_protocol_from = config.proxy_protocol_from.clone();
    let splicing = splicer.map(|splicer| Splicing {
        carried: splicer.count(),
        splice: Arc::new(splicer),
        upgrades: config.splice.upgrades,
        counters: of_splicing,
    });
    let setup = Setup { limits, tls, proxy_protocol_from, publisher, keys, listeners, counters, access_log, splicing };
    let proxy = Proxy::start(setup).context("cannot start the workers")?;
    state.steer(&steered)?;
    drop(steered);
    state.ready();
    turns.end();
    state.draining();
    // Whoever sends connections here is to notice first: the source is heard, and connections are taken.
    turns.next(Some(Duration::from_millis(config.shutdown_delay_ms)));
    state.withdraw();
    proxy.stop_accepting();
    let cut = proxy.drain(Duration::from_millis(config.drain_ms_max));
    source.leave();
    tracing::info!(cut, "stopped: connections still open when the drain time ended");
    Ok(())
}

/// One agent for one run directory.
fn lock(run_dir: &Path) -> anyhow::Result<File> {
    let shown = run_dir.display();
    std::fs::create_dir_all(run_dir).with_context(|| format!("cannot make --run-dir {shown}"))?;
    let file = File::create(run_dir.join("lock")).with_context(|| format!("cannot make the lock in {shown}"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("another agent runs with --run-dir {shown}: stop it, or give this one a directory of its own")
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {shown}")),
    }
}

/// Opens steering as far as it is wanted and possible, and says once what became of it.
fn open_steering(config: &Config) -> anyhow::Result<(Option<Steering>, SteeringStatus)> {
    let mode = config.steering;
    let status = |active, reason: String| SteeringStatus { mode, active, reason, kernel: serde_json::Value::Null };
    if mode == SteeringMode::Off {
        return Ok((None, status(false, "switched off by --steering=off: ordinary sockets are bound".to_owned())));
    }
    match Steering::open(&config.pin_dir) {
        Ok(steering) => {
            tracing::info!(pins = %config.pin_dir.display(), "sk_lookup steers connections to the listeners");
            Ok((Some(steering), status(true, "sk_lookup brings connections to the listeners".to_owned())))
        }
        // Binding ordinary sockets beside the agent that holds the pins would leave two agents on one machine.
        Err(locked @ Unavailable::Locked { .. }) => Err(locked).context("cannot start beside another agent"),
        Err(unavailable) if mode == SteeringMode::Required => {
            Err(unavailable).context("--steering=required, and the kernel cannot steer")
        }
        Err(unavailable) => {
            tracing::warn!("NOT STEERING: {unavailable}. Ordinary sockets are bound instead.");
            Ok((None, status(false, unavailable.to_string())))
        }
    }
}

fn bind(config: &Config, steered: bool) -> anyhow::Result<Vec<Listener>> {
    let mode = if steered { BindMode::Steered } else { BindMode::Direct };
    let http = config.http.iter().map(|address| (*address, Protocol::Http));
    let https = config.https.iter().map(|address| (*address, Protocol::Https));
    let bound = http.chain(https).map(|(address, protocol)| proxy::bind(address, protocol, config.workers, mode));
    let listeners: Vec<Listener> = bound.collect::<Result<_, _>>()?;
    if let Some(bytes) = config.splice.mss {
        let limited = listeners.iter().try_for_each(|listener| listener.limit_segments(bytes));
        limited.with_context(|| format!("the kernel does not take --splice-mss {bytes}"))?;
    }
    Ok(listeners)
}

fn listener_view(listener: &Listener, steered: bool) -> ListenerView {
    ListenerView {
        served: listener.served,
        bound: listener.bound(),
        protocol: match listener.protocol {
            Protocol::Http => "http",
            Protocol::Https => "https",
        },
        by: if steered { "sk_lookup" } else { "bind" },
        sockets: listener.sockets().len(),
    }
}

/// One socket of each listener's group: the kernel spreads connections over the group.
fn steered_sockets(listeners: &[Listener]) -> anyhow::Result<Vec<state::SteeredSocket>> {
    let first = |l: &Listener| {
        let socket = l.sockets().first().context("a listener has a socket for each worker")?;
        let fd = socket.as_fd().try_clone_to_owned().context("cannot duplicate a listening socket")?;
        Ok(state::SteeredSocket { served: l.served, fd })
    };
    listeners.iter().map(first).collect()
}
