//! The records of carried pairs, mapped into this process: read and changed without a system call.
//!
//! Owns: the mapping of `CONNS` and how its words are accessed. Goes in: a pin, an id. Comes out: a [`Conn`], or that the
//! state was exchanged. Does not do: keys (`flows`), giving ids out (`kernel/splice.rs`).
//!
//! The programs write records while we read them. So every access is an atomic one of the width that both sides use:
//! 32 bits for the word of the state, which both change by compare-and-swap, 64 bits for all others. A record that is
//! read while packets pass may have fields of two moments.

#![allow(unsafe_code, reason = "memory that the kernel shares with us")]

use super::super::elements::{bytes_of, from_bytes};
use super::super::syscall;
use lb_common::maps::CONNS_MAX;
use lb_common::splice::{Conn, FREE};
use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Bytes of all records, a whole number of pages.
const BYTES: usize = CONNS_MAX as usize * size_of::<Conn>();

/// 64-bit words of a record.
const WORDS: usize = size_of::<Conn>() / 8;

/// The word that names the service.
const SERVICE_WORD: usize = offset_of!(Conn, service) / 8;

/// The word that holds the state in its first half.
const STATE_WORD: usize = offset_of!(Conn, state) / 8;

const _: () = assert!(size_of::<Conn>().is_multiple_of(8), "an array keeps its elements 8 bytes apart");
const _: () = assert!(offset_of!(Conn, state).is_multiple_of(8) && offset_of!(Conn, service).is_multiple_of(8));
const _: () = assert!(BYTES.is_multiple_of(4096));

/// All records.
#[derive(Debug)]
pub(super) struct Records {
    start: NonNull<u8>,
}

// SAFETY: the mapping belongs to no thread, and every access to it is atomic.
unsafe impl Send for Records {}
// SAFETY: as above.
unsafe impl Sync for Records {}

impl Records {
    /// Maps the records behind a pin, whose shape the caller has compared with ours.
    pub fn open(pin: &Path) -> io::Result<Self> {
        let map = syscall::open_pin(pin)?;
        let info = syscall::map_info(map.as_fd())?;
        if (info.value_size as usize, info.max_entries) != (size_of::<Conn>(), CONNS_MAX) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "records of another size"));
        }
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), BYTES, protection, flags, map.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Self { start })
    }

    /// The record; an empty one for an id that there is not.
    pub fn read(&self, id: u32) -> Conn {
        let mut bytes = [0; size_of::<Conn>()];
        if id >= CONNS_MAX {
            return Conn::ZERO;
        }
        for (word, bytes) in bytes.chunks_exact_mut(8).enumerate() {
            if word == STATE_WORD {
                bytes[..4].copy_from_slice(&self.half(id, 0).load(Ordering::Acquire).to_ne_bytes());
                bytes[4..].copy_from_slice(&self.half(id, 1).load(Ordering::Relaxed).to_ne_bytes());
            } else {
                bytes.copy_from_slice(&self.word(id, word).load(Ordering::Relaxed).to_ne_bytes());
            }
        }
        from_bytes(&bytes).unwrap_or(Conn::ZERO)
    }

    /// Writes a record; its state last, so that a packet never sees the new state with old numbers.
    pub fn write(&self, id: u32, conn: &Conn) -> io::Result<()> {
        if id >= CONNS_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("there is no record {id}")));
        }
        self.half(id, 0).store(FREE, Ordering::Release);
        for (word, bytes) in bytes_of(conn).chunks_exact(8).enumerate() {
            if word == STATE_WORD {
                self.half(id, 1).store(conn.answer, Ordering::Relaxed);
            } else if let Ok(bytes) = bytes.try_into() {
                self.word(id, word).store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
            }
        }
        self.half(id, 0).store(conn.state, Ordering::Release);
        Ok(())
    }

    /// Changes the state if it is `from`; else answers what it is.
    pub fn exchange_state(&self, id: u32, from: u32, to: u32) -> Result<(), u32> {
        if id >= CONNS_MAX {
            return Err(FREE);
        }
        self.half(id, 0).compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).map(drop)
    }

    /// Sets the state, whatever it was.
    pub fn set_state(&self, id: u32, state: u32) {
        if id < CONNS_MAX {
            self.half(id, 0).store(state, Ordering::Release);
        }
    }

    /// Says which service a pair belongs to.
    pub fn set_service(&self, id: u32, service: u64) {
        if id < CONNS_MAX {
            self.word(id, SERVICE_WORD).store(service, Ordering::Relaxed);
        }
    }

    /// A word that is not the state's. `id` and `word` are in bounds: the callers look.
    fn word(&self, id: u32, word: usize) -> &AtomicU64 {
        debug_assert!(id < CONNS_MAX && word < WORDS && word != STATE_WORD);
        // SAFETY: in bounds of the mapping, which lives as long as we do; a multiple of 8 from the start of a page, so
        // aligned; only ever accessed as an `AtomicU64` by us.
        unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(id as usize * size_of::<Conn>() + word * 8).cast()) }
    }

    /// The state, or what lies beside it.
    fn half(&self, id: u32, half: usize) -> &AtomicU32 {
        debug_assert!(id < CONNS_MAX && half < 2);
        let at = id as usize * size_of::<Conn>() + STATE_WORD * 8 + half * 4;
        // SAFETY: in bounds of the mapping, which lives as long as we do; a multiple of 4 from the start of a page, so
        // aligned; only ever accessed as an `AtomicU32` by us.
        unsafe { AtomicU32::from_ptr(self.start.as_ptr().add(at).cast()) }
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        // SAFETY: the mapping of `open`, of that length; nobody borrows from it any more.
        if unsafe { libc::munmap(self.start.as_ptr().cast(), BYTES) } != 0 {
            tracing::warn!(error = %io::Error::last_os_error(), "the records of carried connections stay mapped");
        }
    }
}
