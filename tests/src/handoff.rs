//! Pairs of connections that are handed to the kernel: a client, a backend, and between them the agent's part by hand.
//!
//! Goes in: a change of the splicer's setup. Comes out: a [`Site`] with a splicer, and the steps of a hand-off one by one, so
//! that a test can put between them what it is about. Real sockets, real programs, the network of [`Lab`].

mod agent;
mod streams;

pub use agent::{Took, decide, dial, hand_off, try_decide};
pub use streams::{expect, expect_end, expect_reset, transfer};

use crate::lab::{BALANCER, BALANCER_V6, Lab, pod};
use crate::netns::Namespace;
use lb_core::handoff::{Answer, Apart, Carried, Decision};
use lb_userspace::kernel::{CarrierSetup, Pending, Splicer, SplicerSetup, unpin};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use streams::bound_waiting;

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
        // A test may not care how it ended.
        let close = Box::new(move |carried| told.send(carried).unwrap_or_default());
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
