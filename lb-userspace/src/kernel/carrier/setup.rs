//! How connections are to be carried: where pins lie, which interfaces, how programs are attached.
//!
//! Owns: the choices of the administrator. Goes in: settings. Comes out: which names are chosen. Does not do: attaching.

use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

/// An hour: the agent that knew better is gone, and most idle connections send a sign of life every few minutes.
const OTHERS_IDLE_MAX: Duration = Duration::from_secs(3600);

/// The choices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CarrierSetup {
    /// The directory in whose `splice-<N>` the pins lie.
    pub pin_dir: PathBuf,
    /// Where the programs run.
    pub interfaces: Interfaces,
    /// Also in XDP, where the driver of an interface can.
    pub xdp: bool,
    /// How programs are attached; none: by tcx where the kernel has it.
    pub by: Option<AttachBy>,
    /// Pairs that an agent of another version left are given up after so long without a packet. One that ended cannot be
    /// told from an idle one.
    pub others_idle_max: Duration,
}

impl CarrierSetup {
    /// Every interface, in the way that suits the kernel, not in XDP.
    #[must_use]
    pub const fn new(pin_dir: PathBuf) -> Self {
        let interfaces = Interfaces::Auto { except: Vec::new() };
        Self { pin_dir, interfaces, xdp: false, by: None, others_idle_max: OTHERS_IDLE_MAX }
    }
}

/// Which interfaces run the programs. A name that ends with `*` stands for all that begin so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interfaces {
    /// Every Ethernet interface that is up, except these. The loopback never.
    Auto {
        /// Names.
        except: Vec<String>,
    },
    /// These, as soon as they are there and up.
    Named(Vec<String>),
}

/// How programs are attached to interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AttachBy {
    /// By links (kernel 6.6).
    Tcx,
    /// By filters of the queueing discipline `clsact`.
    Clsact,
}

impl AttachBy {
    /// As in the report.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

impl Interfaces {
    /// Whether an interface of this name is chosen.
    pub(super) fn select(&self, name: &str) -> bool {
        match self {
            Self::Auto { except } => !except.iter().any(|pattern| fits(pattern, name)),
            Self::Named(names) => names.iter().any(|pattern| fits(pattern, name)),
        }
    }

    pub(super) const fn is_named(&self) -> bool {
        matches!(self, Self::Named(_))
    }
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::Interfaces;

    #[test]
    fn names_are_chosen() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let check = |interfaces: &Interfaces, name: &str, want: bool| {
            assert_eq!(interfaces.select(name), want, "{interfaces:?} {name}");
        };
        let auto = Interfaces::Auto { except: names(&["eth1", "veth*"]) };
        check(&auto, "eth0", true);
        check(&auto, "eth1", false);
        check(&auto, "eth10", true);
        check(&auto, "veth3", false);
        let named = Interfaces::Named(names(&["eth0", "bond*"]));
        check(&named, "eth0", true);
        check(&named, "eth01", false);
        check(&named, "bond0.7", true);
        check(&Interfaces::Named(Vec::new()), "eth0", false);
    }
}
