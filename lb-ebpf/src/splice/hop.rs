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
    bpf_fib_lookup as Route, bpf_fib_lookup__bindgen_ty_1 as Length, bpf_fib_lookup__bindgen_ty_2 as Class,
    bpf_fib_lookup__bindgen_ty_3 as Source, bpf_fib_lookup__bindgen_ty_4 as Destination,
    bpf_fib_lookup__bindgen_ty_5 as Table, bpf_redir_neigh as Neighbour,
    bpf_redir_neigh__bindgen_ty_1 as NeighbourAddress,
};
use aya_ebpf::helpers::generated::{bpf_fib_lookup, bpf_ktime_get_coarse_ns, bpf_redirect, bpf_redirect_neigh};
use aya_ebpf::programs::TcContext;
use core::mem::offset_of;
use core::ptr::{null_mut, write_volatile};
use lb_common::splice::Direction;

/// How long a next hop is good, nanoseconds.
const FRESH_NS: u64 = 1_000_000_000;

/// Mark (`tc_index`) of a packet whose Ethernet header `sluice_silence` shall read.
const READ_ME: u32 = 0x510c;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const PROTOCOL_TCP: u8 = 6;

/// How a packet leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Hop {
    /// By the interface and the addresses in the record.
    Known,
    /// By the kernel's output to a neighbour, which writes the Ethernet header.
    Kernel,
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

/// Chooses how the packet leaves, and tells the kernel, which acts on it when the program has ended with the verdict to
/// redirect. `None`: there is no next hop, or the kernel would not say.
#[inline(always)]
pub fn choose(ctx: &TcContext, v6: bool, this: *mut Direction, now: u64) -> Option<Hop> {
    if !is_fresh(this, now) {
        return look_up(ctx, v6, this, now);
    }
    // SAFETY: the record is a map value, which lives as long as the program.
    will_redirect(unsafe { bpf_redirect((*this).hop_ifindex, 0) }, Hop::Known)
}

#[inline(always)]
fn look_up(ctx: &TcContext, v6: bool, this: *mut Direction, now: u64) -> Option<Hop> {
    let mut route = question(ctx, v6, this);
    // SAFETY: context and question are the kernel's own types.
    let answer = unsafe { bpf_fib_lookup(ctx.as_ptr(), &raw mut route, size_of::<Route>() as i32, 0) };
    // Negative for a family or interface that cannot be.
    let answer = u32::try_from(answer).ok()?;
    if answer == BPF_FIB_LKUP_RET_FWD_DISABLED {
        return by_given_interface(ctx, this);
    }
    if answer == BPF_FIB_LKUP_RET_SUCCESS {
        remember(this, Addresses::of(&route), route.ifindex, now);
    } else if answer != BPF_FIB_LKUP_RET_NO_NEIGH {
        return None;
    }
    let mut neighbour = neighbour(&route);
    // SAFETY: arguments are integers and the kernel's own type.
    let verdict = unsafe { bpf_redirect_neigh(route.ifindex, &raw mut neighbour, size_of::<Neighbour>() as i32, 0) };
    will_redirect(verdict, Hop::Kernel)
}

/// To whoever the route by this interface names. `sluice_silence` shall read who that is.
#[inline(always)]
fn by_given_interface(ctx: &TcContext, this: *const Direction) -> Option<Hop> {
    // SAFETY: the record is a map value, which lives as long as the program; the context is the program's.
    let verdict = unsafe {
        if (*this).hop_ifindex == 0 {
            return None;
        }
        (*ctx.skb.skb).tc_index = READ_ME;
        bpf_redirect_neigh((*this).hop_ifindex, null_mut(), 0, 0)
    };
    will_redirect(verdict, Hop::Kernel)
}

#[inline(always)]
fn will_redirect(verdict: i64, hop: Hop) -> Option<Hop> {
    if verdict == i64::from(TC_ACT_REDIRECT) { Some(hop) } else { None }
}

/// What the kernel is asked: a packet of ours that came in here, where does it go?
#[inline(always)]
fn question(ctx: &TcContext, v6: bool, this: *const Direction) -> Route {
    // SAFETY: the record is a map value, whose addresses lie at multiples of 8; the context is the program's.
    let (src, dst, sport, dport, ifindex): ([u32; 4], [u32; 4], u16, u16, u32) = unsafe {
        let (src, dst) = (&raw const (*this).src, &raw const (*this).dst);
        (*src.cast(), *dst.cast(), (*this).src_port, (*this).dst_port, (*ctx.skb.skb).ifindex)
    };
    Route {
        family: if v6 { AF_INET6 } else { AF_INET },
        l4_protocol: PROTOCOL_TCP,
        sport: sport.to_be(),
        dport: dport.to_be(),
        __bindgen_anon_1: Length { tot_len: 0 },
        ifindex,
        __bindgen_anon_2: Class { flowinfo: 0 },
        __bindgen_anon_3: Source { ipv6_src: if v6 { src } else { [src[3], 0, 0, 0] } },
        __bindgen_anon_4: Destination { ipv6_dst: if v6 { dst } else { [dst[3], 0, 0, 0] } },
        __bindgen_anon_5: Table { tbid: 0 },
        smac: [0; 6],
        dmac: [0; 6],
    }
}

/// The gateway, or the destination where there is none. An IPv4 route may have an IPv6 gateway.
#[inline(always)]
fn neighbour(route: &Route) -> Neighbour {
    // SAFETY: all members of the union are integers.
    let address = unsafe { route.__bindgen_anon_4.ipv6_dst };
    Neighbour { nh_family: u32::from(route.family), __bindgen_anon_1: NeighbourAddress { ipv6_nh: address } }
}

/// Both addresses of an Ethernet header, destination first.
#[derive(Clone, Copy)]
struct Addresses(u64, u32);

impl Addresses {
    /// They lie behind each other in a frame and in the record, but the other way round in the kernel's answer.
    #[inline(always)]
    fn of(route: &Route) -> Self {
        let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (route.dmac, route.smac);
        Self(u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u32::from_ne_bytes([i, j, k, l]))
    }

    /// From a frame or a record.
    #[inline(always)]
    unsafe fn read(place: *const u8) -> Self {
        // SAFETY: the caller's: 12 bytes.
        unsafe { Self(*place.cast(), *place.add(8).cast()) }
    }

    #[inline(always)]
    unsafe fn write(self, place: *mut u8) {
        // SAFETY: the caller's: 12 bytes.
        unsafe {
            *place.cast() = self.0;
            *place.add(8).cast() = self.1;
        }
    }
}

const _: () = assert!(offset_of!(Direction, hop_src) == offset_of!(Direction, hop_dst) + 6);

/// Keeps a next hop. A packet that another CPU addresses meanwhile may be lost, when the neighbour has changed.
#[inline(always)]
fn remember(this: *mut Direction, addresses: Addresses, ifindex: u32, now: u64) {
    // SAFETY: the record is a map value, with both addresses behind each other.
    unsafe {
        addresses.write((&raw mut (*this).hop_dst).cast());
        (*this).hop_ifindex = ifindex;
        write_volatile(&raw mut (*this).hop_ns, now);
    }
}

/// Writes the Ethernet header for the next hop in the record.
#[inline(always)]
pub fn address(frame: Frame, this: *const Direction) -> Option<()> {
    let ethernet = frame.at::<Ethernet>(0)?;
    // SAFETY: `at` checked the bounds; the record as above.
    unsafe { Addresses::read((&raw const (*this).hop_dst).cast()).write(ethernet.cast()) };
    Some(())
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
            remember(this, Addresses::read(ethernet.cast()), (*this).hop_ifindex, now);
        }
    }
}
