//! Which interfaces run our programs, and keeping that so while interfaces come and go.
//!
//! Owns: the choice, and what is attached where. Goes in: news of interfaces. Comes out: which are covered, and why the
//! others are not. Does not do: waiting for news (`follow`).
//!
//! By tcx (kernel 6.6) each interface has a pinned link a direction, `in-<index>` and `out-<index>`, at the head of
//! what runs there: others keep their place behind us, and our programs say "next" to what is not ours. Before 6.6 it is
//! a filter of `clsact` a direction. A link is updated in place and detached only when its interface is gone or no
//! longer wanted and no pair is carried.

use super::super::syscall::{self, Hook};
use super::clsact::{self, Way};
use super::drivers::Drivers;
use super::links::{self, Link, News};
use super::netlink::Socket;
use super::set::{self, Program, Programs};
use super::{AttachBy, InterfaceReport, Interfaces};
use aya::maps::MapData;
use aya::maps::xdp::DevMapHash;
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is attached, and what it needs to attach more.
pub(super) struct Attachments {
    pub by: AttachBy,
    pub wanted: Interfaces,
    /// Directory of the links.
    pub dir: PathBuf,
    /// Of our filters.
    pub mark: u32,
    pub ports: DevMapHash<MapData>,
    pub socket: Socket,
    /// An error says why nobody can be asked; so frames are redirected to nobody.
    pub drivers: Arc<io::Result<Drivers>>,
    on: BTreeMap<u32, On>,
    /// Interfaces that should be covered and are not, with the reason.
    refused: BTreeMap<u32, (String, String)>,
}

/// An interface that runs our programs.
struct On {
    name: String,
    is_wanted: bool,
    /// Why not in XDP, or why frames do not leave by it in XDP; none when all is well or nothing is wanted.
    xdp: Option<String>,
    /// Whether the program runs there.
    has_xdp: bool,
}

impl Attachments {
    pub fn new(
        (by, wanted): (AttachBy, Interfaces),
        (dir, mark): (PathBuf, u32),
        ports: DevMapHash<MapData>,
        socket: Socket,
        drivers: Arc<io::Result<Drivers>>,
    ) -> Self {
        Self { by, wanted, dir, mark, ports, socket, drivers, on: BTreeMap::new(), refused: BTreeMap::new() }
    }

    /// Attaches to what is there, and adopts or drops what an earlier agent attached.
    pub fn start(&mut self, programs: &Programs) -> io::Result<()> {
        let links = links::list(&self.socket)?;
        for (index, pin) in self.pinned()? {
            if !links.iter().any(|link| link.index == index) {
                set::remove_link(&pin)?;
            }
        }
        let pinned: HashSet<u32> = self.pinned()?.into_iter().map(|(index, _)| index).collect();
        for link in &links {
            // What an earlier agent attached may carry pairs, even where we are no longer wanted.
            let was_on =
                pinned.contains(&link.index) || clsact::find(&self.socket, link.index, Way::In, self.mark)?.is_some();
            if was_on && !(self.selects(link) && link.is_up) {
                self.attach(link, programs);
            }
            self.changed(link, programs);
        }
        Ok(())
    }

    /// Takes news in.
    pub fn heard(&mut self, news: &News, programs: &Programs) -> io::Result<()> {
        match news {
            News::Changed(link) => self.changed(link, programs),
            News::Gone(index) => self.gone(*index),
            News::Filters(index) => self.filters_changed(*index, programs),
            News::Driver(index) => self.ask_driver(*index),
            News::Lost => {
                let links = links::list(&self.socket)?;
                let is_there = |index: &u32| links.iter().any(|link| link.index == *index);
                let gone: Vec<u32> = self.on.keys().copied().filter(|index| !is_there(index)).collect();
                gone.into_iter().for_each(|index| self.gone(index));
                for link in &links {
                    self.changed(link, programs);
                    self.filters_changed(link.index, programs);
                    self.ask_driver(link.index);
                }
            }
        }
        Ok(())
    }

    fn changed(&mut self, link: &Link, programs: &Programs) {
        let selects = self.selects(link);
        match self.on.get_mut(&link.index) {
            Some(on) => {
                on.is_wanted = selects;
                on.name.clone_from(&link.name);
            }
            None if selects && link.is_up => self.attach(link, programs),
            None => drop(self.refused.remove(&link.index)),
        }
    }

    fn gone(&mut self, index: u32) {
        self.refused.remove(&index);
        if self.on.remove(&index).is_some() {
            self.release(index);
        }
    }

    /// Somebody may have removed a filter of ours, or the discipline that held it.
    fn filters_changed(&mut self, index: u32, programs: &Programs) {
        if self.by != AttachBy::Clsact || !self.on.contains_key(&index) {
            return;
        }
        let is_there = |way| matches!(clsact::find(&self.socket, index, way, self.mark), Ok(Some(_)));
        if Way::BOTH.into_iter().all(is_there) {
            return;
        }
        tracing::warn!(index, "somebody removed our filter from an interface; attaching again");
        if let Err(error) = self.run(index, programs)
            && let Some(on) = self.on.remove(&index)
        {
            self.refused.insert(index, (on.name, error.to_string()));
        }
    }

    /// Detaches from interfaces that are no longer wanted. Only when no pair is carried.
    pub fn release_unwanted(&mut self) {
        let unwanted: Vec<u32> = self.on.iter().filter(|(_, on)| !on.is_wanted).map(|(index, _)| *index).collect();
        unwanted.into_iter().for_each(|index| self.gone(index));
    }

    /// Whether [`release_unwanted`](Self::release_unwanted) has something to do.
    pub fn has_unwanted(&self) -> bool {
        self.on.values().any(|on| !on.is_wanted)
    }

    /// Interfaces on which pairs may be carried.
    pub fn covered(&self) -> HashSet<u32> {
        self.on.iter().filter(|(_, on)| on.is_wanted).map(|(index, _)| *index).collect()
    }

    pub fn report(&self) -> Vec<InterfaceReport> {
        let on = self.on.iter().map(|(index, on)| InterfaceReport {
            name: on.name.clone(),
            index: *index,
            covered: on.is_wanted,
            reason: (!on.is_wanted).then(|| "no longer among the chosen interfaces".to_owned()),
            links: self.link_ids(*index),
            xdp: on.has_xdp,
            xdp_reason: on.xdp.clone(),
        });
        let refused = self.refused.iter().map(|(index, (name, reason))| InterfaceReport {
            name: name.clone(),
            index: *index,
            covered: false,
            reason: Some(reason.clone()),
            links: Vec::new(),
            xdp: false,
            xdp_reason: None,
        });
        on.chain(refused).collect()
    }

    fn selects(&self, link: &Link) -> bool {
        !link.is_loopback && self.wanted.select(&link.name) && (link.is_ethernet || self.wanted.is_named())
    }

    fn attach(&mut self, link: &Link, programs: &Programs) {
        let index = link.index;
        let attached = if link.is_ethernet {
            self.run(index, programs)
        } else {
            Err(io::Error::new(io::ErrorKind::Unsupported, "its frames have no Ethernet header"))
        };
        match attached {
            Ok(()) => {
                let xdp = self.run_xdp(index, programs.xdp.as_ref());
                let has_xdp = programs.xdp.is_some() && xdp.is_ok();
                let xdp = xdp.err().map(|error| error.to_string());
                tracing::info!(interface = link.name, index, has_xdp, "connections can be carried on an interface");
                self.refused.remove(&index);
                self.on.insert(index, On { name: link.name.clone(), is_wanted: true, xdp, has_xdp });
                self.ask_driver(index);
            }
            Err(error) => {
                self.release(index);
                let reason = (link.name.clone(), error.to_string());
                // News of an interface come often: once is enough.
                if self.refused.insert(index, reason.clone()).as_ref() != Some(&reason) {
                    tracing::warn!(interface = link.name, index, %error, "connections cannot be carried on an interface");
                }
            }
        }
    }

    /// Makes both programs run, and nothing of the other way of attaching.
    fn run(&self, index: u32, programs: &Programs) -> io::Result<()> {
        for way in Way::BOTH {
            let (hook, program) = match way {
                Way::In => (Hook::Ingress, &programs.ingress),
                Way::Out => (Hook::Egress, &programs.egress),
            };
            let pin = self.pin(index, hook);
            match self.by {
                AttachBy::Tcx => {
                    link(&pin, index, hook, program)?;
                    clsact::detach(&self.socket, index, way, self.mark)?;
                }
                AttachBy::Clsact => {
                    let there = clsact::find(&self.socket, index, way, self.mark)?;
                    if there.is_none_or(|filter| filter.program_id != program.report.id) {
                        clsact::attach(&self.socket, index, way, self.mark, program.fd.as_fd())?;
                    }
                    remove_link(&pin)?;
                }
            }
        }
        Ok(())
    }

    /// Makes the program run in the driver.
    fn run_xdp(&mut self, index: u32, program: Option<&Program>) -> io::Result<()> {
        match program {
            Some(program) => {
                link(&self.pin(index, Hook::Xdp), index, Hook::Xdp, program).inspect_err(|_| self.close_port(index))
            }
            None => self.stop_xdp(index),
        }
    }

    fn stop_xdp(&mut self, index: u32) -> io::Result<()> {
        self.close_port(index);
        remove_link(&self.pin(index, Hook::Xdp))
    }

    /// Makes an interface that runs our program in XDP a place to send to, if its driver takes frames.
    fn ask_driver(&mut self, index: u32) {
        if !self.on.get(&index).is_some_and(|on| on.has_xdp) {
            return;
        }
        let opened =
            self.takes_frames(index).and_then(|()| self.ports.insert(index, index, None, 0).map_err(io::Error::other));
        if opened.is_err() {
            self.close_port(index);
        }
        if let Some(on) = self.on.get_mut(&index) {
            let reason = opened.err().map(|error| error.to_string());
            if on.xdp != reason {
                tracing::info!(
                    interface = on.name,
                    index,
                    ?reason,
                    "whether frames leave by an interface in XDP has changed"
                );
            }
            on.xdp = reason;
        }
    }

    fn takes_frames(&self, index: u32) -> io::Result<()> {
        let unsupported = |what: String| io::Error::new(io::ErrorKind::Unsupported, what);
        let drivers = self.drivers.as_ref().as_ref();
        let drivers = drivers.map_err(|error| {
            unsupported(format!("no driver can be asked whether it takes frames (kernel 6.3): {error}"))
        })?;
        let no = "its driver takes no frames that are redirected to it (a veth does when its peer has GRO on, or XDP)";
        if drivers.takes_frames(index)? { Ok(()) } else { Err(unsupported(no.to_owned())) }
    }

    fn close_port(&mut self, index: u32) {
        // Not being there is what is wanted; the kernel removes the port of an interface that is gone.
        let removed = self.ports.remove(index);
        tracing::trace!(index, ?removed, "an interface is no port of XDP");
    }

    /// Detaches everything from an interface, which may be gone.
    fn release(&mut self, index: u32) {
        let mut outcomes = vec![self.stop_xdp(index)];
        outcomes.extend([Hook::Ingress, Hook::Egress].map(|hook| remove_link(&self.pin(index, hook))));
        outcomes.extend(Way::BOTH.map(|way| clsact::detach(&self.socket, index, way, self.mark).map(drop)));
        for error in outcomes.into_iter().filter_map(Result::err) {
            if error.raw_os_error() != Some(libc::ENODEV) {
                tracing::warn!(index, %error, "cannot detach from an interface");
            }
        }
    }

    fn link_ids(&self, index: u32) -> Vec<u32> {
        let id = |hook| {
            let link = syscall::open_pin(&self.pin(index, hook)).ok()?;
            Some(syscall::link_info(link.as_fd()).ok()?.id)
        };
        [Hook::Ingress, Hook::Egress, Hook::Xdp].into_iter().filter_map(id).collect()
    }

    fn pin(&self, index: u32, hook: Hook) -> PathBuf {
        let prefix = match hook {
            Hook::Ingress => "in",
            Hook::Egress => "out",
            Hook::Xdp => "xdp",
        };
        self.dir.join(format!("{prefix}-{index}"))
    }

    /// Pins of links with the interfaces in their names.
    fn pinned(&self) -> io::Result<Vec<(u32, PathBuf)>> {
        let index = |pin: &Path| pin.file_name()?.to_str()?.rsplit('-').next()?.parse().ok();
        Ok(super::super::pins::list(&self.dir)?.into_iter().filter_map(|pin| Some((index(&pin)?, pin))).collect())
    }
}

/// Makes a program run by the link of a pin: the one that is there, else a new one.
fn link(pin: &Path, index: u32, hook: Hook, program: &Program) -> io::Result<()> {
    if pin.exists() {
        let link = syscall::open_pin(pin)?;
        let info = syscall::link_info(link.as_fd())?;
        if info.target == index {
            return match info.program_id == program.report.id {
                true => Ok(()),
                false => syscall::update_link(link.as_fd(), program.fd.as_fd()),
            };
        }
        // Of an interface that is gone, whose index another has now.
        remove_link(pin)?;
    }
    let link = syscall::attach_to_interface(program.fd.as_fd(), index, hook)?;
    syscall::pin(link.as_fd(), pin)
}

/// Detaches a link and removes its pin, if it is there.
fn remove_link(pin: &Path) -> io::Result<()> {
    if pin.exists() { set::remove_link(pin) } else { Ok(()) }
}
