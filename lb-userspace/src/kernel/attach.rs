//! Attaching our program to the network namespace: adopting what an earlier agent left, or starting afresh.
//!
//! Owns: that choice and its order. Goes in: a locked pin directory and the eBPF object. Comes out: [`Attached`].
//! Does not do: filling maps.
//!
//! Adopting keeps link and maps, so no connection notices; when the program's tag differs, the link is updated in one
//! step. Afresh means: everything is made in a directory of its own, attached, and only then given its name; whatever
//! steered before goes on until the new maps are filled.

use super::events::Forwarder;
use super::netns::{self, Netns};
use super::object::{self, Loaded, Maps};
use super::pins;
use super::report::{Origin, ProgramReport};
use super::{Unavailable, syscall};
use aya::programs::ProgramInfo;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// Our program runs in the network namespace.
pub(super) struct Attached {
    pub maps: Maps,
    /// Directory of the pins.
    pub set: PathBuf,
    pub origin: Origin,
    pub program: ProgramReport,
    pub link_id: u32,
    /// Sets that steer until ours is filled.
    replaced: Vec<PathBuf>,
}

/// Attaches, and forwards log records from now on.
pub(super) fn open(pin_dir: &Path, object: &[u8]) -> Result<(Attached, Forwarder), Unavailable> {
    for set in list(pin_dir, pins::left_unfinished)? {
        remove(&set);
    }
    let netns = netns::current()?;
    let set = pins::whole(pin_dir);
    let (mut loaded, origin) = if is_adoptable(&set, &netns) {
        adopt(&set, object)?
    } else {
        (afresh(pin_dir, object, &netns)?, Origin::Fresh)
    };
    let events = Forwarder::start(&mut loaded.ebpf)?;
    let link = link_info(&set.join(pins::LINK)).map_err(|e| Unavailable::from_io("read our link", e))?;
    let program = pinned_program(&set)?;
    let replaced = list(pin_dir, pins::others)?;
    tracing::info!(
        origin = origin.name(),
        link = link.id,
        program = program.id,
        tag = program.tag,
        "steering is attached"
    );
    Ok((Attached { maps: loaded.maps, set, origin, program, link_id: link.id, replaced }, events))
}

impl Attached {
    /// Removes the sets that ours has replaced. Failing is no fault of steering: what is left is removed next time.
    pub fn remove_replaced(&mut self) {
        for set in self.replaced.drain(..) {
            remove(&set);
        }
    }
}

/// A whole set whose link is in our network namespace.
fn is_adoptable(set: &Path, netns: &Netns) -> bool {
    pins::NAMES.iter().all(|name| set.join(name).exists())
        && link_info(&set.join(pins::LINK)).is_ok_and(|link| u64::from(link.target) == netns.inode)
}

/// Uses link and maps of a set; updates the program when it is not the same.
fn adopt(set: &Path, object: &[u8]) -> Result<(Loaded, Origin), Unavailable> {
    let mut loaded = object::load(object, set)?;
    let link = syscall::open_pin(&set.join(pins::LINK)).map_err(|e| Unavailable::from_io("open our link", e))?;
    let running = syscall::link_info(link.as_fd()).map_err(|e| Unavailable::from_io("read our link", e))?.program_id;
    let pinned = pinned_program(set)?;
    let program = object::program(&mut loaded.ebpf)?;
    let tag = program.info().map_err(|e| Unavailable::from_aya("read our program", e))?.tag();
    if pinned.id == running && pinned.tag == text(tag) {
        return Ok((loaded, Origin::Adopted));
    }
    let fd = program.fd().map_err(|e| Unavailable::from_aya("use our program", e))?;
    syscall::update_link(link.as_fd(), fd.as_fd()).map_err(|e| Unavailable::from_io("update our link", e))?;
    pins::replace(fd.as_fd(), &set.join(pins::PROGRAM)).map_err(|e| Unavailable::from_io("pin our program", e))?;
    Ok((loaded, Origin::Updated))
}

/// Makes a set, attaches it, and gives it its name; a set that has the name already steers on under another.
fn afresh(pin_dir: &Path, object: &[u8], netns: &Netns) -> Result<Loaded, Unavailable> {
    let (unfinished, set) = (pins::unfinished(pin_dir), pins::whole(pin_dir));
    std::fs::create_dir(&unfinished).map_err(|e| Unavailable::from_io(format!("make {}", unfinished.display()), e))?;
    let made = make(&unfinished, object, netns).and_then(|loaded| {
        let rename = || {
            if set.exists() {
                std::fs::rename(&set, pins::replaced(pin_dir))?;
            }
            std::fs::rename(&unfinished, &set)
        };
        rename().map_err(|e| Unavailable::from_io(format!("make {}", set.display()), e))?;
        Ok(loaded)
    });
    if made.is_err() {
        remove(&unfinished);
    }
    made
}

/// Loads, attaches and pins in `dir`.
fn make(dir: &Path, object: &[u8], netns: &Netns) -> Result<Loaded, Unavailable> {
    let mut loaded = object::load(object, dir)?;
    let program = object::program(&mut loaded.ebpf)?;
    let fd = program.fd().map_err(|e| Unavailable::from_aya("use our program", e))?;
    let link = syscall::attach_sk_lookup(fd.as_fd(), netns.file.as_fd())
        .map_err(|e| Unavailable::from_io("attach to our network namespace", e))?;
    let pin = || {
        syscall::pin(fd.as_fd(), &dir.join(pins::PROGRAM))?;
        syscall::pin(link.as_fd(), &dir.join(pins::LINK))
    };
    pin().map_err(|e| Unavailable::from_io("pin our program and link", e))?;
    Ok(loaded)
}

fn link_info(pin: &Path) -> io::Result<syscall::LinkInfo> {
    syscall::link_info(syscall::open_pin(pin)?.as_fd())
}

fn pinned_program(set: &Path) -> Result<ProgramReport, Unavailable> {
    program_report(&set.join(pins::PROGRAM))
}

/// What the kernel knows about a pinned program.
pub(super) fn program_report(pin: &Path) -> Result<ProgramReport, Unavailable> {
    let info = ProgramInfo::from_pin(pin).map_err(|e| Unavailable::from_aya("read our program", e))?;
    let name = info.name_as_str().unwrap_or_default().to_owned();
    Ok(ProgramReport { name, id: info.id(), tag: text(info.tag()) })
}

/// A tag as `bpftool` prints it: the bytes in the order of memory.
pub(super) fn text(tag: u64) -> String {
    tag.to_be_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn list(pin_dir: &Path, which: fn(&Path) -> io::Result<Vec<PathBuf>>) -> Result<Vec<PathBuf>, Unavailable> {
    which(pin_dir).map_err(|e| Unavailable::from_io(format!("read {}", pin_dir.display()), e))
}

fn remove(set: &Path) {
    let mut removed = Vec::new();
    match pins::remove(set, &mut removed) {
        Ok(()) => tracing::info!(path = %set.display(), "removed pins of an earlier agent"),
        Err((path, error)) => tracing::warn!(path = %path.display(), %error, "cannot remove a pin of an earlier agent"),
    }
}
