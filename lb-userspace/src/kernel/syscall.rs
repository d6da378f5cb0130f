//! The commands of `bpf(2)` for links and for elements of maps, which aya 0.14 does not offer in full.
//!
//! Owns: the raw call and the layout of its arguments. Goes in: descriptors and paths. Comes out: descriptors, errors.
//! Does not do: loading programs and maps; aya does. Whether a key has the size that its map wants: `elements` knows.

#![allow(unsafe_code, reason = "bpf(2) takes a union by address")]

use std::ffi::CString;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// `enum bpf_cmd` of `linux/bpf.h`.
const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_MAP_DELETE_ELEM: libc::c_long = 3;
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_PROG_QUERY: libc::c_long = 16;
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_UPDATE: libc::c_long = 29;
const BPF_LINK_DETACH: libc::c_long = 34;

/// `enum bpf_attach_type` of `linux/bpf.h`.
const BPF_SK_LOOKUP: u32 = 36;
const BPF_XDP: u32 = 37;
const BPF_TCX_INGRESS: u32 = 46;
const BPF_TCX_EGRESS: u32 = 47;

/// Programs of one hook that are listed; the kernel runs at most 64 (`BPF_MPROG_MAX`).
const LISTED_MAX: usize = 64;

/// Before all programs that are there, when no other is named (`linux/bpf.h`, kernel 6.6).
const BPF_F_BEFORE: u32 = 1 << 3;
/// In the driver or not at all (`linux/if_link.h`).
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// The members of `union bpf_attr` that we use. The kernel takes a shorter union than its own and reads the rest as
/// zero, so each has only the fields that matter.
mod attr {
    #[repr(C)]
    pub struct Object {
        pub pathname: u64,
        pub bpf_fd: u32,
        pub file_flags: u32,
    }

    #[repr(C)]
    pub struct Info {
        pub bpf_fd: u32,
        pub info_len: u32,
        pub info: u64,
    }

    #[repr(C)]
    pub struct LinkCreate {
        pub prog_fd: u32,
        pub target_fd: u32,
        pub attach_type: u32,
        pub flags: u32,
    }

    /// Whole, because the kernel writes `count` and `revision` whatever length it was told.
    #[derive(Default)]
    #[repr(C)]
    pub struct Query {
        pub target_ifindex: u32,
        pub attach_type: u32,
        pub query_flags: u32,
        pub attach_flags: u32,
        pub prog_ids: u64,
        pub count: u32,
        pub reserved: u32,
        pub prog_attach_flags: u64,
        pub link_ids: u64,
        pub link_attach_flags: u64,
        pub revision: u64,
    }

    #[repr(C)]
    pub struct Element {
        pub map_fd: u32,
        pub reserved: u32,
        pub key: u64,
        pub value: u64,
        pub flags: u64,
    }

    #[repr(C)]
    pub struct Batch {
        pub in_batch: u64,
        pub out_batch: u64,
        pub keys: u64,
        pub values: u64,
        pub count: u32,
        pub map_fd: u32,
        pub elem_flags: u64,
        pub flags: u64,
    }

    #[repr(C)]
    pub struct LinkUpdate {
        pub link_fd: u32,
        pub new_prog_fd: u32,
        pub flags: u32,
        pub old_prog_fd: u32,
    }

    #[repr(C)]
    pub struct LinkDetach {
        pub link_fd: u32,
    }
}

/// `struct bpf_link_info` of a link to a network namespace or an interface, up to the fields that we read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct LinkInfo {
    /// `enum bpf_link_type`.
    pub kind: u32,
    /// Number of the link.
    pub id: u32,
    /// Number of the program that it runs.
    pub program_id: u32,
    reserved: u32,
    /// Inode of the network namespace, or index of the interface; 0 when that is gone.
    pub target: u32,
    /// `enum bpf_attach_type`; 0 for XDP.
    pub attach_type: u32,
}

/// `struct bpf_map_info`, up to the fields that we read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct MapInfo {
    /// `enum bpf_map_type`.
    pub kind: u32,
    /// Number of the map.
    pub id: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value; of a per-CPU map, on one CPU.
    pub value_size: u32,
    /// Capacity.
    pub max_entries: u32,
    /// `BPF_F_…`.
    pub flags: u32,
}

/// Where on an interface a program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// tcx on the way in, before all others that are there.
    Ingress,
    /// tcx on the way out, before all others that are there.
    Egress,
    /// XDP in the driver.
    Xdp,
}

/// Attaches a program to a network namespace.
pub fn attach_sk_lookup(program: BorrowedFd<'_>, netns: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let (prog_fd, target_fd) = (number(program), number(netns));
    let mut attr = attr::LinkCreate { prog_fd, target_fd, attach_type: BPF_SK_LOOKUP, flags: 0 };
    // SAFETY: `LinkCreate` is the kernel's layout; it holds no pointer.
    let fd = unsafe { bpf(BPF_LINK_CREATE, &mut attr) }?;
    owned(fd)
}

/// Attaches a program to an interface of this thread's network namespace.
pub fn attach_to_interface(program: BorrowedFd<'_>, ifindex: u32, hook: Hook) -> io::Result<OwnedFd> {
    let (attach_type, flags) = match hook {
        Hook::Ingress => (BPF_TCX_INGRESS, BPF_F_BEFORE),
        Hook::Egress => (BPF_TCX_EGRESS, BPF_F_BEFORE),
        Hook::Xdp => (BPF_XDP, XDP_FLAGS_DRV_MODE),
    };
    let mut attr = attr::LinkCreate { prog_fd: number(program), target_fd: ifindex, attach_type, flags };
    // SAFETY: `LinkCreate` is the kernel's layout; it holds no pointer.
    let fd = unsafe { bpf(BPF_LINK_CREATE, &mut attr) }?;
    owned(fd)
}

/// Numbers of the programs that tcx runs on an interface, in their order; the first [`LISTED_MAX`].
pub fn programs_of_tcx(ifindex: u32, hook: Hook) -> io::Result<Vec<u32>> {
    let attach_type = if hook == Hook::Egress { BPF_TCX_EGRESS } else { BPF_TCX_INGRESS };
    let mut ids = [0u32; LISTED_MAX];
    let prog_ids = ids.as_mut_ptr().expose_provenance() as u64;
    let count = LISTED_MAX as u32;
    let mut attr = attr::Query { target_ifindex: ifindex, attach_type, prog_ids, count, ..attr::Query::default() };
    // SAFETY: `Query` is the kernel's layout; `prog_ids` has room for `count` numbers and lives until the call returns.
    let asked = unsafe { bpf(BPF_PROG_QUERY, &mut attr) };
    match asked {
        // More than there is room for: the first ones are there.
        Err(error) if error.raw_os_error() != Some(libc::ENOSPC) => Err(error),
        _ => Ok(ids.into_iter().take(attr.count as usize).take_while(|id| *id != 0).collect()),
    }
}

/// Calls with arguments that are longer than a page: the kernel refuses them unread. An error says that the call does not get
/// so far: `ENOSYS` from a kernel that has it not, `EPERM` from a seccomp filter, or before 6.5 from a kernel that asks for
/// CAP_BPF first.
pub fn try_call() -> io::Result<()> {
    const LONGER_THAN_ANY_PAGE: usize = 1 << 20;
    let nothing = std::ptr::null::<u8>();
    // SAFETY: the kernel reads no byte at an address whose length it refuses (`bpf_check_uarg_tail_zero`); would it, it
    // would find that there is nothing and say so.
    let result = unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, nothing, LONGER_THAN_ANY_PAGE) };
    match io::Error::last_os_error() {
        error if result < 0 && !matches!(error.raw_os_error(), Some(libc::E2BIG | libc::EFAULT)) => Err(error),
        _ => Ok(()),
    }
}

/// Asks how many programs tcx runs on the way in of an interface: an error where the kernel has no tcx.
pub fn query_tcx(ifindex: u32) -> io::Result<u32> {
    let mut attr = attr::Query { target_ifindex: ifindex, attach_type: BPF_TCX_INGRESS, ..attr::Query::default() };
    // SAFETY: `Query` is the kernel's layout; it names no buffer, so the kernel writes `attr` alone.
    unsafe { bpf(BPF_PROG_QUERY, &mut attr) }?;
    Ok(attr.count)
}

/// Lets a link run another program, in one step: no packet meets none or both. `ENOLINK` when its namespace is gone.
pub fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = attr::LinkUpdate { link_fd: number(link), new_prog_fd: number(program), flags: 0, old_prog_fd: 0 };
    // SAFETY: `LinkUpdate` is the kernel's layout; it holds no pointer.
    unsafe { bpf(BPF_LINK_UPDATE, &mut attr) }.map(drop)
}

/// Detaches a link at once, whoever else holds it; it stays as an empty shell.
pub fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = attr::LinkDetach { link_fd: number(link) };
    // SAFETY: `LinkDetach` is the kernel's layout; it holds no pointer.
    unsafe { bpf(BPF_LINK_DETACH, &mut attr) }.map(drop)
}

/// What the kernel knows about a link.
pub fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let mut info = LinkInfo::default();
    // SAFETY: `LinkInfo` is the beginning of the kernel's layout, integers only.
    unsafe { read_info(link, &mut info) }?;
    Ok(info)
}

/// What the kernel knows about a map.
pub fn map_info(map: BorrowedFd<'_>) -> io::Result<MapInfo> {
    let mut info = MapInfo::default();
    // SAFETY: `MapInfo` is the beginning of the kernel's layout, integers only.
    unsafe { read_info(map, &mut info) }?;
    Ok(info)
}

/// Reads an element of a map into `value`. `ENOENT` when there is none.
///
/// # Safety
///
/// `key` and `value` must be as long as the map's keys and values; the map must not be per CPU.
pub unsafe fn lookup_element(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<()> {
    let mut attr = element(map, key, value.as_mut_ptr().expose_provenance(), 0);
    // SAFETY: the kernel reads a key at `key` and writes a value at `value`, which the caller promises to have room.
    unsafe { bpf(BPF_MAP_LOOKUP_ELEM, &mut attr) }.map(drop)
}

/// Writes an element of a map; `flags` as `BPF_NOEXIST`.
///
/// # Safety
///
/// As [`lookup_element`].
pub unsafe fn update_element(map: BorrowedFd<'_>, key: &[u8], value: &[u8], flags: u64) -> io::Result<()> {
    let mut attr = element(map, key, value.as_ptr().expose_provenance(), flags);
    // SAFETY: the kernel reads a key and a value, which the caller promises to be as long as the map wants.
    unsafe { bpf(BPF_MAP_UPDATE_ELEM, &mut attr) }.map(drop)
}

/// Removes an element of a map. `ENOENT` when there is none.
///
/// # Safety
///
/// As [`lookup_element`].
pub unsafe fn delete_element(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<()> {
    let mut attr = element(map, key, 0, 0);
    // SAFETY: the kernel reads a key, which the caller promises to be as long as the map wants.
    unsafe { bpf(BPF_MAP_DELETE_ELEM, &mut attr) }.map(drop)
}

/// Reads up to `count` elements of a hash from bucket `from` on. Answers how many, and the bucket to go on from; none
/// at the end. `ENOSPC` when one bucket holds more than `count`.
///
/// # Safety
///
/// `keys` and `values` must have room for `count` of the map's keys and values; the map must not be per CPU.
pub unsafe fn lookup_batch(
    map: BorrowedFd<'_>,
    from: Option<u32>,
    keys: &mut [u8],
    values: &mut [u8],
    count: u32,
) -> io::Result<(u32, Option<u32>)> {
    let mut next = 0u32;
    let mut attr = attr::Batch {
        in_batch: from.as_ref().map_or(0, |from| std::ptr::from_ref(from).expose_provenance() as u64),
        out_batch: (&raw mut next).expose_provenance() as u64,
        keys: keys.as_mut_ptr().expose_provenance() as u64,
        values: values.as_mut_ptr().expose_provenance() as u64,
        count,
        map_fd: number(map),
        elem_flags: 0,
        flags: 0,
    };
    // SAFETY: a position in a hash is a `u32`; the buffers have room for `count` elements, as the caller promises.
    match unsafe { bpf(BPF_MAP_LOOKUP_BATCH, &mut attr) } {
        Ok(_) => Ok((attr.count, Some(next))),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok((attr.count, None)),
        Err(error) => Err(error),
    }
}

/// Gives an object a name in a bpffs. `EEXIST` when the name is taken.
pub fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let pathname = path.as_ptr().expose_provenance() as u64;
    let mut attr = attr::Object { pathname, bpf_fd: number(object), file_flags: 0 };
    // SAFETY: `pathname` points at a string with a zero at its end, which lives until the call returns.
    unsafe { bpf(BPF_OBJ_PIN, &mut attr) }.map(drop)
}

/// Opens what has this name in a bpffs.
pub fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut attr = attr::Object { pathname: path.as_ptr().expose_provenance() as u64, bpf_fd: 0, file_flags: 0 };
    // SAFETY: `pathname` points at a string with a zero at its end, which lives until the call returns.
    let fd = unsafe { bpf(BPF_OBJ_GET, &mut attr) }?;
    owned(fd)
}

/// # Safety
///
/// `T` must be the beginning of what the kernel writes about such an object, and any bytes must be a value of it.
unsafe fn read_info<T>(object: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    let info_len = size_of::<T>() as u32;
    let info = std::ptr::from_mut(info).expose_provenance() as u64;
    let mut attr = attr::Info { bpf_fd: number(object), info_len, info };
    // SAFETY: `info` points at `info_len` bytes that live until the call returns, and the kernel writes no more.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr) }.map(drop)
}

fn element(map: BorrowedFd<'_>, key: &[u8], value: usize, flags: u64) -> attr::Element {
    let key = key.as_ptr().expose_provenance() as u64;
    attr::Element { map_fd: number(map), reserved: 0, key, value: value as u64, flags }
}

/// # Safety
///
/// `T` must be the layout that `command` reads and writes, and its pointers must hold for the length of the call.
unsafe fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the kernel reads and writes `size_of::<T>()` bytes at `attr`; the rest is the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A descriptor that the kernel just made for us.
fn owned(fd: libc::c_long) -> io::Result<OwnedFd> {
    let fd = RawFd::try_from(fd).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: the commands that come here return a new descriptor (close-on-exec) that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A borrowed descriptor is never negative.
fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().unsigned_abs()
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from)
}
