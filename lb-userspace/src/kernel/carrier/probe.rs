//! What this kernel can do for carried connections, found by trying, with the reason where it cannot.
//!
//! Owns: the questions. Goes in: nothing. Comes out: [`Ability`]s, a way of attaching, or [`Unavailable`].
//! Does not do: attaching. What a driver can do (XDP) shows only when it is tried on its interface (`attach`).

use super::super::unavailable::release;
use super::super::{Unavailable, syscall};
use super::links;
use super::netlink::Socket;
use super::{Ability, AttachBy};
use aya::maps::MapType;
use aya::programs::ProgramType;
use aya::sys::{BpfHelper, is_helper_supported, is_map_supported};
use aya::{EbpfError, programs::ProgramError};
use std::io;

/// What this kernel can do, as `sluice status` shows it.
///
/// # Errors
///
/// When asking is not allowed.
pub fn probe() -> Result<Vec<Ability>, Unavailable> {
    let tcx = tcx();
    Ok(vec![
        Ability::new("ring_buffer", (!has_ring()?).then(|| RING.to_owned())),
        Ability::new("coarse_clock", (!has_clock()?).then(|| CLOCK.to_owned())),
        Ability::new("tcx", tcx.err().map(|error| format!("{TCX} ({error})"))),
        Ability::new("xdp", (!has_xdp()?).then(|| XDP.to_owned())),
    ])
}

const RING: &str = "it has no BPF ring buffer, which came with 5.8";
const CLOCK: &str = "it has no bpf_ktime_get_coarse_ns, which came with 5.11";
const TCX: &str = "it has no tcx, which came with 6.6; filters of clsact take its place";
const XDP: &str = "it has no XDP programs (CONFIG_XDP_SOCKETS is not needed, CONFIG_BPF_SYSCALL and CONFIG_NET are)";

/// Refuses kernels on which the programs cannot run, and chooses how to attach.
pub(super) fn check(by: Option<AttachBy>) -> Result<AttachBy, Unavailable> {
    let lacks = if !has_ring()? {
        Some(RING)
    } else if !has_clock()? {
        Some(CLOCK)
    } else {
        None
    };
    if let Some(reason) = lacks {
        return Err(Unavailable::CannotCarry { release: release().unwrap_or_default(), reason: reason.to_owned() });
    }
    Ok(by.unwrap_or_else(|| if tcx().is_ok() { AttachBy::Tcx } else { AttachBy::Clsact }))
}

fn has_ring() -> Result<bool, Unavailable> {
    is_map_supported(MapType::RingBuf).map_err(|error| {
        let error = ProgramError::SyscallError(error);
        Unavailable::from_aya("try what the kernel can do", EbpfError::ProgramError(error))
    })
}

fn has_clock() -> Result<bool, Unavailable> {
    is_helper_supported(ProgramType::SchedClassifier, BpfHelper::BPF_FUNC_ktime_get_coarse_ns)
        .map_err(|error| Unavailable::from_aya("try what the kernel can do", EbpfError::ProgramError(error)))
}

fn has_xdp() -> Result<bool, Unavailable> {
    is_helper_supported(ProgramType::Xdp, BpfHelper::BPF_FUNC_redirect_map)
        .map_err(|error| Unavailable::from_aya("try what the kernel can do", EbpfError::ProgramError(error)))
}

/// Asks at any interface: without tcx the kernel does not know the question.
pub(super) fn tcx() -> io::Result<()> {
    let links = links::list(&Socket::open()?)?;
    let link = links.first().ok_or(io::ErrorKind::NotFound)?;
    syscall::query_tcx(link.index).map(drop)
}
