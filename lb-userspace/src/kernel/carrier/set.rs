//! The set of pins of the splice: loading it afresh or adopting what an earlier agent left.
//!
//! Owns: the layout `<pin_dir>/splice-<N>/{<programs>, <maps>, net-<inode>/<links>}` and its removal. Goes in: a locked
//! pin directory and the eBPF object. Comes out: a [`Set`]. Does not do: attaching (`attach`), which changes at any time.
//!
//! Records of live connections are in the maps. So a set is adopted whenever it can be, and one that cannot goes on
//! carrying under another name (`others`). The directory of links has the inode of the network namespace in its name,
//! because a link to an interface does not tell its namespace.

use super::super::attach::{program_report, text};
use super::super::netns::Netns;
use super::super::object::{OF_LOOKUP, OF_SPLICE, absent, shrink, take, typed};
use super::super::report::{Origin, ProgramReport};
use super::super::{Unavailable, pins, syscall};
use super::{clsact, layout};
use aya::maps::xdp::DevMapHash;
use aya::maps::{MapData, PerCpuArray, RingBuf};
use aya::programs::{ProgramError, ProgramFd, ProgramInfo, SchedClassifier, Xdp};
use aya::{Ebpf, EbpfError, EbpfLoader};
use lb_common::maps;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Begins the name of every set of the splice.
const ANY: &str = "splice-";
/// Begins the name of a set that is being made; one is left when an agent dies meanwhile.
const UNFINISHED: &str = "splice-new-";
/// Begins the name of a set of this version that could not be adopted.
const REPLACED: &str = "splice-old-";
/// Begins the name of the directory of links.
const LINKS: &str = "net-";

/// A loaded set.
pub(super) struct Set {
    pub dir: PathBuf,
    pub origin: Origin,
    pub programs: Programs,
    pub counters: PerCpuArray<MapData, u64>,
    pub events: RingBuf<MapData>,
    pub ports: DevMapHash<MapData>,
}

/// The programs that interfaces run.
#[derive(Debug)]
pub(super) struct Programs {
    pub ingress: Program,
    pub egress: Program,
    /// Only when it is wanted.
    pub xdp: Option<Program>,
}

/// A program in the kernel.
#[derive(Debug)]
pub(super) struct Program {
    pub fd: OwnedFd,
    pub report: ProgramReport,
    /// The pin is of another one until [`Programs::settle`].
    is_new: bool,
}

/// Directory of the set of this version.
pub(super) fn whole(pin_dir: &Path) -> PathBuf {
    pin_dir.join(format!("{ANY}{}", maps::SPLICE_ABI_VERSION))
}

/// Every set below a pin directory, whole or not.
pub(in super::super) fn all(pin_dir: &Path) -> io::Result<Vec<PathBuf>> {
    pins::sets(pin_dir, &[ANY])
}

/// Sets that go on carrying beside ours.
pub(super) fn others(pin_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let ours = whole(pin_dir);
    Ok(all(pin_dir)?.into_iter().filter(|set| *set != ours).collect())
}

/// Directory of the links of a set in a network namespace.
pub(super) fn links(set: &Path, netns: &Netns) -> PathBuf {
    set.join(format!("{LINKS}{}", netns.inode))
}

/// Adopts the set of this version and network namespace, or makes one. Only the holder of the lock may call it.
pub(super) fn open(pin_dir: &Path, object: &[u8], netns: &Netns, xdp: bool) -> Result<Set, Unavailable> {
    let failed = |e| Unavailable::from_io(format!("read {}", pin_dir.display()), e);
    for left in pins::sets(pin_dir, &[UNFINISHED]).map_err(failed)? {
        remove_or_warn(&left);
    }
    let set = whole(pin_dir);
    let required = OF_SPLICE.iter().chain(&[maps::SPLICE_PROGRAM, maps::SILENCE_PROGRAM]);
    if required.map(|name| set.join(name)).all(|pin| pin.exists()) && links(&set, netns).exists() {
        // Before aya sees them: it takes what is pinned for what it would have made.
        layout::check(&set)?;
        return load(object, &set, xdp);
    }
    afresh(pin_dir, object, netns, xdp)
}

/// Makes a set in a directory of its own and gives it its name; one that has the name carries on under another.
fn afresh(pin_dir: &Path, object: &[u8], netns: &Netns, xdp: bool) -> Result<Set, Unavailable> {
    let (process, dir) = (std::process::id(), whole(pin_dir));
    let unfinished = pin_dir.join(format!("{UNFINISHED}{process}"));
    let replaced = pin_dir.join(format!("{REPLACED}{}-{process}", maps::SPLICE_ABI_VERSION));
    let made = make(&unfinished, object, netns, xdp).and_then(|set| {
        let rename = || {
            if dir.exists() {
                std::fs::rename(&dir, replaced)?;
            }
            std::fs::rename(&unfinished, &dir)
        };
        rename().map_err(|e| Unavailable::from_io(format!("make {}", dir.display()), e))?;
        Ok(Set { dir: dir.clone(), origin: Origin::Fresh, ..set })
    });
    if made.is_err() {
        remove_or_warn(&unfinished);
    }
    made
}

fn make(dir: &Path, object: &[u8], netns: &Netns, xdp: bool) -> Result<Set, Unavailable> {
    let mut make_dirs = std::fs::DirBuilder::new();
    let made = make_dirs.recursive(true).create(links(dir, netns));
    made.map_err(|e| Unavailable::from_io(format!("make {}", dir.display()), e))?;
    let mut set = load(object, dir, xdp)?;
    set.programs.settle(dir).map_err(|e| Unavailable::from_io("pin our programs", e))?;
    layout::check(dir)?;
    Ok(set)
}

/// Loads the programs; maps and programs that are pinned in `dir` are used, other maps are made and pinned there.
fn load(object: &[u8], dir: &Path, xdp: bool) -> Result<Set, Unavailable> {
    let mut loader = EbpfLoader::new();
    for name in OF_SPLICE {
        loader.map_pin_path(name, dir.join(name));
    }
    shrink(&mut loader, &OF_LOOKUP);
    let mut ebpf = loader.load(object).map_err(|e| Unavailable::from_aya("make maps", e))?;
    let programs = Programs {
        ingress: program::<SchedClassifier>(&mut ebpf, maps::SPLICE_PROGRAM, dir)?,
        egress: program::<SchedClassifier>(&mut ebpf, maps::SILENCE_PROGRAM, dir)?,
        xdp: xdp.then(|| program::<Xdp>(&mut ebpf, maps::SPLICE_XDP_PROGRAM, dir)).transpose()?,
    };
    Ok(Set {
        dir: dir.to_owned(),
        origin: if programs.all().any(|program| program.is_new) { Origin::Updated } else { Origin::Adopted },
        programs,
        counters: typed(take(&mut ebpf, maps::SPLICE_COUNTERS)?)?,
        events: typed(take(&mut ebpf, maps::EVENTS)?)?,
        ports: typed(take(&mut ebpf, maps::PORTS)?)?,
    })
}

/// aya's types of programs have the same methods and no trait for them.
trait Loadable {
    fn load(&mut self) -> Result<(), ProgramError>;
    fn info(&self) -> Result<ProgramInfo, ProgramError>;
    fn fd(&self) -> Result<&ProgramFd, ProgramError>;
}

macro_rules! loadable {
    ($($type:ty),+) => {$(
        impl Loadable for $type {
            fn load(&mut self) -> Result<(), ProgramError> {
                self.load()
            }
            fn info(&self) -> Result<ProgramInfo, ProgramError> {
                self.info()
            }
            fn fd(&self) -> Result<&ProgramFd, ProgramError> {
                self.fd()
            }
        }
    )+};
}

loadable!(SchedClassifier, Xdp);

/// Loads a program; the pinned one is used when it is the same.
fn program<T>(ebpf: &mut Ebpf, name: &str, dir: &Path) -> Result<Program, Unavailable>
where
    T: Loadable + 'static,
    for<'a> &'a mut T: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    let fault = |e: ProgramError| Unavailable::from_aya("load a program", EbpfError::ProgramError(e));
    let program = ebpf.program_mut(name).ok_or_else(|| absent(name))?;
    let program: &mut T = program.try_into().map_err(fault)?;
    program.load().map_err(fault)?;
    let info = program.info().map_err(fault)?;
    let pin = dir.join(name);
    if pin.exists() {
        let report = program_report(&pin)?;
        if report.tag == text(info.tag()) {
            let fd = syscall::open_pin(&pin).map_err(|e| Unavailable::from_io("open our program", e))?;
            return Ok(Program { fd, report, is_new: false });
        }
    }
    let fd = program.fd().map_err(fault)?.as_fd().try_clone_to_owned();
    let fd = fd.map_err(|e| Unavailable::from_io("keep our program", e))?;
    let report = ProgramReport { name: name.to_owned(), id: info.id(), tag: text(info.tag()) };
    Ok(Program { fd, report, is_new: true })
}

impl Programs {
    /// Those that there are.
    pub fn all(&self) -> impl Iterator<Item = &Program> {
        [&self.ingress, &self.egress].into_iter().chain(&self.xdp)
    }

    /// Pins in `dir` the programs that are new, once they run everywhere: an agent that dies before finds the links with
    /// another program than the pinned one, and updates them.
    pub fn settle(&mut self, dir: &Path) -> io::Result<()> {
        let programs = [&mut self.ingress, &mut self.egress];
        for program in programs.into_iter().chain(&mut self.xdp).filter(|program| program.is_new) {
            pins::replace(program.fd.as_fd(), &dir.join(&program.report.name))?;
            program.is_new = false;
        }
        let xdp = dir.join(maps::SPLICE_XDP_PROGRAM);
        if self.xdp.is_none() && xdp.exists() {
            std::fs::remove_file(xdp)?;
        }
        Ok(())
    }
}

/// Detaches a link and removes its pin. Removing the name alone detaches only after a while.
pub(super) fn remove_link(pin: &Path) -> io::Result<()> {
    syscall::detach_link(syscall::open_pin(pin)?.as_fd())?;
    std::fs::remove_file(pin)
}

/// Removes one set: what runs its programs first, so that none runs with half its maps named.
pub(in super::super) fn remove(set: &Path, removed: &mut Vec<PathBuf>) -> Result<(), (PathBuf, io::Error)> {
    let fault = |path: &Path| {
        let path = path.to_owned();
        move |source| (path, source)
    };
    let (dirs, files): (Vec<_>, Vec<_>) =
        pins::list(set).map_err(fault(set))?.into_iter().partition(|path| path.is_dir());
    let name = set.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if ![UNFINISHED, REPLACED].iter().any(|prefix| name.starts_with(prefix)) {
        // A replaced set had the mark that ours has now, and ours took its filters over.
        let canonical = std::fs::canonicalize(set).map_err(fault(set))?;
        clsact::detach_everywhere(clsact::mark(&canonical)).map_err(fault(set))?;
    }
    for dir in dirs {
        for link in pins::list(&dir).map_err(fault(&dir))? {
            remove_link(&link).map_err(fault(&link))?;
            removed.push(link);
        }
        std::fs::remove_dir(&dir).map_err(fault(&dir))?;
    }
    for pin in files {
        std::fs::remove_file(&pin).map_err(fault(&pin))?;
        removed.push(pin);
    }
    std::fs::remove_dir(set).map_err(fault(set))?;
    removed.push(set.to_owned());
    Ok(())
}

/// As [`remove`]; failing is no fault of carrying, and what is left is removed next time.
pub(super) fn remove_or_warn(set: &Path) {
    match remove(set, &mut Vec::new()) {
        Ok(()) => tracing::info!(path = %set.display(), "removed pins of an earlier agent"),
        Err((path, error)) => tracing::warn!(path = %path.display(), %error, "cannot remove a pin of an earlier agent"),
    }
}
