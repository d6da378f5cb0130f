//! Fuzz targets, one file a reader of foreign bytes. `SLUICE_FUZZ_TARGET` chooses one; `cargo xtask fuzz` sets it.
//!
//! Goes in: bytes that libFuzzer makes. A target panics when a property does not hold; what it must do is at its head. All
//! are in one program, so that the crates under test are linked once.

#![no_main]

mod annotations;
mod bytes;
mod chunks;
mod client_hello;
mod names;
mod proxy_protocol;
mod request;
mod response;
mod rewrite;
mod routes;

use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;

/// Looks at an input; panics when a property does not hold.
type Target = fn(&[u8]);

/// The targets. `cargo xtask fuzz` has the same names.
const TARGETS: [(&str, Target); 9] = [
    ("request", request::run),
    ("response", response::run),
    ("chunks", chunks::run),
    ("proxy-protocol", proxy_protocol::run),
    ("client-hello", client_hello::run),
    ("names", names::run),
    ("routes", routes::run),
    ("rewrite", rewrite::run),
    ("annotations", annotations::run),
];

static TARGET: OnceLock<Target> = OnceLock::new();

fuzz_target!(|data: &[u8]| TARGET.get_or_init(chosen)(data));

fn chosen() -> Target {
    let name = std::env::var("SLUICE_FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|(target, _)| *target == name);
    let Some((_, run)) = found else {
        eprintln!("SLUICE_FUZZ_TARGET is {name:?}, and none of {:?}", TARGETS.map(|(target, _)| target));
        std::process::exit(2);
    };
    *run
}
