//! Bodies of answers: whole, in drips, or broken off in the middle.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body::{Body, Frame, SizeHint};
use thiserror::Error;
use tokio::sync::Notify;

use super::script::Pace;
use crate::clock::Clock;

/// The connection is broken on purpose.
#[derive(Clone, Copy, Debug, Error)]
#[error("the sandbox broke the connection, as told")]
pub(super) struct Cut;

impl From<Infallible> for Cut {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// The body of one answer.
pub(super) struct ReplyBody {
    left: Bytes,
    mode: Mode,
}

enum Mode {
    Whole,
    Drip {
        chunk: usize,
        pace: Pace,
        clock: Arc<dyn Clock>,
        wait: Option<BoxFuture<'static, ()>>,
    },
    /// Sends the first half, lets it be flushed, and breaks the connection.
    Cut {
        step: u8,
        broken: Arc<Notify>,
    },
}

impl ReplyBody {
    pub(super) fn whole(body: Bytes) -> Self {
        Self {
            left: body,
            mode: Mode::Whole,
        }
    }

    pub(super) fn dripping(body: Bytes, chunk: usize, pace: Pace, clock: Arc<dyn Clock>) -> Self {
        Self {
            left: body,
            mode: Mode::Drip {
                chunk,
                pace,
                clock,
                wait: None,
            },
        }
    }

    pub(super) fn cut(body: Bytes, broken: Arc<Notify>) -> Self {
        Self {
            // An empty body has no middle; announcing one octet that never comes has.
            left: if body.is_empty() {
                Bytes::from_static(b"x")
            } else {
                body
            },
            mode: Mode::Cut { step: 0, broken },
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = self.get_mut();
        if this.left.is_empty() {
            return Poll::Ready(None);
        }
        match &mut this.mode {
            Mode::Whole => Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut this.left))))),
            Mode::Drip {
                chunk,
                pace,
                clock,
                wait,
            } => {
                let waiting = wait.get_or_insert_with(|| match pace {
                    Pace::Gate(gate) => {
                        let gate = gate.clone();
                        Box::pin(async move { gate.wait().await })
                    }
                    Pace::Every(span) => clock.sleep_until(clock.monotonic() + *span),
                });
                match waiting.as_mut().poll(cx) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(()) => {
                        *wait = None;
                        let piece = this.left.split_to((*chunk).min(this.left.len()));
                        Poll::Ready(Some(Ok(Frame::data(piece))))
                    }
                }
            }
            Mode::Cut { step, broken } => {
                *step = step.saturating_add(1);
                match *step {
                    1 if this.left.len() > 1 => {
                        let half = this.left.len() / 2;
                        Poll::Ready(Some(Ok(Frame::data(this.left.split_to(half)))))
                    }
                    // Pending, and awake at once: the server flushes what it has before it asks again.
                    1 | 2 => {
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    }
                    _ => {
                        broken.notify_one();
                        Poll::Ready(Some(Err(Cut)))
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}
