//! Two network namespaces, a client and a server, a pin directory, and sockets in them; removed at the end, also after
//! a panic.
//!
//! The server has the addresses 10.77.0.2, 10.77.0.3 and fd77::2, the client 10.77.0.1 and fd77::1.

use lb_core::plan::Summary;
use lb_tests::netns::{Namespace, join};
use lb_userspace::kernel::{Steering, Unavailable, unpin};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrLike, SockaddrStorage, bind, listen, setsockopt, socket,
    sockopt,
};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

static LABS: AtomicUsize = AtomicUsize::new(0);

/// A client, a server, a pin directory.
pub struct Lab {
    pub client: Namespace,
    pub server: Namespace,
    pub pin_dir: PathBuf,
}

/// Where a listening socket is really bound; never where it serves.
#[derive(Debug, Clone, Copy)]
pub enum Socket {
    /// `127.0.0.1`, any port.
    V4,
    /// `[::1]`, any port, IPv6 only.
    V6Only,
    /// `[::]`, any port, both families.
    Dual,
}

impl Lab {
    pub fn new() -> Self {
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let client = Namespace::new("client").expect("a namespace is made");
        let server = Namespace::new("server").expect("a namespace is made");
        let left = (&client, "c0", &["10.77.0.1/24", "fd77::1/64"][..]);
        let right = (&server, "s0", &["10.77.0.2/24", "10.77.0.3/24", "fd77::2/64"][..]);
        join(left, right).expect("the namespaces are joined");
        let pin_dir = PathBuf::from(format!("/sys/fs/bpf/sluice-kernel-test-{}-{number}", std::process::id()));
        Self { client, server, pin_dir }
    }

    pub fn try_open(&self) -> Result<Steering, Unavailable> {
        self.server.run(|| Steering::open(&self.pin_dir))
    }

    pub fn open(&self) -> Steering {
        self.try_open().unwrap_or_else(|error| panic!("steering is not available, so nothing is tested: {error}"))
    }

    pub fn steer(&self, steering: &mut Steering, listeners: &[(&str, &TcpListener)]) -> Summary {
        let parse = |addr: &str| addr.parse::<SocketAddr>().expect("test data is an address");
        let listeners: Vec<_> = listeners.iter().map(|(addr, socket)| (parse(addr), socket.as_fd())).collect();
        steering.steer(&listeners).unwrap_or_else(|error| panic!("cannot steer: {error}"))
    }

    pub fn listen(&self, socket: Socket) -> TcpListener {
        self.server.run(|| match socket {
            Socket::V4 => open_socket("127.0.0.1:0", false),
            Socket::V6Only => open_socket("[::1]:0", true),
            Socket::Dual => open_socket("[::]:0", false),
        })
    }

    /// Sockets on one port of the loopback, among which the kernel spreads connections.
    pub fn listen_group(&self, count: usize) -> Vec<TcpListener> {
        self.server.run(|| {
            let first = open_socket("127.0.0.1:0", false);
            let addr = first.local_addr().expect("a socket has an address").to_string();
            let others = (1..count).map(|_| open_socket(&addr, false));
            std::iter::once(first).chain(others.collect::<Vec<_>>()).collect()
        })
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Err(error) = unpin(&self.pin_dir) {
            eprintln!("could not remove the pins of a test: {error}");
        }
    }
}

/// Connects from a namespace; an answer that does not come is an error after five seconds (emulation is slow).
pub fn connect(from: &Namespace, target: &str) -> io::Result<TcpStream> {
    let target: SocketAddr = target.parse().expect("test data is an address");
    from.run(|| TcpStream::connect_timeout(&target, Duration::from_secs(5)))
}

/// Accepts what waits in the queue of a socket, and answers how many that were.
pub fn drain(listener: &TcpListener) -> usize {
    listener.set_nonblocking(true).expect("an option of a socket is set");
    std::iter::from_fn(|| listener.accept().ok()).count()
}

pub fn counters(steering: &Steering) -> Vec<(&'static str, u64)> {
    steering.counters().expect("counters are read")
}

/// Counters that are not what they were, by how much.
pub fn grown(before: &[(&'static str, u64)], after: &[(&'static str, u64)]) -> Vec<(&'static str, u64)> {
    let pairs = before.iter().zip(after);
    pairs.filter(|(b, a)| a.1 != b.1).map(|(b, a)| (a.0, a.1 - b.1)).collect()
}

fn open_socket(addr: &str, only_v6: bool) -> TcpListener {
    let addr: SocketAddr = addr.parse().expect("test data is an address");
    let family = if addr.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let open = || {
        let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&fd, sockopt::ReusePort, &true)?;
        if addr.is_ipv6() {
            setsockopt(&fd, sockopt::Ipv6V6Only, &only_v6)?;
        }
        let storage = SockaddrStorage::from(addr);
        assert_eq!(storage.family(), Some(family));
        bind(fd.as_raw_fd(), &storage)?;
        listen(&fd, Backlog::new(1024)?)?;
        Ok::<_, nix::Error>(TcpListener::from(fd))
    };
    open().unwrap_or_else(|error| panic!("cannot listen on {addr}: {error}"))
}

/// The same program with one instruction written otherwise (`r = n` as `w = n`, both clear the upper half), so that its
/// tag differs: an upgrade that changes nothing else.
pub fn other_encoding(object: &[u8], program_section: &str) -> Vec<u8> {
    const MOV64_IMM: u8 = 0xb7;
    const MOV32_IMM: u8 = 0xb4;
    let mut object = object.to_vec();
    let (start, end) = section(&object, program_section);
    let is_small_move =
        |code: &[u8]| matches!(code, [MOV32_IMM | MOV64_IMM, reg, 0, 0, _, _, _, sign] if *reg < 10 && *sign < 0x80);
    let code = object[start..end].chunks_exact_mut(8).find(|code| is_small_move(code)).expect("a constant is loaded");
    code[0] ^= MOV64_IMM ^ MOV32_IMM;
    object
}

/// Where a section lies in an ELF64 file in the byte order of the machine (`elf.h`).
fn section(object: &[u8], name: &str) -> (usize, usize) {
    let number = |at: usize, bytes: usize| {
        object[at..at + bytes].iter().rev().fold(0usize, |number, byte| number << 8 | usize::from(*byte))
    };
    let (headers, size, count, names) = (number(0x28, 8), number(0x3a, 2), number(0x3c, 2), number(0x3e, 2));
    let header = |index: usize| headers + index * size;
    let range = |index: usize| {
        let start = number(header(index) + 0x18, 8);
        (start, start + number(header(index) + 0x20, 8))
    };
    let (names, _) = range(names);
    let is_named = |index: &usize| {
        let at = names + number(header(*index), 4);
        object[at..].starts_with(name.as_bytes()) && object[at + name.len()] == 0
    };
    range((0..count).find(is_named).expect("the object has the section"))
}
