//! Interfaces on which connections would be carried, the others with the reason, and whose programs run there besides.
//!
//! Goes in: what is asked for. Comes out: one check about interfaces, and one for each whose hooks others use.

use super::super::carrier::survey::{self, Seen};
use super::{Asked, Check, Part, State};

/// Names that are shown; a node has a veth for each pod.
const SHOWN_MAX: usize = 8;

pub(super) fn checks(asked: &Asked) -> Vec<Check> {
    match survey::interfaces(&asked.interfaces, &asked.pin_dir) {
        Ok(seen) => {
            let mut checks = vec![interfaces(asked, &seen)];
            checks.extend(drivers(asked, &seen));
            checks.extend(others(&seen));
            checks
        }
        Err(error) => {
            let outcome = Err((format!("cannot be listed: {error}"), "allow AF_NETLINK sockets".to_owned()));
            vec![asked.check("interfaces", Part::Splice, outcome)]
        }
    }
}

fn interfaces(asked: &Asked, seen: &[Seen]) -> Check {
    let carry: Vec<String> = seen.iter().filter(|one| one.reason.is_none()).map(|one| one.name.clone()).collect();
    let not = seen.iter().filter_map(|one| Some(format!("{} ({})", one.name, one.reason?)));
    let not: Vec<String> = not.collect();
    let found = match (carry.is_empty(), not.is_empty()) {
        (true, _) => format!("none would carry; not {}", shown(&not)),
        (false, true) => format!("would carry: {}", shown(&carry)),
        (false, false) => format!("would carry: {}; not {}", shown(&carry), shown(&not)),
    };
    if carry.is_empty() {
        let remedy =
            "bring an Ethernet interface up, or name one by --splice-interfaces; those that come later are followed";
        return asked.check("interfaces", Part::Splice, Err((found, remedy.to_owned())));
    }
    asked.check("interfaces", Part::Splice, Ok(found))
}

/// Only where XDP is wanted.
fn drivers(asked: &Asked, seen: &[Seen]) -> Option<Check> {
    let needed_for = "translating in the network driver; elsewhere tc does, for some more processor time a packet";
    let with = |state: Option<bool>| {
        let of = seen.iter().filter(move |one| one.reason.is_none() && one.xdp == state);
        of.map(|one| one.name.clone()).collect::<Vec<_>>()
    };
    let (can, cannot, unknown) = (with(Some(true)), with(Some(false)), with(None));
    if !asked.xdp || can.len() + cannot.len() + unknown.len() == 0 {
        return None;
    }
    let parts = [("can", &can), ("cannot", &cannot), ("not told before kernel 6.3, and tried at the start", &unknown)];
    let part = |(what, names): (&str, &Vec<String>)| (!names.is_empty()).then(|| format!("{what}: {}", shown(names)));
    let found = parts.into_iter().filter_map(part).collect::<Vec<_>>().join("; ");
    let check = Check::ok("XDP in drivers", found, needed_for);
    let remedy = "nothing, or network drivers that run XDP programs and redirect frames";
    Some(if cannot.is_empty() { check } else { check.but(State::Degraded, remedy) })
}

/// Programs of others that see packets before ours would, or after.
fn others(seen: &[Seen]) -> Option<Check> {
    let needed_for = "carried pairs; a program that runs before ours may take their packets";
    let before: Vec<String> = seen.iter().filter_map(|one| said(one, &one.before)).collect();
    let after: Vec<String> = seen.iter().filter_map(|one| said(one, &one.after)).collect();
    if before.is_empty() && after.is_empty() {
        return None;
    }
    let behind = || format!("behind ours: {}", shown(&after));
    let found = match (before.is_empty(), after.is_empty()) {
        (true, _) => behind(),
        (false, true) => format!("before ours: {}", shown(&before)),
        (false, false) => format!("before ours: {}; {}", shown(&before), behind()),
    };
    let check = Check::ok("tc programs of others", found, needed_for);
    if before.is_empty() {
        return Some(check);
    }
    Some(check.but(
        State::Degraded,
        "they were attached at the head later than ours; `sluice unpin` and a start put ours first again, or leave the \
         interface out by --splice-interfaces",
    ))
}

fn said(one: &Seen, programs: &[String]) -> Option<String> {
    (!programs.is_empty()).then(|| format!("{} {}", one.name, programs.join(" ")))
}

fn shown(names: &[String]) -> String {
    let more = names.len().saturating_sub(SHOWN_MAX);
    let first = names[..names.len() - more].join(", ");
    if more > 0 { format!("{first} and {more} more") } else { first }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_with_many_pods_fits_on_a_line() {
        let names: Vec<String> = (0..20).map(|n| format!("veth{n}")).collect();
        assert!(shown(&names).ends_with("veth7 and 12 more"), "{}", shown(&names));
        assert_eq!(shown(&names[..2]), "veth0, veth1");
        assert_eq!(shown(&[]), "");
    }
}
