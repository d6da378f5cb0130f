//! Which interfaces can run a program in the driver and take redirected frames, as the drivers say.
//!
//! Owns: the question to the generic netlink family `netdev` (kernel 6.3). Goes in: nothing. Comes out: answers by index.
//! Does not do: trying it, which stops some drivers for a moment (`attach`).

use super::netlink::{Message, Socket, attributes, number};
use std::collections::HashMap;
use std::io;

/// `GENL_ID_CTRL`, `CTRL_CMD_GETFAMILY` and its attributes (`linux/genetlink.h`).
const CONTROL: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

/// `NETDEV_CMD_DEV_GET` and its attributes (`linux/netdev.h`).
const DEVICE_GET: u8 = 1;
const DEVICE_INDEX: u16 = 1;
const DEVICE_XDP: u16 = 3;

/// `NETDEV_XDP_ACT_BASIC | NETDEV_XDP_ACT_REDIRECT`.
const NEEDED: u32 = 1 | 2;

/// Size of `struct genlmsghdr`.
const HEAD: usize = 4;

/// Whether an interface can, by index. An error where the kernel does not know the question.
pub(super) fn with_xdp() -> io::Result<HashMap<u32, bool>> {
    let socket = Socket::open_generic()?;
    let message = Message::new(CONTROL, 0, &[GET_FAMILY, 1, 0, 0]).attribute(FAMILY_NAME, b"netdev\0");
    let answers = socket.ask(message)?;
    let family =
        answers.iter().find_map(|answer| value(&answer.body, FAMILY_ID)?.try_into().ok().map(u16::from_ne_bytes));
    let family = family.ok_or(io::ErrorKind::Unsupported)?;
    let answers = socket.dump(Message::new(family, 0, &[DEVICE_GET, 1, 0, 0]))?;
    let one = |body: &[u8]| {
        // A number of 64 bits, of which the lower ones matter.
        let features = value(body, DEVICE_XDP).and_then(|value| Some(u64::from_ne_bytes(value.try_into().ok()?)))?;
        Some((number(value(body, DEVICE_INDEX)?, 0)?, features as u32 & NEEDED == NEEDED))
    };
    Ok(answers.iter().filter_map(|answer| one(&answer.body)).collect())
}

fn value(body: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(body.get(HEAD..)?).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}
