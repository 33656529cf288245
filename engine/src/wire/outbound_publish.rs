use bytes::{BufMut, BytesMut};

use super::{
    Version,
    frame::{PUBLISH, put_variable, variable_size},
};

/// A PUBLISH encoded once, when it is accepted (MQTT 5, section 3.3). Packet id and DUP are patched in as it is
/// written, so that a message costs one allocation however often it is sent.
pub struct OutboundPublish {
    /// The whole packet, DUP clear and packet id 0.
    packet: Box<[u8]>,
    topic_start: u8,
    topic_len: u16,
}

impl OutboundPublish {
    /// The caller has checked that the topic is valid and that topic and packet fit into MQTT. QoS is 0 or 1.
    pub fn new(version: Version, topic: &str, payload: &[u8], qos: u8, retain: bool) -> Self {
        debug_assert!(qos <= 1, "IoT Core has no QoS 2");
        debug_assert!(topic.len() <= usize::from(u16::MAX));
        let properties = usize::from(version == Version::V5);
        let packet_id = 2 * usize::from(qos);
        let remaining = 2 + topic.len() + packet_id + properties + payload.len();

        let mut packet = Vec::with_capacity(1 + variable_size(remaining) + remaining);
        packet.put_u8(PUBLISH << 4 | qos << 1 | u8::from(retain));
        put_variable(remaining, &mut packet);
        packet.put_u16(topic.len() as u16);
        let topic_start = packet.len() as u8;
        packet.put_slice(topic.as_bytes());
        packet.put_bytes(0, packet_id + properties);
        packet.put_slice(payload);
        Self {
            packet: packet.into_boxed_slice(),
            topic_start,
            topic_len: topic.len() as u16,
        }
    }

    pub fn qos(&self) -> u8 {
        self.packet[0] >> 1 & 0b11
    }

    /// The length of the whole packet on the wire. Never 0.
    #[allow(clippy::len_without_is_empty, reason = "a packet is never empty")]
    pub fn len(&self) -> usize {
        self.packet.len()
    }

    /// For errors and logs: each call checks the text anew.
    pub fn topic(&self) -> &str {
        let topic = &self.packet[self.topic_start.into()..self.topic_end()];
        std::str::from_utf8(topic).unwrap_or_default()
    }

    /// Appends the packet to `out`. At QoS 0 the packet id is 0 and DUP is clear.
    pub fn write(&self, packet_id: u16, dup: bool, out: &mut BytesMut) {
        debug_assert_eq!(packet_id == 0, self.qos() == 0);
        let start = out.len();
        out.extend_from_slice(&self.packet);
        if self.qos() > 0 {
            let written = &mut out[start..];
            written[0] |= u8::from(dup) << 3;
            written[self.topic_end()..][..2].copy_from_slice(&packet_id.to_be_bytes());
        }
    }

    fn topic_end(&self) -> usize {
        usize::from(self.topic_start) + usize::from(self.topic_len)
    }
}

#[cfg(test)]
mod tests {
    use rumqttc::{mqttbytes::v4, v5::mqttbytes::v5};

    use super::*;
    use crate::wire::{Inbound, next_frame, read};

    /// The lengths around which the fixed header grows by a byte.
    const PAYLOADS: [usize; 13] = [
        0, 1, 110, 117, 118, 119, 120, 127, 128, 16_370, 16_384, 2_097_151, 2_097_152,
    ];

    #[test]
    fn matches_the_bytes_of_the_specification() {
        let mut out = BytesMut::from("before");
        OutboundPublish::new(Version::V311, "a/b", b"hi", 0, true).write(0, false, &mut out);
        assert_eq!(out, &b"before\x31\x07\x00\x03a/bhi"[..]);

        out.clear();
        let publish = OutboundPublish::new(Version::V5, "a/b", b"hi", 1, false);
        publish.write(0x1234, false, &mut out);
        assert_eq!(out, &b"\x32\x0a\x00\x03a/b\x12\x34\x00hi"[..]);

        out.clear();
        publish.write(0xfffe, true, &mut out);
        assert_eq!(out, &b"\x3a\x0a\x00\x03a/b\xff\xfe\x00hi"[..]);
        out.clear();
        publish.write(1, false, &mut out);
        assert_eq!(out, &b"\x32\x0a\x00\x03a/b\x00\x01\x00hi"[..]);
    }

    #[test]
    fn both_decoders_read_it_at_every_length() {
        for version in [Version::V311, Version::V5] {
            for (len, qos, retain) in PAYLOADS
                .into_iter()
                .flat_map(|len| [(len, 0, true), (len, 1, false)])
            {
                let payload = vec![0x5a; len];
                let publish = OutboundPublish::new(version, "tä/b", &payload, qos, retain);
                assert_eq!((publish.topic(), publish.qos()), ("tä/b", qos));
                let packet_id = u16::from(qos) * 513;
                let mut out = BytesMut::new();
                publish.write(packet_id, qos == 1, &mut out);
                assert_eq!(out.len(), publish.len());

                let frame = next_frame(&out, usize::MAX).unwrap().unwrap();
                assert_eq!(frame.len, out.len());
                let Inbound::Publish(ours) = read(version, &frame).unwrap() else {
                    panic!()
                };
                assert_eq!((ours.topic, ours.payload), ("tä/b", &payload[..]));
                assert_eq!((ours.packet_id, ours.qos), (packet_id, qos));
                assert_eq!((ours.dup, ours.retain), (qos == 1, retain));
                assert!(ours.properties.is_none());

                assert_rumqttc_reads(version, out, &payload, packet_id);
            }
        }
    }

    #[test]
    fn holds_the_longest_topic() {
        let topic = "t".repeat(65_535);
        let publish = OutboundPublish::new(Version::V5, &topic, b"", 1, false);
        assert_eq!(publish.topic(), topic);
        let mut out = BytesMut::new();
        publish.write(7, false, &mut out);
        let frame = next_frame(&out, usize::MAX).unwrap().unwrap();
        let Inbound::Publish(read) = read(Version::V5, &frame).unwrap() else {
            panic!()
        };
        assert_eq!((read.topic, read.packet_id), (topic.as_str(), 7));
    }

    fn assert_rumqttc_reads(version: Version, mut out: BytesMut, payload: &[u8], packet_id: u16) {
        match version {
            Version::V311 => {
                let Ok(v4::Packet::Publish(theirs)) = v4::Packet::read(&mut out, usize::MAX) else {
                    panic!()
                };
                assert_eq!(
                    (theirs.topic.as_str(), &theirs.payload[..]),
                    ("tä/b", payload)
                );
                assert_eq!(theirs.pkid, packet_id);
            }
            Version::V5 => {
                let Ok(v5::Packet::Publish(theirs)) = v5::Packet::read(&mut out, None) else {
                    panic!()
                };
                assert_eq!(
                    (&theirs.topic[..], &theirs.payload[..]),
                    ("tä/b".as_bytes(), payload)
                );
                assert_eq!(theirs.pkid, packet_id);
            }
        }
        assert!(out.is_empty());
    }
}
