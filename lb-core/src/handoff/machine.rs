//! The hand-off of one pair as a state machine: what happened goes in, what must be done comes out.
//!
//! Owns: which of two parties has the pair, whatever the order of what happens. Goes in: the state that the record was
//! found in, and what the proxy wants. Comes out: a [`Step`].
//! Does not do: the step. Whoever does it feeds the machine with what it found.
//!
//! The record decides, and only by compare-and-swap: the programs change it when a packet comes, userspace when it
//! withdraws. So the machine never guesses who was first; it asks ([`Step::Exchange`]) and takes the answer.

use lb_common::splice::{ACTIVE, CLOSING, WAITING};

/// Who has the pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// Not decided: the request is under way.
    #[default]
    Waiting,
    /// Userspace, for good.
    Ours,
    /// The kernel; our sockets are still open.
    Carried,
    /// The kernel; our sockets are closed.
    Surrendered,
    /// Nobody: both ends were reset.
    Over,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// The record has this state: it was looked at, or the exchange answered.
    Record(u32),
    /// The proxy wants the pair: an answer or more of the client came to its sockets, or time is up.
    Withdraw,
    /// The proxy gave its sockets away. A byte that came to one of them past the programs changes nothing: while the pair
    /// waits, its acknowledgement makes the record dirty, and afterwards it is not let out. So its sender repeats it.
    Surrender,
    /// The proxy went away without a word.
    Abandon,
}

/// What must be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Nothing,
    /// Try to change the record from waiting to dirty, feed what it was or is, and then the same input again.
    Exchange,
    /// Take keys and record out; the sockets stay as they are.
    TakeOut,
    /// Close both sockets without a sign, and account for the pair from now on.
    Keep,
    /// Close both sockets without a sign, take keys and record out, reset both ends.
    Reset,
}

/// One hand-off, from the moment that its record is in the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Machine {
    phase: Phase,
}

impl Machine {
    /// Who has the pair, as far as is known.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Takes in what happened; answers what must be done.
    #[must_use]
    pub fn on(&mut self, input: Input) -> Step {
        let (phase, step) = match (self.phase, input) {
            (Phase::Waiting, Input::Record(WAITING)) => (Phase::Waiting, Step::Nothing),
            (Phase::Waiting, Input::Record(ACTIVE | CLOSING)) => (Phase::Carried, Step::Nothing),
            // Dirty; or free, which is not ours to be: it carries nothing either.
            (Phase::Waiting, Input::Record(_)) => (Phase::Ours, Step::TakeOut),
            (Phase::Waiting, _) => (Phase::Waiting, Step::Exchange),
            (Phase::Carried, Input::Surrender) => (Phase::Surrendered, Step::Keep),
            (Phase::Carried, Input::Abandon) => (Phase::Over, Step::Reset),
            // What was decided stays so: events come late, and a carried pair can no longer be withdrawn.
            (decided, _) => (decided, Step::Nothing),
        };
        self.phase = phase;
        step
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_common::splice::{DIRTY, FREE, is_beyond};

    const KEPT: Input = Input::Surrender;

    /// Feeds inputs one after another; each with the step that it must lead to.
    fn check(row: &[(Input, Step)], phase: Phase) {
        let mut machine = Machine::default();
        for (input, step) in row {
            assert_eq!(machine.on(*input), *step, "{input:?} of {row:?}");
        }
        assert_eq!(machine.phase(), phase, "{row:?}");
    }

    #[test]
    fn the_answer_activates() {
        check(&[(Input::Record(WAITING), Step::Nothing)], Phase::Waiting);
        check(&[(Input::Record(ACTIVE), Step::Nothing), (KEPT, Step::Keep)], Phase::Surrendered);
        // An answer with a FIN or a RST behind it.
        check(&[(Input::Record(CLOSING), Step::Nothing), (KEPT, Step::Keep)], Phase::Surrendered);
        check(&[(Input::Record(ACTIVE), Step::Nothing), (Input::Record(CLOSING), Step::Nothing)], Phase::Carried);
    }

    #[test]
    fn a_refusal_leaves_the_pair_to_userspace_once() {
        let again = [
            (Input::Record(DIRTY), Step::TakeOut),
            (Input::Record(DIRTY), Step::Nothing),
            (Input::Withdraw, Step::Nothing),
            (Input::Abandon, Step::Nothing),
        ];
        check(&again, Phase::Ours);
        check(&[(Input::Record(FREE), Step::TakeOut)], Phase::Ours);
        // The record may be another pair's by now: what it says is no matter any more.
        check(&[(Input::Record(DIRTY), Step::TakeOut), (Input::Record(ACTIVE), Step::Nothing)], Phase::Ours);
        check(&[(Input::Record(DIRTY), Step::TakeOut), (KEPT, Step::Nothing)], Phase::Ours);
    }

    #[test]
    fn whoever_is_first_at_the_record_has_it() {
        for wish in [Input::Withdraw, Input::Abandon] {
            check(&[(wish, Step::Exchange), (Input::Record(DIRTY), Step::TakeOut), (wish, Step::Nothing)], Phase::Ours);
        }
        let lost = (Input::Record(ACTIVE), Step::Nothing);
        check(&[(Input::Withdraw, Step::Exchange), lost, (Input::Withdraw, Step::Nothing)], Phase::Carried);
        check(&[(Input::Abandon, Step::Exchange), lost, (Input::Abandon, Step::Reset)], Phase::Over);
        check(&[(KEPT, Step::Exchange), lost, (KEPT, Step::Keep)], Phase::Surrendered);
    }

    /// What happens around a byte that passed the programs before the keys were there, and came to our socket after the
    /// agent's look.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Late {
        /// It comes to our socket.
        Comes,
        /// Our stack acknowledges what it has: at once or some time later.
        Acknowledged,
        /// The answer comes.
        Answered,
        /// The agent looks at the record.
        Looked,
        /// The proxy has read the byte, and wants the pair.
        Read,
        /// The proxy gives its sockets away, if the kernel has the pair.
        Surrendered,
    }

    /// The rules of both programs for one such byte. Answers whether its acknowledgement reached its sender.
    fn run(order: &[Late], machine: &mut Machine) -> bool {
        let known: u32 = 0xffff_ffff;
        let (mut record, mut next, mut is_told) = (WAITING, known, false);
        for event in order {
            match event {
                Late::Comes => next = known.wrapping_add(1),
                Late::Acknowledged if record == WAITING && is_beyond(next, known) => (record, is_told) = (DIRTY, true),
                Late::Acknowledged => is_told |= record == DIRTY && is_beyond(next, known),
                Late::Answered if record == WAITING => record = ACTIVE,
                Late::Answered => {}
                Late::Looked => drop(machine.on(Input::Record(record))),
                Late::Read if is_beyond(next, known) && machine.on(Input::Withdraw) == Step::Exchange => {
                    record = if record == WAITING { DIRTY } else { record };
                    let _step = machine.on(Input::Record(record));
                }
                Late::Read => {}
                Late::Surrendered if machine.phase() == Phase::Carried => assert_eq!(machine.on(KEPT), Step::Keep),
                Late::Surrendered => {}
            }
        }
        let _step = machine.on(Input::Record(record));
        is_told
    }

    #[test]
    fn a_byte_that_came_past_the_programs_is_ours_or_repeated() {
        use Late::{Acknowledged, Answered, Comes, Looked, Read, Surrendered};
        let events = [Comes, Acknowledged, Answered, Looked, Read, Surrendered];
        let (mut ours, mut carried) = (0, 0);
        // All sequences of six, in which an event may come several times or never.
        for row in 0..events.len().pow(6) {
            let order: Vec<_> = (0..6).map(|place| events[row / events.len().pow(place) % events.len()]).collect();
            let mut machine = Machine::default();
            let is_told = run(&order, &mut machine);
            match machine.phase() {
                Phase::Carried | Phase::Surrendered => {
                    carried += 1;
                    assert!(!is_told, "{order:?}: its sender does not repeat it, and the other side never sees it");
                }
                Phase::Ours => ours += 1,
                Phase::Waiting => assert!(!is_told, "{order:?}"),
                Phase::Over => panic!("{order:?}: nobody is reset"),
            }
        }
        assert!(ours > 1_000 && carried > 1_000, "{ours} and {carried}");
    }

    #[test]
    fn every_order_ends_with_one_party() {
        let inputs = [
            Input::Record(WAITING),
            Input::Record(DIRTY),
            Input::Record(ACTIVE),
            Input::Record(CLOSING),
            Input::Withdraw,
            KEPT,
            Input::Abandon,
        ];
        // All sequences of five; the record answers the exchange as the row says it was.
        for row in 0..inputs.len().pow(5) {
            for answer in [DIRTY, ACTIVE] {
                let mut machine = Machine::default();
                let (mut taken_out, mut kept, mut reset) = (0, 0, 0);
                let mut feed = |machine: &mut Machine, input| {
                    let step = machine.on(input);
                    match step {
                        Step::TakeOut => taken_out += 1,
                        Step::Keep => kept += 1,
                        Step::Reset => reset += 1,
                        Step::Nothing | Step::Exchange => {}
                    }
                    step
                };
                for place in 0..5 {
                    let input = inputs[row / inputs.len().pow(place) % inputs.len()];
                    if feed(&mut machine, input) == Step::Exchange {
                        feed(&mut machine, Input::Record(answer));
                        assert_ne!(feed(&mut machine, input), Step::Exchange, "the exchange answers once");
                    }
                }
                let ends = (taken_out, kept, reset);
                match machine.phase() {
                    Phase::Waiting | Phase::Carried => assert_eq!(ends, (0, 0, 0)),
                    Phase::Ours => assert_eq!(ends, (1, 0, 0)),
                    Phase::Surrendered => assert_eq!(ends, (0, 1, 0)),
                    Phase::Over => assert_eq!(ends, (0, 0, 1)),
                }
            }
        }
    }
}
