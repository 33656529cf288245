use crate::wire::{Version, next_frame};

/// A packet as a server reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    Connect {
        /// Whether it starts from nothing.
        clean: bool,
    },
    Publish {
        id: u16,
        topic: String,
        payload: Vec<u8>,
        qos: u8,
        dup: bool,
    },
    PubAck(u16),
    Subscribe {
        id: u16,
        filters: Vec<String>,
    },
    Unsubscribe {
        id: u16,
        filters: Vec<String>,
    },
    PingReq,
    /// The session expiry in it.
    Disconnect(Option<u32>),
}

/// The first packet in `bytes` and its length, if it is whole.
pub fn parse(version: Version, bytes: &[u8]) -> Option<(Sent, usize)> {
    let frame = next_frame(bytes, usize::MAX).expect("well-formed")?;
    let mut body = Body(frame.body);
    let properties = |body: &mut Body<'_>| {
        if version == Version::V5 {
            let length = body.take(1)[0];
            body.take(length.into());
        }
    };
    let sent = match frame.header >> 4 {
        1 => {
            body.string();
            let clean = body.take(2)[1] & 2 != 0;
            Sent::Connect { clean }
        }
        3 => {
            let (qos, dup) = (frame.header >> 1 & 3, frame.header & 8 != 0);
            let topic = body.string();
            let id = if qos > 0 { body.u16() } else { 0 };
            properties(&mut body);
            Sent::Publish {
                id,
                topic,
                payload: body.0.to_owned(),
                qos,
                dup,
            }
        }
        4 => Sent::PubAck(body.u16()),
        8 => {
            let id = body.u16();
            properties(&mut body);
            let mut filters = Vec::new();
            while !body.0.is_empty() {
                filters.push(body.string());
                body.take(1);
            }
            Sent::Subscribe { id, filters }
        }
        10 => {
            let id = body.u16();
            properties(&mut body);
            let mut filters = Vec::new();
            while !body.0.is_empty() {
                filters.push(body.string());
            }
            Sent::Unsubscribe { id, filters }
        }
        12 => Sent::PingReq,
        14 if body.0.is_empty() => Sent::Disconnect(None),
        14 => {
            let expiry = body.take(7)[3..].try_into().unwrap();
            Sent::Disconnect(Some(u32::from_be_bytes(expiry)))
        }
        other => panic!("a client sends no packet of type {other}"),
    };
    Some((sent, frame.len))
}

/// All packets in `bytes`, which end with the last one.
pub fn parse_all(version: Version, mut bytes: &[u8]) -> Vec<Sent> {
    let mut all = Vec::new();
    while let Some((sent, length)) = parse(version, bytes) {
        all.push(sent);
        bytes = &bytes[length..];
    }
    assert!(bytes.is_empty(), "an incomplete packet: {bytes:02x?}");
    all
}

struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().unwrap())
    }

    fn string(&mut self) -> String {
        let length = self.u16();
        String::from_utf8(self.take(length.into()).to_owned()).unwrap()
    }
}

/// A packet with the length that its body has.
pub fn packet(header: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut packet = vec![header];
    let mut length = body.len();
    while length >= 0x80 {
        packet.push(length as u8 | 0x80);
        length >>= 7;
    }
    packet.push(length as u8);
    packet.extend(body);
    packet
}

/// What a server of MQTT 5 sends.
pub mod server {
    use super::packet;

    pub const CONNACK: &[u8] = &[0x20, 3, 0, 0, 0];
    pub const PINGRESP: &[u8] = &[0xd0, 0];

    /// CONNACK with Receive Maximum.
    pub fn connack(receive_maximum: u16) -> Vec<u8> {
        let properties = receive_maximum.to_be_bytes();
        packet(0x20, &[&[0, 0, 3, 0x21], &properties])
    }

    /// CONNACK with the session kept, and these properties.
    pub fn resumed(properties: &[u8]) -> Vec<u8> {
        let length = properties.len() as u8;
        packet(0x20, &[&[1, 0, length], properties])
    }

    pub fn puback(id: u16) -> Vec<u8> {
        packet(0x40, &[&id.to_be_bytes()])
    }

    pub fn puback_with(id: u16, reason: u8) -> Vec<u8> {
        packet(0x40, &[&id.to_be_bytes(), &[reason]])
    }

    pub fn suback(id: u16, codes: &[u8]) -> Vec<u8> {
        packet(0x90, &[&id.to_be_bytes(), &[0], codes])
    }

    pub fn unsuback(id: u16, codes: &[u8]) -> Vec<u8> {
        packet(0xb0, &[&id.to_be_bytes(), &[0], codes])
    }

    pub fn disconnect(reason: u8) -> Vec<u8> {
        packet(0xe0, &[&[reason]])
    }

    /// PUBLISH at QoS 0 if `id` is 0, else at QoS 1.
    pub fn publish(id: u16, topic: &str, payload: &[u8]) -> Vec<u8> {
        let length = (topic.len() as u16).to_be_bytes();
        let id_bytes = id.to_be_bytes();
        let (header, id_bytes) = match id {
            0 => (0x30, &[][..]),
            _ => (0x32, &id_bytes[..]),
        };
        packet(
            header,
            &[&length, topic.as_bytes(), id_bytes, &[0], payload],
        )
    }
}
