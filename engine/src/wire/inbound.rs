use super::{
    ConnAck, Frame, Publish, Version,
    frame::{
        CONNACK, DISCONNECT, PINGRESP, PUBACK, PUBLISH, SUBACK, UNSUBACK, check_flags, kind,
        packet_name,
    },
    reader::{Reader, property},
};
use crate::error::{Failure, Result};

/// A packet that a server sends. It borrows from the bytes it was read from.
#[derive(Debug)]
pub enum Inbound<'a> {
    ConnAck(Box<ConnAck>),
    Publish(Publish<'a>),
    PubAck(Ack),
    SubAck(SubAck<'a>),
    UnsubAck(SubAck<'a>),
    PingResp,
    Disconnect(Reason),
}

/// Why the server says what it says. A code that MQTT does not know keeps its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    pub code: u8,
    pub string: Option<String>,
}

/// PUBACK (MQTT 5, section 3.4). In MQTT 3.1.1, and in the short form of MQTT 5, the code is 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    pub packet_id: u16,
    pub reason: Reason,
}

/// SUBACK and UNSUBACK (MQTT 5, sections 3.9 and 3.11): a code for each filter, in order. UNSUBACK of MQTT 3.1.1 has
/// no codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubAck<'a> {
    pub packet_id: u16,
    pub codes: &'a [u8],
    pub string: Option<String>,
}

/// Reads one packet. Whatever MQTT does not allow a server to send to this client is `ERR_PROTOCOL`: we use neither
/// QoS 2 nor enhanced authentication, so their packets are among it.
pub fn read<'a>(version: Version, frame: &Frame<'a>) -> Result<Inbound<'a>> {
    if kind(frame.header) == PUBLISH {
        return Publish::read(version, frame).map(Inbound::Publish);
    }
    check_flags(frame.header)?;
    let name = packet_name(frame.header);
    let reader = Reader::new(name, frame.body);
    match kind(frame.header) {
        CONNACK => ConnAck::read(version, reader).map(|ack| Inbound::ConnAck(Box::new(ack))),
        PUBACK => Ack::read(version, reader).map(Inbound::PubAck),
        SUBACK => SubAck::read(version, reader).map(Inbound::SubAck),
        UNSUBACK if version == Version::V311 => SubAck::read_bare(reader).map(Inbound::UnsubAck),
        UNSUBACK => SubAck::read(version, reader).map(Inbound::UnsubAck),
        PINGRESP => reader.end().map(|()| Inbound::PingResp),
        DISCONNECT => Reason::read_disconnect(version, reader).map(Inbound::Disconnect),
        _ => Err(Failure::protocol(format!(
            "the server sent {name}, which this client cannot receive"
        ))),
    }
}

impl Ack {
    fn read(version: Version, mut reader: Reader<'_>) -> Result<Self> {
        let packet_id = reader.positive_u16("packet id")?;
        let reason = match version {
            Version::V311 => {
                reader.end()?;
                Reason::SUCCESS
            }
            Version::V5 => Reason::read(reader, false)?,
        };
        Ok(Self { packet_id, reason })
    }
}

impl<'a> SubAck<'a> {
    fn read(version: Version, mut reader: Reader<'a>) -> Result<Self> {
        let packet_id = reader.positive_u16("packet id")?;
        let string = match version {
            Version::V311 => None,
            Version::V5 => reason_string(reader.properties()?, false)?,
        };
        if reader.is_empty() {
            return Err(reader.malformed("it holds no code"));
        }
        Ok(Self {
            packet_id,
            codes: reader.rest(),
            string,
        })
    }

    fn read_bare(mut reader: Reader<'a>) -> Result<Self> {
        let packet_id = reader.positive_u16("packet id")?;
        reader.end()?;
        Ok(Self {
            packet_id,
            codes: &[],
            string: None,
        })
    }
}

impl Reason {
    const SUCCESS: Self = Self {
        code: 0,
        string: None,
    };

    /// DISCONNECT (MQTT 5, section 3.14). In MQTT 3.1.1 only a client sends it; that a server says goodbye with it is
    /// taken as what it means.
    fn read_disconnect(version: Version, reader: Reader<'_>) -> Result<Self> {
        match version {
            Version::V311 => reader.end().map(|()| Self::SUCCESS),
            Version::V5 => Self::read(reader, true),
        }
    }

    /// Code and properties, either of which may be left out at the end of PUBACK and DISCONNECT.
    fn read(mut reader: Reader<'_>, disconnect: bool) -> Result<Self> {
        if reader.is_empty() {
            return Ok(Self::SUCCESS);
        }
        let code = reader.u8()?;
        if reader.is_empty() {
            return Ok(Self { code, string: None });
        }
        let string = reason_string(reader.properties()?, disconnect)?;
        reader.end()?;
        Ok(Self { code, string })
    }
}

/// The reason string among the properties of an acknowledgement or, with a server reference, of DISCONNECT.
fn reason_string(mut properties: Reader<'_>, disconnect: bool) -> Result<Option<String>> {
    let mut reason = None;
    while let Some(id) = properties.property()? {
        match id {
            property::REASON_STRING => {
                reason = Some(properties.string("reason string")?.to_owned());
            }
            property::USER_PROPERTY => {
                properties.user_property()?;
            }
            property::SERVER_REFERENCE if disconnect => {
                properties.string("server reference")?;
            }
            _ => return Err(properties.foreign_property(id)),
        }
    }
    Ok(reason)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use rumqttc::{mqttbytes::v4, v5::mqttbytes::v5};

    use super::{
        super::testing::{V5, V311, assert_refused, packet, properties, read_one},
        *,
    };

    fn puback(version: Version, bytes: &[u8]) -> (u16, u8, Option<String>) {
        match read_one(version, bytes).unwrap() {
            Inbound::PubAck(ack) => (ack.packet_id, ack.reason.code, ack.reason.string),
            other => panic!("{other:?}"),
        }
    }

    fn disconnect(version: Version, bytes: &[u8]) -> (u8, Option<String>) {
        match read_one(version, bytes).unwrap() {
            Inbound::Disconnect(reason) => (reason.code, reason.string),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_every_form_of_puback() {
        assert_eq!(puback(V311, &[0x40, 2, 0x12, 0x34]), (0x1234, 0, None));
        assert_eq!(puback(V5, &[0x40, 2, 0x12, 0x34]), (0x1234, 0, None));
        for code in 0..=0xff {
            assert_eq!(puback(V5, &[0x40, 3, 0, 1, code]), (1, code, None));
            assert_eq!(puback(V5, &[0x40, 4, 0, 1, code, 0]), (1, code, None));
        }
        let list = properties(&[
            b"\x26\x00\x01k\x00\x01v",
            b"\x1f\x00\x02no",
            b"\x26\x00\x01k\x00\x01v",
        ]);
        let bytes = packet(0x40, &[&[0, 1, 0x87], &list]);
        assert_eq!(puback(V5, &bytes), (1, 0x87, Some("no".to_owned())));
    }

    #[test]
    fn reads_every_form_of_disconnect() {
        assert_eq!(disconnect(V311, &[0xe0, 0]), (0, None));
        assert_eq!(disconnect(V5, &[0xe0, 0]), (0, None));
        for code in 0..=0xff {
            assert_eq!(disconnect(V5, &[0xe0, 1, code]), (code, None));
            assert_eq!(disconnect(V5, &[0xe0, 2, code, 0]), (code, None));
        }
        let list = properties(&[b"\x1c\x00\x01s", b"\x1f\x00\x05taken"]);
        let bytes = packet(0xe0, &[&[0x8e], &list]);
        assert_eq!(disconnect(V5, &bytes), (0x8e, Some("taken".to_owned())));
    }

    #[test]
    fn reads_suback_and_unsuback() {
        let Inbound::SubAck(ack) = read_one(V311, &[0x90, 4, 0, 7, 1, 0x80]).unwrap() else {
            panic!()
        };
        assert_eq!(
            (ack.packet_id, ack.codes, ack.string),
            (7, &[1, 0x80][..], None)
        );

        let list = properties(&[b"\x1f\x00\x02no"]);
        for (header, codes) in [(0x90, [0, 0x97]), (0xb0, [0x11, 0xff])] {
            let bytes = packet(header, &[&[0, 7], &list, &codes]);
            let (Inbound::SubAck(ack) | Inbound::UnsubAck(ack)) = read_one(V5, &bytes).unwrap()
            else {
                panic!()
            };
            assert_eq!((ack.packet_id, ack.codes), (7, &codes[..]));
            assert_eq!(ack.string.as_deref(), Some("no"));
        }

        let Inbound::UnsubAck(ack) = read_one(V311, &[0xb0, 2, 0, 7]).unwrap() else {
            panic!()
        };
        assert_eq!((ack.packet_id, ack.codes.len()), (7, 0));
    }

    #[test]
    fn reads_what_rumqttc_writes() {
        let mut bytes = BytesMut::new();
        v4::PubAck::new(9).write(&mut bytes).unwrap();
        assert_eq!(puback(V311, &bytes), (9, 0, None));

        bytes.clear();
        let mut ack = v5::PubAck::new(
            9,
            Some(v5::PubAckProperties {
                reason_string: Some("quota".to_owned()),
                user_properties: vec![("a".to_owned(), "b".to_owned())],
            }),
        );
        ack.reason = v5::PubAckReason::QuotaExceeded;
        ack.write(&mut bytes).unwrap();
        assert_eq!(puback(V5, &bytes), (9, 0x97, Some("quota".to_owned())));

        bytes.clear();
        v5::Disconnect {
            reason_code: v5::DisconnectReasonCode::SessionTakenOver,
            properties: Some(v5::DisconnectProperties {
                session_expiry_interval: None,
                reason_string: Some("twice".to_owned()),
                user_properties: vec![],
                server_reference: Some("elsewhere".to_owned()),
            }),
        }
        .write(&mut bytes)
        .unwrap();
        assert_eq!(disconnect(V5, &bytes), (0x8e, Some("twice".to_owned())));

        bytes.clear();
        v4::SubAck::new(3, vec![v4::SubscribeReasonCode::Failure])
            .write(&mut bytes)
            .unwrap();
        let Inbound::SubAck(ack) = read_one(V311, &bytes).unwrap() else {
            panic!()
        };
        assert_eq!((ack.packet_id, ack.codes), (3, &[0x80][..]));
    }

    #[test]
    fn refuses_what_a_server_never_sends() {
        for version in [V311, V5] {
            for (bytes, name) in [
                (&[0x10, 0][..], "CONNECT"),
                (&[0x50, 2, 0, 1], "PUBREC"),
                (&[0x62, 2, 0, 1], "PUBREL"),
                (&[0x70, 2, 0, 1], "PUBCOMP"),
                (&[0x82, 0], "SUBSCRIBE"),
                (&[0xa2, 0], "UNSUBSCRIBE"),
                (&[0xc0, 0], "PINGREQ"),
                (&[0xf0, 0], "AUTH"),
            ] {
                let expected = format!("the server sent {name}, which");
                assert_refused(version, &[(bytes, &expected)]);
            }
        }
    }

    #[test]
    fn checks_flags_of_a_frame_from_elsewhere() {
        let frame = Frame {
            header: 0x41,
            body: &[0, 1],
            len: 4,
        };
        assert!(read(V311, &frame).is_err());
        let frame = Frame { header: 0, ..frame };
        assert!(read(V311, &frame).is_err());
    }

    #[test]
    fn refuses_malformed_acknowledgements() {
        assert_refused(
            V311,
            &[
                (&[0x40, 0], "PUBACK: it ends inside"),
                (&[0x40, 1, 1], "PUBACK: it ends inside"),
                (&[0x40, 2, 0, 0], "PUBACK: its packet id is 0"),
                (&[0x40, 3, 0, 1, 0], "PUBACK: bytes follow"),
                (&[0x90, 2, 0, 1], "SUBACK: it holds no code"),
                (&[0x90, 3, 0, 0, 1], "SUBACK: its packet id is 0"),
                (&[0xb0, 2, 0, 0], "UNSUBACK: its packet id is 0"),
                (&[0xb0, 3, 0, 1, 0], "UNSUBACK: bytes follow"),
                (&[0xd0, 1, 0], "PINGRESP: bytes follow"),
                (&[0xe0, 1, 0x8e], "DISCONNECT: bytes follow"),
            ],
        );
        assert_refused(
            V5,
            &[
                (&[0x40, 2, 0, 0], "its packet id is 0"),
                (&[0x40, 4, 0, 1, 0, 1], "ends inside"),
                (&[0x40, 5, 0, 1, 0, 0, 0], "bytes follow"),
                (&[0x90, 2, 0, 1], "ends inside"),
                (&[0x90, 3, 0, 1, 0], "holds no code"),
                (&[0xb0, 3, 0, 1, 0], "holds no code"),
                (&[0xe0, 3, 0x8e, 0, 0], "bytes follow"),
                (&[0xe0, 2, 0x8e, 0x80], "ends inside"),
                (
                    &[0xe0, 6, 0x8e, 0x80, 0x80, 0x80, 0x80, 0],
                    "more than four bytes",
                ),
            ],
        );
    }

    #[test]
    fn refuses_malformed_properties() {
        let cases: &[(&[&[u8]], &str)] = &[
            (&[b"\x1f\x00\x01a", b"\x1f\x00\x01a"], "0x1f comes twice"),
            (&[b"\x11\x00\x00\x00\x00"], "0x11 does not belong"),
            (&[b"\x00"], "0x00 does not belong"),
            (&[b"\x7f"], "0x7f does not belong"),
            (&[b"\xff\xff"], "0xff does not belong"),
            (&[b"\x1f\x00\x09a"], "ends inside"),
            (&[b"\x1f\x00"], "ends inside"),
            (&[b"\x1f\x00\x01\xff"], "reason string is not UTF-8"),
            (&[b"\x1f\x00\x01\x00"], "reason string holds NUL"),
            (&[b"\x26\x00\x01a"], "ends inside"),
            (&[b"\x26\x00\x01a\x00\x01\x00"], "user property holds NUL"),
        ];
        for (parts, expected) in cases {
            let list = properties(parts);
            // Codes follow the list in SUBACK: a property that overruns the list must not reach them.
            let filler = [0; 16];
            for bytes in [
                packet(0x40, &[&[0, 1, 0], &list]),
                packet(0xe0, &[&[0], &list]),
                packet(0x90, &[&[0, 1], &list, &filler]),
                packet(0xb0, &[&[0, 1], &list, &filler]),
            ] {
                assert_refused(V5, &[(&bytes, expected)]);
            }
        }
        let reference = properties(&[b"\x1c\x00\x01s"]);
        let bytes = packet(0x40, &[&[0, 1, 0], &reference]);
        assert_refused(V5, &[(&bytes, "0x1c does not belong")]);
    }
}
