//! The least of rtnetlink (rtnetlink(7)): requests with an answer, dumps, and news of a group.
//!
//! Owns: sockets, and the form of messages and attributes. Goes in: a [`Message`]. Comes out: bodies of answers.
//! Does not do: what a message means (`links`, `clsact`).

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

/// Longest datagram that a dump sends (kernel 6.18, `netlink_dump`: 32 KB at most).
const DATAGRAM_MAX: usize = 32 * 1024;

/// How long the kernel may take over one answer; it answers within the call unless it has no memory.
const ANSWER_SECONDS_MAX: i64 = 5;

/// `struct nlmsghdr`.
const HEAD: usize = 16;

const ERROR: u16 = libc::NLMSG_ERROR as u16;
const DONE: u16 = libc::NLMSG_DONE as u16;

/// A socket in the network namespace in which it was opened.
#[derive(Debug)]
pub(in crate::kernel) struct Socket {
    fd: OwnedFd,
    sequence: AtomicU32,
}

/// A message from the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::kernel) struct Answer {
    /// `RTM_…`.
    pub kind: u16,
    /// After the head.
    pub body: Vec<u8>,
}

impl Socket {
    /// A socket for requests. One request at a time: the caller sees to that.
    pub fn open() -> io::Result<Self> {
        let socket = Self::new(SockProtocol::NetlinkRoute, SockFlag::SOCK_CLOEXEC, 0)?;
        setsockopt(&socket.fd, sockopt::ReceiveTimeout, &TimeVal::new(ANSWER_SECONDS_MAX, 0))?;
        Ok(socket)
    }

    /// As [`open`](Self::open), for the families of generic netlink.
    pub fn open_generic() -> io::Result<Self> {
        let socket = Self::new(SockProtocol::NetlinkGeneric, SockFlag::SOCK_CLOEXEC, 0)?;
        setsockopt(&socket.fd, sockopt::ReceiveTimeout, &TimeVal::new(ANSWER_SECONDS_MAX, 0))?;
        Ok(socket)
    }

    /// A socket that hears news of these groups (a mask of `RTMGRP_…`).
    pub fn listen(groups: u32) -> io::Result<Self> {
        Self::new(SockProtocol::NetlinkRoute, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, groups)
    }

    fn new(protocol: SockProtocol, flags: SockFlag, groups: u32) -> io::Result<Self> {
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(Self { fd, sequence: AtomicU32::new(0) })
    }

    /// Sends a request and waits until the kernel says that it is done.
    pub fn request(&self, message: Message) -> io::Result<()> {
        self.ask(message).map(drop)
    }

    /// Sends a request for one thing.
    pub fn ask(&self, message: Message) -> io::Result<Vec<Answer>> {
        self.exchange(message, libc::NLM_F_ACK as u16)
    }

    /// Sends a request for all of something.
    pub fn dump(&self, message: Message) -> io::Result<Vec<Answer>> {
        self.exchange(message, libc::NLM_F_DUMP as u16)
    }

    /// News that have come; none when there are no more. `ENOBUFS`: some were lost.
    pub fn news(&self) -> io::Result<Vec<Answer>> {
        let mut buffer = vec![0; DATAGRAM_MAX];
        match recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(length) => Ok(messages(&buffer[..length]).map(|(_, answer)| answer).collect()),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(Vec::new()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn exchange(&self, message: Message, flags: u16) -> io::Result<Vec<Answer>> {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        send(self.fd.as_raw_fd(), &message.finish(flags, sequence), MsgFlags::empty())?;
        let (mut answers, mut buffer) = (Vec::new(), vec![0; DATAGRAM_MAX]);
        loop {
            let length = match recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Err(Errno::EINTR) => continue,
                other => other?,
            };
            // An answer to an earlier request, which failed half-way, has another number.
            for (_, answer) in messages(&buffer[..length]).filter(|(number, _)| *number == sequence) {
                match answer.kind {
                    ERROR => return done(&answer.body).map(|()| answers),
                    // A dump says at its end whether it went well; an old kernel says nothing.
                    DONE if answer.body.is_empty() => return Ok(answers),
                    DONE => return done(&answer.body).map(|()| answers),
                    _ => answers.push(answer),
                }
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The number at the beginning of an answer of kind `NLMSG_ERROR`: 0 or a negative error.
fn done(body: &[u8]) -> io::Result<()> {
    match number(body, 0).map(|code| code as i32) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(code.wrapping_neg())),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The messages of a datagram with their sequence numbers; ends at the first that is not whole.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u32, Answer)> {
    std::iter::from_fn(move || {
        let (length, sequence) = (number(bytes, 0)? as usize, number(bytes, 8)?);
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        let body = bytes.get(HEAD..length)?.to_vec();
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((sequence, Answer { kind, body }))
    })
}

/// A message that is being written.
#[derive(Debug)]
pub(in crate::kernel) struct Message(Vec<u8>);

impl Message {
    /// Of this kind (`RTM_…`) with these flags (`NLM_F_…`), and the fixed part of its body.
    pub fn new(kind: u16, flags: i32, body: &[u8]) -> Self {
        let mut bytes = vec![0; HEAD];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags as u16 | libc::NLM_F_REQUEST as u16).to_ne_bytes());
        bytes.extend_from_slice(body);
        Self(bytes)
    }

    /// Adds an attribute.
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        // No value of ours comes near the 64 KB that a length can say.
        self.0.extend_from_slice(&((4 + value.len()) as u16).to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Adds an attribute that holds those of `inner`, a message without a body.
    pub fn nested(self, kind: u16, inner: Self) -> Self {
        self.attribute(kind | libc::NLA_F_NESTED as u16, &inner.0[HEAD..])
    }

    fn finish(mut self, flags: u16, sequence: u32) -> Vec<u8> {
        let flags = u16::from_ne_bytes([self.0[6], self.0[7]]) | flags;
        let length = self.0.len() as u32;
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0[6..8].copy_from_slice(&flags.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }
}

/// The attributes in these bytes; ends at the first that is not whole.
pub(in crate::kernel) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & libc::NLA_TYPE_MASK as u16;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// A 32-bit number at an offset, in the byte order of the machine.
pub(in crate::kernel) fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Text that ends with a zero byte.
pub(in crate::kernel) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let inner = Message::new(0, 0, &[]).attribute(7, b"abc\0").attribute(6, &5u32.to_ne_bytes());
        let message = Message::new(44, libc::NLM_F_CREATE, &[1, 2, 3, 4]).attribute(1, b"bpf\0").nested(2, inner);
        let bytes = message.finish(libc::NLM_F_ACK as u16, 9);
        assert_eq!(bytes.len() % 4, 0);
        let (sequence, answer) = messages(&bytes).next().expect("one message");
        assert_eq!((sequence, answer.kind, &answer.body[..4]), (9, 44, &[1, 2, 3, 4][..]));
        let found: Vec<_> = attributes(&answer.body[4..]).collect();
        assert_eq!((found[0], found[1].0), ((1, &b"bpf\0"[..]), 2));
        let inner: Vec<_> = attributes(found[1].1).collect();
        assert_eq!((text(inner[0].1).as_str(), number(inner[1].1, 0)), ("abc", Some(5)));
    }

    #[test]
    fn what_is_not_whole_ends_the_list_without_a_panic() {
        for bytes in [&[][..], &[1], &[0; 4], &[3, 0, 1, 0], &[255, 255, 1, 0, 0], &[0; 16], &[255; 20]] {
            assert_eq!(attributes(bytes).filter(|(_, value)| !value.is_empty()).count(), 0, "{bytes:?}");
            assert_eq!(messages(bytes).count(), 0, "{bytes:?}");
        }
        assert_eq!(done(&[]).expect_err("no number").kind(), io::ErrorKind::InvalidData);
        assert_eq!(done(&(-17i32).to_ne_bytes()).expect_err("EEXIST").raw_os_error(), Some(17));
    }
}
