//! The programs of the splice, loaded but attached nowhere, with maps that tests fill by hand, in a namespace of their own.
//!
//! All tests share one rig, one at a time, because the verifier takes its time; each begins with empty maps.
//! The namespace has the interface `c0` towards a client and `b0` towards a backend, whose neighbours it knows.

use super::pair::{self, Family};
use aya::maps::{Array, HashMap, MapData, PerCpuArray, PerCpuValues, RingBuf, xdp::DevMapHash};
use aya::programs::{SchedClassifier, TestRun, TestRunOptions, TestRunResult, Xdp};
use aya::{Ebpf, EbpfLoader};
use lb_common::maps;
use lb_common::outcome::SpliceOutcome;
use lb_common::splice::{Conn, FlowKey, FlowRef};
use lb_tests::netns::Namespace;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

static SHARED: Mutex<Weak<Mutex<Rig>>> = Mutex::new(Weak::new());

/// Record of the pair under test: not the first, so that an index that gets lost is noticed.
pub const CONN: u32 = 5;

/// `TC_ACT_UNSPEC`, `TC_ACT_SHOT`, `TC_ACT_REDIRECT`.
pub const TC_PASS: u32 = u32::MAX;
/// See [`TC_PASS`].
pub const TC_DROP: u32 = 2;
/// See [`TC_PASS`].
pub const TC_REDIRECT: u32 = 7;
/// `XDP_DROP`, `XDP_PASS`, `XDP_REDIRECT`.
pub const XDP_PASS: u32 = 2;
/// See [`XDP_PASS`].
pub const XDP_REDIRECT: u32 = 4;

/// A program under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// On the way in by the client's interface, or the backend's.
    Splice,
    /// On the way out of the local stack.
    Silence,
    /// In the driver.
    Native,
}

/// Loaded programs and their maps.
pub struct Rig {
    pub namespace: Namespace,
    pub client_ifindex: u32,
    pub backend_ifindex: u32,
    ebpf: Ebpf,
    flows: HashMap<MapData, FlowKey, FlowRef>,
    conns: Array<MapData, Conn>,
    counters: PerCpuArray<MapData, u64>,
    events: RingBuf<MapData>,
    ports: DevMapHash<MapData>,
}

/// What became of a packet.
#[derive(Debug, PartialEq, Eq)]
pub struct Ran {
    pub verdict: u32,
    pub bytes: Vec<u8>,
    /// Counters that are not zero.
    pub counted: Vec<(&'static str, u64)>,
}

/// The shared rig for as long as a test runs.
pub struct Taken(Arc<Mutex<Rig>>);

impl Taken {
    pub fn rig(&self) -> MutexGuard<'_, Rig> {
        // A test that failed leaves maps that the next one empties.
        let mut rig = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rig.clear();
        rig
    }
}

/// Takes the shared rig; the first makes it, the last removes it.
pub fn take() -> Taken {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    Taken(shared.upgrade().unwrap_or_else(|| {
        let rig = Arc::new(Mutex::new(Rig::new()));
        *shared = Arc::downgrade(&rig);
        rig
    }))
}

/// Loads the object that the agent carries. The maps are whole, as in the agent.
pub fn load() -> Ebpf {
    let object = lb_userspace::kernel::object();
    assert!(!object.is_empty(), "the tests were built without the eBPF object: cargo xtask build");
    let mut ebpf = EbpfLoader::new().load(object).unwrap_or_else(|error| panic!("cannot make maps: {error}"));
    for name in [maps::SPLICE_PROGRAM, maps::SILENCE_PROGRAM] {
        let program: &mut SchedClassifier =
            ebpf.program_mut(name).expect("the object has it").try_into().expect("it is a classifier");
        program.load().unwrap_or_else(|error| panic!("cannot load {name}: {error:#?}"));
    }
    let program: &mut Xdp =
        ebpf.program_mut(maps::SPLICE_XDP_PROGRAM).expect("the object has it").try_into().expect("it is XDP");
    program.load().unwrap_or_else(|error| panic!("cannot load the XDP program: {error:#?}"));
    ebpf
}

/// Takes a map out of a loaded object.
pub fn map<T: TryFrom<aya::maps::Map, Error = aya::maps::MapError>>(ebpf: &mut Ebpf, name: &str) -> T {
    let map = ebpf.take_map(name).unwrap_or_else(|| panic!("the object has no map {name}"));
    T::try_from(map).unwrap_or_else(|error| panic!("{name}: {error}"))
}

impl Rig {
    fn new() -> Self {
        let namespace = Namespace::new("splice").expect("a namespace is made");
        namespace.ip(pair::INTERFACES).expect("interfaces are made");
        let index = |name: &str| namespace.run(|| nix::net::if_::if_nametoindex(name)).expect("the interface is there");
        let (client_ifindex, backend_ifindex) = (index("c0"), index("b0"));
        let mut ebpf = namespace.run(load);
        Self {
            client_ifindex,
            backend_ifindex,
            flows: map(&mut ebpf, maps::FLOWS),
            conns: map(&mut ebpf, maps::CONNS),
            counters: map(&mut ebpf, maps::SPLICE_COUNTERS),
            events: map(&mut ebpf, maps::EVENTS),
            ports: map(&mut ebpf, maps::PORTS),
            ebpf,
            namespace,
        }
    }

    fn clear(&mut self) {
        for family in [Family::V4, Family::V6] {
            for key in [family.up_key(), family.down_key()] {
                let _absent = self.flows.remove(&key);
            }
        }
        self.set_record(&Conn::ZERO);
        self.clear_counters();
        self.events();
        self.remove_ports();
    }

    fn clear_counters(&mut self) {
        for outcome in SpliceOutcome::ALL {
            let cpus = aya::util::nr_cpus().expect("CPUs are counted");
            let zeros = PerCpuValues::try_from(vec![0; cpus]).expect("one value a CPU");
            self.counters.set(outcome.index(), zeros, 0).expect("a counter is set");
        }
    }

    /// Makes the pair: both keys and the record.
    pub fn insert(&mut self, family: Family, conn: &Conn) {
        self.set_record(conn);
        for (key, direction) in [(family.up_key(), 0), (family.down_key(), 1)] {
            self.flows.insert(key, FlowRef { conn: CONN, direction }, 0).expect("a key is inserted");
        }
    }

    pub fn set_record(&mut self, conn: &Conn) {
        self.conns.set(CONN, conn, 0).expect("a record is set");
    }

    pub fn record(&self) -> Conn {
        self.conns.get(&CONN, 0).expect("a record is read")
    }

    pub fn has_key(&self, key: &FlowKey) -> bool {
        self.flows.get(key, 0).is_ok()
    }

    /// Lets XDP redirect to both interfaces.
    pub fn add_ports(&mut self) {
        let ports = &mut self.ports;
        for ifindex in [self.client_ifindex, self.backend_ifindex] {
            self.namespace.run(|| ports.insert(ifindex, ifindex, None, 0)).expect("a port is added");
        }
    }

    /// Takes the events out of the ring: kind and generation. All must be about the record under test.
    pub fn events(&mut self) -> Vec<(u32, u32)> {
        let mut events = Vec::new();
        while let Some(item) = self.events.next() {
            let words: Vec<u32> = item.chunks_exact(4).map(|b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]])).collect();
            assert_eq!((words.len(), words[1], words[3]), (4, CONN, 0), "an event");
            events.push((words[0], words[2]));
        }
        events
    }

    pub fn remove_ports(&mut self) {
        for ifindex in [self.client_ifindex, self.backend_ifindex] {
            let _absent = self.ports.remove(ifindex);
        }
    }

    /// Runs a program once on a frame at an interface; answers what became of it. On the way out it is one of our own.
    pub fn run(&mut self, program: Program, ifindex: u32, frame: &[u8]) -> Ran {
        self.run_from(program, (if program == Program::Silence { 0 } else { ifindex }, ifindex), frame)
    }

    /// As [`Self::run`]; the first interface is the one that the frame came in by.
    pub fn run_from(&mut self, program: Program, ifindexes: (u32, u32), frame: &[u8]) -> Ran {
        self.clear_counters();
        let mut bytes = vec![0; frame.len() + 64];
        let result = self.test_run(program, ifindexes, frame, &mut bytes, 1);
        bytes.truncate(result.data_size_out as usize);
        Ran { verdict: result.return_value, bytes, counted: self.counted() }
    }

    /// Runs a program many times on the packet that it makes of a frame; answers how long each run took.
    pub fn time(&mut self, program: Program, ifindex: u32, frame: &[u8], repeat: u32) -> Duration {
        let mut bytes = vec![0; frame.len() + 64];
        self.test_run(program, (ifindex, ifindex), frame, &mut bytes, repeat).duration
    }

    fn test_run(
        &self,
        program: Program,
        ifindexes: (u32, u32),
        frame: &[u8],
        out: &mut [u8],
        repeat: u32,
    ) -> TestRunResult {
        let context = context(ifindexes);
        let mut options = TestRunOptions { data_in: Some(frame), data_out: Some(out), repeat, ..Default::default() };
        let run = || match program {
            Program::Splice | Program::Silence => {
                options.ctx_in = Some(&context);
                let silence = program == Program::Silence;
                let name = if silence { maps::SILENCE_PROGRAM } else { maps::SPLICE_PROGRAM };
                let program = self.ebpf.program(name).expect("it is loaded");
                <&SchedClassifier>::try_from(program).expect("it is a classifier").test_run(options)
            }
            Program::Native => {
                let program = self.ebpf.program(maps::SPLICE_XDP_PROGRAM).expect("it is loaded");
                <&Xdp>::try_from(program).expect("it is XDP").test_run(options)
            }
        };
        self.namespace.run(run).unwrap_or_else(|error| panic!("{program:?} on {} bytes: {error:?}", frame.len()))
    }

    fn counted(&self) -> Vec<(&'static str, u64)> {
        let count = |outcome: SpliceOutcome| {
            let values = self.counters.get(&outcome.index(), 0).expect("a counter is read");
            (outcome.name(), values.iter().sum::<u64>())
        };
        SpliceOutcome::ALL.into_iter().map(count).filter(|(_, count)| *count != 0).collect()
    }
}

/// The fields of `struct __sk_buff` (`bpf.h`) that a test run takes: by which interfaces the packet came in and goes.
fn context((ingress_ifindex, ifindex): (u32, u32)) -> [u8; 44] {
    let mut bytes = [0; 44];
    bytes[36..40].copy_from_slice(&ingress_ifindex.to_ne_bytes());
    bytes[40..44].copy_from_slice(&ifindex.to_ne_bytes());
    bytes
}

/// The time of the record, `CLOCK_MONOTONIC`, a hundredth of a second ago at most: no test machine was ever suspended, so
/// it is the time since the start.
pub fn now_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/uptime").expect("/proc is mounted");
    let (seconds, hundredths) = text.split_whitespace().next().and_then(|t| t.split_once('.')).expect("a number");
    let number = |text: &str| text.parse::<u64>().expect("a number");
    // The clock of the programs is a tick behind.
    (number(seconds) * 100 + number(hundredths) - 2) * 10_000_000
}
