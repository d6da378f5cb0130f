//! The splice with real connections: a client, us, a backend, each in a namespace; the record is filled by hand with what
//! a capture of the handshakes says.
//!
//! Proves what no test run can: segments of 64 KB and partial checksums, the way out by the kernel where forwarding is
//! switched off, and that the local stack, whose sockets stay open here, is silent.

use super::splice_table::rig::{load, map, now_ns};
use aya::Ebpf;
use aya::maps::{Array, HashMap, MapData, PerCpuArray};
use aya::programs::SchedClassifier;
use aya::programs::tc::{self, TcAttachType};
use lb_common::addr::from_ip;
use lb_common::maps;
use lb_common::outcome::SpliceOutcome;
use lb_common::splice::{ACTIVE, CLOSING, Conn, DIRTY, Direction, FlowKey, FlowRef, WAITING};
use lb_tests::netns::{Namespace, join};
use lb_tests::packet::{Packet, SYN};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, socket};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

const CONN: u32 = 1;
const REQUEST: &[u8] = b"GET /socket HTTP/1.1\r\n\r\n";
/// The clock that was captured last may be this old.
const CAPTURED_MS: u32 = 1_000;
/// Enough for windows to open and segments to be joined.
const BULK: usize = 8 << 20;

/// Everything that a pair needs, in three namespaces.
struct Wire {
    client: TcpStream,
    front: TcpStream,
    back: TcpStream,
    backend: TcpStream,
    us: Namespace,
    _ends: [Namespace; 2],
    flows: HashMap<MapData, FlowKey, FlowRef>,
    conns: Array<MapData, Conn>,
    counters: PerCpuArray<MapData, u64>,
    _ebpf: Ebpf,
}

/// What one side of a connection said of itself: its window's shift, where its next byte is, its clock.
#[derive(Debug, Default, Clone, Copy)]
struct Side {
    shift: u8,
    next: u32,
    clock: u32,
}

/// A pair that waits, its request under way.
fn wire(addresses: [&str; 4], forwarding: &str) -> Wire {
    let (mut wire, conn) = begun(addresses, forwarding);
    wire.hand_off(conn);
    wire
}

/// A pair whose request has come to us; and the record for it, as of now.
fn begun(addresses: [&str; 4], forwarding: &str) -> (Wire, Conn) {
    let [client, us, backend] = ["client", "us", "backend"].map(|name| Namespace::new(name).expect("a namespace"));
    let [client_ip, front_ip, back_ip, backend_ip] = addresses;
    let prefix = |ip: &str| if ip.contains(':') { format!("{ip}/64") } else { format!("{ip}/24") };
    join((&client, "c0", &[&prefix(client_ip)]), (&us, "f0", &[&prefix(front_ip)])).expect("joined");
    join((&us, "b0", &[&prefix(back_ip)]), (&backend, "e0", &[&prefix(backend_ip)])).expect("joined");
    for name in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        us.sysctl(name, forwarding).expect("the kernel has this setting");
    }
    let ebpf = us.run(|| attached(&["f0", "b0"]));
    let listen = |namespace: &Namespace, ip: &str| {
        let address = SocketAddr::new(ip.parse().expect("an address"), 0);
        namespace.run(|| TcpListener::bind(address)).expect("any port")
    };
    let (listener, endpoint) = (listen(&us, front_ip), listen(&backend, backend_ip));
    let capture = us.run(capture);
    let address = |listener: &TcpListener| listener.local_addr().expect("a listener has an address");
    let client_stream = client.connect(address(&listener)).expect("connected");
    let front = listener.accept().expect("a connection waits").0;
    let back = us.connect(address(&endpoint)).expect("connected");
    let backend_stream = endpoint.accept().expect("a connection waits").0;
    let streams = [client_stream, front, back, backend_stream];
    for stream in &streams {
        stream.set_nodelay(true).expect("an option is set");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("an option is set");
    }
    let [client_stream, mut front, back, backend_stream] = streams;
    (&client_stream).write_all(REQUEST).expect("sent");
    let mut request = vec![0; REQUEST.len()];
    front.read_exact(&mut request).expect("the request comes");
    let mut ebpf = ebpf;
    let wire = Wire {
        client: client_stream,
        front,
        back,
        backend: backend_stream,
        flows: map(&mut ebpf, maps::FLOWS),
        conns: map(&mut ebpf, maps::CONNS),
        counters: map(&mut ebpf, maps::SPLICE_COUNTERS),
        _ebpf: ebpf,
        _ends: [client, backend],
        us,
    };
    let conn = wire.conn(&capture);
    (wire, conn)
}

/// Programs on both interfaces of this namespace.
fn attached(interfaces: &[&str]) -> Ebpf {
    let mut ebpf = load();
    let places = [(maps::SPLICE_PROGRAM, TcAttachType::Ingress), (maps::SILENCE_PROGRAM, TcAttachType::Egress)];
    for interface in interfaces {
        // Only kernels before 6.6 need it; it does no harm.
        tc::qdisc_add_clsact(interface).expect("a qdisc is added");
        for (name, place) in places {
            let program: &mut SchedClassifier =
                ebpf.program_mut(name).expect("the object has it").try_into().expect("it is a classifier");
            program.attach(interface, place).unwrap_or_else(|error| panic!("{name} on {interface}: {error}"));
        }
    }
    ebpf
}

/// Every packet of the namespace from now on.
fn capture() -> OwnedFd {
    socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_NONBLOCK, SockProtocol::EthAll).expect("a capture")
}

/// What a side said of itself last.
fn side(frames: &[Packet], from: SocketAddr, to: SocketAddr) -> Side {
    let mut side = Side::default();
    for packet in frames.iter().filter(|packet| (packet.src, packet.dst) == (from, to)) {
        let syn = packet.flags & SYN != 0;
        side.next = packet.seq.wrapping_add(packet.payload.len() as u32 + u32::from(syn));
        side.shift = option(packet, 3).filter(|_| syn).map_or(side.shift, |content| content[0]);
        side.clock = option(packet, 8).map_or(0, |c| u32::from_be_bytes([c[0], c[1], c[2], c[3]]));
    }
    side
}

/// The content of an option.
fn option(packet: &Packet, kind: u8) -> Option<&[u8]> {
    let mut rest = &packet.options[..];
    loop {
        match *rest.first()? {
            0 => return None,
            1 => rest = &rest[1..],
            found => {
                let (option, after) = rest.split_at_checked(usize::from(*rest.get(1)?))?;
                if found == kind {
                    return Some(&option[2..]);
                }
                rest = after;
            }
        }
    }
}

fn leaving(src: SocketAddr, dst: SocketAddr) -> Direction {
    Direction {
        src: from_ip(src.ip()),
        dst: from_ip(dst.ip()),
        src_port: src.port(),
        dst_port: dst.port(),
        ..Direction::ZERO
    }
}

impl Wire {
    /// The record, as the capture of both connections so far says.
    fn conn(&self, capture: &OwnedFd) -> Conn {
        let mut frames = Vec::new();
        let mut bytes = vec![0; 70_000];
        while let Ok(length) = recv(capture.as_raw_fd(), &mut bytes, MsgFlags::empty()) {
            frames.extend(Packet::parse(&bytes[..length]));
        }
        let ends =
            |stream: &TcpStream| (stream.local_addr().expect("an address"), stream.peer_addr().expect("an address"));
        let ((front, client), (back, backend)) = (ends(&self.front), ends(&self.back));
        let from_client = side(&frames, client, front);
        let to_client = side(&frames, front, client);
        let to_backend = side(&frames, back, backend);
        let from_backend = side(&frames, backend, back);
        let request_end = to_backend.next.wrapping_add(REQUEST.len() as u32);
        let ifindex = |name: &str| self.us.run(|| nix::net::if_::if_nametoindex(name)).expect("it is there");
        let up = Direction {
            seq_delta: request_end.wrapping_sub(from_client.next),
            ack_delta: from_backend.next.wrapping_sub(to_client.next),
            clock_base: to_backend.clock.wrapping_add(CAPTURED_MS),
            window_left: from_client.shift,
            window_right: to_backend.shift,
            hop_ifindex: ifindex("b0"),
            seq_next: from_client.next,
            seq_edge: from_client.next,
            ack_last: to_client.next,
            ..leaving(back, backend)
        };
        let down = Direction {
            seq_delta: to_client.next.wrapping_sub(from_backend.next),
            ack_delta: from_client.next.wrapping_sub(request_end),
            clock_base: to_client.clock.wrapping_add(CAPTURED_MS),
            window_left: from_backend.shift,
            window_right: to_client.shift,
            hop_ifindex: ifindex("f0"),
            seq_next: from_backend.next,
            seq_edge: from_backend.next,
            ack_last: request_end,
            ..leaving(front, client)
        };
        Conn {
            up,
            down,
            state: WAITING,
            activate_ack: request_end,
            activate_seq: from_backend.next,
            begun_ns: now_ns(),
            ..Conn::ZERO
        }
    }

    /// Fills record and keys, and sends the request on.
    fn hand_off(&mut self, conn: Conn) {
        let ends =
            |stream: &TcpStream| (stream.local_addr().expect("an address"), stream.peer_addr().expect("an address"));
        let ((front, client), (back, backend)) = (ends(&self.front), ends(&self.back));
        self.conns.set(CONN, conn, 0).expect("a record is set");
        for (src, dst, direction) in [(backend, back, 1), (client, front, 0)] {
            let key = FlowKey::new(from_ip(src.ip()), src.port(), from_ip(dst.ip()), dst.port());
            self.flows.insert(key, FlowRef { conn: CONN, direction }, 0).expect("a key is inserted");
        }
        self.back.write_all(REQUEST).expect("sent");
    }

    /// Lets the client send something that comes to our socket before the keys are there, and whose acknowledgement does
    /// not come to the client: the client would repeat it within 5 s.
    fn run_past(&self, bytes: &[u8]) {
        let client = &self._ends[0];
        let ip = |stream: &TcpStream| stream.local_addr().expect("an address").ip();
        let (front, peer) = (ip(&self.front), ip(&self.client));
        client.sysctl("ipv4/tcp_early_retrans", "0").expect("the kernel has this setting");
        client.ip(&format!("route replace {front} dev c0 rto_min 5s")).expect("a route");
        self.us
            .ip(&format!("neigh replace {peer} lladdr 02:00:00:00:99:99 dev f0 nud permanent"))
            .expect("a neighbour");
        (&self.client).write_all(bytes).expect("sent");
        let begun = Instant::now();
        while self.front.peek(&mut vec![0; bytes.len()]).expect("it comes") < bytes.len() {
            assert!(begun.elapsed() < Duration::from_secs(5), "it comes to our socket");
        }
        self.us.ip(&format!("neigh del {peer} dev f0")).expect("a neighbour");
    }

    fn record(&self) -> Conn {
        self.conns.get(&CONN, 0).expect("a record is read")
    }

    fn count(&self, outcome: SpliceOutcome) -> u64 {
        self.counters.get(&outcome.index(), 0).expect("a counter is read").iter().sum()
    }
}

/// Sends from one end and reads at the other, at once.
fn transfer(from: &TcpStream, to: &TcpStream, bytes: &[u8]) {
    std::thread::scope(|scope| {
        scope.spawn(|| (&mut &*from).write_all(bytes).expect("all is sent"));
        let mut read = vec![0; bytes.len()];
        (&mut &*to).read_exact(&mut read).expect("all comes");
        assert!(read == bytes, "{} bytes are not what was sent", bytes.len());
    });
}

/// The other end has finished.
fn ends(stream: &TcpStream) {
    let mut byte = [0];
    assert_eq!((&mut &*stream).read(&mut byte).expect("the end comes"), 0);
}

/// One pair from its first answer to its end.
fn check(addresses: [&str; 4], forwarding: &str) {
    let wire = wire(addresses, forwarding);
    let mut request = vec![0; REQUEST.len()];
    (&wire.backend).read_exact(&mut request).expect("the request comes");
    assert_eq!((&request[..], wire.record().state), (REQUEST, WAITING));
    let answer = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
    transfer(&wire.backend, &wire.client, answer);
    let conn = wire.record();
    assert_eq!((conn.state, conn.first_len, &conn.first), (ACTIVE, 16, b"HTTP/1.1 101 Swi"));
    assert_eq!(wire.count(SpliceOutcome::Activated), 1);
    let bulk: Vec<u8> = (0..BULK).map(|n| (n ^ (n >> 8) ^ (n >> 16)) as u8).collect();
    transfer(&wire.client, &wire.backend, &bulk);
    transfer(&wire.backend, &wire.client, &bulk);
    let conn = wire.record();
    for (direction, more) in [(conn.up, 0), (conn.down, answer.len())] {
        assert!(direction.bytes >= (BULK + more) as u64, "{direction:?}");
        assert!(direction.packets < direction.bytes / 1460, "segments were joined: {direction:?}");
        assert!(direction.hop_ns != 0 && direction.hop_dst != [0; 6], "the next hop was found: {direction:?}");
    }
    assert_eq!([SpliceOutcome::NoHop, SpliceOutcome::Unwritable].map(|o| wire.count(o)), [0, 0]);
    wire.client.shutdown(Shutdown::Write).expect("the client ends");
    ends(&wire.backend);
    transfer(&wire.backend, &wire.client, b"half-closed");
    assert_eq!(wire.record().state, ACTIVE);
    wire.backend.shutdown(Shutdown::Write).expect("the backend ends");
    ends(&wire.client);
    assert_eq!(wire.record().state, CLOSING);
    // Our sockets took no byte of all that, and what they still said was not sent.
    for stream in [&wire.front, &wire.back] {
        stream.set_nonblocking(true).expect("an option is set");
        let error = (&mut &*stream).read(&mut [0]).expect_err("nothing came");
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    }
    let silenced = wire.count(SpliceOutcome::Silenced);
    (&wire.front).write_all(b"not a word").expect("the local stack takes it");
    let begun = Instant::now();
    while wire.count(SpliceOutcome::Silenced) == silenced {
        assert!(begun.elapsed() < Duration::from_secs(5), "what the local stack sends is dropped");
        std::thread::sleep(Duration::from_millis(10));
    }
}

const V4: [&str; 4] = ["10.81.1.1", "10.81.1.2", "10.81.2.2", "10.81.2.1"];
const V6: [&str; 4] = ["fd81:1::1", "fd81:1::2", "fd81:2::2", "fd81:2::1"];

#[test]
fn connections_are_joined_where_forwarding_is_off() {
    check(V4, "0");
    check(V6, "0");
}

#[test]
fn connections_are_joined_on_a_router() {
    check(V4, "1");
    check(V6, "1");
}

/// A byte has come past the programs, and the answer comes before our stack says that it has the byte: what it says then is not
/// let out, and the byte is repeated to the backend.
fn check_repeated(addresses: [&str; 4]) {
    let (mut wire, conn) = begun(addresses, "1");
    wire.run_past(b"more");
    wire.hand_off(conn);
    let mut request = vec![0; REQUEST.len()];
    (&wire.backend).read_exact(&mut request).expect("the request comes");
    transfer(&wire.backend, &wire.client, b"HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!((wire.record().state, wire.count(SpliceOutcome::Activated)), (ACTIVE, 1));
    // It carries an acknowledgement of all that we have.
    (&wire.front).write_all(b"not a word").expect("the local stack takes it");
    let mut more = [0; 4];
    (&wire.backend).read_exact(&mut more).expect("the client repeats it");
    assert_eq!(&more, b"more");
    assert!(wire.count(SpliceOutcome::Silenced) >= 1);
    transfer(&wire.backend, &wire.client, b"and back");
    transfer(&wire.client, &wire.backend, b"and forth");
    assert_eq!([SpliceOutcome::NoHop, SpliceOutcome::Unwritable].map(|o| wire.count(o)), [0, 0]);
}

/// A byte has come past the programs, and our stack says so before the answer comes: userspace has the pair, and the byte.
fn check_given_up(addresses: [&str; 4]) {
    let (mut wire, conn) = begun(addresses, "1");
    wire.run_past(b"more");
    wire.hand_off(conn);
    transfer(&wire.front, &wire.client, b"x");
    assert_eq!((wire.record().state, wire.count(SpliceOutcome::Refused)), (DIRTY, 1));
    let mut request = vec![0; REQUEST.len()];
    (&wire.backend).read_exact(&mut request).expect("the request comes");
    transfer(&wire.backend, &wire.back, b"HTTP/1.1 200 OK\r\n\r\n");
    let mut more = [0; 4];
    (&wire.front).read_exact(&mut more).expect("it is here");
    assert_eq!(&more, b"more");
    assert_eq!([SpliceOutcome::Activated, SpliceOutcome::Up, SpliceOutcome::Down].map(|o| wire.count(o)), [0; 3]);
}

#[test]
fn a_byte_that_came_past_the_programs_is_repeated_when_it_is_not_acknowledged() {
    check_repeated(V4);
    check_repeated(V6);
}

#[test]
fn a_byte_that_came_past_the_programs_is_userspaces_when_it_is_acknowledged() {
    check_given_up(V4);
    check_given_up(V6);
}
