//! The agent's part of a hand-off, as the proxy does it: dial, begin, wait for the decision, surrender.
//!
//! Goes in: a splicer and a client's connection. Comes out: what became of it, and what it took.

use super::SOON;
use super::streams::bound_waiting;
use lb_core::handoff::{Answer, Apart, Decision};
use lb_userspace::kernel::{Pending, Splicer};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{SockaddrStorage, connect};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// Dials an endpoint as the proxy does: by a socket of the splicer.
///
/// # Errors
/// [`Apart`] of the splicer; inside, what connecting came to.
pub fn dial(splicer: &Splicer, front: &TcpStream, endpoint: SocketAddr) -> Result<io::Result<TcpStream>, Apart> {
    let socket = splicer.socket(front.as_fd(), endpoint)?;
    let connected = || {
        match connect(socket.as_raw_fd(), &SockaddrStorage::from(endpoint)) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(errno) => return Err(errno.into()),
        }
        let timeout = PollTimeout::try_from(SOON).map_err(io::Error::other)?;
        let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
        if poll(&mut fds, timeout)? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match socket.take_error()? {
            Some(error) => Err(error),
            None => socket.set_nonblocking(false),
        }
    };
    let result = connected();
    Ok(result.map(|()| socket))
}

/// What a hand-off took.
#[derive(Debug, Clone, Copy)]
pub struct Took {
    /// All that is done before the request is written.
    pub begin: Duration,
    /// All that is done after the answer has come.
    pub surrender: Duration,
}

/// The agent's part of a hand-off, from the request on, which has no body. The pair's end is told to nobody.
///
/// # Errors
/// [`Apart`]; then both connections are closed.
pub fn hand_off(splicer: &Splicer, mut front: TcpStream, endpoint: SocketAddr) -> Result<Took, Apart> {
    bound_waiting(&[&front]);
    let request = read_head(&mut front);
    let mut back = dial(splicer, &front, endpoint)?.expect("the backend listens");
    bound_waiting(&[&back]);
    let start = Instant::now();
    let mut pending = splicer.begin(front.as_fd(), back.as_fd(), request.len() as u32, Answer::Any)?;
    let begin = start.elapsed();
    back.write_all(&request).expect("sent");
    if decide(&mut pending) == Decision::Ours {
        return Err(Apart::Dirty);
    }
    let start = Instant::now();
    pending.surrender(front.into(), back.into(), "shop/cart:80".to_owned(), Box::new(drop));
    Ok(Took { begin, surrender: start.elapsed() })
}

fn read_head(front: &mut TcpStream) -> Vec<u8> {
    let (mut head, mut block) = (Vec::new(), [0; 4096]);
    while !head.ends_with(b"\r\n\r\n") {
        let length = front.read(&mut block).expect("a request comes");
        assert!(length > 0, "the client has gone");
        head.extend_from_slice(&block[..length]);
    }
    head
}

/// Waits for the decision as a task does: by being woken.
#[must_use]
pub fn decide(pending: &mut Pending) -> Decision {
    try_decide(pending, SOON).expect("it is decided soon")
}

/// As [`decide`], for at most so long.
#[must_use]
pub fn try_decide(pending: &mut Pending, most: Duration) -> Option<Decision> {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let start = Instant::now();
    loop {
        match pending.poll_decision(&mut Context::from_waker(&waker)) {
            Poll::Ready(decision) => return Some(decision),
            Poll::Pending => std::thread::park_timeout(most.checked_sub(start.elapsed())?),
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
