//! Our programs, loaded as the agent does and dropped at once: not attached, not pinned. And the way of attaching.
//!
//! Goes in: what is asked for. Comes out: a check for each kind. The load also tries what the programs call
//! (`bpf_fib_lookup`, `bpf_ktime_get_coarse_ns`, the ring buffer), and makes their maps at their real size.

use super::super::carrier::{AttachBy, survey};
use super::super::{Unavailable, object};
use super::{Asked, Check, Part, State};
use std::time::Instant;

pub(super) fn checks(asked: &Asked) -> Vec<Check> {
    let mut checks = Vec::new();
    if asked.loads {
        if asked.wants(Part::Steering) {
            checks.push(loaded(asked, "program sk_lookup", Part::Steering, || object::try_load(object::object())));
        }
        if asked.wants(Part::Splice) {
            let load = || survey::try_load(object::object(), asked.xdp);
            let name = if asked.xdp { "programs tc, XDP" } else { "programs tc" };
            checks.push(loaded(asked, name, Part::Splice, load));
        }
    }
    if asked.wants(Part::Splice) {
        checks.push(way());
    }
    checks
}

fn loaded(asked: &Asked, name: &str, part: Part, load: impl FnOnce() -> Result<(), Unavailable>) -> Check {
    let start = Instant::now();
    let outcome = load().map(|()| format!("loaded in {} ms, and dropped", start.elapsed().as_millis()));
    asked.check(name, part, outcome.map_err(|error| (first_line(&error), error.to_string())))
}

fn first_line(error: &Unavailable) -> String {
    match error {
        Unavailable::NoPrivilege { .. } => "not allowed".to_owned(),
        Unavailable::ObjectMissing => "not in this binary".to_owned(),
        Unavailable::Refused { .. } => "refused by the verifier".to_owned(),
        _ => "do not load".to_owned(),
    }
}

fn way() -> Check {
    let needed_for = "a firm place before programs of others; without tcx, filters of clsact go by priority alone";
    match survey::way() {
        Ok(AttachBy::Tcx) => Check::ok("tcx", "yes", needed_for),
        Ok(AttachBy::Clsact) => {
            Check::ok("tcx", "no: filters of clsact are used", needed_for).but(State::Degraded, "kernel 6.6 or later")
        }
        Err(error) => Check::ok("tcx", format!("cannot be told: {error}"), needed_for)
            .but(State::Degraded, "give CAP_NET_ADMIN and CAP_BPF"),
    }
}
