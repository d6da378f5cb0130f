//! Filters of the queueing discipline `clsact`, by which programs are attached before kernel 6.6.
//!
//! Owns: the messages about them. Goes in: a program, an interface, the mark of a set. Comes out: that it runs there.
//! Does not do: deciding where (`attach`).
//!
//! A filter survives the agent by itself and has no name in the bpffs. It is found again by its name, which is that of
//! the program, and its handle, which says whose set it belongs to ([`mark`]). The discipline stays when our filters go: others
//! may have found it there and put theirs into it.

use super::links;
use super::netlink::{Answer, Message, Socket, attributes, number, text};
use lb_common::maps::{SILENCE_PROGRAM, SPLICE_PROGRAM};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

/// `TC_H_CLSACT`, and the two places below it (`linux/pkt_sched.h`).
const CLSACT: u32 = 0xffff_fff1;
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;
/// Handle of the discipline itself.
const CLSACT_HANDLE: u32 = 0xffff_0000;

/// `ETH_P_ALL` in network byte order: our programs see every packet and look for themselves.
const ALL_PROTOCOLS: u32 = (libc::ETH_P_ALL as u16).to_be() as u32;

/// Priorities that are tried: the first runs first, and each is of one kind of filter, so others may have taken some.
const PRIORITIES: std::ops::RangeInclusive<u32> = 1..=8;

/// Attributes of a filter of kind `bpf` (`linux/pkt_cls.h`).
const BPF_FD: u16 = 6;
const BPF_NAME: u16 = 7;
const BPF_FLAGS: u16 = 8;
const BPF_ID: u16 = 11;
/// The program's verdict is the action.
const FLAG_ACT_DIRECT: u32 = 1;

/// Which way packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    In,
    Out,
}

impl Way {
    pub const BOTH: [Self; 2] = [Self::In, Self::Out];

    const fn parent(self) -> u32 {
        match self {
            Self::In => INGRESS,
            Self::Out => EGRESS,
        }
    }

    /// The program of this way.
    pub const fn program(self) -> &'static str {
        match self {
            Self::In => SPLICE_PROGRAM,
            Self::Out => SILENCE_PROGRAM,
        }
    }
}

/// A filter of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Filter {
    /// Number of the program that it runs.
    pub program_id: u32,
    priority: u32,
    handle: u32,
}

/// The handle of the filters of a set: 24 bits of a hash of its path (FNV-1a), so that sets of other versions or other pin
/// directories have others, and an agent knows its own without a list.
pub(super) fn mark(set: &Path) -> u32 {
    let bytes = set.as_os_str().as_encoded_bytes();
    let hash = bytes.iter().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    0x5c00_0000 | (hash ^ hash >> 24) & 0x00ff_ffff
}

/// Makes a program run; one of this mark is replaced in one step, so that no packet meets none or both.
pub(super) fn attach(socket: &Socket, index: u32, way: Way, mark: u32, program: BorrowedFd<'_>) -> io::Result<()> {
    if let Some(filter) = find(socket, index, way, mark)? {
        return put(socket, index, way, &filter, program, libc::NLM_F_REPLACE);
    }
    ensure_discipline(socket, index)?;
    let mut outcome = Err(io::ErrorKind::InvalidInput.into());
    for priority in PRIORITIES {
        let filter = Filter { program_id: 0, priority, handle: mark };
        outcome = put(socket, index, way, &filter, program, libc::NLM_F_CREATE | libc::NLM_F_EXCL);
        // Invalid: filters of another kind or for one protocol have this priority.
        if !outcome.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EINVAL)) {
            break;
        }
    }
    outcome
}

/// The filter of a mark, if there is one.
pub(super) fn find(socket: &Socket, index: u32, way: Way, mark: u32) -> io::Result<Option<Filter>> {
    let answers = socket.dump(Message::new(libc::RTM_GETTFILTER, 0, &tcmsg(index, 0, way.parent(), 0)));
    match answers {
        Ok(answers) => Ok(answers.iter().find_map(|answer| ours(answer, way, mark))),
        // No discipline, or a kernel that has none at all: no filter.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EOPNOTSUPP | libc::EINVAL)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Names of the filters that are not of a mark, as far as filters have names, else their kinds: those that run before ours,
/// and the others. Filters run in the order of their priorities.
pub(super) fn names_of_others(
    socket: &Socket,
    index: u32,
    way: Way,
    mark: u32,
) -> io::Result<(Vec<String>, Vec<String>)> {
    let answers = socket.dump(Message::new(libc::RTM_GETTFILTER, 0, &tcmsg(index, 0, way.parent(), 0)))?;
    let ours = answers.iter().find_map(|answer| ours(answer, way, mark)).map(|filter| filter.priority);
    let one = |answer: &Answer| {
        let (handle, info) = (number(&answer.body, 8)?, number(&answer.body, 16)?);
        // The kernel lists each priority once without a filter, with handle 0.
        let is_other = handle != 0 && handle != mark;
        is_other.then_some((ours.is_some_and(|ours| info >> 16 < ours), name(answer)?))
    };
    let (before, after): (Vec<_>, Vec<_>) = answers.iter().filter_map(one).partition(|(before, _)| *before);
    let names = |filters: Vec<(bool, String)>| filters.into_iter().map(|(_, name)| name).collect();
    Ok((names(before), names(after)))
}

fn name(answer: &Answer) -> Option<String> {
    let of = |wanted: u16, bytes| attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let body = answer.body.get(20..)?;
    let kind = of(libc::TCA_KIND, body).map(text).unwrap_or_default();
    let name = of(libc::TCA_OPTIONS, body).filter(|_| kind == "bpf").and_then(|options| of(BPF_NAME, options));
    Some(name.map_or(kind, text))
}

/// Removes the filter of a mark, if there is one. Answers whether there was.
pub(super) fn detach(socket: &Socket, index: u32, way: Way, mark: u32) -> io::Result<bool> {
    let Some(filter) = find(socket, index, way, mark)? else { return Ok(false) };
    socket.request(Message::new(libc::RTM_DELTFILTER, 0, &body(index, way, &filter)))?;
    Ok(true)
}

/// Removes the filters of a mark from all interfaces of this thread's network namespace.
pub(super) fn detach_everywhere(mark: u32) -> io::Result<()> {
    let socket = Socket::open()?;
    for link in links::list(&socket)? {
        for way in Way::BOTH {
            match detach(&socket, link.index, way, mark) {
                // Gone since it was listed.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                other => drop(other?),
            }
        }
    }
    Ok(())
}

fn ensure_discipline(socket: &Socket, index: u32) -> io::Result<()> {
    let message = Message::new(
        libc::RTM_NEWQDISC,
        libc::NLM_F_CREATE | libc::NLM_F_EXCL,
        &tcmsg(index, CLSACT_HANDLE, CLSACT, 0),
    );
    match socket.request(message.attribute(libc::TCA_KIND, b"clsact\0")) {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        other => other,
    }
}

fn put(socket: &Socket, index: u32, way: Way, filter: &Filter, program: BorrowedFd<'_>, flags: i32) -> io::Result<()> {
    let name = format!("{}\0", way.program());
    let options = Message::new(0, 0, &[])
        .attribute(BPF_FD, &program.as_fd().as_raw_fd().to_ne_bytes())
        .attribute(BPF_NAME, name.as_bytes())
        .attribute(BPF_FLAGS, &FLAG_ACT_DIRECT.to_ne_bytes());
    let message = Message::new(libc::RTM_NEWTFILTER, flags, &body(index, way, filter));
    socket.request(message.attribute(libc::TCA_KIND, b"bpf\0").nested(libc::TCA_OPTIONS, options))
}

fn ours(answer: &Answer, way: Way, mark: u32) -> Option<Filter> {
    let (handle, info) = (number(&answer.body, 8)?, number(&answer.body, 16)?);
    if answer.kind != libc::RTM_NEWTFILTER || handle != mark {
        return None;
    }
    let (_, options) = attributes(answer.body.get(20..)?).find(|(kind, _)| *kind == libc::TCA_OPTIONS)?;
    let value = |wanted: u16| attributes(options).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    if text(value(BPF_NAME)?) != way.program() {
        return None;
    }
    let program_id = value(BPF_ID).and_then(|value| number(value, 0)).unwrap_or_default();
    Some(Filter { program_id, priority: info >> 16, handle })
}

fn body(index: u32, way: Way, filter: &Filter) -> [u8; 20] {
    tcmsg(index, filter.handle, way.parent(), filter.priority << 16 | ALL_PROTOCOLS)
}

/// `struct tcmsg`: family and padding, interface, handle, parent, information.
fn tcmsg(index: u32, handle: u32, parent: u32, info: u32) -> [u8; 20] {
    let mut body = [0; 20];
    for (at, number) in [(4, index), (8, handle), (12, parent), (16, info)] {
        body[at..at + 4].copy_from_slice(&number.to_ne_bytes());
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_have_marks_of_their_own() {
        let marks = ["/sys/fs/bpf/sluice/splice-1", "/sys/fs/bpf/sluice/splice-2", "/run/bpf/splice-1"];
        let marks: std::collections::BTreeSet<u32> = marks.iter().map(|set| mark(Path::new(set))).collect();
        assert_eq!(marks.len(), 3);
        // Neither 0, which means "any", nor a number that people or other programs pick.
        assert!(marks.iter().all(|mark| mark >> 24 == 0x5c));
    }
}
