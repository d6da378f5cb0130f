//! Where packets leave to: the interface and the neighbour.
//!
//! Owns: the next hop in the record, which is good for a second, so that changes of links, routes and neighbours are
//! followed even when no agent runs. Goes in: a direction. Comes out: a [`Hop`]. Does not do: routes of its own.
//!
//! When a second is over, one packet goes by the kernel's own output to a neighbour, which asks for the neighbour's
//! address when that is needed, and sees the entry used. Where it goes is looked up as for a packet that we forward; where
//! forwarding is switched off the kernel does not say (FWD_DISABLED), so the packet goes by the interface that userspace
//! found, and `sluice_silence` reads from it on its way out how the kernel addressed it.

use super::frame::{Ethernet, Frame};
use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{
    BPF_FIB_LKUP_RET_FWD_DISABLED, BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_SUCCESS, TC_ACT_REDIRECT,
    bpf_fib_lookup as Route, bpf_redir_neigh as Neighbour,
};
use aya_ebpf::helpers::generated::{bpf_fib_lookup, bpf_ktime_get_coarse_ns, bpf_redirect, bpf_redirect_neigh};
use aya_ebpf::programs::TcContext;
use core::mem::zeroed;
use core::ptr::write_volatile;
use lb_common::splice::Direction;

/// How long a next hop is good, nanoseconds.
const FRESH_NS: u64 = 1_000_000_000;

/// Mark (`tc_index`) of a packet whose Ethernet header `sluice_silence` shall read.
const READ_ME: u32 = 0x510c;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const PROTOCOL_TCP: u8 = 6;

/// How a packet leaves.
#[derive(Clone, Copy)]
pub enum Hop {
    /// By the interface and the addresses in the record.
    Known,
    /// By the kernel's output to this neighbour, and this interface.
    Neighbour(Neighbour, u32),
    /// By the kernel's output to whoever the route names, and this interface.
    Routed(u32),
}

/// The time, as exact as a tick (kernel 5.11).
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: the helper only reads the clock.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// Whether the next hop in the record is good.
#[inline(always)]
pub fn is_fresh(this: *const Direction, now: u64) -> bool {
    // SAFETY: the record is a map value, which lives as long as the program.
    unsafe { now.wrapping_sub((*this).hop_ns) < FRESH_NS && (*this).hop_ifindex != 0 }
}

/// Finds the next hop. `None`: there is none, or the kernel would not say.
#[inline(always)]
pub fn find(ctx: &TcContext, v6: bool, this: *mut Direction, now: u64) -> Option<Hop> {
    if is_fresh(this, now) { Some(Hop::Known) } else { look_up(ctx, v6, this, now) }
}

#[inline(always)]
fn look_up(ctx: &TcContext, v6: bool, this: *mut Direction, now: u64) -> Option<Hop> {
    let mut route = question(ctx, v6, this);
    // SAFETY: context and question are the kernel's own types.
    let answer = unsafe { bpf_fib_lookup(ctx.as_ptr(), &raw mut route, size_of::<Route>() as i32, 0) };
    // Negative for a family or interface that cannot be.
    match u32::try_from(answer).ok()? {
        BPF_FIB_LKUP_RET_SUCCESS => {
            remember(this, words(route.dmac), words(route.smac), route.ifindex, now);
            Some(Hop::Neighbour(neighbour(&route), route.ifindex))
        }
        BPF_FIB_LKUP_RET_NO_NEIGH => Some(Hop::Neighbour(neighbour(&route), route.ifindex)),
        BPF_FIB_LKUP_RET_FWD_DISABLED => {
            // SAFETY: the record is a map value, which lives as long as the program.
            let ifindex = unsafe { (*this).hop_ifindex };
            if ifindex == 0 { None } else { Some(Hop::Routed(ifindex)) }
        }
        _ => None,
    }
}

/// What the kernel is asked: a packet of ours that came in here, where does it go?
#[inline(always)]
fn question(ctx: &TcContext, v6: bool, this: *const Direction) -> Route {
    // SAFETY: zero is a value of all its fields; the record is a map value, whose addresses lie at multiples of 8; the
    // context is the program's.
    unsafe {
        let mut route: Route = zeroed();
        route.l4_protocol = PROTOCOL_TCP;
        route.sport = (*this).src_port.to_be();
        route.dport = (*this).dst_port.to_be();
        route.ifindex = (*ctx.skb.skb).ifindex;
        let src: [u32; 4] = *(&raw const (*this).src).cast();
        let dst: [u32; 4] = *(&raw const (*this).dst).cast();
        if v6 {
            route.family = AF_INET6;
            route.__bindgen_anon_3.ipv6_src = src;
            route.__bindgen_anon_4.ipv6_dst = dst;
        } else {
            route.family = AF_INET;
            route.__bindgen_anon_3.ipv4_src = src[3];
            route.__bindgen_anon_4.ipv4_dst = dst[3];
        }
        route
    }
}

/// The gateway, or the destination where there is none. An IPv4 route may have an IPv6 gateway.
#[inline(always)]
fn neighbour(route: &Route) -> Neighbour {
    // SAFETY: zero is a value of all its fields; all members of the unions are integers.
    unsafe {
        let mut neighbour: Neighbour = zeroed();
        neighbour.nh_family = u32::from(route.family);
        neighbour.__bindgen_anon_1.ipv6_nh = route.__bindgen_anon_4.ipv6_dst;
        neighbour
    }
}

#[inline(always)]
fn words(mac: [u8; 6]) -> [u16; 3] {
    let [a, b, c, d, e, f] = mac;
    [u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d]), u16::from_ne_bytes([e, f])]
}

/// Keeps a next hop. A packet that another CPU addresses meanwhile may be lost, when the neighbour has changed.
#[inline(always)]
pub fn remember(this: *mut Direction, dst: [u16; 3], src: [u16; 3], ifindex: u32, now: u64) {
    // SAFETY: the record is a map value; both addresses lie at even offsets in it.
    unsafe {
        *(&raw mut (*this).hop_dst).cast() = dst;
        *(&raw mut (*this).hop_src).cast() = src;
        (*this).hop_ifindex = ifindex;
        write_volatile(&raw mut (*this).hop_ns, now);
    }
}

/// Writes the Ethernet header for the next hop in the record.
#[inline(always)]
pub fn address(frame: Frame, this: *const Direction) -> Option<()> {
    let ethernet = frame.at::<Ethernet>(0)?;
    // SAFETY: `at` checked the bounds; the record as above.
    unsafe {
        (*ethernet).dst = *(&raw const (*this).hop_dst).cast();
        (*ethernet).src = *(&raw const (*this).hop_src).cast();
    }
    Some(())
}

/// Sends the packet off. `None`: the kernel would not.
#[inline(always)]
pub fn leave(ctx: &TcContext, hop: Hop, this: *const Direction) -> Option<()> {
    // SAFETY: arguments are integers and the kernel's own types.
    let verdict = unsafe {
        match hop {
            Hop::Known => bpf_redirect((*this).hop_ifindex, 0),
            Hop::Neighbour(mut neighbour, ifindex) => {
                bpf_redirect_neigh(ifindex, &raw mut neighbour, size_of::<Neighbour>() as i32, 0)
            }
            Hop::Routed(ifindex) => {
                (*ctx.skb.skb).tc_index = READ_ME;
                bpf_redirect_neigh(ifindex, core::ptr::null_mut(), 0, 0)
            }
        }
    };
    if verdict == i64::from(TC_ACT_REDIRECT) { Some(()) } else { None }
}

/// Whether the packet wants its Ethernet header read; it is asked once.
#[inline(always)]
pub fn wants_reading(ctx: &TcContext) -> bool {
    // SAFETY: the context is the program's.
    unsafe {
        let wants = (*ctx.skb.skb).tc_index == READ_ME;
        if wants {
            (*ctx.skb.skb).tc_index = 0;
        }
        wants
    }
}

/// Reads from a packet that leaves how the kernel addressed it.
#[inline(always)]
pub fn read(ctx: &TcContext, frame: Frame, this: *mut Direction, now: u64) {
    let Some(ethernet) = frame.at::<Ethernet>(0) else { return };
    // SAFETY: `at` checked the bounds; the record as above; the context is the program's.
    unsafe {
        // On an interface below another, say of a bond, it is another neighbour's business.
        if (*ctx.skb.skb).ifindex == (*this).hop_ifindex {
            remember(this, (*ethernet).dst, (*ethernet).src, (*this).hop_ifindex, now);
        }
    }
}
