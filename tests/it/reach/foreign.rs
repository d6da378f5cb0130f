//! Programs of somebody else on the hooks of tc: they count what they see and pass it on.
//!
//! Goes in: interfaces and a place. Comes out: how many packets they saw. For want of another program it is ours, loaded
//! apart: with maps of its own it knows no pair, and counts every packet as one that it passes.

use aya::Ebpf;
use aya::maps::PerCpuArray;
use aya::programs::tc::{NlOptions, TcAttachOptions, qdisc_add_clsact};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};
use lb_common::maps::{SPLICE_COUNTERS, SPLICE_COUNTERS_MAX, SPLICE_PROGRAM};
use lb_tests::netns::Namespace;
use lb_userspace::kernel;

/// Where it is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// tcx, before all that are there.
    Head,
    /// tcx, after them.
    Tail,
    /// A filter of clsact.
    Filter,
}

/// Attached until it is dropped.
pub struct Foreign {
    ebpf: Ebpf,
}

impl Foreign {
    /// Loads it and attaches it to the way in of interfaces.
    pub fn attach(namespace: &Namespace, interfaces: &[&str], place: Place) -> Self {
        namespace.run(|| {
            let mut ebpf = Ebpf::load(kernel::object()).expect("the object is built in");
            let program = ebpf.program_mut(SPLICE_PROGRAM).expect("it is in the object");
            let program: &mut SchedClassifier = program.try_into().expect("a classifier");
            program.load().expect("it loads");
            for interface in interfaces {
                let options = match place {
                    Place::Head => TcAttachOptions::TcxOrder(LinkOrder::first()),
                    Place::Tail => TcAttachOptions::TcxOrder(LinkOrder::last()),
                    Place::Filter => {
                        qdisc_add_clsact(interface).expect("clsact is added");
                        TcAttachOptions::Netlink(NlOptions::default())
                    }
                };
                program.attach_with_options(interface, TcAttachType::Ingress, options).expect("attached");
            }
            Self { ebpf }
        })
    }

    /// Packets so far.
    pub fn seen(&self) -> u64 {
        let map = self.ebpf.map(SPLICE_COUNTERS).expect("it is in the object");
        let counters = PerCpuArray::<_, u64>::try_from(map).expect("an array");
        let of = |index| counters.get(&index, 0).expect("a counter").iter().sum::<u64>();
        (0..SPLICE_COUNTERS_MAX).map(of).sum()
    }
}
