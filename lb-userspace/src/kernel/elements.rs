//! Elements of a hash or an array as bytes, for maps that several threads write or whose types this version does not
//! know.
//!
//! Owns: the sizes, asked from the kernel, so that no call reads or writes past a buffer. Goes in: a pin, keys, values.
//! Comes out: values, all elements. Does not do: typed access (aya does, one writer at a time), per-CPU maps.

#![allow(unsafe_code, reason = "keys and values go to the kernel by address")]

use super::syscall::{self, MapInfo};
use aya::Pod;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// `enum bpf_map_type` of `linux/bpf.h`.
pub(super) const HASH: u32 = 1;
/// As [`HASH`].
pub(super) const ARRAY: u32 = 2;

/// Only if there is no such element.
pub(super) const NO_EXIST: u64 = 1;

/// Elements that are read in one call: 48 KB of keys and values of our longest.
const BATCH: u32 = 1024;

/// A hash or an array.
#[derive(Debug)]
pub(super) struct Elements {
    fd: OwnedFd,
    info: MapInfo,
}

impl Elements {
    /// Opens a pinned map; another kind than a hash or an array is refused.
    pub fn open(pin: &Path) -> io::Result<Self> {
        let fd = syscall::open_pin(pin)?;
        let info = syscall::map_info(fd.as_fd())?;
        if !matches!(info.kind, HASH | ARRAY) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("a map of type {}", info.kind)));
        }
        Ok(Self { fd, info })
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.check(key, self.info.key_size)?;
        let mut value = vec![0; self.info.value_size as usize];
        // SAFETY: key and value have the sizes that the kernel told, and the map is a hash or an array.
        match unsafe { syscall::lookup_element(self.fd.as_fd(), key, &mut value) } {
            Ok(()) => Ok(Some(value)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Adds an element; `AlreadyExists` when the key has one.
    pub fn insert(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.check(key, self.info.key_size)?;
        self.check(value, self.info.value_size)?;
        // SAFETY: key and value have the sizes that the kernel told, and the map is a hash or an array.
        unsafe { syscall::update_element(self.fd.as_fd(), key, value, NO_EXIST) }
    }

    /// Removes an element; none there is fine. Answers whether there was one.
    pub fn remove(&self, key: &[u8]) -> io::Result<bool> {
        self.check(key, self.info.key_size)?;
        // SAFETY: the key has the size that the kernel told.
        match unsafe { syscall::delete_element(self.fd.as_fd(), key) } {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// All elements of a hash. One that comes or goes meanwhile is there or not; no other is missed or told twice.
    pub fn all(&self) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let (key_size, value_size) = (self.info.key_size as usize, self.info.value_size as usize);
        let mut all = Vec::new();
        let (mut count, mut from) = (BATCH.min(self.info.max_entries), None);
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        loop {
            keys.resize(key_size * count as usize, 0);
            values.resize(value_size * count as usize, 0);
            // SAFETY: both buffers have room for `count` elements of the sizes that the kernel told.
            let batch = unsafe { syscall::lookup_batch(self.fd.as_fd(), from, &mut keys, &mut values, count) };
            let (read, next) = match batch {
                // A bucket with more elements than asked for; a map has no more than its capacity.
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) && count < self.info.max_entries => {
                    count = (count * 2).min(self.info.max_entries);
                    continue;
                }
                other => other?,
            };
            let pairs = keys.chunks_exact(key_size).zip(values.chunks_exact(value_size)).take(read as usize);
            all.extend(pairs.map(|(key, value)| (key.to_vec(), value.to_vec())));
            match next {
                Some(next) => from = Some(next),
                None => return Ok(all),
            }
        }
    }

    fn check(&self, bytes: &[u8], size: u32) -> io::Result<()> {
        if bytes.len() == size as usize {
            return Ok(());
        }
        let message = format!("{} bytes for a map that takes {size}", bytes.len());
        Err(io::Error::new(io::ErrorKind::InvalidInput, message))
    }
}

/// A type of the contract as the kernel sees it.
pub(super) fn bytes_of<T: Pod>(value: &T) -> &[u8] {
    // SAFETY: `Pod` promises that the value is plain bytes without padding; they live as long as the value.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// A type of the contract from what the kernel has; none when the size differs.
pub(super) fn from_bytes<T: Pod>(bytes: &[u8]) -> Option<T> {
    if bytes.len() != size_of::<T>() {
        return None;
    }
    // SAFETY: as many bytes as `T` has are there, `Pod` promises that any bytes are a value, and the read needs no
    // alignment.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}
