//! A server of MQTT 5 without a network: a stream that answers what is written to it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bench_loops::Load;
use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// As many messages may be unacknowledged; the engine's own default.
const RECEIVE_MAXIMUM: usize = 1_000;

/// It costs next to nothing, so that the engine is what is counted. Whatever can be read follows from a write, behind
/// which the link reads again: no waker is kept.
pub struct Peer {
    flood: Flood,
    flooding: bool,
    answers: BytesMut,
    ended: bool,
}

/// The messages for whoever subscribes.
struct Flood {
    packet: Vec<u8>,
    /// Where the packet identifier lies.
    id_at: Option<usize>,
    next_id: u16,
    left: usize,
    unacknowledged: usize,
}

impl Peer {
    pub fn new(topic: &str, load: Load) -> Self {
        Self {
            flood: Flood::new(topic, load),
            flooding: false,
            answers: BytesMut::new(),
            ended: false,
        }
    }

    /// Takes the packet at the front; gives its length. The engine writes whole packets.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let header = bytes[0];
        let (start, end) = body(bytes);
        let body = &bytes[start..end];
        match header >> 4 {
            // CONNECT
            1 => self.answers.put_slice(&[0x20, 3, 0, 0, 0]),
            // PUBLISH at QoS 1
            3 if header & 2 != 0 => {
                let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
                self.answers.put_slice(&[0x40, 2]);
                self.answers.put_slice(&body[2 + topic..][..2]);
            }
            // PUBACK
            4 => self.flood.unacknowledged -= 1,
            // SUBSCRIBE
            8 => {
                let qos = body[body.len() - 1] & 3;
                self.answers.put_slice(&[0x90, 4, body[0], body[1], 0, qos]);
                self.flooding = true;
            }
            // DISCONNECT
            14 => self.ended = true,
            _ => {}
        }
        end
    }
}

impl AsyncRead for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let answers = self.answers.len().min(buffer.remaining());
        buffer.put_slice(&self.answers[..answers]);
        self.answers.advance(answers);
        if self.flooding {
            self.flood.write(buffer);
        }
        if buffer.filled().len() == before && !self.ended {
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Peer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut taken = 0;
        while taken < bytes.len() {
            taken += self.take(&bytes[taken..]);
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Flood {
    fn new(topic: &str, Load { qos, size, count }: Load) -> Self {
        let mut body = BytesMut::new();
        body.put_u16(topic.len() as u16);
        body.put_slice(topic.as_bytes());
        let id_at = (qos > 0).then_some(2 + body.len());
        if qos > 0 {
            body.put_u16(0);
        }
        // No properties.
        body.put_u8(0);
        body.put_bytes(b'x', size);
        assert!(body.len() < 0x80, "the length takes one byte");
        let mut packet = vec![0x30 | qos << 1, body.len() as u8];
        packet.extend(body);
        Self {
            packet,
            id_at,
            next_id: 0,
            left: count,
            unacknowledged: 0,
        }
    }

    /// Writes as many whole messages as there is room for and the client takes.
    fn write(&mut self, buffer: &mut ReadBuf<'_>) {
        while self.left > 0 && buffer.remaining() >= self.packet.len() {
            if let Some(at) = self.id_at {
                if self.unacknowledged == RECEIVE_MAXIMUM {
                    return;
                }
                self.unacknowledged += 1;
                self.next_id = self.next_id % u16::MAX + 1;
                self.packet[at..at + 2].copy_from_slice(&self.next_id.to_be_bytes());
            }
            buffer.put_slice(&self.packet);
            self.left -= 1;
        }
    }
}

/// Where the body of the packet at the front begins and ends.
fn body(bytes: &[u8]) -> (usize, usize) {
    let mut length = 0;
    let mut at = 1;
    loop {
        let byte = bytes[at];
        length |= usize::from(byte & 0x7f) << (7 * (at - 1));
        at += 1;
        if byte & 0x80 == 0 {
            return (at, at + length);
        }
    }
}
