//! Letting go of what served before.
//!
//! Owns: one thread. Goes in: what a newer Snapshot has replaced. Comes out: nothing. Does not do: deciding what serves.

use super::Published;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// How often it is looked whether the last request has let go of what served before.
const RETIRE_LOOK: Duration = Duration::from_millis(100);

/// A thread that lets go of what served before when all others have: taking ten thousand routes apart takes milliseconds,
/// which no request should spend.
pub(super) fn start() -> Sender<Arc<Published>> {
    let (sender, receiver) = channel::<Arc<Published>>();
    let work = move || {
        let mut held = Vec::new();
        loop {
            let next = match held.is_empty() {
                true => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => receiver.recv_timeout(RETIRE_LOOK),
            };
            match next {
                Ok(published) => held.push(published),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            held.retain(|published| Arc::strong_count(published) > 1);
        }
    };
    if let Err(error) = std::thread::Builder::new().name("retire".to_owned()).spawn(work) {
        tracing::warn!(%error, "what served before is taken apart by requests");
    }
    sender
}

#[cfg(test)]
mod tests {
    use super::super::Publisher;
    use super::*;
    use lb_core::Snapshot;

    #[test]
    fn what_served_before_is_let_go_of() {
        let publisher = Publisher::default();
        publisher.publish(Snapshot::default());
        let (old, held) = (Arc::downgrade(&publisher.current()), publisher.current());
        publisher.publish(Snapshot::default());
        std::thread::sleep(2 * RETIRE_LOOK);
        assert_eq!(Arc::strong_count(&held), 2, "a reader has it, and the thread that waits for it");
        drop(held);
        let gone = (0..100).any(|_| {
            std::thread::sleep(RETIRE_LOOK / 10);
            old.upgrade().is_none()
        });
        assert!(gone, "nobody needs it any more");
    }
}
