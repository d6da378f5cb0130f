//! The hand-off of a pair of connections to the kernel: what it is called, and why it may not come about.
//!
//! Goes in: what the kernel says of two connections. Comes out: the record that joins them, or [`Apart`].
//! Does not do: any system call; `lb-userspace` reads sockets and writes maps.

pub mod join;
pub mod life;
pub mod machine;
pub mod rest;
mod view;

pub use view::FlowView;

use crate::balance::hash::hash;
use serde::Serialize;
use std::fmt;

/// What the backend must answer for the kernel to take over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Anything.
    Any,
    /// A head that begins with `HTTP/1.1 101`.
    Switch,
}

/// What became of a pair whose request is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The kernel carries it: not one more byte comes to our sockets.
    Carried,
    /// It is userspace's for good.
    Ours,
}

/// Why two connections are not joined. The connection is carried by userspace then, with the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Apart {
    /// Splicing is switched off or this kernel cannot.
    Unavailable,
    /// As many pairs are carried as the map holds.
    Full,
    /// No source port of ours is free towards the backend.
    Ports,
    /// One is IPv4, the other IPv6.
    Family,
    /// A side is reached by an interface without our program: loopback, or one that is left out.
    Interface,
    /// Timestamps (RFC 7323) on one side only.
    Timestamps,
    /// Timestamps of one side do not count milliseconds (`tcp_usec_ts`, kernel 6.7).
    Clock,
    /// Selective acknowledgement (RFC 2018) on one side only.
    Sack,
    /// Explicit congestion notification (RFC 3168) on one side only.
    Ecn,
    /// A side may send larger segments than the other takes.
    Mss,
    /// Multipath TCP, TCP-MD5 or TCP-AO, or TLS in the kernel.
    Option,
    /// Something that was sent to the client is not acknowledged yet.
    Unacknowledged,
    /// The client has sent more than the request.
    Ahead,
    /// A side is closing, or no longer established.
    Closing,
    /// The kernel refused to tell or to take something; the log has it.
    Failed,
    /// The backend answered before it had the whole request, or the client sent more before the answer came.
    Dirty,
}

/// The number that stands for a service in a record, by its name `namespace/name:port`: the same in every agent, never 0.
#[must_use]
pub fn service_number(name: &str) -> u64 {
    hash(name.as_bytes()).max(1)
}

impl Apart {
    /// Every reason.
    pub const ALL: [Self; 16] = [
        Self::Unavailable,
        Self::Full,
        Self::Ports,
        Self::Family,
        Self::Interface,
        Self::Timestamps,
        Self::Clock,
        Self::Sack,
        Self::Ecn,
        Self::Mss,
        Self::Option,
        Self::Unacknowledged,
        Self::Ahead,
        Self::Closing,
        Self::Failed,
        Self::Dirty,
    ];

    /// Place in [`Self::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// The name in metrics, commands and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Full => "full",
            Self::Ports => "ports",
            Self::Family => "family",
            Self::Interface => "interface",
            Self::Timestamps => "timestamps",
            Self::Clock => "clock",
            Self::Sack => "sack",
            Self::Ecn => "ecn",
            Self::Mss => "mss",
            Self::Option => "option",
            Self::Unacknowledged => "unacknowledged",
            Self::Ahead => "ahead",
            Self::Closing => "closing",
            Self::Failed => "failed",
            Self::Dirty => "dirty",
        }
    }
}

impl fmt::Display for Apart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A pair that was carried, when it is over or is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Carried {
    /// Bytes of payload from the client to the backend that the kernel carried, repeated ones among them.
    pub bytes_up: u64,
    /// Bytes of payload from the backend to the client.
    pub bytes_down: u64,
    /// Packets from the client; a segment that the kernel joined is one.
    pub packets_up: u64,
    /// Packets from the backend.
    pub packets_down: u64,
    /// Status of the first answer, where it is HTTP.
    pub status: Option<u16>,
    /// How it ended; nothing while it lives.
    pub ending: Option<Ending>,
}

/// How a carried pair ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Both sides said that they send no more.
    Finished,
    /// The client reset it.
    ClientReset,
    /// The backend reset it.
    BackendReset,
    /// Nothing passed for too long: both were reset.
    Idle,
    /// Its backend is gone: both were reset.
    BackendGone,
    /// An administrator wanted it: both were reset.
    Administrator,
}
