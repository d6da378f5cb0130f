//! The way of a review to the thread that owns the store, and of the answer back.
//!
//! Goes in: the bytes of an AdmissionReview, from any thread. Comes out: those of the answer. Few wait, one is answered at
//! a time, and whoever has stopped waiting is passed over. Reviews have a translator of their own: what serves comes of
//! another one, which nothing that is only asked about has ever been in.

use super::super::store::Store;
use super::super::translate::Translator;
use super::{InvalidReview, review};
use crate::config;
use bytes::Bytes;
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};

/// Reviews that wait for the thread.
const WAITING_MAX: usize = 16;

/// A review that was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// More wait than may.
    #[error("too many reviews wait")]
    Busy,
    /// The cluster has not been read yet, or is watched no more.
    #[error("the cluster has not been read whole yet")]
    NotReady,
    /// It cannot be answered at all.
    #[error(transparent)]
    Invalid(#[from] InvalidReview),
}

/// A review that waits.
#[derive(Debug)]
pub struct Ask {
    body: Bytes,
    answer: oneshot::Sender<Result<Bytes, InvalidReview>>,
}

/// Where reviews are handed in.
#[derive(Debug, Clone)]
pub struct Desk {
    asks: mpsc::Sender<Ask>,
}

/// Reviews that were handed in, on the thread that owns the store.
#[derive(Debug)]
pub struct Reviews {
    asks: mpsc::Receiver<Ask>,
    translator: Translator,
    objects: config::Objects,
}

/// A desk, and where its reviews come out.
#[must_use]
pub fn queue(objects: &config::Objects) -> (Desk, Reviews) {
    let (sender, asks) = mpsc::channel(WAITING_MAX);
    (Desk { asks: sender }, Reviews { asks, translator: Translator::default(), objects: objects.clone() })
}

impl Desk {
    /// Hands a review in and waits for the answer. Dropping this takes the review back.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn review(&self, body: Bytes) -> Result<Bytes, Unanswered> {
        let (answer, answered) = oneshot::channel();
        self.asks.try_send(Ask { body, answer }).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => Unanswered::Busy,
            mpsc::error::TrySendError::Closed(_) => Unanswered::NotReady,
        })?;
        Ok(answered.await.map_err(|_| Unanswered::NotReady)??)
    }
}

impl Reviews {
    /// The next one; `None` when there will be none any more. Can be dropped without losing one.
    pub async fn next(&mut self) -> Option<Ask> {
        self.asks.recv().await
    }

    /// Answers a review about an Ingress of a watched namespace. The store is afterwards what it was.
    pub fn answer(&mut self, ask: Ask, store: &mut Store, is_watched: impl Fn(&str) -> bool, now_s: i64) {
        if ask.answer.is_closed() {
            return;
        }
        let began = Instant::now();
        let reviewed = review(&ask.body, store, &mut self.translator, &self.objects, is_watched, now_s);
        let answer = reviewed.map(|answer| Bytes::from(answer.to_string()));
        tracing::debug!(took = ?began.elapsed(), "a review was answered");
        // Nobody waits any more, then.
        drop(ask.answer.send(answer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::task::{Context, Poll, Waker};

    #[test]
    fn few_wait_and_who_left_is_passed_over() {
        let (desk, mut reviews) = queue(&config::Objects::default());
        let mut context = Context::from_waker(Waker::noop());
        let mut waiting: Vec<_> = (0..WAITING_MAX).map(|_| Box::pin(desk.review(Bytes::from_static(b"{}")))).collect();
        assert!(waiting.iter_mut().all(|ask| ask.as_mut().poll(&mut context).is_pending()));
        let mut more = Box::pin(desk.review(Bytes::new()));
        assert_eq!(more.as_mut().poll(&mut context), Poll::Ready(Err(Unanswered::Busy)));
        drop(waiting.remove(0));
        let (mut store, mut answered) = (Store::default(), 0);
        while let Ok(ask) = reviews.asks.try_recv() {
            answered += usize::from(!ask.answer.is_closed());
            reviews.answer(ask, &mut store, |_| true, 0);
        }
        assert_eq!(answered, WAITING_MAX - 1);
        let invalid = |answer| matches!(answer, Poll::Ready(Err(Unanswered::Invalid(InvalidReview::Unreadable(_)))));
        assert!(waiting.iter_mut().all(|ask| invalid(ask.as_mut().poll(&mut context))));
        let mut last = Box::pin(desk.review(Bytes::new()));
        assert!(last.as_mut().poll(&mut context).is_pending());
        drop(reviews);
        assert_eq!(last.as_mut().poll(&mut context), Poll::Ready(Err(Unanswered::NotReady)));
    }
}
