//! What a carrier would find and do here, without doing it.
//!
//! Owns: looking. Goes in: the choice of interfaces, a pin directory, the eBPF object. Comes out: interfaces with the
//! reason where they would not carry and the programs of others there, sets of pins with what becomes of them, whether
//! the programs load. Does not do: attaching, pinning, judging (`doctor`).

use super::super::attach::program_report;
use super::super::object::{OF_LOOKUP, absent, shrink};
use super::super::syscall::{self, Hook};
use super::super::{Unavailable, unavailable};
use super::clsact::{self, Way};
use super::drivers::Drivers;
use super::links::{self, Link};
use super::netlink::Socket;
use super::{AttachBy, Interfaces, layout, probe, set};
use aya::programs::{ProgramError, SchedClassifier, Xdp, loaded_programs};
use aya::{Ebpf, EbpfError, EbpfLoader};
use lb_common::maps;
use std::collections::HashMap;
use std::io;
use std::path::Path;

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Seen {
    pub name: String,
    /// Why connections would not be carried there; none: they would.
    pub reason: Option<&'static str>,
    /// Whether its driver says that it runs programs and takes redirected frames; none: the kernel does not tell.
    pub xdp: Option<bool>,
    /// Programs of others that see packets before ours do, with the way that these go.
    pub before: Vec<String>,
    /// Programs of others that see what ours leave, or would.
    pub after: Vec<String>,
}

/// All interfaces of this network namespace.
pub(in super::super) fn interfaces(wanted: &Interfaces, pin_dir: &Path) -> io::Result<Vec<Seen>> {
    let socket = Socket::open()?;
    let set = set::whole(pin_dir);
    let id = |name| program_report(&set.join(name)).ok().map(|program| program.id);
    let ours: Vec<u32> = [maps::SPLICE_PROGRAM, maps::SILENCE_PROGRAM].into_iter().filter_map(id).collect();
    // Only CAP_SYS_ADMIN may ask for names by number.
    let name = |program: aya::programs::ProgramInfo| Some((program.id(), program.name_as_str()?.to_owned()));
    let names: HashMap<u32, String> = loaded_programs().map_while(Result::ok).filter_map(name).collect();
    // Without a set there are no filters of ours, and 0 is no handle.
    let mark = std::fs::canonicalize(&set).map_or(0, |set| clsact::mark(&set));
    // Kernels before 6.3 do not know the question.
    let (whose, drivers) = (Whose { ours, names, mark }, Drivers::open().ok());
    let look = |link: Link| {
        let (reason, xdp) =
            (reason(&link, wanted), drivers.as_ref().and_then(|drivers| drivers.runs_programs(link.index).ok()));
        let mut seen = Seen { reason, xdp, name: link.name, before: Vec::new(), after: Vec::new() };
        if seen.reason.is_none() {
            look_at_hooks(&socket, link.index, &whose, &mut seen);
        }
        seen
    };
    Ok(links::list(&socket)?.into_iter().map(look).collect())
}

/// How programs of ours are told from those of others.
struct Whose {
    ours: Vec<u32>,
    /// Of all programs that may be asked for.
    names: HashMap<u32, String>,
    /// Of our filters.
    mark: u32,
}

/// As `attach` chooses.
fn reason(link: &Link, wanted: &Interfaces) -> Option<&'static str> {
    if link.is_loopback {
        Some("loopback")
    } else if !wanted.select(&link.name) {
        Some("left out")
    } else if !link.is_ethernet {
        Some("no Ethernet header")
    } else if !link.is_up {
        Some("down")
    } else {
        None
    }
}

fn look_at_hooks(socket: &Socket, index: u32, whose: &Whose, seen: &mut Seen) {
    let Whose { ours, names, mark } = whose;
    for (way, hook, text) in [(Way::In, Hook::Ingress, "in"), (Way::Out, Hook::Egress, "out")] {
        // Without tcx, or without the right to ask, there is nothing to tell.
        let programs = syscall::programs_of_tcx(index, hook).unwrap_or_default();
        let place = programs.iter().position(|id| ours.contains(id)).unwrap_or(0);
        for (at, id) in programs.iter().enumerate().filter(|(_, id)| !ours.contains(id)) {
            let name = names.get(id).map_or_else(|| format!("program {id}"), String::clone);
            if at < place { &mut seen.before } else { &mut seen.after }.push(format!("{text}: {name}"));
        }
        let (before, after) = clsact::names_of_others(socket, index, way, *mark).unwrap_or_default();
        // Filters run after all of tcx (kernel 6.6, `sch_handle_ingress`).
        seen.before.extend(before.into_iter().map(|name| format!("{text}: filter {name}")));
        seen.after.extend(after.into_iter().map(|name| format!("{text}: filter {name}")));
    }
}

/// The sets of pins that earlier agents left, each with what becomes of it.
pub(in super::super) fn sets(pin_dir: &Path) -> Result<Vec<String>, Unavailable> {
    let read = |error| Unavailable::from_io(format!("read {}", pin_dir.display()), error);
    let ours = set::whole(pin_dir);
    let mut said = Vec::new();
    for set in set::all(pin_dir).map_err(read)? {
        let name = set.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if set == ours {
            layout::check(&set)?;
            said.push(format!("{name} is adopted"));
        } else {
            said.push(format!("{name} is of another version, and carries on until its pairs have ended"));
        }
    }
    Ok(said)
}

/// Loads the programs and their maps, and drops them.
pub(in super::super) fn try_load(object: &[u8], xdp: bool) -> Result<(), Unavailable> {
    if object.is_empty() {
        return Err(Unavailable::ObjectMissing);
    }
    unavailable::check_kernel()?;
    probe::check(None)?;
    let mut loader = EbpfLoader::new();
    shrink(&mut loader, &OF_LOOKUP);
    let mut ebpf = loader.load(object).map_err(|e| Unavailable::from_aya("make maps", e))?;
    let fault = |e: ProgramError| Unavailable::from_aya("load a program", EbpfError::ProgramError(e));
    for name in [maps::SPLICE_PROGRAM, maps::SILENCE_PROGRAM] {
        let program: &mut SchedClassifier = find(&mut ebpf, name)?.try_into().map_err(fault)?;
        program.load().map_err(fault)?;
    }
    if xdp {
        let program: &mut Xdp = find(&mut ebpf, maps::SPLICE_XDP_PROGRAM)?.try_into().map_err(fault)?;
        program.load().map_err(fault)?;
    }
    Ok(())
}

fn find<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut aya::programs::Program, Unavailable> {
    ebpf.program_mut(name).ok_or_else(|| absent(name))
}

/// How programs would be attached.
pub(in super::super) fn way() -> Result<AttachBy, io::Error> {
    match probe::tcx() {
        Ok(()) => Ok(AttachBy::Tcx),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES)) => Err(error),
        Err(_) => Ok(AttachBy::Clsact),
    }
}
