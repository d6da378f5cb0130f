//! What holds over any history.

use super::*;
use proptest::prelude::*;

proptest! {
    #[test]
    fn only_the_keys_of_the_one_that_leaves_move(count in 2_u8..40, gone in 0_u8..40, keys in 1_u64..500) {
        let gone = gone % count;
        let all = ServiceState::carry(None, &service(0..count), 0);
        let left: Vec<u8> = (0..count).filter(|i| *i != gone).collect();
        let rest = ServiceState::carry(None, &service(left.iter().copied()), 0);
        let ejected = Stage::new(&HASH, count);
        ejected.eject(gone.into());
        let tried = Tried::default();
        for key in keys..keys + 200 {
            let ask = Ask { balance: &HASH, key: hash(&key.to_le_bytes()), random: 0, now_ms: 0, tried: &tried, circuit: Circuit::default() };
            let before = choose(&all, &ask).expect("open");
            let after = usize::from(left[choose(&rest, &ask).expect("open")]);
            let meanwhile = choose(&ejected.state, &ask).expect("open");
            prop_assert_eq!(meanwhile, after, "ejected and gone are the same to a key");
            prop_assert!(before == after || before == usize::from(gone));
        }
    }

    /// Whatever happens, what is chosen may be chosen, nothing is counted twice, and at most half are ejected.
    #[test]
    fn invariants_hold_over_any_history(
        which in 0_usize..4,
        steps in proptest::collection::vec((0_u8..6, 0_u8..12, any::<u64>()), 1..200),
    ) {
        let mut stage = Stage::new(&ALL[which], 5);
        stage.circuit.endpoint_requests_max = 3;
        let mut held: Vec<(Arc<ServiceState>, usize)> = Vec::new();
        for (step, index, bits) in steps {
            let at = usize::from(index) % stage.service.endpoints.len().max(1);
            match step {
                0 | 1 => {
                    let open = |e: &Arc<EndpointState>| e.view(stage.now_ms).in_work < 3;
                    let any_open = stage.state.endpoints().iter().any(open);
                    match stage.choose() {
                        Ok(index) => held.push((stage.state.clone(), index)),
                        Err(Refused::Overloaded) => prop_assert!(!any_open),
                        Err(Refused::Empty) => prop_assert!(stage.service.endpoints.is_empty()),
                        Err(Refused::Exhausted) => prop_assert!(false, "nothing was tried"),
                    }
                }
                2 => if !held.is_empty() {
                    let (state, index) = held.swap_remove(usize::from(index) % held.len());
                    state.leave(index);
                },
                3 => { stage.state.report(at, Outcome::Failed, stage.now_ms); }
                4 => stage.now_ms += bits % 20_000,
                _ => stage.replaced_by((0..8_u8).filter(|i| bits >> i & 1 == 1)),
            }
            let ejected = stage.state.ejected(stage.now_ms);
            prop_assert!(ejected <= stage.service.endpoints.len() / 2);
            prop_assert_eq!(stage.state.in_work() as usize, held.len());
        }
        held.into_iter().for_each(|(state, index)| state.leave(index));
        stage.assert_idle();
    }
}
