//! The body of an answer: known whole, or a stream that a task feeds.
//!
//! Goes in: bytes, or the receiving end of a channel. Comes out: a hyper body. An error in the channel breaks the
//! connection off. Does not do: compression.

use http_body_util::Full;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// Chunks that wait for a slow reader.
const CHUNKS_MAX: usize = 16;

/// A body.
#[derive(Debug)]
pub enum Content {
    /// Known whole, so it goes with a Content-Length.
    Whole(Full<Bytes>),
    /// In chunks, until the sender is dropped.
    Stream(mpsc::Receiver<io::Result<Bytes>>),
}

/// Where a task feeds a [`Content::Stream`].
pub type Feed = mpsc::Sender<io::Result<Bytes>>;

impl Content {
    /// A whole body.
    #[must_use]
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Full::new(bytes.into()))
    }

    /// A stream and its feed.
    #[must_use]
    pub fn stream() -> (Feed, Self) {
        let (feed, chunks) = mpsc::channel(CHUNKS_MAX);
        (feed, Self::Stream(chunks))
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Whole(full) => Pin::new(full).poll_frame(context).map_err(|never| match never {}),
            Self::Stream(chunks) => chunks.poll_recv(context).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(full) => full.size_hint(),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}
