//! The commands of `bpf(2)` for links of a network namespace, which aya 0.14 does not offer in full.
//!
//! Owns: the raw call and the layout of its arguments. Goes in: descriptors and paths. Comes out: descriptors, errors.
//! Does not do: loading programs and maps; aya does.

#![allow(unsafe_code, reason = "bpf(2) takes a union by address")]

use std::ffi::CString;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// `enum bpf_cmd` of `linux/bpf.h`.
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_UPDATE: libc::c_long = 29;
const BPF_LINK_DETACH: libc::c_long = 34;

/// `enum bpf_attach_type` of `linux/bpf.h`.
const BPF_SK_LOOKUP: u32 = 36;

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

/// `struct bpf_link_info` of a link to a network namespace, up to the fields that we read.
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
    /// Inode of the network namespace; 0 when that is gone.
    pub netns_inode: u32,
    /// `enum bpf_attach_type`.
    pub attach_type: u32,
}

/// Attaches a program to a network namespace.
pub fn attach_sk_lookup(program: BorrowedFd<'_>, netns: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let (prog_fd, target_fd) = (number(program), number(netns));
    let attr = attr::LinkCreate { prog_fd, target_fd, attach_type: BPF_SK_LOOKUP, flags: 0 };
    // SAFETY: `LinkCreate` is the kernel's layout; it holds no pointer.
    let fd = unsafe { bpf(BPF_LINK_CREATE, &attr) }?;
    owned(fd)
}

/// Lets a link run another program, in one step: no packet meets none or both. `ENOLINK` when its namespace is gone.
pub fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let attr = attr::LinkUpdate { link_fd: number(link), new_prog_fd: number(program), flags: 0, old_prog_fd: 0 };
    // SAFETY: `LinkUpdate` is the kernel's layout; it holds no pointer.
    unsafe { bpf(BPF_LINK_UPDATE, &attr) }.map(drop)
}

/// Detaches a link at once, whoever else holds it; it stays as an empty shell.
pub fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    let attr = attr::LinkDetach { link_fd: number(link) };
    // SAFETY: `LinkDetach` is the kernel's layout; it holds no pointer.
    unsafe { bpf(BPF_LINK_DETACH, &attr) }.map(drop)
}

/// What the kernel knows about a link.
pub fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let mut info = LinkInfo::default();
    let attr = attr::Info {
        bpf_fd: number(link),
        info_len: size_of::<LinkInfo>() as u32,
        info: (&raw mut info).expose_provenance() as u64,
    };
    // SAFETY: `info` points at `info_len` bytes that live until the call returns, and the kernel writes no more.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &attr) }?;
    Ok(info)
}

/// Gives an object a name in a bpffs. `EEXIST` when the name is taken.
pub fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let attr =
        attr::Object { pathname: path.as_ptr().expose_provenance() as u64, bpf_fd: number(object), file_flags: 0 };
    // SAFETY: `pathname` points at a string with a zero at its end, which lives until the call returns.
    unsafe { bpf(BPF_OBJ_PIN, &attr) }.map(drop)
}

/// Opens what has this name in a bpffs.
pub fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let attr = attr::Object { pathname: path.as_ptr().expose_provenance() as u64, bpf_fd: 0, file_flags: 0 };
    // SAFETY: `pathname` points at a string with a zero at its end, which lives until the call returns.
    let fd = unsafe { bpf(BPF_OBJ_GET, &attr) }?;
    owned(fd)
}

/// # Safety
///
/// `T` must be the layout that `command` reads, and its pointers must hold for the length of the call.
unsafe fn bpf<T>(command: libc::c_long, attr: &T) -> io::Result<libc::c_long> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes at `attr`; the rest is the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of::<T>()) };
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
