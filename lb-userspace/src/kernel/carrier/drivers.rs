//! What drivers can do in XDP, as they say themselves (generic netlink, family `netdev`, kernel 6.3).
//!
//! Owns: the messages of that family. Goes in: an interface. Comes out: whether it takes frames that are redirected to it,
//! and news of that. Does not do: acting on it (`attach`).
//!
//! A driver without `ndo_xdp_xmit` drops what is redirected to it, and no program is told. A veth takes frames only while
//! its peer runs a program in XDP or has GRO switched on, so the answer may change at any time.

use super::links::News;
use super::netlink::{Answer, Message, Socket, attributes, number, text};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// `struct genlmsghdr`: command, version, two bytes reserved.
const HEAD: usize = 4;

/// `CTRL_ATTR_MCAST_GRP_…` (`linux/genetlink.h`).
const GROUP_NAME: u16 = libc::CTRL_ATTR_MCAST_GRP_NAME as u16;
const GROUP_ID: u16 = libc::CTRL_ATTR_MCAST_GRP_ID as u16;

/// Of `linux/netdev.h`.
const FAMILY: &str = "netdev";
const GROUP: &str = "mgmt";
const VERSION: u8 = 1;
const DEV_GET: u8 = 1;
const DEV_CHANGED: u8 = 4;
const IFINDEX: u16 = 1;
const XDP_FEATURES: u16 = 3;
/// `NETDEV_XDP_ACT_BASIC | NETDEV_XDP_ACT_REDIRECT`.
const RUNS_PROGRAMS: u32 = 1 | 1 << 1;
/// `NETDEV_XDP_ACT_NDO_XMIT`.
const TAKES_FRAMES: u32 = 1 << 2;

/// The family, as this kernel numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Numbers {
    family: u16,
    group: u32,
}

/// Asks drivers.
pub(super) struct Drivers {
    socket: Socket,
    numbers: Numbers,
    news: Socket,
}

impl Drivers {
    /// In the network namespace of this thread.
    ///
    /// # Errors
    ///
    /// `NotFound` where the kernel has no such family; of the system calls.
    pub fn open() -> io::Result<Self> {
        let socket = Socket::open_generic()?;
        let question = Message::new(libc::GENL_ID_CTRL as u16, 0, &head(libc::CTRL_CMD_GETFAMILY as u8, VERSION));
        let name = format!("{FAMILY}\0");
        let answers = socket.ask(question.attribute(libc::CTRL_ATTR_FAMILY_NAME as u16, name.as_bytes()))?;
        let numbers = answers.iter().find_map(|answer| numbers(&answer.body)).ok_or(io::ErrorKind::NotFound)?;
        // Before anybody is asked, so that no change is missed.
        let news = Socket::listen_generic(numbers.group)?;
        Ok(Self { socket, numbers, news })
    }

    /// Whether an interface takes frames that are redirected to it.
    pub fn takes_frames(&self, index: u32) -> io::Result<bool> {
        Ok(self.features(index)? & TAKES_FRAMES != 0)
    }

    /// Whether an interface runs a program that redirects, in its driver.
    pub fn runs_programs(&self, index: u32) -> io::Result<bool> {
        Ok(self.features(index)? & RUNS_PROGRAMS == RUNS_PROGRAMS)
    }

    fn features(&self, index: u32) -> io::Result<u32> {
        let question = Message::new(self.numbers.family, 0, &head(DEV_GET, VERSION));
        let answers = self.socket.ask(question.attribute(IFINDEX, &index.to_ne_bytes()))?;
        Ok(answers.iter().find_map(|answer| device(&answer.body)).map_or(0, |(_, features)| features))
    }

    /// What has changed since the last call; empty when nothing has.
    pub fn news(&self) -> io::Result<Vec<News>> {
        match self.news.news() {
            Ok(answers) => Ok(answers.iter().filter_map(one).collect()),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(vec![News::Lost]),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Drivers {
    /// Readable when there are news.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.news.as_fd()
    }
}

const fn head(command: u8, version: u8) -> [u8; HEAD] {
    [command, version, 0, 0]
}

fn one(answer: &Answer) -> Option<News> {
    // What comes and goes is heard by rtnetlink.
    if *answer.body.first()? != DEV_CHANGED {
        return None;
    }
    device(&answer.body).map(|(index, _)| News::Driver(index))
}

/// An interface, and what its driver can do.
fn device(body: &[u8]) -> Option<(u32, u32)> {
    let value = |wanted| attributes(body.get(HEAD..)?).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let features = value(XDP_FEATURES).and_then(low);
    Some((number(value(IFINDEX)?, 0)?, features.unwrap_or(0)))
}

/// The lower half of a number of 64 bits.
fn low(value: &[u8]) -> Option<u32> {
    Some(u64::from_ne_bytes(value.get(..8)?.try_into().ok()?) as u32)
}

fn numbers(body: &[u8]) -> Option<Numbers> {
    let all = || attributes(body.get(HEAD..).unwrap_or_default());
    let (_, family) = all().find(|(kind, _)| *kind == libc::CTRL_ATTR_FAMILY_ID as u16)?;
    let (_, groups) = all().find(|(kind, _)| *kind == libc::CTRL_ATTR_MCAST_GROUPS as u16)?;
    let id = |group: &[u8]| {
        let value = |wanted| attributes(group).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
        (text(value(GROUP_NAME)?) == GROUP).then(|| number(value(GROUP_ID)?, 0))?
    };
    let group = attributes(groups).find_map(|(_, group)| id(group))?;
    Some(Numbers { family: u16::from_ne_bytes(family.get(..2)?.try_into().ok()?), group })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(command: u8, features: u64) -> Vec<u8> {
        let mut body = head(command, VERSION).to_vec();
        body.extend(8u16.to_ne_bytes().into_iter().chain(IFINDEX.to_ne_bytes()).chain(7u32.to_ne_bytes()));
        body.extend(12u16.to_ne_bytes().into_iter().chain(XDP_FEATURES.to_ne_bytes()).chain(features.to_ne_bytes()));
        body
    }

    #[test]
    fn what_a_driver_says_is_read() {
        assert_eq!(device(&body(DEV_GET, 0x77)), Some((7, 0x77)));
        assert_eq!(device(&body(DEV_GET, 0x3)), Some((7, 0x3)));
        let said = |command| one(&Answer { kind: 30, body: body(command, 0) });
        assert_eq!(said(DEV_CHANGED), Some(News::Driver(7)));
        assert_eq!(said(DEV_GET), None);
        for length in 0..HEAD + 8 {
            assert_eq!(device(&body(DEV_GET, 0)[..length]), None, "{length} bytes");
            assert_eq!(numbers(&body(DEV_GET, 0)[..length]), None, "{length} bytes");
        }
    }

    /// The loopback has no XDP at all. Kernels before 6.3 have no family.
    #[test]
    fn the_loopback_takes_no_frames() {
        match Drivers::open() {
            Ok(drivers) => assert!(!drivers.takes_frames(1).expect("it is there")),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}"),
        }
    }
}
