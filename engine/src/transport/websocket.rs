//! MQTT over WebSocket (RFC 6455; MQTT 5, section 6): a stream of bytes over binary frames.
//!
//! Frames need not line up with packets, either way. Pings and closes of the other side are answered by the crate.

use std::{
    error, fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error as WsError, Message,
        error::{CapacityError, ProtocolError},
        protocol::{CloseFrame, Role, WebSocketConfig},
    },
};

use crate::error::{Code, Failure, Stage};

mod handshake;
pub(super) use handshake::open;

/// With its header, a frame of this length fills a TLS record. A longer flush becomes several frames: with one alone, a
/// slow network that takes some of it looks as if it took none.
const MAX_SENT_FRAME_BYTES: usize = 16 * 1024 - 8;
/// Of answers to pings that wait to be sent. With more of them, only the latest ping is answered.
const MAX_UNSENT_BYTES: usize = 32 * 1024;
/// For one read, and kept by each connection.
const READ_BYTES: usize = 4 * 1024;
/// A message that is received may be at least so long, whatever a packet may have: it may hold many.
const MIN_RECEIVED_BYTES: usize = 1 << 20;
/// Pings in a row before other connections get their turn.
const CONTROL_FRAMES: usize = 32;

/// The bytes inside a WebSocket.
pub struct WebSocket<S> {
    frames: WebSocketStream<S>,
    /// What was not read yet of the message that came last.
    message: Bytes,
}

/// The other side broke the protocol.
#[derive(Debug)]
struct Violation(String);

/// The other side sent a longer message than this side takes.
#[derive(Debug)]
struct TooLong {
    bytes: usize,
    limit: usize,
}

/// The other side closed and said why.
#[derive(Debug)]
struct Closed {
    code: u16,
    reason: String,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// Over a stream whose upgrade is done; `begun` is what came behind it. A packet has at most `max_packet` bytes.
    async fn new(stream: S, begun: Vec<u8>, max_packet: usize) -> Self {
        let max_received = Some(max_packet.max(MIN_RECEIVED_BYTES));
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            // What was written goes on at once, so that what the network takes is seen.
            .write_buffer_size(0)
            .max_write_buffer_size(MAX_UNSENT_BYTES)
            .max_frame_size(max_received)
            .max_message_size(max_received);
        Self {
            frames: WebSocketStream::from_partially_read(stream, begun, Role::Client, Some(config))
                .await,
            message: Bytes::new(),
        }
    }

    pub fn get_ref(&self) -> &S {
        self.frames.get_ref()
    }

    /// The next message with anything in it; empty at the end.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        for _ in 0..CONTROL_FRAMES {
            match ready!(Pin::new(&mut self.frames).poll_next(cx)) {
                None => return Poll::Ready(Ok(Bytes::new())),
                Some(Ok(Message::Binary(message))) if !message.is_empty() => {
                    return Poll::Ready(Ok(message));
                }
                Some(Ok(Message::Text(_))) => {
                    let violation = Violation("a text message, where MQTT has binary ones".into());
                    return Poll::Ready(Err(violation.into()));
                }
                Some(Ok(Message::Close(frame))) => {
                    // It is answered if there is room now; nobody waits for the answer.
                    let _answered = Pin::new(&mut self.frames).poll_flush(cx);
                    return Poll::Ready(match frame {
                        Some(frame) => Err(Closed::from(frame).into()),
                        None => Ok(Bytes::new()),
                    });
                }
                Some(Ok(
                    Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_),
                )) => {}
                Some(Err(error)) => return Poll::Ready(end(error).map(|()| Bytes::new())),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// What an error means where the other side did what no WebSocket may, or what this one does not take.
pub fn breach(error: &io::Error, at: &str) -> Option<Failure> {
    let inner = error.get_ref()?;
    let failure = |message: String| Failure::new(Code::WebSocket, Stage::WebSocket, message);
    if let Some(Violation(what)) = inner.downcast_ref() {
        let message = format!("{at} broke the WebSocket protocol: {what}");
        return Some(failure(message).with_hint(
            "What answers there is no WebSocket server as specified, or something on the way changes what it sends.",
        ));
    }
    let TooLong { bytes, limit } = inner.downcast_ref()?;
    let message = format!(
        "{at} sent a WebSocket message of {bytes} bytes, more than the {limit} that this side takes"
    );
    Some(
        failure(message)
            .with_hint("receive.maxBytes is what this side takes, and 1 MiB at the least."),
    )
}

/// The code with which the other side closed, where it gave one.
pub fn close_code(error: &io::Error) -> Option<u16> {
    let closed = error.get_ref()?.downcast_ref::<Closed>()?;
    Some(closed.code)
}

/// How reading ends where the other side has closed with this.
#[cfg(test)]
pub fn closed(code: u16, reason: &str) -> io::Error {
    let reason = reason.to_owned();
    Closed { code, reason }.into()
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.message.is_empty() {
            self.message = ready!(self.poll_message(cx))?;
        }
        let length = self.message.len().min(buffer.remaining());
        buffer.put_slice(&self.message[..length]);
        self.message.advance(length);
        if self.message.is_empty() {
            // It shares the buffer that it was read into.
            self.message = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut frames = Pin::new(&mut self.frames);
        // Answers to pings may wait there too, of which `poll_ready` does not know: the frame would find no room.
        ready!(frames.as_mut().poll_flush(cx)).map_err(io_error)?;
        let bytes = &bytes[..bytes.len().min(MAX_SENT_FRAME_BYTES)];
        let message = Message::Binary(Bytes::copy_from_slice(bytes));
        frames.start_send(message).map_err(io_error)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.frames).poll_flush(cx).map_err(io_error)
    }

    /// Says that nothing more will come. The other side closes the connection (RFC 6455, section 7.1.1).
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut frames = Pin::new(&mut self.frames);
        // A close that finds no room would be lost.
        ready!(frames.as_mut().poll_flush(cx)).map_err(io_error)?;
        frames.poll_close(cx).map_err(io_error)
    }
}

/// The end of reading: an error, or just an end.
fn end(error: WsError) -> io::Result<()> {
    match error {
        WsError::ConnectionClosed
        | WsError::AlreadyClosed
        | WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Ok(()),
        other => Err(io_error(other)),
    }
}

fn io_error(error: WsError) -> io::Error {
    match error {
        WsError::Io(error) => error,
        WsError::ConnectionClosed | WsError::AlreadyClosed => io::ErrorKind::UnexpectedEof.into(),
        WsError::Protocol(
            ProtocolError::SendAfterClosing | ProtocolError::ResetWithoutClosingHandshake,
        ) => io::ErrorKind::BrokenPipe.into(),
        WsError::Capacity(CapacityError::MessageTooLong { size, max_size }) => io::Error::new(
            io::ErrorKind::InvalidData,
            TooLong {
                bytes: size,
                limit: max_size,
            },
        ),
        violation => Violation(violation.to_string()).into(),
    }
}

impl From<Violation> for io::Error {
    fn from(violation: Violation) -> Self {
        Self::new(io::ErrorKind::InvalidData, violation)
    }
}

impl From<Closed> for io::Error {
    fn from(closed: Closed) -> Self {
        Self::new(io::ErrorKind::UnexpectedEof, closed)
    }
}

impl From<CloseFrame> for Closed {
    fn from(frame: CloseFrame) -> Self {
        Self {
            code: frame.code.into(),
            reason: frame
                .reason
                .chars()
                .filter(|letter| !letter.is_control())
                .collect(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for TooLong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} bytes, more than {}", self.bytes, self.limit)
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // tungstenite puts this in the place of every code that it does not know.
        if self.code == 1002 && self.reason == "Protocol violation" {
            return formatter
                .write_str("WebSocket closed with a code that is not defined, or with 1002");
        }
        write!(formatter, "WebSocket closed with {}", self.code)?;
        if !self.reason.is_empty() {
            write!(formatter, ": {}", self.reason)?;
        }
        Ok(())
    }
}

impl error::Error for Violation {}
impl error::Error for TooLong {}
impl error::Error for Closed {}

#[cfg(test)]
mod tests;
