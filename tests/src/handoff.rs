//! Pairs of connections that are handed to the kernel: a client, a backend, and between them the agent's part by hand.
//!
//! Goes in: a change of the splicer's setup. Comes out: a [`Site`] with a splicer, and the steps of a hand-off one by one, so
//! that a test can put between them what it is about. Real sockets, real programs, the network of [`Lab`].

use crate::lab::{BALANCER, BALANCER_V6, Lab, pod};
use crate::netns::Namespace;
use lb_core::handoff::{Answer, Apart, Carried, Decision};
use lb_userspace::kernel::{CarrierSetup, Pending, Splicer, SplicerSetup, unpin};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{SockaddrStorage, connect};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// What clients send first.
pub const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n";

/// What backends answer first.
pub const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// How long anything may take that should come at once: a debug build, an emulated machine.
const SOON: Duration = Duration::from_secs(10);

static SITES: AtomicUsize = AtomicUsize::new(0);

/// A network with an agent that only splices.
#[derive(Debug)]
pub struct Site {
    /// The network.
    pub lab: Lab,
    /// Where pins lie.
    pub pin_dir: PathBuf,
    setup: SplicerSetup,
    splicer: Option<Splicer>,
    fronts: [TcpListener; 2],
    backends: [TcpListener; 2],
}

/// By which family both connections go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4 = 0,
    /// IPv6.
    V6 = 1,
}

/// A client's connection that the agent has accepted.
#[derive(Debug)]
pub struct Front {
    /// The client's socket.
    pub client: TcpStream,
    /// The agent's.
    pub front: TcpStream,
}

/// A connection of the agent that a backend has accepted.
#[derive(Debug)]
pub struct Back {
    /// The agent's socket.
    pub back: TcpStream,
    /// The backend's.
    pub backend: TcpStream,
}

/// A pair that the kernel carries.
#[derive(Debug)]
pub struct Pair {
    /// The client's socket.
    pub client: TcpStream,
    /// The backend's socket.
    pub backend: TcpStream,
    /// Says how it ended.
    pub closed: Receiver<Carried>,
    /// What `begin` took.
    pub begin: Duration,
    /// What `surrender` took.
    pub surrender: Duration,
}

impl Site {
    /// A site with the splicer as the agent has it.
    #[must_use]
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// A site whose splicer is set up otherwise.
    #[must_use]
    pub fn with(change: impl FnOnce(&mut SplicerSetup)) -> Self {
        Self::on(Lab::new(), change)
    }

    /// A site on a network that was changed before.
    #[must_use]
    pub fn on(lab: Lab, change: impl FnOnce(&mut SplicerSetup)) -> Self {
        let number = SITES.fetch_add(1, Ordering::Relaxed);
        let pin_dir = PathBuf::from(format!("/sys/fs/bpf/sluice-splice-test-{}-{number}", std::process::id()));
        let mut setup = setup(&pin_dir);
        change(&mut setup);
        let listen = |namespace: &Namespace, addresses: [SocketAddr; 2]| {
            namespace.run(|| addresses.map(|address| TcpListener::bind(address).expect("the address is ours")))
        };
        let fronts = listen(&lab.balancer, [Family::V4, Family::V6].map(front_address));
        let backends = listen(&lab.pods, [Family::V4, Family::V6].map(endpoint));
        let mut site = Self { lab, pin_dir, setup, splicer: None, fronts, backends };
        site.open();
        site
    }

    /// Opens the splicer anew, as an agent that is started again does.
    pub fn open(&mut self) {
        self.splicer = None;
        let opened = self.lab.balancer.run(|| Splicer::open(&self.setup));
        self.splicer = Some(opened.unwrap_or_else(|error| panic!("splicing is not available: {error}")));
    }

    /// Closes the splicer: what it carries goes on.
    pub fn close(&mut self) {
        self.splicer = None;
    }

    /// The splicer.
    #[must_use]
    pub fn splicer(&self) -> &Splicer {
        self.splicer.as_ref().expect("the test has not closed it")
    }

    /// Does something with the splicer in its namespace.
    pub fn inside<T: Send>(&self, work: impl FnOnce(&Splicer) -> T + Send) -> T {
        self.lab.balancer.run(|| work(self.splicer()))
    }

    /// A client connects, and the agent accepts.
    #[must_use]
    pub fn front(&self, family: Family) -> Front {
        let client = self.lab.client.connect(front_address(family)).expect("the agent listens");
        self.accept(family, client)
    }

    /// The agent accepts a client's connection.
    #[must_use]
    pub fn accept(&self, family: Family, client: TcpStream) -> Front {
        let (front, _) = self.fronts[family as usize].accept().expect("a client waits");
        bound_waiting(&[&client, &front]);
        Front { client, front }
    }

    /// The agent dials a backend for a client.
    ///
    /// # Errors
    /// [`Apart`].
    pub fn back(&self, family: Family, front: &Front) -> Result<Back, Apart> {
        let back = self.inside(|splicer| dial(splicer, &front.front, endpoint(family)))?;
        let back = back.expect("the backend listens");
        bound_waiting(&[&back]);
        Ok(Back { back, backend: self.accept_backend(family) })
    }

    /// A backend accepts a connection of the agent.
    #[must_use]
    pub fn accept_backend(&self, family: Family) -> TcpStream {
        let (backend, _) = self.backends[family as usize].accept().expect("the agent waits");
        bound_waiting(&[&backend]);
        backend
    }

    /// Begins a hand-off.
    ///
    /// # Errors
    /// [`Apart`].
    pub fn begin(&self, front: &Front, back: &Back, answer: Answer) -> Result<Pending, Apart> {
        let bytes = REQUEST.len() as u32;
        self.inside(|splicer| splicer.begin(front.front.as_fd(), back.back.as_fd(), bytes, answer))
    }

    /// All steps; what is not joined fails the test.
    #[must_use]
    pub fn join(&self, family: Family) -> Pair {
        self.try_join(family).unwrap_or_else(|apart| panic!("not joined: {apart}"))
    }

    /// All steps, with the request and the answer that everybody sends.
    ///
    /// # Errors
    /// [`Apart`].
    pub fn try_join(&self, family: Family) -> Result<Pair, Apart> {
        self.join_client(family, self.front(family))
    }

    /// All steps for a client that has connected.
    ///
    /// # Errors
    /// [`Apart`].
    pub fn join_client(&self, family: Family, mut front: Front) -> Result<Pair, Apart> {
        front.client.write_all(REQUEST).expect("sent");
        expect(&mut front.front, REQUEST);
        let mut back = self.back(family, &front)?;
        let start = Instant::now();
        let mut pending =
            self.splicer().begin(front.front.as_fd(), back.back.as_fd(), REQUEST.len() as u32, Answer::Any)?;
        let begin = start.elapsed();
        back.back.write_all(REQUEST).expect("sent");
        expect(&mut back.backend, REQUEST);
        back.backend.write_all(ANSWER).expect("sent");
        assert_eq!(decide(&mut pending), Decision::Carried, "nothing but the answer came");
        expect(&mut front.client, ANSWER);
        let (told, closed) = channel();
        let close = Box::new(move |carried| drop(told.send(carried)));
        let start = Instant::now();
        pending.surrender(front.front.into(), back.back.into(), "shop/cart:80".to_owned(), close);
        Ok(Pair { client: front.client, backend: back.backend, closed, begin, surrender: start.elapsed() })
    }

    /// What a counter of the programs says.
    #[must_use]
    pub fn count(&self, name: &str) -> u64 {
        let counters = self.splicer().counters();
        counters.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no counter {name}")).1
    }
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.splicer = None;
        if let Err(error) = unpin(&self.pin_dir) {
            eprintln!("could not remove the pins of a test: {error}");
        }
    }
}

/// How tests set a splicer up.
#[must_use]
pub fn setup(pin_dir: &Path) -> SplicerSetup {
    SplicerSetup::new(CarrierSetup::new(pin_dir.to_owned()))
}

/// Where clients connect to.
#[must_use]
pub fn front_address(family: Family) -> SocketAddr {
    match family {
        Family::V4 => SocketAddr::new(BALANCER, 443),
        Family::V6 => SocketAddr::new(BALANCER_V6, 443),
    }
}

/// The backend.
#[must_use]
pub fn endpoint(family: Family) -> SocketAddr {
    match family {
        Family::V4 => pod(10, 8080),
        Family::V6 => SocketAddr::from(([0xfd02, 0, 0, 0, 0, 0, 0, 0x10], 8080)),
    }
}

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

/// Reads exactly these bytes.
pub fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    stream.read_exact(&mut read).expect("bytes come");
    assert!(read == bytes, "{:?} came", String::from_utf8_lossy(&read));
}

/// Reads the end of a stream: no byte, and a FIN.
pub fn expect_end(stream: &mut TcpStream) {
    assert_eq!(stream.read(&mut [0; 16]).expect("an end, not an error"), 0);
}

/// Reads that a stream was reset.
pub fn expect_reset(stream: &mut TcpStream) {
    let error = stream.read(&mut [0; 16]).expect_err("a reset");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

fn bound_waiting(streams: &[&TcpStream]) {
    for stream in streams {
        stream.set_read_timeout(Some(SOON)).expect("an option of a socket");
        stream.set_nodelay(true).expect("an option of a socket");
    }
}

/// Sends bytes that nobody else sends by this number, from one stream to another, and compares each.
pub fn transfer(mut from: &TcpStream, mut to: &TcpStream, number: u64, bytes: u64) {
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut block = vec![0; 64 * 1024];
            for at in (0..bytes).step_by(block.len()) {
                let length = block.len().min((bytes - at) as usize);
                fill(&mut block[..length], number, at);
                from.write_all(&block[..length]).expect("sent");
            }
        });
        let (mut block, mut wanted) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
        for at in (0..bytes).step_by(block.len()) {
            let length = block.len().min((bytes - at) as usize);
            to.read_exact(&mut block[..length]).unwrap_or_else(|e| panic!("after {at} of {bytes} bytes: {e}"));
            fill(&mut wanted[..length], number, at);
            assert!(block[..length] == wanted[..length], "other bytes came after {at}");
        }
    });
}

/// Bytes by their place in a stream: a mixed count (splitmix64), so that no two places look alike.
fn fill(block: &mut [u8], number: u64, at: u64) {
    for (word, bytes) in (at / 8..).zip(block.chunks_mut(8)) {
        let mut mixed = (word ^ number << 48).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^= mixed >> 27;
        bytes.copy_from_slice(&mixed.to_ne_bytes()[..bytes.len()]);
    }
}
