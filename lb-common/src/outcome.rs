//! What can become of a packet in our programs: one enum a program, each case counted.
//!
//! Owns: the cases, their counter indexes, and the names under which metrics and documents know them.
//! Goes in: nothing. Comes out: an index for the kernel, a name for userspace.
//! Does not do: the verdict. An entry point in `lb-ebpf` turns an outcome into an action by an exhaustive `match`.

/// What the socket look-up decided about one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "an outcome decides what happens to the packet"]
#[repr(u32)]
pub enum LookupOutcome {
    /// Given to our listener.
    Steered = 0,
    /// Not TCP; looked up as without us.
    PassedProtocol = 1,
    /// No listener for its address and port; looked up as without us.
    PassedAddress = 2,
    /// An IPv4 packet for a wildcard `[::]` whose socket takes only IPv6; looked up as without us.
    PassedFamily = 3,
    /// A program that ran before ours in this network namespace chose a socket; its choice stands.
    Taken = 4,
    /// We serve the address, but the socket is closed, so the connection is refused.
    SocketGone = 5,
    /// We serve the address, but the kernel would not take the socket, so the connection is refused.
    AssignFailed = 6,
}

impl LookupOutcome {
    /// Every case, in the order of the counter indexes.
    pub const ALL: [Self; 7] = [
        Self::Steered,
        Self::PassedProtocol,
        Self::PassedAddress,
        Self::PassedFamily,
        Self::Taken,
        Self::SocketGone,
        Self::AssignFailed,
    ];

    /// Index into the map [`COUNTERS`](crate::maps::COUNTERS).
    #[inline(always)]
    #[must_use]
    pub const fn index(self) -> u32 {
        self as u32
    }

    /// The name in metrics, commands and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Steered => "steered",
            Self::PassedProtocol => "passed_protocol",
            Self::PassedAddress => "passed_address",
            Self::PassedFamily => "passed_family",
            Self::Taken => "taken",
            Self::SocketGone => "socket_gone",
            Self::AssignFailed => "assign_failed",
        }
    }
}

/// What became of one packet at the splice: on the way in (tc or XDP), or on the way out of the local stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "an outcome decides what happens to the packet"]
#[repr(u32)]
pub enum SpliceOutcome {
    /// No TCP over IP, a fragment, or too short to tell; goes on as without us.
    PassedProtocol = 0,
    /// Of no pair; goes on as without us.
    PassedUnknown = 1,
    /// Of a pair that waits or that userspace carries on with: the local stack's.
    PassedWaiting = 2,
    /// Made its pair userspace's for good; the local stack's.
    Refused = 3,
    /// Translated in tc, towards the backend.
    Up = 4,
    /// Translated in tc, towards the client.
    Down = 5,
    /// Translated, towards the client, and the first of its pair.
    Activated = 6,
    /// A SYN that takes the 4-tuple of a closing pair over; the local stack's.
    Reused = 7,
    /// Of a carried pair, but no next hop is known for it; dropped, and the sender repeats it.
    NoHop = 8,
    /// Of a carried pair, but the program could not write it; dropped.
    Unwritable = 9,
    /// What the local stack still had to say to a side of a carried pair; dropped.
    Silenced = 10,
    /// XDP: left for tc, which can do more (a next hop that is not fresh or takes no frames, a checksum that is half done).
    LeftForTc = 11,
    /// On the way out, and came in by an interface: redirected by us, or forwarded; goes on as without us.
    PassedForwarded = 12,
    /// An error of ICMP about a packet of a carried pair: translated, towards who sent that packet.
    IcmpCarried = 13,
    /// An error of ICMP about a carried pair that quotes nothing under way, so anybody may have sent it; goes on as without us.
    IcmpDoubted = 14,
    /// Translated in XDP, towards the backend.
    UpXdp = 15,
    /// Translated in XDP, towards the client.
    DownXdp = 16,
}

impl SpliceOutcome {
    /// Every case, in the order of the counter indexes.
    pub const ALL: [Self; 17] = [
        Self::PassedProtocol,
        Self::PassedUnknown,
        Self::PassedWaiting,
        Self::Refused,
        Self::Up,
        Self::Down,
        Self::Activated,
        Self::Reused,
        Self::NoHop,
        Self::Unwritable,
        Self::Silenced,
        Self::LeftForTc,
        Self::PassedForwarded,
        Self::IcmpCarried,
        Self::IcmpDoubted,
        Self::UpXdp,
        Self::DownXdp,
    ];

    /// Index into the map [`SPLICE_COUNTERS`](crate::maps::SPLICE_COUNTERS).
    #[inline(always)]
    #[must_use]
    pub const fn index(self) -> u32 {
        self as u32
    }

    /// The name in metrics, commands and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PassedProtocol => "passed_protocol",
            Self::PassedUnknown => "passed_unknown",
            Self::PassedWaiting => "passed_waiting",
            Self::Refused => "refused",
            Self::Up => "up",
            Self::Down => "down",
            Self::Activated => "activated",
            Self::Reused => "reused",
            Self::NoHop => "no_hop",
            Self::Unwritable => "unwritable",
            Self::Silenced => "silenced",
            Self::LeftForTc => "left_for_tc",
            Self::PassedForwarded => "passed_forwarded",
            Self::IcmpCarried => "icmp_carried",
            Self::IcmpDoubted => "icmp_doubted",
            Self::UpXdp => "up_xdp",
            Self::DownXdp => "down_xdp",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LookupOutcome, SpliceOutcome};

    #[test]
    fn indexes_count_up_in_the_order_of_all() {
        for (index, outcome) in LookupOutcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome.index() as usize, index, "{}", outcome.name());
        }
        for (index, outcome) in SpliceOutcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome.index() as usize, index, "{}", outcome.name());
        }
    }
}
