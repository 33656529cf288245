//! A packet as the log shows it: nothing of what is in it.

use std::fmt;

use super::{
    Frame,
    frame::{PUBLISH, kind, packet_name},
};

/// Whether a packet went or came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Sent,
    Received,
}

/// Kind, id and size of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    pub direction: Direction,
    pub kind: &'static str,
    /// `None`: its kind has none, as PUBLISH at QoS 0.
    pub id: Option<u16>,
    /// The whole of it, its fixed header included.
    pub bytes: usize,
}

impl Trace {
    pub fn of(direction: Direction, frame: &Frame<'_>) -> Self {
        Self {
            direction,
            kind: packet_name(frame.header),
            id: packet_id(frame),
            bytes: frame.len,
        }
    }
}

impl Direction {
    /// The name that users see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Received => "received",
        }
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.direction.as_str(), self.kind)?;
        if let Some(id) = self.id {
            write!(formatter, " with id {id}")?;
        }
        write!(formatter, ", {} bytes", self.bytes)
    }
}

/// The packet id (MQTT 5, section 2.2.1).
fn packet_id(frame: &Frame<'_>) -> Option<u16> {
    let start = match kind(frame.header) {
        PUBLISH if frame.header & 0b0110 == 0 => return None,
        PUBLISH => {
            let (length, _) = frame.body.split_first_chunk()?;
            2 + usize::from(u16::from_be_bytes(*length))
        }
        // PUBACK to UNSUBACK.
        4..=11 => 0,
        _ => return None,
    };
    let (id, _) = frame.body.get(start..)?.split_first_chunk()?;
    Some(u16::from_be_bytes(*id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::next_frame;

    fn traced(bytes: &[u8]) -> String {
        let frame = next_frame(bytes, usize::MAX).unwrap().unwrap();
        Trace::of(Direction::Sent, &frame).to_string()
    }

    #[test]
    fn shows_kind_id_and_size_and_no_content() {
        for (bytes, expected) in [
            (&b"\x30\x05\x00\x01tpp"[..], "sent PUBLISH, 7 bytes"),
            (
                b"\x32\x06\x00\x01t\x01\x02p",
                "sent PUBLISH with id 258, 8 bytes",
            ),
            (
                b"\x3b\x05\x00\x01t\x00\x07",
                "sent PUBLISH with id 7, 7 bytes",
            ),
            (b"\x40\x02\x00\x09", "sent PUBACK with id 9, 4 bytes"),
            (b"\x82\x02\x00\x0a", "sent SUBSCRIBE with id 10, 4 bytes"),
            (b"\xb0\x02\xff\xff", "sent UNSUBACK with id 65535, 4 bytes"),
            (b"\xc0\x00", "sent PINGREQ, 2 bytes"),
            (b"\x20\x02\x00\x05", "sent CONNACK, 4 bytes"),
            (b"\xe0\x01\x8e", "sent DISCONNECT, 3 bytes"),
        ] {
            assert_eq!(traced(bytes), expected);
        }
    }

    #[test]
    fn a_packet_that_ends_before_its_id_has_none() {
        for bytes in [&b"\x32\x01\x00"[..], b"\x32\x04\x00\x05ab", b"\x40\x01\x00"] {
            let frame = next_frame(bytes, usize::MAX).unwrap().unwrap();
            assert_eq!(Trace::of(Direction::Received, &frame).id, None);
        }
    }
}
