//! What runs in the kernel: entry points, each one call and one exhaustive match from an outcome to an action.
//!
//! Owns: the verdicts. Goes in: a context of the kernel. Comes out: a verdict and a counted outcome.
//! Does not do: policy. Which addresses are ours is in a map that userspace fills.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod count;
mod lookup;
mod splice;

use aya_ebpf::bindings::sk_action::{SK_DROP, SK_PASS};
use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_REDIRECT};
use aya_ebpf::bindings::{TC_ACT_REDIRECT, TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::macros::{classifier, sk_lookup, xdp};
use aya_ebpf::programs::{SkLookupContext, TcContext, XdpContext};
use lb_common::outcome::{LookupOutcome, SpliceOutcome};

/// The kernel lets a program call all helpers only under a licence compatible with the GPL.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
pub static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Runs for every packet that belongs to no established socket of this network namespace (kernel 5.9).
#[sk_lookup]
pub fn sluice_lookup(ctx: SkLookupContext) -> u32 {
    let outcome = lookup::steer(&ctx);
    count::lookup(outcome);
    match outcome {
        LookupOutcome::Steered => SK_PASS,
        LookupOutcome::PassedProtocol => SK_PASS,
        LookupOutcome::PassedAddress => SK_PASS,
        LookupOutcome::PassedFamily => SK_PASS,
        LookupOutcome::Taken => SK_PASS,
        // The address is ours: another program's listener on it must not get our clients. TCP answers with a reset.
        LookupOutcome::SocketGone => SK_DROP,
        LookupOutcome::AssignFailed => SK_DROP,
    }
}

/// Runs for every packet that comes in by an interface (tcx, kernel 6.6; before, a filter of clsact).
#[classifier]
pub fn sluice_splice(ctx: TcContext) -> i32 {
    let outcome = splice::splice(&ctx);
    count::splice(outcome);
    tc_verdict(outcome)
}

/// Runs for every packet that leaves by an interface.
#[classifier]
pub fn sluice_silence(ctx: TcContext) -> i32 {
    let outcome = splice::silence(&ctx);
    count::splice(outcome);
    tc_verdict(outcome)
}

/// What passes goes on to the next program: we are not alone on an interface.
#[inline(always)]
fn tc_verdict(outcome: SpliceOutcome) -> i32 {
    match outcome {
        SpliceOutcome::PassedProtocol => TC_ACT_UNSPEC,
        SpliceOutcome::PassedUnknown => TC_ACT_UNSPEC,
        SpliceOutcome::PassedWaiting => TC_ACT_UNSPEC,
        SpliceOutcome::PassedForwarded => TC_ACT_UNSPEC,
        SpliceOutcome::Refused => TC_ACT_UNSPEC,
        SpliceOutcome::Up => TC_ACT_REDIRECT as i32,
        SpliceOutcome::Down => TC_ACT_REDIRECT as i32,
        SpliceOutcome::Activated => TC_ACT_REDIRECT as i32,
        SpliceOutcome::Reused => TC_ACT_UNSPEC,
        SpliceOutcome::NoHop => TC_ACT_SHOT as i32,
        SpliceOutcome::Unwritable => TC_ACT_SHOT as i32,
        SpliceOutcome::Silenced => TC_ACT_SHOT as i32,
        SpliceOutcome::LeftForTc => TC_ACT_UNSPEC,
        SpliceOutcome::IcmpCarried => TC_ACT_REDIRECT as i32,
        SpliceOutcome::IcmpDoubted => TC_ACT_UNSPEC,
        SpliceOutcome::UpXdp => TC_ACT_UNSPEC,
        SpliceOutcome::DownXdp => TC_ACT_UNSPEC,
    }
}

/// Runs for every frame in the ring of a driver, before the kernel makes a packet of it.
#[xdp]
pub fn sluice_spl_xdp(ctx: XdpContext) -> u32 {
    let outcome = splice::carry(&ctx);
    count::splice(outcome);
    match outcome {
        SpliceOutcome::PassedProtocol => XDP_PASS,
        SpliceOutcome::PassedUnknown => XDP_PASS,
        SpliceOutcome::PassedWaiting => XDP_PASS,
        SpliceOutcome::PassedForwarded => XDP_PASS,
        SpliceOutcome::Refused => XDP_PASS,
        SpliceOutcome::Up => XDP_REDIRECT,
        SpliceOutcome::Down => XDP_REDIRECT,
        SpliceOutcome::Activated => XDP_REDIRECT,
        SpliceOutcome::Reused => XDP_PASS,
        SpliceOutcome::NoHop => XDP_DROP,
        SpliceOutcome::Unwritable => XDP_DROP,
        SpliceOutcome::Silenced => XDP_DROP,
        SpliceOutcome::LeftForTc => XDP_PASS,
        SpliceOutcome::IcmpCarried => XDP_REDIRECT,
        SpliceOutcome::IcmpDoubted => XDP_PASS,
        SpliceOutcome::UpXdp => XDP_REDIRECT,
        SpliceOutcome::DownXdp => XDP_REDIRECT,
    }
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // No code of ours can panic, and the verifier would refuse a program with an endless loop.
    loop {}
}

#[cfg(not(target_arch = "bpf"))]
compile_error!("lb-ebpf is built for the kernel: cargo xtask build");
