//! What the kernel tells of a TCP connection, and closing or resetting one without its say: `TCP_REPAIR`.
//!
//! Owns: the options and requests of sockets that no safe crate offers, and the layout of `TCP_INFO`. Goes in: sockets.
//! Comes out: an [`End`], sequence numbers, closed sockets, resets on the wire.
//! Does not do: deciding whether two connections can be joined (`lb_core::handoff::join`).
//!
//! A socket in repair mode sends nothing, and closing it tells the peer nothing (kernel 3.5, needs `CAP_NET_ADMIN`).
//! It is left with -1, since leaving it with 0 sends a window probe (kernel 4.18).

#![allow(unsafe_code, reason = "options and requests of sockets are given by address")]

use lb_core::handoff::join::End;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};
use std::io;
use std::mem::size_of;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

/// Values of `TCP_REPAIR` (`linux/tcp.h`).
const REPAIR_ON: i32 = 1;
const REPAIR_OFF_NO_PROBE: i32 = -1;

/// Values of `TCP_REPAIR_QUEUE`.
const RECEIVE_QUEUE: i32 = 1;
const SEND_QUEUE: i32 = 2;

/// Flags of `tcpi_options`.
const TIMESTAMPS: u8 = 1;
const SACK: u8 = 2;
const ECN: u8 = 8;
const MICROSECONDS: u8 = 64;

/// `TCP_ESTABLISHED` of `tcpi_state`.
const ESTABLISHED: u8 = 1;

/// `TCP_AO_INFO` (kernel 6.7), which libc does not have.
const AO_INFO: i32 = 40;

/// Longest name of an upper-layer protocol (`TCP_ULP_NAME_MAX`).
const ULP_NAME_MAX: usize = 16;

/// `struct tcp_info` as far as we read it; the kernel gives as much as there is room for.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct Info {
    state: u8,
    ca_state: u8,
    retransmits: u8,
    probes: u8,
    backoff: u8,
    options: u8,
    /// Low nibble: their scale. High nibble: ours.
    scales: u8,
    flags: u8,
    times: [u32; 2],
    snd_mss: u32,
    rcv_mss: u32,
    packets: [u32; 5],
    last: [u32; 4],
    pmtu: u32,
    metrics: [u32; 5],
    advmss: u32,
}

/// What a socket says of its connection. Nothing of it changes by asking. The interface is left open.
pub(super) fn end(socket: BorrowedFd<'_>) -> io::Result<End> {
    let outline = outline(socket)?;
    if outline.special {
        return Ok(outline);
    }
    let (snd_nxt, rcv_nxt) = numbers(socket)?;
    Ok(End { snd_nxt, rcv_nxt, ..outline })
}

/// Whether repair mode is allowed in the network namespace of this thread, tried on a socket that is dropped.
pub(super) fn try_mode() -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    set(socket.as_fd(), libc::TCP_REPAIR, REPAIR_ON)?;
    set(socket.as_fd(), libc::TCP_REPAIR, REPAIR_OFF_NO_PROBE)
}

/// As [`end`], but for the sequence numbers.
pub(super) fn outline(socket: BorrowedFd<'_>) -> io::Result<End> {
    let sock = SockRef::from(&socket);
    let address =
        |address: SockAddr| address.as_socket().ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
    let (local, peer) = (address(sock.local_addr()?)?, address(sock.peer_addr()?)?);
    if is_special(socket)? {
        // It need not have the options that are asked for below, and what they say does not matter.
        return Ok(special(local, peer));
    }
    let info: Info = get(socket, libc::TCP_INFO)?;
    Ok(End {
        local,
        peer,
        established: info.state == ESTABLISHED,
        snd_nxt: 0,
        rcv_nxt: 0,
        unacknowledged: request(socket, libc::TIOCOUTQ)?,
        unread: unread(socket)?,
        timestamps: info.options & TIMESTAMPS != 0,
        microseconds: info.options & MICROSECONDS != 0,
        sack: info.options & SACK != 0,
        ecn: info.options & ECN != 0,
        special: false,
        snd_scale: info.scales & 0xf,
        rcv_scale: info.scales >> 4,
        mss_out: info.snd_mss,
        mss_in: info.advmss,
        clock: get(socket, libc::TCP_TIMESTAMP)?,
        ifindex: 0,
    })
}

/// A connection that cannot be joined, whatever else there is to it.
fn special(local: SocketAddr, peer: SocketAddr) -> End {
    End {
        local,
        peer,
        established: true,
        snd_nxt: 0,
        rcv_nxt: 0,
        unacknowledged: 0,
        unread: 0,
        timestamps: false,
        microseconds: false,
        sack: false,
        ecn: false,
        special: true,
        snd_scale: 0,
        rcv_scale: 0,
        mss_out: 0,
        mss_in: 0,
        clock: 0,
        ifindex: 0,
    }
}

/// Sequence numbers of the next byte that we write, and of the next that comes.
fn numbers(socket: BorrowedFd<'_>) -> io::Result<(u32, u32)> {
    set(socket, libc::TCP_REPAIR, REPAIR_ON)?;
    let read = || {
        set(socket, libc::TCP_REPAIR_QUEUE, SEND_QUEUE)?;
        let snd_nxt = get(socket, libc::TCP_QUEUE_SEQ)?;
        // The queue stays chosen after repair mode, so that `next_in` costs one call.
        set(socket, libc::TCP_REPAIR_QUEUE, RECEIVE_QUEUE)?;
        Ok((snd_nxt, next_in(socket)?))
    };
    let numbers = read();
    set(socket, libc::TCP_REPAIR, REPAIR_OFF_NO_PROBE)?;
    // Leaving repair mode forbids others to bind to the port, which is more than was forbidden before.
    SockRef::from(&socket).set_reuse_address(true)?;
    numbers
}

/// Sequence number of the next byte that comes, of a socket that [`end`] has read.
pub(super) fn next_in(socket: BorrowedFd<'_>) -> io::Result<u32> {
    get(socket, libc::TCP_QUEUE_SEQ)
}

/// Bytes that wait to be read.
pub(super) fn unread(socket: BorrowedFd<'_>) -> io::Result<u32> {
    request(socket, libc::FIONREAD)
}

/// Whether bytes are not what they seem: Multipath TCP, TCP-AO, or TLS and its like in the kernel. TCP-MD5 does not show,
/// but takes a key that no socket of this process is given: with a peer that has one there is no connection (RFC 2385).
fn is_special(socket: BorrowedFd<'_>) -> io::Result<bool> {
    if SockRef::from(&socket).protocol()? != Some(Protocol::TCP) {
        return Ok(true);
    }
    let mut name = [0u8; ULP_NAME_MAX];
    let named = get_bytes(socket, libc::TCP_ULP, &mut name)? > 0;
    // `struct tcp_ao_info_opt` begins with flags; ENOENT: none on this socket, ENOPROTOOPT: an earlier kernel.
    let mut info = [0u8; 48];
    let signed = match get_bytes(socket, AO_INFO, &mut info) {
        Ok(_) => true,
        Err(error) => !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOPROTOOPT | libc::EOPNOTSUPP)),
    };
    Ok(named || signed)
}

/// Ends a connection without a sign to its peer, whoever else holds the socket: its 4-tuple is free at once.
pub(super) fn silence(socket: BorrowedFd<'_>) -> io::Result<()> {
    set(socket, libc::TCP_REPAIR, REPAIR_ON)?;
    let nowhere = libc::sockaddr { sa_family: libc::AF_UNSPEC as libc::sa_family_t, sa_data: [0; 14] };
    // SAFETY: the kernel reads an address of that length, which is `nowhere`.
    done(unsafe {
        libc::connect(socket.as_raw_fd(), &raw const nowhere, size_of::<libc::sockaddr>() as libc::socklen_t)
    })
}

/// A TCP connection as seen from one of our ends, for a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dead {
    pub local: SocketAddr,
    pub peer: SocketAddr,
    /// Sequence number that the peer expects.
    pub seq: u32,
    /// Sequence number that we expect.
    pub ack: u32,
}

/// Sends a reset as if there were a socket with these numbers. The address need not be one of this machine.
pub(super) fn reset(dead: &Dead) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(dead.peer), Type::STREAM, Some(Protocol::TCP))?;
    let fd = socket.as_fd();
    // In repair mode a bind minds no other socket, and a connect sends nothing.
    set(fd, libc::TCP_REPAIR, REPAIR_ON)?;
    if dead.local.is_ipv4() {
        socket.set_ip_transparent_v4(true)?;
    } else {
        socket.set_ip_transparent_v6(true)?;
    }
    socket.bind(&dead.local.into())?;
    for (queue, number) in [(SEND_QUEUE, dead.seq), (RECEIVE_QUEUE, dead.ack)] {
        set(fd, libc::TCP_REPAIR_QUEUE, queue)?;
        set(fd, libc::TCP_QUEUE_SEQ, number.cast_signed())?;
    }
    socket.connect(&dead.peer.into())?;
    socket.set_linger(Some(Duration::ZERO))?;
    set(fd, libc::TCP_REPAIR, REPAIR_OFF_NO_PROBE)
}

/// The clock that records and programs count by.
pub(super) fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a whole `timespec` that the kernel writes; the clock is there on every Linux, so it cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

fn set(socket: BorrowedFd<'_>, name: i32, value: i32) -> io::Result<()> {
    let (at, len) = (std::ptr::from_ref(&value).cast(), size_of::<i32>() as libc::socklen_t);
    // SAFETY: the kernel reads `len` bytes at `at`, which is `value`.
    done(unsafe { libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, name, at, len) })
}

/// What [`get`] may fill: every pattern of bits is a value.
trait Answer: Default + Copy {}
impl Answer for u32 {}
impl Answer for Info {}

fn get<T: Answer>(socket: BorrowedFd<'_>, name: i32) -> io::Result<T> {
    let mut value = T::default();
    let mut len = size_of::<T>() as libc::socklen_t;
    let at = (&raw mut value).cast();
    // SAFETY: the kernel writes at most `len` bytes at `at`, which is `value`, and `Answer` takes any bits.
    done(unsafe { libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, name, at, &raw mut len) })?;
    Ok(value)
}

/// How many bytes the kernel wrote.
fn get_bytes(socket: BorrowedFd<'_>, name: i32, bytes: &mut [u8]) -> io::Result<usize> {
    let mut len = bytes.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes at the beginning of `bytes`.
    done(unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, name, bytes.as_mut_ptr().cast(), &raw mut len)
    })?;
    Ok(len as usize)
}

/// A request whose answer is a number of bytes.
fn request(socket: BorrowedFd<'_>, name: libc::c_ulong) -> io::Result<u32> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: FIONREAD and TIOCOUTQ write one `int` at the address.
    done(unsafe { libc::ioctl(socket.as_raw_fd(), name, &raw mut bytes) })?;
    Ok(bytes.unsigned_abs())
}

fn done(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
