use bytes::{BufMut, BytesMut};

use super::{
    PublishProperties, Version,
    field::put_field,
    frame::{PUBLISH, put_variable, variable_size},
    reader::property,
};

/// The bytes of a topic alias in a list of properties.
const ALIAS_SIZE: usize = 3;

/// A PUBLISH encoded once, when it is accepted (MQTT 5, section 3.3). Packet id and DUP are patched in as it is
/// written, so that a message costs one allocation however often it is sent.
pub struct OutboundPublish {
    /// The whole packet, DUP clear and packet id 0.
    packet: Box<[u8]>,
    /// Without the length of the list. 0 in MQTT 3.1.1, which has no list.
    properties_len: u32,
    topic_len: u16,
    topic_start: u8,
    version: Version,
}

impl OutboundPublish {
    /// The most that [`OutboundPublish::write_aliased`] writes beyond [`OutboundPublish::len`]: the alias, and a byte
    /// more for each of the two lengths that it may lengthen.
    pub const ALIAS_GROWTH: usize = ALIAS_SIZE + 2;

    /// The caller has checked that the topic is valid and that topic and packet fit into MQTT. QoS is 0 or 1.
    pub fn new(version: Version, topic: &str, payload: &[u8], qos: u8, retain: bool) -> Self {
        Self::encode(version, topic, payload, qos, retain, None)
    }

    /// A message of MQTT 5 with properties that [`PublishProperties::check`] has passed. Their size counts as part of
    /// the packet, which the caller has checked. Subscription identifiers are the server's, and not sent.
    pub fn with_properties(
        topic: &str,
        payload: &[u8],
        qos: u8,
        retain: bool,
        properties: &PublishProperties,
    ) -> Self {
        Self::encode(Version::V5, topic, payload, qos, retain, Some(properties))
    }

    pub fn qos(&self) -> u8 {
        self.packet[0] >> 1 & 0b11
    }

    pub fn retain(&self) -> bool {
        self.packet[0] & 1 != 0
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

    /// Appends the packet with a topic alias (MQTT 5, section 3.3.2.3.4): beside the topic if the server does not know
    /// the alias on this connection yet, else in its place. MQTT 5 only; the alias is not 0.
    pub fn write_aliased(
        &self,
        packet_id: u16,
        dup: bool,
        alias: u16,
        known: bool,
        out: &mut BytesMut,
    ) {
        debug_assert_eq!(packet_id == 0, self.qos() == 0);
        debug_assert!(self.version == Version::V5 && alias > 0);
        let topic = match known {
            true => &[],
            false => &self.packet[self.topic_start.into()..self.topic_end()],
        };
        let properties = ALIAS_SIZE + self.properties_len as usize;
        // The other properties, and the payload behind them.
        let rest = &self.packet[self.properties_start()..];
        let remaining = 2
            + topic.len()
            + self.packet_id_size()
            + variable_size(properties)
            + ALIAS_SIZE
            + rest.len();

        out.reserve(1 + variable_size(remaining) + remaining);
        let dup = dup && self.qos() > 0;
        out.put_u8(self.packet[0] | u8::from(dup) << 3);
        put_variable(remaining, out);
        put_field(topic, out);
        if self.qos() > 0 {
            out.put_u16(packet_id);
        }
        put_variable(properties, out);
        out.put_u8(property::TOPIC_ALIAS);
        out.put_u16(alias);
        out.put_slice(rest);
    }

    /// Replaces the Message Expiry Interval, if the message has one, by the seconds that are left of it.
    pub fn set_message_expiry(&mut self, seconds: u32) {
        // If it is there, it is the first of the properties.
        let start = self.properties_start();
        if self.properties_len > 0 && self.packet[start] == property::MESSAGE_EXPIRY {
            self.packet[start + 1..][..4].copy_from_slice(&seconds.to_be_bytes());
        }
    }

    fn encode(
        version: Version,
        topic: &str,
        payload: &[u8],
        qos: u8,
        retain: bool,
        properties: Option<&PublishProperties>,
    ) -> Self {
        debug_assert!(qos <= 1, "IoT Core has no QoS 2");
        debug_assert!(topic.len() <= usize::from(u16::MAX));
        let properties_len = properties.map_or(0, PublishProperties::size);
        let list = match version {
            Version::V311 => 0,
            Version::V5 => variable_size(properties_len) + properties_len,
        };
        let packet_id = 2 * usize::from(qos);
        let remaining = 2 + topic.len() + packet_id + list + payload.len();

        let mut packet = Vec::with_capacity(1 + variable_size(remaining) + remaining);
        packet.put_u8(PUBLISH << 4 | qos << 1 | u8::from(retain));
        put_variable(remaining, &mut packet);
        packet.put_u16(topic.len() as u16);
        let topic_start = packet.len() as u8;
        packet.put_slice(topic.as_bytes());
        packet.put_bytes(0, packet_id);
        if version == Version::V5 {
            put_variable(properties_len, &mut packet);
        }
        if let Some(properties) = properties {
            properties.put(&mut packet);
        }
        packet.put_slice(payload);
        Self {
            packet: packet.into_boxed_slice(),
            properties_len: properties_len as u32,
            topic_len: topic.len() as u16,
            topic_start,
            version,
        }
    }

    fn topic_end(&self) -> usize {
        usize::from(self.topic_start) + usize::from(self.topic_len)
    }

    fn packet_id_size(&self) -> usize {
        2 * usize::from(self.qos())
    }

    /// Where the properties start, behind the length of their list. In MQTT 5 only.
    fn properties_start(&self) -> usize {
        self.topic_end() + self.packet_id_size() + variable_size(self.properties_len as usize)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rumqttc::{
        mqttbytes::v4,
        v5::mqttbytes::{QoS, v5},
    };

    use super::*;
    use crate::wire::{
        Inbound, Publish, next_frame, read,
        testing::{V5, V311, packet, properties, read_one, sample},
    };

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

    #[test]
    fn knows_whether_it_is_retained() {
        for (qos, retain) in [(0, false), (0, true), (1, false), (1, true)] {
            let publish = OutboundPublish::new(V311, "t", b"", qos, retain);
            assert_eq!((publish.qos(), publish.retain()), (qos, retain));
        }
    }

    #[test]
    fn properties_match_the_bytes_of_the_specification() {
        let properties = PublishProperties {
            message_expiry_interval: Some(60),
            payload_format: Some(1),
            subscription_identifiers: vec![9],
            ..PublishProperties::default()
        };
        let publish = OutboundPublish::with_properties("a/b", b"hi", 1, true, &properties);
        assert_eq!(publish.topic(), "a/b");
        let mut out = BytesMut::from("before");
        publish.write(0x1234, true, &mut out);
        assert_eq!(
            out,
            &b"before\x3b\x11\x00\x03a/b\x12\x34\x07\x02\x00\x00\x00\x3c\x01\x01hi"[..]
        );
    }

    #[test]
    fn aliases_match_the_bytes_of_the_specification() {
        let publish = OutboundPublish::new(V5, "a/b", b"hi", 1, false);
        let mut out = BytesMut::from("before");
        publish.write_aliased(0x1234, false, 0x0102, false, &mut out);
        assert_eq!(
            out,
            &b"before\x32\x0d\x00\x03a/b\x12\x34\x03\x23\x01\x02hi"[..]
        );
        out.clear();
        publish.write_aliased(0x1234, true, 0x0102, true, &mut out);
        assert_eq!(out, &b"\x3a\x0a\x00\x00\x12\x34\x03\x23\x01\x02hi"[..]);

        let properties = PublishProperties {
            message_expiry_interval: Some(60),
            ..PublishProperties::default()
        };
        let publish = OutboundPublish::with_properties("a/b", b"hi", 0, true, &properties);
        out.clear();
        // At QoS 0 there is neither a packet id nor DUP.
        publish.write_aliased(0, true, 1, true, &mut out);
        assert_eq!(
            out,
            &b"\x31\x0d\x00\x00\x08\x23\x00\x01\x02\x00\x00\x00\x3chi"[..]
        );
    }

    #[test]
    fn rumqttc_reads_every_combination() {
        for mask in 0..64 {
            for (qos, retain) in [(0, false), (0, true), (1, false), (1, true)] {
                let list = sample(mask);
                let publish = OutboundPublish::with_properties("tä/b", b"hi", qos, retain, &list);
                let packet_id = u16::from(qos) * 513;
                for (alias, known) in [(None, false), (Some(7), false), (Some(7), true)] {
                    let mut out = BytesMut::new();
                    match alias {
                        None => publish.write(packet_id, qos == 1, &mut out),
                        Some(alias) => {
                            publish.write_aliased(packet_id, qos == 1, alias, known, &mut out);
                        }
                    }
                    let Ok(v5::Packet::Publish(theirs)) = v5::Packet::read(&mut out, None) else {
                        panic!()
                    };
                    assert!(out.is_empty());
                    assert_eq!(
                        theirs,
                        their_publish(qos, retain, known, alias, sample(mask))
                    );
                }
            }
        }
    }

    #[test]
    fn aliases_read_back_at_every_length() {
        // Lists whose length grows by a byte, and does not, when the alias joins it.
        for list_len in [
            0, 5, 123, 124, 125, 127, 128, 16_379, 16_380, 16_381, 16_384,
        ] {
            let list = list_of(list_len);
            assert_eq!(list.size(), list_len);
            for (qos, known) in [(0, false), (0, true), (1, false), (1, true)] {
                for edge in [128_usize, 16_384, 2_097_152] {
                    // Between 6 and 13 of these bytes are neither payload nor properties.
                    for remaining in edge - 4..edge + 12 {
                        if let Some(payload) = remaining.checked_sub(list_len + 16) {
                            assert_alias_reads_back(&list, qos, known, payload);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn an_alias_stands_in_for_the_longest_topic() {
        let topic = "t".repeat(65_535);
        let publish = OutboundPublish::new(V5, &topic, b"hi", 1, false);
        let mut out = BytesMut::new();
        publish.write_aliased(7, false, 65_535, false, &mut out);
        let read = read_publish(&out);
        assert_eq!((read.topic, read.payload), (topic.as_str(), &b"hi"[..]));
        assert_eq!((read.topic_alias, read.packet_id), (Some(65_535), 7));
        out.clear();
        publish.write_aliased(7, false, 65_535, true, &mut out);
        assert_eq!(out, &b"\x32\x0a\x00\x00\x00\x07\x03\x23\xff\xffhi"[..]);
    }

    #[test]
    fn the_message_expiry_and_nothing_else_is_replaced() {
        for (mask, qos) in (0..64).flat_map(|mask| [(mask, 0), (mask, 1)]) {
            let mut list = sample(mask);
            let mut publish = OutboundPublish::with_properties("t", b"hi", qos, false, &list);
            publish.set_message_expiry(0xfffe_fdfc);
            if let Some(seconds) = &mut list.message_expiry_interval {
                *seconds = 0xfffe_fdfc;
            }
            let expected = OutboundPublish::with_properties("t", b"hi", qos, false, &list);
            assert_eq!(publish.packet, expected.packet);
        }
    }

    #[test]
    fn a_payload_that_looks_like_an_expiry_stays() {
        let payload = [property::MESSAGE_EXPIRY; 16];
        for version in [V311, V5] {
            for payload in [&payload[..], b""] {
                let mut publish = OutboundPublish::new(version, "t", payload, 0, false);
                let before = publish.packet.clone();
                publish.set_message_expiry(1);
                assert_eq!(publish.packet, before);
            }
        }
    }

    /// One content type that makes a list of `len` bytes, if it is not empty.
    fn list_of(len: usize) -> PublishProperties {
        PublishProperties {
            content_type: len.checked_sub(3).map(|len| "c".repeat(len)),
            ..PublishProperties::default()
        }
    }

    fn assert_alias_reads_back(list: &PublishProperties, qos: u8, known: bool, payload: usize) {
        let payload = vec![0x5a; payload];
        let publish = OutboundPublish::with_properties("a/b", &payload, qos, true, list);
        let packet_id = u16::from(qos) * 513;
        let mut out = BytesMut::new();
        publish.write_aliased(packet_id, qos == 1, 0x0102, known, &mut out);
        assert!(out.len() <= publish.len() + OutboundPublish::ALIAS_GROWTH);

        // Lengths in their shortest form, which the readers do not insist on.
        let mut others = Vec::new();
        list.put(&mut others);
        let header = [0x31, 0x3b][usize::from(qos)];
        let topic: &[u8] = if known { b"\0\0" } else { b"\0\x03a/b" };
        let id: &[u8] = if qos == 0 { b"" } else { b"\x02\x01" };
        let list_bytes = properties(&[b"\x23\x01\x02", &others]);
        assert!(out == packet(header, &[topic, id, &list_bytes, &payload]));

        let read = read_publish(&out);
        assert_eq!(read.topic, if known { "" } else { "a/b" });
        assert!(read.payload == payload && read.retain);
        assert_eq!((read.packet_id, read.qos), (packet_id, qos));
        assert_eq!((read.dup, read.topic_alias), (qos == 1, Some(0x0102)));
        assert!(read.properties.map(|list| *list).unwrap_or_default() == *list);
    }

    fn read_publish(bytes: &[u8]) -> Publish<'_> {
        match read_one(V5, bytes).unwrap() {
            Inbound::Publish(publish) => publish,
            other => panic!("{other:?}"),
        }
    }

    /// What rumqttc is to read.
    fn their_publish(
        qos: u8,
        retain: bool,
        known: bool,
        alias: Option<u16>,
        list: PublishProperties,
    ) -> v5::Publish {
        let topic = if known { "" } else { "tä/b" };
        let properties = v5::PublishProperties {
            payload_format_indicator: list.payload_format,
            message_expiry_interval: list.message_expiry_interval,
            topic_alias: alias,
            response_topic: list.response_topic,
            correlation_data: list.correlation_data.map(Bytes::from),
            user_properties: list.user_properties,
            subscription_identifiers: vec![],
            content_type: list.content_type,
        };
        v5::Publish {
            dup: qos == 1,
            qos: [QoS::AtMostOnce, QoS::AtLeastOnce][usize::from(qos)],
            retain,
            topic: Bytes::from_static(topic.as_bytes()),
            pkid: u16::from(qos) * 513,
            payload: Bytes::from_static(b"hi"),
            properties: (properties != v5::PublishProperties::default()).then_some(properties),
        }
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
