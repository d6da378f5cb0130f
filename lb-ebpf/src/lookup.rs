//! The socket look-up: a connection for an address that we serve goes to our listener, wherever that is bound.
//!
//! Owns: the maps `LISTENERS` and `SOCKETS`. Goes in: a packet that belongs to no established socket. Comes out: an
//! outcome, and for a packet of ours the socket that gets it.
//! Does not do: choosing among the workers. The socket of a slot is one of a `SO_REUSEPORT` group, and the kernel
//! chooses in the group because we assign without `BPF_SK_LOOKUP_F_NO_REUSEPORT`.

use crate::count;
use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::bpf_sk_lookup;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{HashMap, SockMap};
use aya_ebpf::programs::SkLookupContext;
use aya_log_ebpf::warn;
use core::ptr::read_volatile;
use lb_common::addr::{self, Addr};
use lb_common::lookup::{Listener, ListenerKey, TCP};
use lb_common::maps::LISTENERS_MAX;
use lb_common::outcome::LookupOutcome;

#[map]
static LISTENERS: HashMap<ListenerKey, Listener> = HashMap::with_max_entries(LISTENERS_MAX, 0);

#[map]
static SOCKETS: SockMap = SockMap::with_max_entries(LISTENERS_MAX, 0);

const AF_INET: u32 = 2;
/// `socket.h`, `errno.h` of every architecture that the kernel builds BPF for.
const ENOENT: i32 = 2;
const EEXIST: i32 = 17;
const EAFNOSUPPORT: i32 = 97;

/// Gives the packet to the listener of its address and port, if we serve it.
#[inline(always)]
pub fn steer(ctx: &SkLookupContext) -> LookupOutcome {
    let packet = Packet::of(ctx);
    if packet.protocol != u32::from(TCP) {
        return LookupOutcome::PassedProtocol;
    }
    match listener(&packet) {
        Some(slot) => assign(ctx, &packet, slot),
        None => LookupOutcome::PassedAddress,
    }
}

/// What the kernel tells about the packet.
struct Packet {
    family: u32,
    protocol: u32,
    addr: Addr,
    port: u16,
}

impl Packet {
    #[inline(always)]
    fn of(ctx: &SkLookupContext) -> Self {
        let lookup: *const bpf_sk_lookup = ctx.as_ptr().cast();
        // SAFETY: `lookup` is the program's context, and the verifier checks every access; fields of the other family
        // read as zero. The reads are volatile and on no branch because the verifier allows only loads of 4 bytes at
        // constant offsets here, and the compiler would join two loads, or choose an address and load once.
        let (family, protocol, v4, v6, port) = unsafe {
            let v6 = &raw const (*lookup).local_ip6;
            (
                read_volatile(&raw const (*lookup).family),
                read_volatile(&raw const (*lookup).protocol),
                read_volatile(&raw const (*lookup).local_ip4),
                [
                    read_volatile(&raw const (*v6)[0]),
                    read_volatile(&raw const (*v6)[1]),
                    read_volatile(&raw const (*v6)[2]),
                    read_volatile(&raw const (*v6)[3]),
                ],
                read_volatile(&raw const (*lookup).local_port),
            )
        };
        let addr = if family == AF_INET { addr::from_v4(v4.to_ne_bytes()) } else { from_words(v6) };
        // The kernel's context has the local port in the byte order of the machine, in the lower 16 bits.
        Self { family, protocol, addr, port: port as u16 }
    }
}

/// The slot for the packet: its address first, then every address of its family, then every address.
#[inline(always)]
fn listener(packet: &Packet) -> Option<u32> {
    slot(packet.addr, packet.port)
        .or_else(|| if packet.family == AF_INET { slot(addr::ANY_V4, packet.port) } else { None })
        .or_else(|| slot(addr::ANY, packet.port))
}

#[inline(always)]
fn slot(addr: Addr, port: u16) -> Option<u32> {
    // SAFETY: the value is read once, at once. An element that is deleted meanwhile may be reused for another key
    // (preallocated hash); userspace never gives a slot to a new key in the change that frees it, so what is read is
    // a slot of ours in either case.
    unsafe { LISTENERS.get(&ListenerKey::tcp(addr, port)) }.map(|listener| listener.slot)
}

#[inline(always)]
fn assign(ctx: &SkLookupContext, packet: &Packet, slot: u32) -> LookupOutcome {
    match SOCKETS.redirect_sk_lookup(ctx, slot, 0) {
        Ok(()) => LookupOutcome::Steered,
        Err(error) if error == -ENOENT => {
            if count::is_rare(LookupOutcome::SocketGone) {
                warn!(
                    ctx,
                    "[{:i}]:{}: the socket in slot {} is closed, connection refused", packet.addr, packet.port, slot
                );
            }
            LookupOutcome::SocketGone
        }
        Err(error) if error == -EEXIST => LookupOutcome::Taken,
        Err(error) if error == -EAFNOSUPPORT => LookupOutcome::PassedFamily,
        Err(error) => {
            if count::is_rare(LookupOutcome::AssignFailed) {
                warn!(
                    ctx,
                    "[{:i}]:{}: the kernel refused the socket in slot {}: error {}",
                    packet.addr,
                    packet.port,
                    slot,
                    error
                );
            }
            LookupOutcome::AssignFailed
        }
    }
}

/// Words as they lie in memory (network order) to bytes.
#[inline(always)]
fn from_words(words: [u32; 4]) -> Addr {
    let mut addr = [0; 16];
    let [a, b, c, d] = words.map(u32::to_ne_bytes);
    addr[0..4].copy_from_slice(&a);
    addr[4..8].copy_from_slice(&b);
    addr[8..12].copy_from_slice(&c);
    addr[12..16].copy_from_slice(&d);
    addr
}
