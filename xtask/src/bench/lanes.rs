//! The connections of the open loop: one thread, one epoll, requests sent when they are due.
//!
//! Goes in: a target, a request, and due times. Comes out: latencies from the due times, and failures. One thread, since
//! client and backend share a core: a thread for each connection took twice the processor time of a request, and half of
//! nginx's maximum filled the core. A connection that ends while it is idle is opened again and no failure; one that ends
//! with a request on it is. Does not do: more than one request at a time on a connection; later ones wait, and their
//! latency counts from when they were due.

use super::client::parse;
use anyhow::{Context, Result, bail, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long an answer may take before it counts as failed, and a connection before it does.
const PATIENCE: Duration = Duration::from_secs(5);

/// Most bytes of an answer: 36 are asked for.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Room for latencies from the start, so that no measurement waits for memory: 32 s of 30,000 a second.
const LATENCIES_MAX: u64 = 1_000_000;

/// What is sent, and when.
pub struct Schedule<'a> {
    /// Address and port.
    pub target: SocketAddr,
    /// Bytes of every request.
    pub request: &'a [u8],
    /// When the first request is due.
    pub start: Instant,
    /// Time between two requests.
    pub gap: Duration,
    /// Requests in all.
    pub count: u64,
    /// Connections that take turns.
    pub connections: u32,
    /// No request is due any more.
    pub stop: &'a AtomicBool,
}

/// What came of it.
#[derive(Default)]
pub struct Seen {
    /// Latency of every answer of 200, from when its request was due.
    pub latencies: Vec<Duration>,
    /// Requests without one.
    pub failed: u64,
}

struct Lane {
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
    /// When the request that is under way was due.
    under_way: Option<Instant>,
    /// When those behind it were due.
    waiting: VecDeque<Instant>,
}

struct Loop<'a> {
    schedule: &'a Schedule<'a>,
    epoll: OwnedFd,
    lanes: Vec<Lane>,
    open: u64,
    seen: Seen,
}

/// Sends all of it and waits for the answers.
pub fn run(schedule: &Schedule) -> Result<Seen> {
    let lane = || Lane { stream: None, buffer: Vec::new(), under_way: None, waiting: VecDeque::new() };
    let mut it = Loop {
        schedule,
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        lanes: (0..schedule.connections).map(|_| lane()).collect(),
        open: 0,
        seen: Seen { latencies: Vec::with_capacity(schedule.count.min(LATENCIES_MAX) as usize), failed: 0 },
    };
    // Before the first request is due; one that fails is tried again with its first request, which counts the failure.
    (0..it.lanes.len()).for_each(|number| drop(it.connect(number)));
    it.run()?;
    Ok(it.seen)
}

impl Loop<'_> {
    fn run(&mut self) -> Result<()> {
        let mut events = Vec::with_capacity(self.lanes.len().max(1));
        let mut next = 0;
        let mut last_due = self.schedule.start;
        loop {
            let stopped = next == self.schedule.count || self.schedule.stop.load(Ordering::Relaxed);
            let due = self.schedule.start + self.schedule.gap.mul_f64(next as f64);
            let now = Instant::now();
            if !stopped && due <= now {
                let lane = (next % self.lanes.len() as u64) as usize;
                self.lanes[lane].waiting.push_back(due);
                self.open += 1;
                self.send(lane);
                (next, last_due) = (next + 1, due);
                continue;
            }
            if stopped && (self.open == 0 || now > last_due + PATIENCE) {
                self.seen.failed += self.open;
                return Ok(());
            }
            let rest = if stopped { PATIENCE } else { due - now };
            let rest = Timespec { tv_sec: rest.as_secs() as i64, tv_nsec: i64::from(rest.subsec_nanos()) };
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&rest)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("cannot wait for answers"),
            }
            for event in events.drain(..) {
                self.receive(event.data.u64() as usize);
            }
        }
    }

    fn connect(&mut self, number: usize) -> Result<()> {
        let stream = TcpStream::connect_timeout(&self.schedule.target, PATIENCE).context("cannot connect")?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        // Dropping the stream takes it out again.
        epoll::add(&self.epoll, &stream, epoll::EventData::new_u64(number as u64), epoll::EventFlags::IN)?;
        let lane = &mut self.lanes[number];
        lane.buffer.clear();
        lane.stream = Some(stream);
        Ok(())
    }

    /// Sends the next request of a lane that has none under way.
    fn send(&mut self, number: usize) {
        while self.lanes[number].under_way.is_none() {
            let Some(due) = self.lanes[number].waiting.pop_front() else { return };
            self.lanes[number].under_way = Some(due);
            if let Err(error) = self.try_send(number) {
                self.fail(number, &error);
            }
        }
    }

    fn try_send(&mut self, number: usize) -> Result<()> {
        if self.lanes[number].stream.is_none() {
            self.connect(number)?;
        }
        let stream = self.lanes[number].stream.as_mut().context("no connection")?;
        stream.write_all(self.schedule.request).context("cannot send")
    }

    /// Reads what a lane's connection has.
    fn receive(&mut self, number: usize) {
        match self.try_receive(number) {
            Ok(()) => {}
            Err(error) if self.lanes[number].under_way.is_some() => self.fail(number, &error),
            Err(_) => self.lanes[number].stream = None,
        }
        self.send(number);
    }

    fn try_receive(&mut self, number: usize) -> Result<()> {
        let lane = &mut self.lanes[number];
        let Some(stream) = &mut lane.stream else { return Ok(()) };
        let mut chunk = [0; 4096];
        let read = match stream.read(&mut chunk) {
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("cannot read"),
        };
        ensure!(read > 0, "the connection ended after {} bytes of an answer", lane.buffer.len());
        lane.buffer.extend(chunk.iter().take(read));
        let Some((answer, used, close)) = parse(&lane.buffer)? else {
            ensure!(lane.buffer.len() <= ANSWER_BYTES_MAX, "the answer is too large");
            return Ok(());
        };
        lane.buffer.drain(..used);
        let Some(due) = lane.under_way else { bail!("an answer that nobody asked for") };
        ensure!(answer.status == 200, "status {}", answer.status);
        lane.under_way = None;
        if close {
            lane.stream = None;
        }
        self.open -= 1;
        self.seen.latencies.push(due.elapsed());
        Ok(())
    }

    fn fail(&mut self, number: usize, error: &anyhow::Error) {
        // Said, since a count alone does not tell what broke.
        if self.seen.failed == 0 {
            eprintln!("  a request failed: {error:#}");
        }
        self.seen.failed += 1;
        self.open -= 1;
        self.lanes[number].under_way = None;
        self.lanes[number].stream = None;
    }
}
