//! What runs in the kernel: entry points, each one call and one exhaustive match from an outcome to an action.
//!
//! Owns: the verdicts. Goes in: a context of the kernel. Comes out: a verdict and a counted outcome.
//! Does not do: policy. Which addresses are ours is in a map that userspace fills.

#![no_std]
#![no_main]

mod count;
mod lookup;
mod trial;

use aya_ebpf::bindings::sk_action::{SK_DROP, SK_PASS};
use aya_ebpf::macros::sk_lookup;
use aya_ebpf::programs::SkLookupContext;
use lb_common::outcome::LookupOutcome;

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

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // No code of ours can panic, and the verifier would refuse a program with an endless loop.
    loop {}
}

#[cfg(not(target_arch = "bpf"))]
compile_error!("lb-ebpf is built for the kernel: cargo xtask build");
