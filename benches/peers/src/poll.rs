//! Futures that are ready at once, without an async runtime in the figures.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Polls `future` once and returns its output.
///
/// # Panics
///
/// If the future is not ready: what is measured here never waits.
pub fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a future that should be ready at once was pending"),
    }
}
