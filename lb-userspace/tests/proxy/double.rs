//! In place of the kernel: it decides by looking at the sockets, and carries a pair by two threads that copy bytes.
//!
//! A pair is carried as soon as an answer that fits waits at the backend's socket, as the programs of the kernel do it: by then
//! userspace has read none of it. It refuses where a test says so.

use crate::rig::PATIENCE;
use lb_core::handoff::{Answer, Apart, Carried, Decision, Ending};
use lb_userspace::proxy::{Account, Pending, Splice, Splicing};
use lb_userspace::telemetry::Counters;
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

/// What the double does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// Carries what it can.
    Carries,
    /// Has no socket to give.
    NoSocket,
    /// Gives a socket whose port is taken when it comes to connecting.
    PortTaken,
    /// Will not begin.
    NoBegin,
    /// Says at once that userspace goes on.
    Declines,
    /// Says nothing until it is asked for the pair back.
    Silent,
    /// Says that it carries the pair when it is asked for it back.
    Insists,
}

/// What it was asked and told.
#[derive(Debug, Default)]
pub struct Told {
    pub sockets: usize,
    /// Bytes of the request and the answer that is waited for, of each beginning.
    pub begun: Vec<(u32, Answer)>,
    pub withdrawn: usize,
    /// Pairs dropped without a word.
    pub dropped: usize,
    /// Service of each pair that it carries or carried.
    pub carried: Vec<String>,
    pub closed: usize,
}

#[derive(Debug)]
pub struct Double {
    kernel: Kernel,
    pub told: Arc<Mutex<Told>>,
    /// Keep a port taken.
    holders: Mutex<Vec<TcpStream>>,
}

impl Double {
    pub fn new(kernel: Kernel) -> Arc<Self> {
        Arc::new(Self { kernel, told: Arc::default(), holders: Mutex::default() })
    }

    /// For the proxy.
    pub fn splicing(self: &Arc<Self>, counters: &Arc<Counters>) -> Splicing {
        Splicing { splice: self.clone(), upgrades: true, carried: Arc::default(), counters: counters.clone() }
    }

    pub fn ask<T>(&self, what: impl FnOnce(&mut Told) -> T) -> T {
        what(&mut self.told.lock().expect("lock"))
    }
}

impl Splice for Double {
    fn socket(&self, _client: BorrowedFd<'_>, endpoint: SocketAddr) -> Result<TcpStream, Apart> {
        self.ask(|told| told.sockets += 1);
        if self.kernel == Kernel::NoSocket {
            return Err(Apart::Interface);
        }
        let socket = Socket::new(Domain::for_address(endpoint), Type::STREAM, None).expect("a socket");
        if self.kernel == Kernel::PortTaken {
            let holder = Socket::new(Domain::for_address(endpoint), Type::STREAM, None).expect("a socket");
            for socket in [&holder, &socket] {
                socket.set_reuse_address(true).expect("reuse");
            }
            holder.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bound");
            socket.bind(&holder.local_addr().expect("an address")).expect("bound");
            holder.connect(&endpoint.into()).expect("connected");
            self.holders.lock().expect("lock").push(holder.into());
        }
        socket.set_nonblocking(true).expect("non-blocking");
        Ok(socket.into())
    }

    fn begin(
        &self,
        client: BorrowedFd<'_>,
        backend: BorrowedFd<'_>,
        request_bytes: u32,
        answer: Answer,
    ) -> Result<Box<dyn Pending>, Apart> {
        if self.kernel == Kernel::NoBegin {
            return Err(Apart::Timestamps);
        }
        self.ask(|told| told.begun.push((request_bytes, answer)));
        let own = |fd: BorrowedFd<'_>| TcpStream::from(fd.try_clone_to_owned().expect("a descriptor"));
        let (client, backend, told) = (own(client), own(backend), self.told.clone());
        Ok(Box::new(Pair { kernel: self.kernel, client, backend, answer, told, decided: None }))
    }
}

#[derive(Debug)]
struct Pair {
    kernel: Kernel,
    client: TcpStream,
    backend: TcpStream,
    answer: Answer,
    told: Arc<Mutex<Told>>,
    decided: Option<Decision>,
}

impl Pair {
    fn tell(&self, what: impl FnOnce(&mut Told)) {
        what(&mut self.told.lock().expect("lock"));
    }

    /// What the sockets say, if anything.
    fn look(&self) -> Option<Decision> {
        let mut byte = [0; 12];
        // Anything from the client, be it the end.
        if !matches!(self.client.peek(&mut byte), Err(error) if error.kind() == ErrorKind::WouldBlock) {
            return Some(Decision::Ours);
        }
        match self.backend.peek(&mut byte) {
            Ok(1..) if self.answer == Answer::Any || byte == *b"HTTP/1.1 101" => Some(Decision::Carried),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            _ => Some(Decision::Ours),
        }
    }
}

impl Pending for Pair {
    fn poll_decision(&mut self, _cx: &mut Context<'_>) -> Poll<Decision> {
        // The proxy looks at both sockets itself, and is woken when something comes to one.
        let decision = match self.kernel {
            Kernel::Carries => self.look(),
            Kernel::Declines => Some(Decision::Ours),
            _ => None,
        };
        self.decided = decision;
        decision.map_or(Poll::Pending, Poll::Ready)
    }

    fn withdraw(&mut self) -> Decision {
        self.tell(|told| told.withdrawn += 1);
        let decision = match self.kernel {
            Kernel::Insists => Decision::Carried,
            // What came to the sockets was read, so it is too late for the kernel.
            _ => Decision::Ours,
        };
        self.decided = Some(decision);
        decision
    }

    fn surrender(mut self: Box<Self>, client: OwnedFd, backend: OwnedFd, account: Box<dyn Account>) {
        assert_eq!(self.decided, Some(Decision::Carried));
        self.tell(|told| told.carried.push(account.service().to_owned()));
        let told = self.told.clone();
        self.decided = Some(Decision::Ours);
        drop(self);
        std::thread::spawn(move || {
            let carried = carry(client.into(), backend.into());
            account.close(carried);
            told.lock().expect("lock").closed += 1;
        });
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if self.decided.is_none() {
            self.tell(|told| told.dropped += 1);
        }
    }
}

/// Copies both ways until both ends have come.
fn carry(client: TcpStream, backend: TcpStream) -> Carried {
    let mut first = [0; 12];
    let _ = backend.peek(&mut first);
    for socket in [&client, &backend] {
        SockRef::from(socket).set_nonblocking(false).expect("blocking");
        socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
    }
    let status = first.strip_prefix(b"HTTP/1.1 ").and_then(|status| std::str::from_utf8(status).ok()?.parse().ok());
    let (bytes_up, bytes_down) = std::thread::scope(|scope| {
        let up = scope.spawn(|| copy(&client, &backend));
        let down = copy(&backend, &client);
        (up.join().expect("copied"), down)
    });
    let ending = Some(Ending::Finished);
    Carried { bytes_up, bytes_down, packets_up: 0, packets_down: 0, status, ending }
}

fn copy(mut from: &TcpStream, mut to: &TcpStream) -> u64 {
    let (mut room, mut copied) = ([0; 4_096], 0);
    while let Ok(count @ 1..) = from.read(&mut room) {
        if to.write_all(&room[..count]).is_err() {
            break;
        }
        copied += count as u64;
    }
    let _ = to.shutdown(Shutdown::Write);
    copied
}
