//! Programs that let everything pass, until the branch that has the real ones is merged.

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::macros::{classifier, map, xdp};
use aya_ebpf::maps::{Array, DevMapHash, HashMap, PerCpuArray, RingBuf};
use aya_ebpf::programs::{TcContext, XdpContext};
use lb_common::maps::*;
use lb_common::outcome::SpliceOutcome;
use lb_common::splice::{Conn, FlowKey, FlowRef};

#[map]
static FLOWS: HashMap<FlowKey, FlowRef> = HashMap::with_max_entries(FLOWS_MAX, 0);
#[map]
static CONNS: Array<Conn> = Array::with_max_entries(CONNS_MAX, BPF_F_MMAPABLE);
#[map]
static SPLICE_COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(SPLICE_COUNTERS_MAX, 0);
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(EVENTS_BYTES, 0);
#[map]
static PORTS: DevMapHash = DevMapHash::with_max_entries(PORTS_MAX, 0);

fn count() {
    let key = FlowKey::new([0; 16], 0, [0; 16], 0);
    if unsafe { FLOWS.get(&key) }.is_some() {
        EVENTS.output::<u64>(&0, 0).ok();
        if let Some(conn) = CONNS.get_ptr_mut(3) {
            unsafe { (*conn).state += 1 };
        }
    }
    if let Some(counter) = SPLICE_COUNTERS.get_ptr_mut(SpliceOutcome::PassedUnknown.index()) {
        unsafe { *counter += 1 };
    }
}

#[classifier]
pub fn sluice_splice(_: TcContext) -> i32 {
    count();
    -1
}

#[classifier]
pub fn sluice_silence(_: TcContext) -> i32 {
    -1
}

#[xdp]
pub fn sluice_spl_xdp(_: XdpContext) -> u32 {
    PORTS.redirect(1, 0).map_or(2, |_| 2)
}
