//! A stream inside TLS: rustls does TLS, and here its records move between a thread's buffers and the stream below.
//!
//! tokio-rustls does the same with buffers of each connection, of which rustls never gives back 4 KiB, and reads no more
//! than those at once. Here a connection at rest holds none.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use rustls::{
    CommonState, Error as TlsError,
    client::{ClientConnectionData, UnbufferedClientConnection},
    pki_types::ServerName,
    unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus, WriteTraffic},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Config;

/// The payload of the largest record (RFC 8446, section 5.1). No more is held back for a network that takes nothing:
/// otherwise one that takes a little looks as if it took none.
const RECORD_BYTES: usize = 16 * 1024;
/// A record as it travels: in TLS 1.2 a payload may grow by that much (RFC 5246, section 6.2.3).
const WIRE_RECORD_BYTES: usize = 5 + RECORD_BYTES + 2048;
/// Room for records, and for what has to be there at once of a handshake.
const WIRE_BYTES: usize = 64 * 1024;

/// What a payload may grow by when it is encrypted, with an alert or a change of keys before it.
const GROWTH_BYTES: usize = 256;

type Wire = Box<[MaybeUninit<u8>]>;

thread_local! {
    /// Buffers that all connections of a thread take in turn: more than one where TLS runs inside TLS.
    static WIRES: RefCell<Vec<Wire>> = const { RefCell::new(Vec::new()) };
}

/// The client's end of TLS over `S`.
pub struct TlsStream<S> {
    stream: S,
    tls: Tls,
    /// The start of a record whose rest has not come yet.
    incoming: Vec<u8>,
    /// Decrypted, and more than the reader had room for.
    plaintext: BytesMut,
}

/// TLS without a stream.
struct Tls {
    connection: UnbufferedClientConnection,
    /// Encrypted, and not taken by the network yet.
    outgoing: BytesMut,
    /// How reading ends once everything before was read.
    end: Option<End>,
}

enum End {
    /// By the other side's close_notify.
    Closed,
    Failed(Box<TlsError>),
}

/// Shakes hands with `server_name`, which is also what SNI says.
pub(in crate::transport) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    config: Arc<Config>,
    server_name: ServerName<'static>,
    stream: S,
) -> io::Result<TlsStream<S>> {
    let connection = UnbufferedClientConnection::new(config.client.clone(), server_name.clone())
        .map_err(io::Error::other)?;
    let mut opening = TlsStream {
        stream,
        tls: Tls {
            connection,
            outgoing: BytesMut::new(),
            end: None,
        },
        incoming: Vec::new(),
        plaintext: BytesMut::new(),
    };
    opening.tls.take(&mut [], |_| {});
    let shaken = poll_fn(|cx| opening.poll_handshake(cx)).await;
    if let Some(End::Failed(error)) = &opening.tls.end
        && matches!(**error, TlsError::DecryptError)
    {
        config.forget(&server_name);
    }
    shaken.map(|()| opening)
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream<S> {
    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if let Some(End::Failed(error)) = &self.tls.end {
                return Poll::Ready(Err(invalid_data(error)));
            }
            let sent = Pin::new(&mut *self).poll_flush(cx)?;
            if !self.tls.connection.is_handshaking() {
                return sent.map(Ok);
            }
            // Whatever of it has left: two sides that wait for each other to read would wait for ever.
            ready!(self.poll_receive(cx, &mut ReadBuf::new(&mut [])))?;
        }
    }

    /// Reads once, and takes what records are complete: as much as fits goes `into`, the rest is kept.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        with_wire(|wire| {
            let kept = self.incoming.len();
            if kept == wire.len() {
                let message = "a TLS message is longer than any that is allowed";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, message)));
            }
            // No more than the reader has room for, and a record in any case: what is decrypted beyond that is kept.
            let room = kept + into.remaining().max(WIRE_RECORD_BYTES);
            let end = room.min(wire.len());
            let mut arrived = ReadBuf::uninit(&mut wire[..end]);
            arrived.put_slice(&self.incoming);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut arrived))?;
            let records = arrived.filled_mut();
            if records.len() == kept {
                let message = "the connection was closed without the end of TLS";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, message)));
            }
            let was_idle = self.tls.outgoing.is_empty();
            let plaintext = &mut self.plaintext;
            let taken = self.tls.take(records, |payload| {
                let fitting = if plaintext.is_empty() {
                    payload.len().min(into.remaining())
                } else {
                    0
                };
                into.put_slice(&payload[..fitting]);
                plaintext.extend_from_slice(&payload[fitting..]);
            });
            self.incoming = records[taken..].to_vec();
            // An alert, or an answer to what came. That it cannot leave shows when something is written; what a writer
            // waits for stays the writer's, whom the stream wakes for it.
            if was_idle {
                let _sent = self.poll_send(cx);
            }
            Poll::Ready(Ok(()))
        })
    }
}

impl<S: AsyncWrite + Unpin> TlsStream<S> {
    /// Hands what is encrypted over to the stream.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.tls.outgoing.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.tls.outgoing))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.tls.outgoing.advance(sent);
        }
        self.tls.outgoing = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}

impl<S> TlsStream<S> {
    /// The stream below, and what TLS has agreed on.
    pub(in crate::transport) fn get_ref(&self) -> (&S, &CommonState) {
        (&self.stream, &self.tls.connection)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        while buffer.remaining() > 0 && buffer.filled().len() == before {
            if !this.plaintext.is_empty() {
                let count = this.plaintext.len().min(buffer.remaining());
                buffer.put_slice(&this.plaintext[..count]);
                this.plaintext.advance(count);
                if this.plaintext.is_empty() {
                    this.plaintext = BytesMut::new();
                }
                break;
            }
            match &this.tls.end {
                None => ready!(this.poll_receive(cx, buffer))?,
                Some(End::Closed) => break,
                Some(End::Failed(error)) => return Poll::Ready(Err(invalid_data(error))),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.poll_send(cx))?;
        let mut written = 0;
        for payload in bytes.chunks(RECORD_BYTES) {
            with_wire(|wire| {
                let mut writing = this.tls.writing(&mut this.incoming)?;
                let mut room = ReadBuf::uninit(wire);
                let room = room.initialize_unfilled_to(payload.len() + GROWTH_BYTES);
                let encrypted = match writing.encrypt(payload, room) {
                    Ok(encrypted) => encrypted,
                    Err(error) => {
                        // Where the keys are used up, the other side is told.
                        this.tls.take(&mut this.incoming, |_| {});
                        return Err(io::Error::other(error));
                    }
                };
                let records = &room[..encrypted];
                // Nothing may be encrypted twice: what does not leave at once is kept.
                let sent = match Pin::new(&mut this.stream).poll_write(cx, records) {
                    Poll::Pending => 0,
                    Poll::Ready(sent) => sent?,
                };
                this.tls.outgoing.extend_from_slice(&records[sent..]);
                io::Result::Ok(())
            })?;
            written += payload.len();
            if !this.tls.outgoing.is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Says that this was all, and closes the stream for writing.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.poll_send(cx))?;
        with_wire(|wire| {
            let mut room = ReadBuf::uninit(wire);
            let room = room.initialize_unfilled_to(GROWTH_BYTES);
            // Once: a second time gives nothing.
            let writing = this.tls.writing(&mut this.incoming);
            let closing = writing.map_or(0, |mut writing| {
                writing.queue_close_notify(room).unwrap_or(0)
            });
            this.tls.outgoing.extend_from_slice(&room[..closing]);
        });
        ready!(this.poll_send(cx))?;
        match ready!(Pin::new(&mut this.stream).poll_shutdown(cx)) {
            // The other side was faster.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            shut => Poll::Ready(shut),
        }
    }
}

impl Tls {
    /// Takes what is complete at the front of `records`; gives how many bytes of them are done with.
    fn take(&mut self, records: &mut [u8], mut read: impl FnMut(&[u8])) -> usize {
        let mut taken = 0;
        loop {
            let UnbufferedStatus { discard, state } =
                self.connection.process_tls_records(&mut records[taken..]);
            taken += discard;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        taken += record.discard;
                        read(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, &mut self.outgoing),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.end = Some(End::Closed),
                // It waits for more, or to be written to.
                Ok(_) => return taken,
                Err(error) => {
                    self.end = Some(End::Failed(Box::new(error)));
                    self.take_alert(&mut records[taken..]);
                    return taken;
                }
            }
        }
    }

    /// Takes what tells the other side why this failed, and no record any more.
    fn take_alert(&mut self, records: &mut [u8]) {
        while self.connection.wants_write() {
            match self.connection.process_tls_records(records).state {
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, &mut self.outgoing),
                _ => return,
            }
        }
    }

    /// What encrypts, with what [`Self::take`] has left of the records that came.
    fn writing<'a>(
        &'a mut self,
        incoming: &mut [u8],
    ) -> io::Result<WriteTraffic<'a, ClientConnectionData>> {
        if let Some(End::Failed(error)) = &self.end {
            return Err(invalid_data(error));
        }
        match self.connection.process_tls_records(incoming).state {
            Ok(ConnectionState::WriteTraffic(traffic)) => Ok(traffic),
            Ok(_) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(error) => Err(invalid_data(&error)),
        }
    }
}

fn encode(mut data: EncodeTlsData<'_, ClientConnectionData>, outgoing: &mut BytesMut) {
    let start = outgoing.len();
    // It says what it needs.
    if let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) {
        outgoing.resize(start + size.required_size, 0);
        let encoded = data.encode(&mut outgoing[start..]);
        outgoing.truncate(start + encoded.unwrap_or(0));
    }
}

fn invalid_data(error: &TlsError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.clone())
}

fn with_wire<T>(act: impl FnOnce(&mut [MaybeUninit<u8>]) -> T) -> T {
    let spare = WIRES.with_borrow_mut(Vec::pop);
    let mut wire = spare.unwrap_or_else(|| Box::new_uninit_slice(WIRE_BYTES));
    let acted = act(&mut wire);
    WIRES.with_borrow_mut(|wires| wires.push(wire));
    acted
}

#[cfg(test)]
mod tests;
