//! By which interface an address is reached, as the kernel's routes say.
//!
//! Owns: asking, and remembering answers for a moment. Goes in: a peer and our address. Comes out: an interface's index.
//! Does not do: following changes of routes; what is remembered is forgotten soon.

use super::carrier::netlink::{Message, Socket, attributes, number};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long an answer holds. The programs look routes up themselves; this one only says whether they are there.
const FRESH: Duration = Duration::from_secs(1);

/// Answers that are remembered; more clients than that ask the kernel each time, which takes some 5 µs.
const REMEMBERED_MAX: usize = 1_024;

/// Size of `struct rtmsg`.
const HEAD: usize = 12;

/// `RTA_DST`, `RTA_SRC` and `RTA_OIF` of `linux/rtnetlink.h`.
const DESTINATION: u16 = 1;
const SOURCE: u16 = 2;
const INTERFACE: u16 = 4;

/// The routes of the network namespace in which it was opened.
#[derive(Debug)]
pub(super) struct Routes {
    asked: Mutex<Asked>,
}

#[derive(Debug)]
struct Asked {
    socket: Socket,
    answers: HashMap<(IpAddr, Option<IpAddr>), (u32, Instant)>,
}

impl Routes {
    pub fn open() -> io::Result<Self> {
        Ok(Self { asked: Mutex::new(Asked { socket: Socket::open()?, answers: HashMap::new() }) })
    }

    /// The interface by which packets to `peer` leave, from `local` where that is known. An address of this machine is reached by loopback.
    pub fn interface(&self, peer: IpAddr, local: Option<IpAddr>) -> io::Result<u32> {
        let (key, now) = ((peer.to_canonical(), local.map(|local| local.to_canonical())), Instant::now());
        // A thread that panicked while it held the lock left at worst one answer out.
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((interface, until)) = asked.answers.get(&key)
            && now < *until
        {
            return Ok(*interface);
        }
        let interface = ask(&asked.socket, key)?;
        if asked.answers.len() >= REMEMBERED_MAX {
            asked.answers.clear();
        }
        asked.answers.insert(key, (interface, now + FRESH));
        Ok(interface)
    }
}

fn ask(socket: &Socket, (peer, local): (IpAddr, Option<IpAddr>)) -> io::Result<u32> {
    let family = if peer.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 } as u8;
    let (peer, local) = (octets(peer), local.map(octets).unwrap_or_default());
    // `struct rtmsg`: family, and the lengths of both prefixes.
    let (peer_bits, local_bits) = (8 * peer.len() as u8, 8 * local.len() as u8);
    let body = [family, peer_bits, local_bits, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut message = Message::new(libc::RTM_GETROUTE, 0, &body).attribute(DESTINATION, &peer);
    if !local.is_empty() {
        message = message.attribute(SOURCE, &local);
    }
    let answers = socket.ask(message)?;
    let route = answers.iter().find(|answer| answer.kind == libc::RTM_NEWROUTE);
    let attributes = route.map(|route| attributes(route.body.get(HEAD..).unwrap_or_default()));
    let interface = attributes.into_iter().flatten().find(|(kind, _)| *kind == INTERFACE);
    interface.and_then(|(_, value)| number(value, 0)).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}
