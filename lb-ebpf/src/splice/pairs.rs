//! The pairs that the kernel carries or may carry: from a 4-tuple to a record.
//!
//! Owns: the maps `FLOWS` and `CONNS`. Goes in: a 4-tuple. Comes out: a [`Pair`]. Does not do: making pairs; userspace
//! does, and takes them out again.

use super::atomic;
use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap};
use core::ptr::read_volatile;
use lb_common::maps::{CONNS_MAX, FLOWS_MAX};
use lb_common::splice::{Conn, Direction, FlowKey, FlowRef, UP};

#[map]
static FLOWS: HashMap<Key, FlowRef> = HashMap::with_max_entries(FLOWS_MAX, 0);

/// Userspace reads and writes it through a mapping (kernel 5.5).
#[map]
static CONNS: Array<Conn> = Array::with_max_entries(CONNS_MAX, BPF_F_MMAPABLE);

/// [`FlowKey`] in words: the same bytes, which a program can put together without copying one by one.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct Key {
    src: [u32; 4],
    dst: [u32; 4],
    src_port: u16,
    dst_port: u16,
    reserved: u32,
}

const _: () = assert!(size_of::<Key>() == size_of::<FlowKey>());

impl Key {
    /// Words as they lie in the packet.
    #[inline(always)]
    pub fn new(src: [u32; 4], dst: [u32; 4], ports: [u16; 2]) -> Self {
        let [src_port, dst_port] = ports.map(u16::from_be);
        Self { src, dst, src_port, dst_port, reserved: 0 }
    }

    /// An IPv4 address in the form of both families.
    #[inline(always)]
    pub fn v4(addr: u32) -> [u32; 4] {
        [0, 0, 0xffff_u32.to_be(), addr]
    }

    /// That of packets that go the other way.
    #[inline(always)]
    pub fn reversed(&self) -> Self {
        Self { src: self.dst, dst: self.src, src_port: self.dst_port, dst_port: self.src_port, reserved: 0 }
    }
}

/// A record, and in which direction the packet goes.
///
/// Other CPUs and userspace write the record meanwhile, so it is only touched through pointers, field by field.
#[derive(Clone, Copy)]
pub struct Pair {
    /// The record.
    pub conn: *mut Conn,
    /// Its index.
    pub index: u32,
    /// Whether the packet came from the client.
    pub is_up: bool,
}

/// The pair that packets of this 4-tuple belong to.
#[inline(always)]
pub fn find(key: &Key) -> Option<Pair> {
    // SAFETY: the value is read once, at once. An element that is deleted meanwhile may be reused for another key
    // (preallocated hash); its record rests for a second before it is used again, so the pair is the one that was
    // looked for or a live one whose state is read afterwards; either is what a packet that came a little later or
    // earlier would have found.
    let flow = unsafe { FLOWS.get(key) }?;
    let (index, direction) = (flow.conn, flow.direction);
    let conn = CONNS.get_ptr_mut(index)?;
    Some(Pair { conn, index, is_up: direction == UP })
}

/// Takes a 4-tuple out. One that is not there is fine.
#[inline(always)]
pub fn forget(key: &Key) {
    let _absent = FLOWS.remove(key);
}

impl Pair {
    #[inline(always)]
    pub fn state(&self) -> u32 {
        // SAFETY: `conn` is a map value, which lives as long as the program.
        unsafe { read_volatile(&raw const (*self.conn).state) }
    }

    /// Changes the state from `from`; answers what it was.
    #[inline(always)]
    pub fn exchange_state(&self, from: u32, to: u32) -> u32 {
        // SAFETY: as above.
        atomic::compare_exchange(unsafe { &raw mut (*self.conn).state }, from, to)
    }

    /// While the pair waits: the next byte of the side that packets of this 4-tuple come from, as the hand-off knows it.
    #[inline(always)]
    pub fn next_expected(&self) -> u32 {
        // SAFETY: as above.
        unsafe {
            let conn = self.conn;
            if self.is_up { (*conn).activate_ack.wrapping_sub((*conn).up.seq_delta) } else { (*conn).activate_seq }
        }
    }

    /// The direction of the packet.
    #[inline(always)]
    pub fn this(&self) -> *mut Direction {
        // SAFETY: as above.
        unsafe { if self.is_up { &raw mut (*self.conn).up } else { &raw mut (*self.conn).down } }
    }

    /// The direction of packets that answer it.
    #[inline(always)]
    pub fn other(&self) -> *mut Direction {
        // SAFETY: as above.
        unsafe { if self.is_up { &raw mut (*self.conn).down } else { &raw mut (*self.conn).up } }
    }
}
