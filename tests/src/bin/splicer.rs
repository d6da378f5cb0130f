//! `sluice-splicer`: an agent that only hands connections to the kernel, so that tests can kill it.
//!
//! ```text
//! sluice-splicer ADDR:PORT ENDPOINT:PORT PIN_DIR
//! ```
//!
//! Says `open N` when it listens, where N is the number of pairs that it found in the kernel, and for each client
//! `carried` or the reason why not. Takes one client after another, and runs until it is killed.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail};
use lb_tests::handoff::{hand_off, setup};
use lb_userspace::kernel::Splicer;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, endpoint, pin_dir] = arguments.as_slice() else {
        bail!("usage: sluice-splicer ADDR:PORT ENDPOINT:PORT PIN_DIR");
    };
    let endpoint: SocketAddr = endpoint.parse().with_context(|| format!("{endpoint} is not ADDR:PORT"))?;
    let splicer = Splicer::open(&setup(Path::new(pin_dir))).context("cannot splice")?;
    let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    println!("open {}", splicer.flows().len());
    loop {
        let (front, _) = listener.accept()?;
        match hand_off(&splicer, front, endpoint) {
            Ok(_) => println!("carried"),
            Err(apart) => println!("{apart}"),
        }
    }
}
