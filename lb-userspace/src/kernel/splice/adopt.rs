//! Pairs that an earlier agent left in the kernel.
//!
//! Owns: which of them go on. Goes in: what the maps hold. Comes out: pairs for the table; the others are taken out.
//! Does not do: adopting programs and maps (`carrier`).

use super::super::carrier::{Carrier, Pair};
use super::super::ports::Ports;
use super::flows::{Ends, Flow};
use lb_common::addr;
use lb_common::splice::{ACTIVE, CLOSING};
use std::io;
use std::net::SocketAddr;

/// Takes over what is carried. A pair that was not decided when its agent died has sockets that are closed, so nothing of it
/// goes on.
pub(super) fn adopt(carrier: &Carrier, ports: &Ports) -> io::Result<Vec<(u32, Flow)>> {
    let mut adopted = Vec::new();
    for pair in carrier.pairs()? {
        let conn = carrier.read(pair.id);
        let ends = Ends::of(&conn);
        if matches!(conn.state, ACTIVE | CLOSING) && leads_to(&pair, &ends) {
            ports.adopt(ends.source.port(), ends.backend)?;
            adopted.push((pair.id, Flow { ends, generation: conn.generation, service: None, close: None }));
        } else {
            let (up, down) = ends.keys();
            carrier.remove(pair.id, &pair.up.unwrap_or(up), &pair.down.unwrap_or(down))?;
        }
    }
    // Programs of another version carry on with theirs. Their ports stay in use for as long as this agent runs.
    for key in carrier.keys_of_others()? {
        let backend = SocketAddr::new(addr::to_ip(key.src), key.src_port);
        ports.adopt_if_ours(key.dst_port, backend)?;
    }
    if !adopted.is_empty() {
        tracing::info!(pairs = adopted.len(), "connections that an earlier agent handed to the kernel go on");
    }
    Ok(adopted)
}

/// Whether the keys are those of the record. The client's may be gone: a program takes it out when the 4-tuple is used anew.
fn leads_to(pair: &Pair, ends: &Ends) -> bool {
    let (up, down) = ends.keys();
    pair.up.is_none_or(|key| key == up) && pair.down == Some(down)
}
