use super::{Frame, PublishProperties, Version, reader::Reader};
use crate::error::Result;

/// A message from the server (MQTT 5, section 3.3).
#[derive(Debug)]
pub struct Publish<'a> {
    pub dup: bool,
    /// 0 or 1.
    pub qos: u8,
    pub retain: bool,
    /// 0 at QoS 0.
    pub packet_id: u16,
    /// Empty only beside a topic alias.
    pub topic: &'a str,
    pub payload: &'a [u8],
    /// Never 0. Whether it is within what this side announced is the session's to know.
    pub topic_alias: Option<u16>,
    /// `None` if the packet has none besides the topic alias.
    pub properties: Option<Box<PublishProperties>>,
}

impl<'a> Publish<'a> {
    pub(super) fn read(version: Version, frame: &Frame<'a>) -> Result<Self> {
        let mut reader = Reader::new("PUBLISH", frame.body);
        let qos = frame.header >> 1 & 0b11;
        if qos > 1 {
            return Err(reader.malformed(format_args!(
                "its QoS is {qos}, and none over 1 was granted"
            )));
        }
        let topic = read_topic(&mut reader)?;
        let packet_id = match qos {
            0 => 0,
            _ => reader.positive_u16("packet id")?,
        };
        let (topic_alias, properties) = match version {
            Version::V311 => (None, None),
            Version::V5 => PublishProperties::read(reader.properties()?)?,
        };
        if topic.is_empty() && topic_alias.is_none() {
            return Err(reader.malformed("its topic is empty"));
        }
        Ok(Self {
            // At QoS 0 the flag must be clear, but nothing depends on it.
            dup: frame.header & 0b1000 != 0,
            qos,
            retain: frame.header & 0b0001 != 0,
            packet_id,
            topic,
            payload: reader.rest(),
            topic_alias,
            properties,
        })
    }
}

/// A topic name: UTF-8 without NUL and wildcards (MQTT 5, sections 1.5.4 and 4.7.1).
fn read_topic<'a>(reader: &mut Reader<'a>) -> Result<&'a str> {
    let topic = reader.utf8("topic")?;
    // Without a branch for each byte, so that the compiler can look at many at once.
    let forbidden = topic.bytes().fold(false, |found, byte| {
        found | (byte == 0) | (byte == b'+') | (byte == b'#')
    });
    if forbidden {
        return Err(reader.malformed("its topic holds a wildcard or NUL"));
    }
    Ok(topic)
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use rumqttc::v5::mqttbytes::{QoS, v5};

    use super::{
        super::{
            Inbound,
            testing::{V5, V311, assert_refused, packet, properties, read_one},
        },
        *,
    };

    fn publish(version: Version, bytes: &[u8]) -> Publish<'_> {
        match read_one(version, bytes).unwrap() {
            Inbound::Publish(publish) => publish,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_a_plain_message() {
        let bytes = packet(0x30, &[b"\x00\x03a/b", b"payload"]);
        let message = publish(V311, &bytes);
        assert_eq!((message.topic, message.payload), ("a/b", &b"payload"[..]));
        assert_eq!((message.qos, message.packet_id), (0, 0));
        assert!(!message.dup && !message.retain);

        let bytes = packet(0x3b, &["\u{0}\u{3}ä/".as_bytes(), &[0x12, 0x34]]);
        let message = publish(V311, &bytes);
        assert_eq!((message.topic, message.payload.len()), ("ä/", 0));
        assert_eq!((message.qos, message.packet_id), (1, 0x1234));
        assert!(message.dup && message.retain);

        let bytes = packet(0x32, &[b"\x00\x01t", &[0, 1], &[0], b"{}"]);
        let message = publish(V5, &bytes);
        assert_eq!((message.topic, message.payload), ("t", &b"{}"[..]));
        assert!(message.properties.is_none() && message.topic_alias.is_none());
    }

    #[test]
    fn reads_every_property_that_rumqttc_writes() {
        let mut bytes = BytesMut::new();
        v5::Publish {
            dup: true,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: Bytes::from_static(b"a/b"),
            pkid: 77,
            payload: Bytes::from_static(b"hello"),
            properties: Some(v5::PublishProperties {
                payload_format_indicator: Some(1),
                message_expiry_interval: Some(60),
                topic_alias: Some(3),
                response_topic: Some("answers".to_owned()),
                correlation_data: Some(Bytes::from_static(&[0, 255])),
                user_properties: vec![
                    ("k".to_owned(), "1".to_owned()),
                    ("k".to_owned(), "2".to_owned()),
                ],
                subscription_identifiers: vec![1, 200, 268_435_455],
                content_type: Some("text/plain".to_owned()),
            }),
        }
        .write(&mut bytes)
        .unwrap();
        let message = publish(V5, &bytes);
        assert_eq!((message.dup, message.qos, message.retain), (true, 1, false));
        assert_eq!((message.topic, message.packet_id), ("a/b", 77));
        assert_eq!(
            (message.payload, message.topic_alias),
            (&b"hello"[..], Some(3))
        );
        let expected = PublishProperties {
            payload_format: Some(1),
            message_expiry_interval: Some(60),
            content_type: Some("text/plain".to_owned()),
            response_topic: Some("answers".to_owned()),
            correlation_data: Some(vec![0, 255]),
            user_properties: vec![
                ("k".to_owned(), "1".to_owned()),
                ("k".to_owned(), "2".to_owned()),
            ],
            subscription_identifiers: vec![1, 200, 268_435_455],
        };
        assert_eq!(message.properties.as_deref(), Some(&expected));
    }

    #[test]
    fn an_alias_alone_makes_no_properties() {
        let bytes = packet(0x30, &[&[0, 0], &properties(&[b"\x23\x00\x09"]), b"x"]);
        let message = publish(V5, &bytes);
        assert_eq!((message.topic, message.topic_alias), ("", Some(9)));
        assert!(message.properties.is_none());
    }

    #[test]
    fn refuses_malformed_messages() {
        assert_refused(
            V311,
            &[
                (&[0x30, 0], "PUBLISH: it ends inside"),
                (&[0x30, 1, 0], "ends inside"),
                (&[0x30, 2, 0, 0], "topic is empty"),
                (&[0x30, 4, 0, 3, b'a', b'b'], "ends inside"),
                (&[0x30, 4, 0xff, 0xff, b'a', b'b'], "ends inside"),
                (&[0x30, 3, 0, 1, 0xff], "topic is not UTF-8"),
                // The surrogate U+D800, which UTF-8 does not have.
                (&[0x30, 5, 0, 3, 0xed, 0xa0, 0x80], "topic is not UTF-8"),
                (&[0x30, 3, 0, 1, 0], "wildcard or NUL"),
                (&[0x30, 5, 0, 3, b'a', b'/', b'#'], "wildcard or NUL"),
                (&[0x30, 5, 0, 3, b'+', b'/', b'a'], "wildcard or NUL"),
                (&[0x32, 3, 0, 1, b'a'], "ends inside"),
                (&[0x32, 4, 0, 1, b'a', 1], "ends inside"),
                (&[0x32, 5, 0, 1, b'a', 0, 0], "packet id is 0"),
                (&[0x34, 5, 0, 1, b'a', 0, 1], "QoS is 2"),
                (&[0x36, 5, 0, 1, b'a', 0, 1], "QoS is 3"),
            ],
        );
        assert_refused(
            V5,
            &[
                (&[0x30, 3, 0, 1, b'a'], "ends inside"),
                (&[0x30, 3, 0, 0, 0], "topic is empty"),
                (&[0x30, 4, 0, 1, b'a', 1], "ends inside"),
                (&[0x30, 5, 0, 1, b'a', 0x80, 0x80], "ends inside"),
            ],
        );
    }

    #[test]
    fn refuses_malformed_properties() {
        let cases: &[(&[&[u8]], &str)] = &[
            (&[b"\x23\x00\x00"], "topic alias is 0"),
            (&[b"\x23\x00\x01", b"\x23\x00\x01"], "0x23 comes twice"),
            (&[b"\x01\x02"], "payload format is 2"),
            (&[b"\x01\x01", b"\x01\x01"], "0x01 comes twice"),
            (
                &[b"\x02\x00\x00\x00\x01", b"\x02\x00\x00\x00\x01"],
                "0x02 comes twice",
            ),
            (&[b"\x03\x00\x01a", b"\x03\x00\x01a"], "0x03 comes twice"),
            (&[b"\x08\x00\x01a", b"\x08\x00\x01a"], "0x08 comes twice"),
            (&[b"\x09\x00\x01a", b"\x09\x00\x01a"], "0x09 comes twice"),
            (&[b"\x0b\x00"], "subscription identifier is 0"),
            (&[b"\x0b\x80\x80\x80\x80\x01"], "more than four bytes"),
            (&[b"\x0b\x80"], "ends inside"),
            (&[b"\x1f\x00\x01a"], "0x1f does not belong"),
            (&[b"\x27\x00\x00\x00\x01"], "0x27 does not belong"),
            (&[b"\x08\x00\x01\xff"], "response topic is not UTF-8"),
            (&[b"\x03\x00\x01\x00"], "content type holds NUL"),
            (
                &[b"\x26\x00\x01a\x00\x01\xff"],
                "user property is not UTF-8",
            ),
            // Longer than the list, but not longer than the packet.
            (&[b"\x09\x00\x05a"], "ends inside"),
            (&[b"\x02\x00"], "ends inside"),
        ];
        for (parts, expected) in cases {
            let bytes = packet(0x30, &[b"\x00\x01t", &properties(parts), &[b'x'; 32]]);
            assert_refused(V5, &[(&bytes, expected)]);
        }
    }
}
