//! What a subscriber asked for: `flood/QOS/COUNT/SIZE`.

use bytes::{BufMut, BytesMut};

use crate::packet::put_variable;

/// Where the client names no Receive Maximum.
const WINDOW: u16 = 1_000;
/// As far ahead of the network as messages are written.
const WRITE_AHEAD: usize = 64 * 1024;

pub struct Flood {
    packet: Vec<u8>,
    /// Where the packet identifier lies; `None` at QoS 0.
    packet_id: Option<usize>,
    next_id: u16,
    left: u64,
    unacknowledged: u16,
    window: u16,
}

impl Flood {
    /// Messages on the filter's own topic, so that it matches.
    pub fn parse(filter: &[u8], v5: bool, receive_maximum: Option<u16>) -> Option<Self> {
        let text = std::str::from_utf8(filter).ok()?;
        let mut parts = text.strip_prefix("flood/")?.split('/');
        let mut number = || parts.next()?.parse().ok();
        let (qos, left, size): (u64, u64, u64) = (number()?, number()?, number()?);
        let qos = qos.min(1) as u8;

        let mut body = BytesMut::new();
        body.put_u16(filter.len() as u16);
        body.put_slice(filter);
        let before = body.len();
        if qos > 0 {
            body.put_u16(0);
        }
        if v5 {
            body.put_u8(0);
        }
        body.put_bytes(b'x', size as usize);
        let mut packet = BytesMut::new();
        packet.put_u8(0x30 | qos << 1);
        put_variable(body.len(), &mut packet);
        let packet_id = (qos > 0).then_some(packet.len() + before);
        packet.put_slice(&body);
        Some(Self {
            packet: packet.to_vec(),
            packet_id,
            next_id: 0,
            left,
            unacknowledged: 0,
            window: receive_maximum.unwrap_or(WINDOW).clamp(1, WINDOW),
        })
    }

    /// Writes as many as window and buffer allow.
    pub fn write(&mut self, out: &mut BytesMut) {
        while self.left > 0 && out.len() < WRITE_AHEAD {
            if let Some(at) = self.packet_id {
                if self.unacknowledged == self.window {
                    return;
                }
                self.unacknowledged += 1;
                self.next_id = self.next_id % u16::MAX + 1;
                self.packet[at..at + 2].copy_from_slice(&self.next_id.to_be_bytes());
            }
            out.put_slice(&self.packet);
            self.left -= 1;
        }
    }

    pub fn acknowledged(&mut self) {
        self.unacknowledged = self.unacknowledged.saturating_sub(1);
    }
}
