//! Balancing as a whole: who is chosen over many requests, and what is never chosen.

mod invariants;

use super::hash::{hash, mix};
use super::slow_start::WINDOW_MS;
use super::*;
use crate::model::{Endpoint, HashKey, Service, ServiceKey};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const HASH: Balance = Balance::Hash(HashKey::Target);
const ALL: [Balance; 4] = [Balance::RoundRobin, Balance::LeastRequests, Balance::PeakEwma, HASH];

fn service(endpoints: impl IntoIterator<Item = u8>) -> Service {
    let endpoint =
        |i: u8| Endpoint { address: ([10, 0, 0, i], 80).into(), pod: None, node: None, zone: None, terminating: false };
    let key = ServiceKey { namespace: "a".into(), name: "b".into(), port: "80".into() };
    Service { key, endpoints: endpoints.into_iter().map(endpoint).collect(), note: String::new() }
}

/// A service whose state is asked as one worker would.
struct Stage {
    service: Service,
    state: Arc<ServiceState>,
    balance: Balance,
    circuit: Circuit,
    random: u64,
    now_ms: u64,
}

impl Stage {
    fn new(balance: &Balance, count: u8) -> Self {
        let service = service(0..count);
        let state = ServiceState::carry(None, &service, 0);
        let (balance, circuit) = (balance.clone(), Circuit::default());
        Self { service, state, balance, circuit, random: 1, now_ms: 0 }
    }

    fn replaced_by(&mut self, endpoints: impl IntoIterator<Item = u8>) {
        let service = service(endpoints);
        self.state = ServiceState::carry(Some((&self.service, &self.state)), &service, self.now_ms);
        self.service = service;
    }

    fn choose_after(&mut self, tried: &Tried) -> Result<usize, Refused> {
        self.random = mix(self.random + 1);
        let (random, balance) = (self.random, &self.balance);
        // A key that has nothing to do with the other random bits.
        let key = mix(random ^ 0x5555_5555_5555_5555);
        choose(&self.state, &Ask { balance, key, random, now_ms: self.now_ms, tried, circuit: self.circuit })
    }

    fn choose(&mut self) -> Result<usize, Refused> {
        self.choose_after(&Tried::default())
    }

    /// How many of `requests`, each over before the next, go to each endpoint.
    fn spread(&mut self, requests: usize) -> Vec<usize> {
        let mut counts = vec![0; self.service.endpoints.len()];
        for _ in 0..requests {
            let index = self.choose().expect("one is open");
            self.state.leave(index);
            counts[index] += 1;
        }
        counts
    }

    fn eject(&self, index: usize) {
        let report = |_| self.state.report(index, Outcome::Failed, self.now_ms);
        let ejected: Vec<bool> = (0..ejection::FAILURES_MAX).map(report).collect();
        assert_eq!(ejected.last(), Some(&true), "{index} is ejected");
    }

    fn assert_idle(&self) {
        assert_eq!(self.state.in_work(), 0);
        assert!(self.state.endpoints().iter().all(|e| e.view(0).in_work == 0 && e.view(0).pending == 0));
    }
}

/// Each count is within so many percent of an even share.
fn assert_even(counts: &[usize], percent: usize, what: &str) {
    let share = counts.iter().sum::<usize>() / counts.len();
    let slack = share * percent / 100;
    assert!(counts.iter().all(|n| (share - slack..=share + slack).contains(n)), "{what}: {counts:?}");
}

#[test]
fn round_robin_gives_every_endpoint_its_turn() {
    let mut stage = Stage::new(&Balance::RoundRobin, 10);
    assert_eq!(stage.spread(30), [3; 10]);
    stage.eject(3);
    stage.eject(4);
    assert_eq!(stage.spread(800), [100, 100, 100, 0, 0, 100, 100, 100, 100, 100], "neighbours of ejected ones");
}

#[test]
fn all_ways_are_even_among_equals() {
    for balance in &ALL {
        let mut stage = Stage::new(balance, 10);
        (0..10).for_each(|index| stage.state.observe(index, 1_000, 0));
        assert_even(&stage.spread(100_000), 5, &format!("{balance:?}"));
        stage.eject(0);
        stage.eject(5);
        let counts = stage.spread(80_000);
        assert_eq!((counts[0], counts[5]), (0, 0), "{balance:?}");
        let rest: Vec<_> = counts.into_iter().filter(|n| *n > 0).collect();
        assert_even(&rest, 5, &format!("{balance:?} without two"));
        stage.assert_idle();
    }
}

#[test]
fn workers_share_the_turns() {
    let stage = Stage::new(&Balance::RoundRobin, 10);
    let counts: Vec<AtomicUsize> = (0..10).map(|_| AtomicUsize::new(0)).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let tried = Tried::default();
                let (balance, circuit) = (&Balance::RoundRobin, Circuit::default());
                let ask = Ask { balance, key: 0, random: 0, now_ms: 0, tried: &tried, circuit };
                for _ in 0..10_000 {
                    let index = choose(&stage.state, &ask).expect("one is open");
                    counts[index].fetch_add(1, Ordering::Relaxed);
                    stage.state.leave(index);
                }
            });
        }
    });
    assert!(counts.iter().all(|n| n.load(Ordering::Relaxed) == 4_000), "{counts:?}");
    stage.assert_idle();
}

#[test]
fn least_requests_leaves_a_busy_endpoint_alone() {
    let mut stage = Stage::new(&Balance::LeastRequests, 4);
    // Endpoint 2 never finishes what it is given.
    let mut given = [0; 4];
    for _ in 0..1_000 {
        let index = stage.choose().expect("open");
        given[index] += 1;
        if index != 2 {
            stage.state.leave(index);
        }
    }
    assert!(given[2] <= 2, "{given:?}");
    // Where nothing finishes, all have the same.
    let mut stage = Stage::new(&Balance::LeastRequests, 4);
    let mut given = vec![0; 4];
    (0..4_000).for_each(|_| given[stage.choose().expect("open")] += 1);
    assert_even(&given, 1, "power of two choices");
}

#[test]
fn ewma_prefers_the_faster_and_asks_the_slow_one_again_some_day() {
    let mut stage = Stage::new(&Balance::PeakEwma, 3);
    [1_000, 1_000, 50_000].into_iter().enumerate().for_each(|(index, us)| stage.state.observe(index, us, 0));
    let counts = stage.spread(1_000);
    assert_eq!(counts[2], 0, "it loses each of its pairs: {counts:?}");
    for second in 1..=60 {
        stage.now_ms = second * 1_000;
        [0, 1].into_iter().for_each(|index| stage.state.observe(index, 1_000, second * 1_000));
    }
    assert!(stage.spread(1_000)[2] > 0, "its bad moment is a minute ago");
}

#[test]
fn ewma_asks_an_unmeasured_endpoint_once() {
    let mut stage = Stage::new(&Balance::PeakEwma, 3);
    [0, 1].into_iter().for_each(|index| stage.state.observe(index, 1_000, 0));
    let mut given = [0; 3];
    for _ in 0..100 {
        let index = stage.choose().expect("open");
        given[index] += 1;
        if index != 2 {
            stage.state.leave(index);
        }
    }
    assert_eq!(given[2], 1, "nobody knows yet how fast it is");
}

#[test]
fn the_same_key_goes_to_the_same_endpoint() {
    let state = ServiceState::carry(None, &service([3, 1, 2]), 0);
    let other = ServiceState::carry(None, &service([1, 2, 3]), 0);
    let tried = Tried::default();
    for key in 0..100_u64 {
        let key = hash(&key.to_le_bytes());
        let ask = |random| Ask { balance: &HASH, key, random, now_ms: 0, tried: &tried, circuit: Circuit::default() };
        let index = choose(&state, &ask(1)).expect("open");
        assert_eq!(choose(&state, &ask(2)), Ok(index));
        // Another agent lists them in another order.
        assert_eq!([3, 1, 2][index], [1, 2, 3][choose(&other, &ask(3)).expect("open")]);
    }
}

#[test]
fn hashes_are_the_same_for_ever() {
    // Published values of FNV-1a and SplitMix64.
    assert_eq!(hash(b"a"), mix(0xaf63_dc4c_8601_ec8c));
    assert_eq!(hash(b"foobar"), mix(0x8594_4171_f739_67e8));
    assert_eq!(mix(0x9e37_79b9_7f4a_7c15), 0xe220_a839_7b1d_cdaf);
    let mapped = "::ffff:10.0.0.1".parse().expect("address");
    assert_eq!(hash::hash_client(mapped), hash::hash_client([10, 0, 0, 1].into()));
}

#[test]
fn half_can_be_ejected_and_they_come_back() {
    for count in 1..=7 {
        let mut stage = Stage::new(&Balance::RoundRobin, count);
        for _ in 0..100 {
            (0..usize::from(count)).for_each(|index| {
                stage.state.report(index, Outcome::Failed, 0);
            });
        }
        assert_eq!(stage.state.ejected(0), usize::from(count / 2), "of {count}");
        assert_even(
            &stage.spread(usize::from(count - count / 2) * 10).into_iter().filter(|n| *n > 0).collect::<Vec<_>>(),
            0,
            "rest",
        );
        stage.now_ms = ejection::EJECTED_MS_MIN;
        assert_eq!(stage.spread(usize::from(count) * 3), vec![3; count.into()], "all are back");
    }
}

#[test]
fn when_others_leave_no_more_than_half_stay_ejected() {
    let mut stage = Stage::new(&Balance::RoundRobin, 6);
    stage.eject(0);
    stage.now_ms = 1_000;
    stage.eject(1);
    stage.eject(2);
    stage.replaced_by([0, 1]);
    assert_eq!(stage.state.ejected(1_000), 1);
    assert!(!stage.state.endpoints()[0].is_ejected(1_000), "the one that would be back first");
    stage.replaced_by([1]);
    assert_eq!(stage.state.ejected(1_000), 0);
}

#[test]
fn no_endpoint_twice_and_ejected_ones_last() {
    for balance in &ALL {
        let mut stage = Stage::new(balance, 4);
        stage.eject(1);
        stage.eject(2);
        for _ in 0..50 {
            let mut tried = Tried::default();
            let order: Vec<_> = (0..4)
                .map(|_| {
                    let index = stage.choose_after(&tried).expect("one is left");
                    assert!(!tried.contains(index) && tried.push(index));
                    stage.state.leave(index);
                    index
                })
                .collect();
            assert!([1, 2].iter().all(|ejected| order[2..].contains(ejected)), "{balance:?}: {order:?}");
            assert_eq!(stage.choose_after(&tried), Err(Refused::Exhausted));
        }
        stage.assert_idle();
    }
}

#[test]
fn limits_of_requests_in_work() {
    for balance in &ALL {
        let mut stage = Stage::new(balance, 3);
        stage.circuit.endpoint_requests_max = 2;
        let mut chosen: Vec<_> = (0..6).map(|_| stage.choose().expect("room")).collect();
        assert_eq!(stage.choose(), Err(Refused::Overloaded), "{balance:?}: each endpoint");
        stage.state.leave(chosen.pop().expect("six"));
        chosen.push(stage.choose().expect("room again"));
        chosen.sort_unstable();
        assert_eq!(chosen, [0, 0, 1, 1, 2, 2]);
        chosen.iter().for_each(|index| stage.state.leave(*index));
        stage.circuit = Circuit { service_requests_max: 4, ..Circuit::default() };
        let chosen: Vec<_> = (0..4).map(|_| stage.choose().expect("room")).collect();
        assert_eq!(stage.choose(), Err(Refused::Overloaded), "{balance:?}: the service");
        chosen.iter().for_each(|index| stage.state.leave(*index));
        stage.assert_idle();
    }
    let mut nothing = Stage::new(&Balance::RoundRobin, 0);
    assert_eq!(nothing.choose(), Err(Refused::Empty));
}

#[test]
fn limits_of_requests_that_wait() {
    let stage = Stage::new(&Balance::RoundRobin, 2);
    let circuit = Circuit { endpoint_pending_max: 2, service_pending_max: 3, ..Circuit::default() };
    let enter = |index| stage.state.enter_pending(index, &circuit);
    assert_eq!([enter(0), enter(0), enter(0), enter(1), enter(1)], [true, true, false, true, false]);
    stage.state.leave_pending(0);
    assert!(enter(1));
    assert!(!enter(9), "no such endpoint");
    [0, 1, 1].into_iter().for_each(|index| stage.state.leave_pending(index));
    stage.assert_idle();
}

#[test]
fn state_stays_with_what_stays() {
    let mut stage = Stage::new(&Balance::RoundRobin, 3);
    let before = stage.state.clone();
    stage.replaced_by(0..3);
    assert!(Arc::ptr_eq(&before, &stage.state), "nothing changed");
    let index = stage.choose().expect("open");
    stage.eject(2);
    stage.replaced_by([2, 9, 0]);
    assert_eq!(stage.state.in_work(), 1);
    assert_eq!(stage.state.endpoints().iter().map(|e| e.is_ejected(0)).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(stage.state.endpoints()[2].view(0).in_work, 1, "it is the third now");
    before.leave(index);
    stage.assert_idle();
}

#[test]
fn a_place_that_outlives_its_snapshot_is_counted_until_it_is_dropped() {
    let mut stage = Stage::new(&Balance::RoundRobin, 2);
    let index = stage.choose().expect("open");
    let place = stage.state.occupied(index).expect("it is there");
    stage.replaced_by([u8::try_from(index).expect("small"), 9]);
    assert_eq!((stage.state.in_work(), stage.state.endpoints()[0].view(0).in_work), (1, 1));
    drop(place);
    stage.assert_idle();
}

#[test]
fn who_joins_starts_slowly_where_that_makes_sense() {
    for balance in &ALL {
        let mut stage = Stage::new(balance, 9);
        assert!(stage.state.endpoints().iter().all(|e| e.view(0).weight == 1_000), "all began with the service");
        stage.now_ms = 1_000;
        stage.replaced_by(0..10);
        (0..10).for_each(|index| stage.state.observe(index, 1_000, stage.now_ms));
        let share = |stage: &mut Stage| stage.spread(90_000)[9];
        let cold = share(&mut stage);
        stage.now_ms += WINDOW_MS;
        (0..10).for_each(|index| stage.state.observe(index, 1_000, stage.now_ms));
        let warm = share(&mut stage);
        assert!((8_000..10_000).contains(&warm), "{balance:?}: {warm}");
        match balance {
            Balance::Hash(_) => assert!((8_000..10_000).contains(&cold), "{cold}"),
            _ => assert!((700..1_300).contains(&cold), "{balance:?}: {cold}"),
        }
    }
    // Where all are new, none is slower than another.
    let mut stage = Stage::new(&Balance::RoundRobin, 1);
    stage.replaced_by([10, 11, 12]);
    assert_even(&stage.spread(3_000), 10, "a whole new set");
}

#[test]
fn retries_are_a_fifth_of_requests() {
    let mut stage = Stage::new(&Balance::RoundRobin, 2);
    let mut retry = |requests: usize| {
        // The last of these turns is that of the retry.
        (0..=requests).for_each(|_| {
            let index = stage.choose().expect("open");
            stage.state.leave(index);
        });
        stage.state.may_retry(0)
    };
    assert_eq!((0..1_000).filter(|_| retry(0)).count(), 100, "the floor of ten seconds");
    assert_eq!((0..1_000).filter(|_| retry(1)).count(), 200, "each request asks");
    assert_eq!((0..1_000).filter(|_| retry(5)).count(), 1_000, "every fifth asks");
}
