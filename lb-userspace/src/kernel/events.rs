//! Log records of our programs, forwarded to `tracing` under the target `ebpf`.
//!
//! Owns: one thread that sleeps until a record comes or it is told to stop. Goes in: the ring that aya-log's macros
//! write. Comes out: events. Does not do: bounding their rate; the programs do (`lb-ebpf/src/count.rs`).

use super::Unavailable;
use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Level, Log, Metadata, Record};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::thread::JoinHandle;

/// Forwards records until it is dropped.
#[derive(Debug)]
pub(super) struct Forwarder {
    /// Its end wakes the thread. Always there before `drop`.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Forwarder {
    /// Takes the ring of a loaded object. Records go where events of the calling thread go.
    pub fn start(ebpf: &mut Ebpf) -> Result<Self, Unavailable> {
        let logger = EbpfLogger::init_with_logger(ebpf, ToTracing).map_err(|error| Unavailable::Failed {
            action: "read our programs' log".to_owned(),
            source: io::Error::other(error),
        })?;
        let start = || {
            let (stopped, stop) = io::pipe()?;
            let dispatch = tracing::dispatcher::get_default(Clone::clone);
            let forward = move || tracing::dispatcher::with_default(&dispatch, || forward(logger, &stopped));
            let thread = std::thread::Builder::new().name("ebpf-log".to_owned()).spawn(forward)?;
            Ok(Self { stop: Some(stop), thread: Some(thread) })
        };
        start().map_err(|source| Unavailable::from_io("start the thread that reads our programs' log", source))
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that forwards log records of eBPF programs panicked");
        }
    }
}

fn forward(mut logger: EbpfLogger<ToTracing>, stopped: &PipeReader) {
    loop {
        logger.flush();
        let mut fds = [PollFd::new(logger.as_fd(), PollFlags::POLLIN), PollFd::new(stopped.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => {
                tracing::error!(%error, "log records of eBPF programs are no longer forwarded");
                return;
            }
        }
        if fds[1].any() == Some(true) {
            logger.flush();
            return;
        }
    }
}

/// `tracing` wants target and level at compile time, so each level is one line.
struct ToTracing;

impl Log for ToTracing {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let message = record.args();
        match record.level() {
            Level::Error => tracing::error!(target: "ebpf", "{message}"),
            Level::Warn => tracing::warn!(target: "ebpf", "{message}"),
            Level::Info => tracing::info!(target: "ebpf", "{message}"),
            Level::Debug => tracing::debug!(target: "ebpf", "{message}"),
            Level::Trace => tracing::trace!(target: "ebpf", "{message}"),
        }
    }

    fn flush(&self) {}
}
