//! One live connection: drives a session over a stream in one poll loop.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use crate::{
    commands::{self, Receiver},
    error::{Code, Failure, Result, Stage},
    events::Events,
    options::{Level, Options},
    session::{Ending, Flow, Session, server_disconnect},
    shared::Shared,
    transport,
    wire::{ConnAck, Direction, Inbound, Trace, Version, next_frame, packet_name, read},
};

/// How long the server may accept no byte of what is written.
const WRITE_STALL: Duration = Duration::from_secs(30);
/// How long the last bytes of a graceful end may take to leave.
const GOODBYE: Duration = Duration::from_secs(1);
/// Room for one read, as much as TLS reads at once.
const READ_BYTES: usize = 64 * 1024;
/// Reading goes on while no more acknowledgements than this wait to be written: two sides that both stop reading stall
/// each other.
const OWED_BYTES: usize = 64 * 1024;
/// Turns of the loop before other connections get theirs.
const TURNS: usize = 32;
/// The same on the host's thread, which has other things to do than to read.
const HOSTED_TURNS: usize = 3;
/// The code of a WebSocket's close that tells nothing (RFC 6455, section 7.4.1).
const NORMAL_CLOSURE: u16 = 1000;
/// How long parts of a frame show that the server is there; then the whole has to come. A slow mobile network carries
/// the largest message of IoT Core in a fraction of it.
const FRAME_PATIENCE: Duration = Duration::from_secs(300);
/// Codes of a WebSocket's close that speak of the server, not of what it was asked: going away, an error inside,
/// restart, try again later, bad gateway (RFC 6455, section 7.4.1; IANA's registry).
const OF_THE_SERVER_ITSELF: [u16; 5] = [1001, 1011, 1012, 1013, 1014];
/// The reason code that says why the link ends where a policy denies something.
const NOT_AUTHORIZED: u8 = 0x87;
/// A buffer that has grown beyond this is not kept for the next connection.
const KEPT_BYTES: usize = 256 * 1024;

thread_local! {
    /// Buffers that all connections of a thread take in turn, so that an idle connection holds none.
    static SCRATCH: Cell<Option<Scratch>> = const { Cell::new(None) };
}

struct Scratch {
    inbound: Box<[MaybeUninit<u8>]>,
    outbound: BytesMut,
}

/// How a link ended.
#[derive(Debug)]
pub enum End {
    /// DISCONNECT was sent, as the host asked for.
    Disconnected,
    /// DISCONNECT was sent, and a link with newer credentials is to follow.
    Renewing,
    /// The host is gone.
    Abandoned,
    Failed(Failure),
}

/// One connection over an open stream.
pub struct Link<S> {
    stream: S,
    peer: String,
    max_packet: usize,
    /// The start of a packet whose rest has not come yet, or packets for which there was no credit.
    inbound: BytesMut,
    outbound: BytesMut,
    /// Where in `outbound` the last thing ends that is no acknowledgement.
    messages_end: usize,
    unflushed: bool,
    /// `inbound` begins with something that was not looked at yet, or not taken for lack of credit.
    stopped: bool,
    write_stalled: Option<Instant>,
    closed_by_server: bool,
    /// The code with which the server closed a WebSocket.
    close_code: Option<u16>,
    /// Bytes that have arrived below the stream, where it hands out whole frames only, and those already seen.
    arrived: Option<(Arc<AtomicU64>, u64)>,
    /// Since when parts of a frame arrive.
    partial_since: Option<Instant>,
    answer: Option<Trace>,
    timer: Pin<Box<Sleep>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Link<S> {
    pub fn new(stream: S, options: &Options) -> Self {
        Self {
            stream,
            peer: options.peer(),
            max_packet: options.receive.bytes,
            inbound: BytesMut::new(),
            outbound: BytesMut::new(),
            messages_end: 0,
            unflushed: false,
            stopped: false,
            write_stalled: None,
            closed_by_server: false,
            close_code: None,
            arrived: None,
            partial_since: None,
            answer: None,
            timer: Box::pin(sleep_until(Instant::now() + Duration::from_secs(86_400))),
        }
    }

    /// What `arrived` counts shows as well that the server is there.
    pub fn watch(&mut self, arrived: Arc<AtomicU64>) {
        self.arrived = Some((arrived, 0));
    }

    /// Sends CONNECT and waits for CONNACK. What comes right behind it is kept for [`Self::run`].
    pub async fn connect(&mut self, connect: &[u8], options: &Options) -> Result<ConnAck> {
        self.greet(connect, options)
            .await
            .map_err(|failure| failure.of_peer(&self.peer))
    }

    async fn greet(&mut self, connect: &[u8], options: &Options) -> Result<ConnAck> {
        let sent = async {
            self.stream.write_all(connect).await?;
            self.stream.flush().await
        };
        if let Err(error) = sent.await {
            // The refusal may have come before all of CONNECT had left.
            return self.read_connack(options).await.map_err(|failure| {
                match (failure.code(), failure.cause()) {
                    (Code::ClosedBeforeConnack, None) => failure.with_cause(error),
                    _ => failure,
                }
            });
        }
        self.read_connack(options).await
    }

    /// Drives the session until the link ends.
    pub async fn run<E: Events>(
        &mut self,
        session: &mut Session,
        commands: &mut Receiver,
        events: &mut E,
    ) -> End {
        session.shared().set_linked(true);
        let end = poll_fn(|cx| self.poll(cx, session, commands, events)).await;
        session.shared().set_linked(false);
        off_the_host(session.shared()).await;
        if let End::Failed(failure) = end {
            return End::Failed(failure.of_peer(&self.peer));
        }
        if matches!(end, End::Disconnected | End::Renewing) {
            let last = std::mem::take(&mut self.outbound);
            self.say_goodbye(&last).await;
        }
        end
    }

    /// Sends a request and waits for what `take` takes as its answer; everything else that comes is passed over.
    pub async fn ask<T>(
        &mut self,
        request: &[u8],
        options: &Options,
        mut take: impl FnMut(Inbound<'_>) -> Option<T>,
    ) -> Result<T> {
        let closed = |peer: &str| {
            let message = format!("{peer} closed the connection");
            Failure::new(Code::ConnectionLost, Stage::Session, message)
        };
        let sent = async {
            self.stream.write_all(request).await?;
            self.stream.flush().await
        };
        // What the server said before it closed is still to be read.
        let _sent = sent.await;
        loop {
            while let Some(frame) = next_frame(&self.inbound, self.max_packet)? {
                let length = frame.len;
                let packet = read(options.version, &frame)?;
                let answer = match packet {
                    Inbound::Disconnect(reason) => return Err(server_disconnect(reason)),
                    packet => take(packet),
                };
                self.inbound.advance(length);
                if let Some(answer) = answer {
                    return Ok(answer);
                }
            }
            self.inbound.reserve(512);
            match self.stream.read_buf(&mut self.inbound).await {
                Ok(0) => return Err(closed(&self.peer)),
                Ok(_) => {}
                Err(error) => return Err(closed(&self.peer).with_cause(error)),
            }
        }
    }

    /// Sends the last packets, and closes. What the network does not take soon is not worth waiting for, and no failure
    /// matters any more.
    pub async fn say_goodbye(&mut self, packets: &[u8]) {
        let goodbye = async {
            self.stream.write_all(packets).await?;
            self.stream.shutdown().await?;
            // Closing on unread bytes would reset the connection, and what was written last would be lost.
            tokio::io::copy(&mut self.stream, &mut tokio::io::sink()).await
        };
        let _closed = tokio::time::timeout(GOODBYE, goodbye).await;
    }

    /// What came in answer to CONNECT, for the log.
    pub fn answer(&self) -> Option<Trace> {
        self.answer
    }

    /// Whether the server ended the link, by a close or by telling that something is not authorized.
    pub fn is_closed_by_server(&self) -> bool {
        self.closed_by_server
    }

    /// Whether it said more than that, as WebSocket lets it.
    pub fn is_told_why(&self) -> bool {
        self.close_code.is_some_and(|code| code != NORMAL_CLOSURE)
    }

    async fn read_connack(&mut self, options: &Options) -> Result<ConnAck> {
        loop {
            let at_connack = |failure: Failure| failure.at(Stage::Connack);
            if let Some(frame) = next_frame(&self.inbound, self.max_packet).map_err(at_connack)? {
                let length = frame.len;
                self.answer = Some(Trace::of(Direction::Received, &frame));
                let packet = read(options.version, &frame).map_err(at_connack)?;
                if let (Inbound::Disconnect(reason), Version::V5) = (&packet, options.version) {
                    let reason = reason.clone();
                    return Err(server_disconnect(reason).at(Stage::Connack));
                }
                let Inbound::ConnAck(connack) = packet else {
                    let message = format!(
                        "{} answered CONNECT with {} in place of CONNACK",
                        self.peer,
                        packet_name(frame.header)
                    );
                    return Err(Failure::protocol(message).at(Stage::Connack));
                };
                self.inbound = BytesMut::from(&self.inbound[length..]);
                self.stopped = !self.inbound.is_empty();
                return Ok(*connack);
            }
            self.inbound.reserve(512);
            match self.stream.read_buf(&mut self.inbound).await {
                Ok(0) => return Err(self.closed_before_connack()),
                Ok(_) => {}
                Err(error) => {
                    return Err(transport::alert(&error, &self.peer)
                        .or_else(|| transport::breach(&error, &self.peer))
                        .unwrap_or_else(|| match transport::close_code(&error) {
                            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                                self.closed_before_connack()
                            }
                            _ => self.closed_before_connack().with_cause(error),
                        }));
                }
            }
        }
    }

    fn closed_before_connack(&self) -> Failure {
        Failure::new(
            Code::ClosedBeforeConnack,
            Stage::Connack,
            format!(
                "{} closed the connection after CONNECT, without an answer",
                self.peer
            ),
        )
    }

    fn poll<E: Events>(
        &mut self,
        cx: &mut Context<'_>,
        session: &mut Session,
        commands: &mut Receiver,
        events: &mut E,
    ) -> Poll<End> {
        let mut scratch = SCRATCH.take().unwrap_or_else(|| Scratch {
            inbound: Box::new_uninit_slice(READ_BYTES),
            outbound: BytesMut::new(),
        });
        if self.outbound.is_empty() {
            self.outbound = std::mem::take(&mut scratch.outbound);
        }
        let polled = self.turns(cx, session, commands, events, &mut scratch.inbound);
        if self.outbound.is_empty() {
            scratch.outbound = std::mem::take(&mut self.outbound);
            // What was sent from the front counts: it is room as well once it is reclaimed.
            if scratch.outbound.try_reclaim(KEPT_BYTES + 1) {
                scratch.outbound = BytesMut::new();
            }
        }
        SCRATCH.set(Some(scratch));
        session.show(Instant::now());
        events.flush();
        polled.map(|end| end.unwrap_or_else(End::Failed))
    }

    /// Turns of the loop until none makes progress.
    ///
    /// Pending is returned only from a turn in which nothing moved in any direction; every direction that was not
    /// polled in it is opened again by one that was: reading for lack of credit by a command, reading for owed bytes by
    /// a write, writing by a flush or by new bytes.
    fn turns<E: Events>(
        &mut self,
        cx: &mut Context<'_>,
        session: &mut Session,
        commands: &mut Receiver,
        events: &mut E,
        scratch: &mut [MaybeUninit<u8>],
    ) -> Poll<Result<End>> {
        let turns = if session.shared().is_hosted() {
            HOSTED_TURNS
        } else {
            TURNS
        };
        for _ in 0..turns {
            let now = Instant::now();
            let mut progress = false;
            while let Poll::Ready(batch) = commands.poll_recv(cx) {
                let Some(mut batch) = batch else {
                    return Poll::Ready(Ok(End::Abandoned));
                };
                for command in batch.drain(..) {
                    session.command(command, now, events);
                }
                commands::keep(batch);
                progress = true;
            }
            if session.wants_to_read(self.stopped, now) && self.owed() < OWED_BYTES {
                progress |= self.read(cx, session, events, scratch, now)?;
            }
            let before = self.outbound.len();
            session.elapsed(now, &mut self.outbound, events)?;
            if session.write(now, &mut self.outbound, events) {
                self.messages_end = self.outbound.len();
            }
            if session.logs(Level::Trace) {
                trace_sent(&self.outbound[before..], events);
            }
            match self.write(cx, session, events, now) {
                Ok(written) => progress |= written,
                Err(error) => {
                    return Poll::Ready(Err(
                        self.last_words(cx, session, events, scratch, now, &error)
                    ));
                }
            }
            if let Some(ending) = session.ending(now) {
                let before = self.outbound.len();
                session.disconnect(ending, &mut self.outbound);
                if session.logs(Level::Trace) {
                    trace_sent(&self.outbound[before..], events);
                }
                return Poll::Ready(Ok(match ending {
                    Ending::Done => End::Disconnected,
                    Ending::Renewing => End::Renewing,
                }));
            }
            if !progress && !self.poll_timer(cx, session, now)? {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads once and takes every complete packet; gives whether anything moved.
    fn read<E: Events>(
        &mut self,
        cx: &mut Context<'_>,
        session: &mut Session,
        events: &mut E,
        scratch: &mut [MaybeUninit<u8>],
        now: Instant,
    ) -> Result<bool> {
        if self.stopped {
            self.stopped = false;
            let before = self.inbound.len();
            let kept = std::mem::take(&mut self.inbound);
            let taken = self.take_packets(&kept, session, events, now)?;
            self.keep(&kept[taken..]);
            if self.stopped {
                return Ok(self.inbound.len() < before);
            }
        }
        let mut buffer = ReadBuf::uninit(scratch);
        match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
            Poll::Pending => {
                if self.has_arrived()
                    && now - *self.partial_since.get_or_insert(now) < FRAME_PATIENCE
                {
                    session.received(0, now);
                }
                return Ok(false);
            }
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Err(self.lost(None)),
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Err(self.lost(Some(&error))),
        }
        self.partial_since = None;
        let bytes = buffer.filled();
        session.received(bytes.len(), now);
        if self.inbound.is_empty() {
            let taken = self.take_packets(bytes, session, events, now)?;
            self.keep(&bytes[taken..]);
        } else {
            self.inbound.extend_from_slice(bytes);
            let kept = std::mem::take(&mut self.inbound);
            match self.take_packets(&kept, session, events, now)? {
                0 => self.inbound = kept,
                taken => self.keep(&kept[taken..]),
            }
        }
        Ok(true)
    }

    /// Whether bytes have arrived since this was asked for last.
    fn has_arrived(&mut self) -> bool {
        let Some((arrived, seen)) = &mut self.arrived else {
            return false;
        };
        let before = std::mem::replace(seen, arrived.load(Ordering::Relaxed));
        *seen != before
    }

    /// Takes complete packets from the front; gives how many bytes they had.
    fn take_packets<E: Events>(
        &mut self,
        bytes: &[u8],
        session: &mut Session,
        events: &mut E,
        now: Instant,
    ) -> Result<usize> {
        let mut taken = 0;
        while let Some(frame) = next_frame(&bytes[taken..], self.max_packet)? {
            let flow = read(session.version(), &frame)
                .and_then(|packet| session.receive(packet, now, events));
            // What is not taken comes again.
            if !matches!(flow, Ok(Flow::Stop)) && session.logs(Level::Trace) {
                events.traced(&Trace::of(Direction::Received, &frame));
            }
            match flow {
                Ok(Flow::Continue) => {}
                Ok(Flow::Stop) => {
                    self.stopped = true;
                    break;
                }
                Err(failure) => {
                    self.closed_by_server = failure.reason_code() == Some(NOT_AUTHORIZED);
                    return Err(failure);
                }
            }
            taken += frame.len;
        }
        Ok(taken)
    }

    fn keep(&mut self, rest: &[u8]) {
        if !rest.is_empty() {
            self.inbound = BytesMut::from(rest);
        }
    }

    /// How many bytes of acknowledgements wait behind everything else.
    fn owed(&self) -> usize {
        self.outbound.len() - self.messages_end
    }

    /// Writes and flushes what there is; gives whether anything moved.
    fn write<E: Events>(
        &mut self,
        cx: &mut Context<'_>,
        session: &mut Session,
        events: &mut E,
        now: Instant,
    ) -> io::Result<bool> {
        // First what was written before: if there is always more to write, nothing would ever be flushed.
        let mut progress = self.flush(cx, session, events)?;
        if !self.unflushed {
            while let Some(written) = self.write_once(cx)? {
                session.sent(written);
                progress = true;
            }
            self.flush(cx, session, events)?;
        }
        if progress || (self.outbound.is_empty() && !self.unflushed) {
            self.write_stalled = None;
        } else {
            self.write_stalled.get_or_insert(now);
        }
        Ok(progress)
    }

    /// Hands over as much as the network takes at once; `None` if there is nothing, or it takes nothing.
    fn write_once(&mut self, cx: &mut Context<'_>) -> io::Result<Option<usize>> {
        if self.outbound.is_empty() {
            return Ok(None);
        }
        match Pin::new(&mut self.stream).poll_write(cx, &self.outbound)? {
            Poll::Pending => Ok(None),
            Poll::Ready(0) => Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(written) => {
                self.outbound.advance(written);
                self.messages_end = self.messages_end.saturating_sub(written);
                self.unflushed = true;
                Ok(Some(written))
            }
        }
    }

    /// Flushes what was written, if anything was; gives whether that is done.
    fn flush<E: Events>(
        &mut self,
        cx: &mut Context<'_>,
        session: &mut Session,
        events: &mut E,
    ) -> io::Result<bool> {
        if !self.unflushed || Pin::new(&mut self.stream).poll_flush(cx)?.is_pending() {
            return Ok(false);
        }
        self.unflushed = false;
        session.flushed(events);
        Ok(true)
    }

    /// Nothing can be written any more; a DISCONNECT that says why may still be there to read.
    fn last_words<E: Events>(
        &mut self,
        cx: &mut Context<'_>,
        session: &mut Session,
        events: &mut E,
        scratch: &mut [MaybeUninit<u8>],
        now: Instant,
        error: &io::Error,
    ) -> Failure {
        while !self.stopped {
            match self.read(cx, session, events, scratch, now) {
                Ok(true) => {}
                Ok(false) => break,
                Err(failure)
                    if failure.code() == Code::ConnectionLost && self.close_code.is_none() =>
                {
                    break;
                }
                Err(failure) => return failure,
            }
        }
        self.lost(Some(error))
    }

    /// Arms the timer for the next deadline; true if that has passed already.
    fn poll_timer(
        &mut self,
        cx: &mut Context<'_>,
        session: &mut Session,
        now: Instant,
    ) -> Result<bool> {
        let stall = self.write_stalled.map(|since| since + WRITE_STALL);
        if stall.is_some_and(|deadline| deadline <= now) {
            return Err(Failure::new(
                Code::WriteStalled,
                Stage::Session,
                format!(
                    "{} accepted no byte for {} s",
                    self.peer,
                    WRITE_STALL.as_secs()
                ),
            ));
        }
        let Some(deadline) = [stall, session.next_deadline()].into_iter().flatten().min() else {
            return Ok(false);
        };
        // A timer that fires early only costs a turn; moving it on every packet would cost more.
        if self.timer.deadline() > deadline || self.timer.is_elapsed() {
            self.timer.as_mut().reset(deadline);
        }
        Ok(self.timer.as_mut().poll(cx).is_ready())
    }

    fn lost(&mut self, error: Option<&io::Error>) -> Failure {
        if let Some(failure) = error.and_then(|error| transport::breach(error, &self.peer)) {
            return failure;
        }
        self.close_code = error.and_then(transport::close_code);
        self.closed_by_server = match self.close_code {
            Some(code) => !OF_THE_SERVER_ITSELF.contains(&code),
            None => error.is_none_or(|error| {
                matches!(
                    error.kind(),
                    io::ErrorKind::UnexpectedEof
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::BrokenPipe
                )
            }),
        };
        let failure = Failure::new(
            Code::ConnectionLost,
            Stage::Session,
            format!(
                "the connection to {} was closed by the other side",
                self.peer
            ),
        );
        match error {
            None => failure,
            // Beyond that the kind says no more; rustls explains there how programs are to close.
            Some(error) if self.close_code.is_some() => failure.with_cause(error),
            Some(error) if error.kind() == io::ErrorKind::UnexpectedEof => failure,
            Some(error) => Failure::new(
                Code::ConnectionLost,
                Stage::Session,
                format!("the connection to {} broke", self.peer),
            )
            .with_cause(error),
        }
    }
}

/// Logs each packet of what is about to be written.
fn trace_sent<E: Events>(mut packets: &[u8], events: &mut E) {
    while let Ok(Some(frame)) = next_frame(packets, usize::MAX) {
        events.traced(&Trace::of(Direction::Sent, &frame));
        packets = &packets[frame.len..];
    }
}

/// What follows a link may take longer than the host's thread has: it begins on the task's.
async fn off_the_host(shared: &Shared) {
    poll_fn(|cx| {
        if !shared.is_hosted() {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests;
