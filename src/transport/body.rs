//! The body of an answer: a stream, read up to a limit.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::future::poll_fn;
use http_body::{Body as _, Frame, SizeHint};
use thiserror::Error;

use super::TransportError;

/// What a buffer starts with at most, whatever length the other side announces.
const FIRST_CAPACITY: usize = 64 * 1024;

/// Why a body could not be read whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Longer than the limit. Raise the limit if the carrier's answers are rightly that long.
    #[error("the answer's body is longer than {limit} octets")]
    TooLarge {
        /// The limit, in octets.
        limit: usize,
    },
    /// The connection failed while the body came in.
    #[error(transparent)]
    Transport(TransportError),
}

/// The body of an answer, content coding untouched. Give it up by dropping it; the connection is then closed unless the
/// body had come in whole.
pub struct Body(Kind);

enum Kind {
    Whole(Option<Bytes>),
    Stream(Pin<Box<dyn http_body::Body<Data = Bytes, Error = TransportError> + Send>>),
}

impl Body {
    /// A body of no octets.
    pub const fn empty() -> Self {
        Self(Kind::Whole(None))
    }

    /// A body that comes in frame by frame.
    pub fn stream(body: impl http_body::Body<Data = Bytes, Error = TransportError> + Send + 'static) -> Self {
        Self(Kind::Stream(Box::pin(body)))
    }

    /// Reads the whole body. A length announced above the limit is refused before anything is read; an announced length is
    /// not trusted otherwise. Trailers are dropped.
    ///
    /// # Errors
    /// [`ReadError::TooLarge`] when there is more than `limit` octets, [`ReadError::Transport`] when the connection fails.
    pub async fn read_to_limit(self, limit: usize) -> Result<Bytes, ReadError> {
        let mut body = self;
        let too_large = ReadError::TooLarge { limit };
        let announced = body.size_hint().lower();
        if announced > limit as u64 {
            return Err(too_large);
        }
        let Some(first) = body.next_data().await.map_err(ReadError::Transport)? else {
            return Ok(Bytes::new());
        };
        if first.len() > limit {
            return Err(too_large);
        }
        let Some(second) = body.next_data().await.map_err(ReadError::Transport)? else {
            return Ok(first);
        };
        let announced = usize::try_from(announced).unwrap_or(0).min(FIRST_CAPACITY);
        let mut all = BytesMut::with_capacity(announced.max(first.len().saturating_add(second.len()).min(limit)));
        all.extend_from_slice(&first);
        let mut next = Some(second);
        while let Some(data) = next {
            if data.len() > limit - all.len() {
                return Err(too_large);
            }
            all.extend_from_slice(&data);
            next = body.next_data().await.map_err(ReadError::Transport)?;
        }
        Ok(all.freeze())
    }

    /// The next frame of data that has any.
    async fn next_data(&mut self) -> Result<Option<Bytes>, TransportError> {
        loop {
            let Some(frame) = poll_fn(|context| Pin::new(&mut *self).poll_frame(context)).await else {
                return Ok(None);
            };
            if let Ok(data) = frame?.into_data()
                && !data.is_empty()
            {
                return Ok(Some(data));
            }
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = TransportError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TransportError>>> {
        match &mut self.get_mut().0 {
            Kind::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Stream(stream) => stream.as_mut().poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(bytes) => bytes.is_none(),
            Kind::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Kind::Stream(stream) => stream.size_hint(),
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(Kind::Whole((!bytes.is_empty()).then_some(bytes)))
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("length", &self.size_hint().exact())
            .finish()
    }
}
