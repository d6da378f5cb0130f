//! The interfaces of a network namespace: which there are, and news of them.
//!
//! Owns: reading rtnetlink's messages about links. Goes in: a socket. Comes out: [`Link`]s and [`News`].
//! Does not do: deciding which carry our programs (`attach`).

use super::netlink::{Answer, Message, Socket, attributes, number, text};
use std::io;

/// `struct ifinfomsg`.
const BODY: usize = 16;

/// Masks of groups (`linux/rtnetlink.h`).
const GROUP_LINK: u32 = libc::RTMGRP_LINK as u32;
const GROUP_TC: u32 = libc::RTMGRP_TC as u32;

/// Ask for no statistics, which are most of an answer (`RTEXT_FILTER_SKIP_STATS`).
const SKIP_STATS: u32 = 1 << 3;

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub index: u32,
    pub name: String,
    pub is_up: bool,
    pub is_loopback: bool,
    /// Its frames begin with an Ethernet header, which our programs need.
    pub is_ethernet: bool,
}

/// Something changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// An interface is new, or is other than it was.
    Changed(Link),
    /// An interface is gone from this namespace.
    Gone(u32),
    /// Filters of an interface are other than they were.
    Filters(u32),
    /// What the driver of an interface can do is other than it was.
    Driver(u32),
    /// So much changed that the kernel does not say what.
    Lost,
}

/// A socket that hears of links, and of filters when `filters`.
pub(super) fn listen(filters: bool) -> io::Result<Socket> {
    Socket::listen(if filters { GROUP_LINK | GROUP_TC } else { GROUP_LINK })
}

/// All interfaces.
pub(super) fn list(socket: &Socket) -> io::Result<Vec<Link>> {
    let message = Message::new(libc::RTM_GETLINK, 0, &[0; BODY]);
    let answers = socket.dump(message.attribute(libc::IFLA_EXT_MASK, &SKIP_STATS.to_ne_bytes()))?;
    Ok(answers.iter().filter_map(|answer| link(&answer.body)).collect())
}

/// What has changed since the last call; empty when nothing has.
pub(super) fn news(socket: &Socket) -> io::Result<Vec<News>> {
    match socket.news() {
        Ok(answers) => Ok(answers.iter().filter_map(one).collect()),
        Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(vec![News::Lost]),
        Err(error) => Err(error),
    }
}

fn one(answer: &Answer) -> Option<News> {
    match answer.kind {
        libc::RTM_NEWLINK => link(&answer.body).map(News::Changed),
        libc::RTM_DELLINK => link(&answer.body).map(|link| News::Gone(link.index)),
        // `struct tcmsg` has the interface at the same place.
        libc::RTM_DELTFILTER | libc::RTM_DELQDISC => number(&answer.body, 4).map(News::Filters),
        _ => None,
    }
}

/// A message of a bridge about its port is none about the interface: a port that leaves is not gone.
fn link(body: &[u8]) -> Option<Link> {
    if i32::from(*body.first()?) != libc::AF_UNSPEC {
        return None;
    }
    let kind = u16::from_ne_bytes(body.get(2..4)?.try_into().ok()?);
    let flags = number(body, 8)?;
    let is = |flag: libc::c_int| flags & flag as u32 != 0;
    let name = attributes(body.get(BODY..)?).find(|(kind, _)| *kind == libc::IFLA_IFNAME);
    Some(Link {
        index: number(body, 4)?,
        name: name.map(|(_, value)| text(value)).unwrap_or_default(),
        is_up: is(libc::IFF_UP),
        is_loopback: is(libc::IFF_LOOPBACK),
        is_ethernet: kind == libc::ARPHRD_ETHER,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(family: u8) -> Vec<u8> {
        let mut body = vec![family, 0];
        body.extend(libc::ARPHRD_ETHER.to_ne_bytes());
        body.extend(7u32.to_ne_bytes());
        body.extend((libc::IFF_UP as u32).to_ne_bytes());
        body.extend([0; 4]);
        body.extend(9u16.to_ne_bytes());
        body.extend(libc::IFLA_IFNAME.to_ne_bytes());
        body.extend(b"eth0\0\0\0\0");
        body
    }

    #[test]
    fn a_link_is_read_and_a_message_of_a_bridge_is_not() {
        let expected = Link { index: 7, name: "eth0".to_owned(), is_up: true, is_loopback: false, is_ethernet: true };
        let said = |kind, family| one(&Answer { kind, body: body(family) });
        assert_eq!(said(libc::RTM_NEWLINK, 0), Some(News::Changed(expected)));
        assert_eq!(said(libc::RTM_DELLINK, 0), Some(News::Gone(7)));
        assert_eq!(said(libc::RTM_DELLINK, libc::AF_BRIDGE as u8), None);
        assert_eq!(said(libc::RTM_NEWADDR, 0), None);
        for length in 0..BODY {
            assert_eq!(link(&body(0)[..length]), None);
        }
    }
}
