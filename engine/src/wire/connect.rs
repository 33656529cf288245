use bytes::{BufMut, BytesMut};

use super::{
    Version, Will,
    field::{field_size, put_field},
    frame::{put_variable, variable_size},
    properties::check_list,
    reader::property,
    user_properties,
};
use crate::error::{Failure, Result};

/// What CONNECT says (MQTT 5, section 3.1). It carries secrets, hence no `Debug`.
pub struct Connect<'a> {
    pub version: Version,
    pub client_id: &'a str,
    /// Clean Session in MQTT 3.1.1.
    pub clean_start: bool,
    pub keep_alive_seconds: u16,
    /// `Some("")` is sent as an empty user name, `None` as none.
    pub user_name: Option<&'a str>,
    pub password: Option<&'a [u8]>,
    pub will: Option<&'a Will>,
    /// The rest exists in MQTT 5 only.
    pub session_expiry_seconds: Option<u32>,
    pub receive_maximum: Option<u16>,
    pub maximum_packet_size: Option<u32>,
    /// How many topic aliases the server may use. `None` says the same as 0.
    pub topic_alias_maximum: Option<u16>,
    pub user_properties: &'a [(String, String)],
}

/// The option that CONNECT's own user properties come from.
const USER_PROPERTIES: &str = "connectProperties.userProperties";

/// Writes CONNECT. A field that does not fit into MQTT is `ERR_INVALID_OPTION`, and then nothing is written.
pub fn encode_connect(connect: &Connect<'_>, out: &mut BytesMut) -> Result<()> {
    let user_name = connect.user_name.map(str::as_bytes);
    check(connect, user_name)?;
    let properties = properties_size(connect);
    let remaining = 10
        + properties.map_or(0, |size| variable_size(size) + size)
        + field_size(connect.client_id.as_bytes())
        + connect.will.map_or(0, |will| will.size(connect.version))
        + user_name.map_or(0, field_size)
        + connect.password.map_or(0, field_size);

    out.reserve(1 + variable_size(remaining) + remaining);
    out.put_u8(0x10);
    put_variable(remaining, out);
    put_field(b"MQTT", out);
    out.put_u8(match connect.version {
        Version::V311 => 4,
        Version::V5 => 5,
    });
    out.put_u8(
        u8::from(connect.clean_start) << 1
            | connect.will.map_or(0, Will::flags)
            | u8::from(connect.password.is_some()) << 6
            | u8::from(connect.user_name.is_some()) << 7,
    );
    out.put_u16(connect.keep_alive_seconds);
    if let Some(size) = properties {
        put_variable(size, out);
        put_properties(connect, out);
    }
    put_field(connect.client_id.as_bytes(), out);
    if let Some(will) = connect.will {
        will.put(connect.version, out);
    }
    if let Some(user_name) = user_name {
        put_field(user_name, out);
    }
    if let Some(password) = connect.password {
        put_field(password, out);
    }
    Ok(())
}

/// Whether CONNECT can carry these user properties.
pub fn check_connect_properties(user_properties: &[(String, String)]) -> Result<()> {
    let name = format_args!("{USER_PROPERTIES}");
    user_properties::check(name, user_properties)?;
    check_list(name, user_properties::size(user_properties))
}

fn check(connect: &Connect<'_>, user_name: Option<&[u8]>) -> Result<()> {
    for (name, field) in [
        ("clientId", Some(connect.client_id.as_bytes())),
        ("username", user_name),
        ("password", connect.password),
    ] {
        let len = field.map_or(0, <[u8]>::len);
        if len > usize::from(u16::MAX) {
            return Err(Failure::option(format!(
                "{name} takes {len} bytes in CONNECT; MQTT allows 65,535"
            )));
        }
    }
    if let Some(will) = connect.will {
        will.check(connect.version)?;
    }
    if connect.version == Version::V5 {
        check_connect_properties(connect.user_properties)?;
    }
    if connect.version == Version::V311 && user_name.is_none() && connect.password.is_some() {
        return Err(Failure::option(
            "MQTT 3.1.1 allows a password only beside a user name",
        ));
    }
    Ok(())
}

fn properties_size(connect: &Connect<'_>) -> Option<usize> {
    (connect.version == Version::V5).then(|| {
        connect.session_expiry_seconds.map_or(0, |_| 5)
            + connect.receive_maximum.map_or(0, |_| 3)
            + connect.maximum_packet_size.map_or(0, |_| 5)
            + connect.topic_alias_maximum.map_or(0, |_| 3)
            + user_properties::size(connect.user_properties)
    })
}

fn put_properties(connect: &Connect<'_>, out: &mut BytesMut) {
    if let Some(seconds) = connect.session_expiry_seconds {
        out.put_u8(property::SESSION_EXPIRY);
        out.put_u32(seconds);
    }
    if let Some(maximum) = connect.receive_maximum {
        out.put_u8(property::RECEIVE_MAXIMUM);
        out.put_u16(maximum);
    }
    if let Some(maximum) = connect.maximum_packet_size {
        out.put_u8(property::MAXIMUM_PACKET_SIZE);
        out.put_u32(maximum);
    }
    if let Some(maximum) = connect.topic_alias_maximum {
        out.put_u8(property::TOPIC_ALIAS_MAXIMUM);
        out.put_u16(maximum);
    }
    user_properties::put(connect.user_properties, out);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rumqttc::{
        mqttbytes::{self, v4},
        v5::mqttbytes::{
            QoS,
            v5::{self, ConnectProperties},
        },
    };

    use super::{super::testing::sample, *};
    use crate::{error::Code, wire::PublishProperties};

    const PLAIN: Connect<'_> = Connect {
        version: Version::V311,
        client_id: "device-1",
        clean_start: true,
        keep_alive_seconds: 60,
        user_name: None,
        password: None,
        will: None,
        session_expiry_seconds: None,
        receive_maximum: None,
        maximum_packet_size: None,
        topic_alias_maximum: None,
        user_properties: &[],
    };

    fn will(mask: u8, qos: u8, retain: bool, delay_seconds: u32) -> Will {
        Will {
            topic: "w/ä".to_owned(),
            payload: vec![0xff, 0x00],
            qos,
            retain,
            delay_seconds,
            properties: sample(mask),
        }
    }

    fn encode(connect: &Connect<'_>) -> BytesMut {
        let mut out = BytesMut::new();
        encode_connect(connect, &mut out).unwrap();
        out
    }

    #[test]
    fn matches_the_bytes_of_the_specification() {
        let connect = Connect {
            keep_alive_seconds: 0x1234,
            user_name: Some("u"),
            password: Some(&[0xff, 0x00]),
            client_id: "c",
            ..PLAIN
        };
        let expected = b"\x10\x14\x00\x04MQTT\x04\xc2\x12\x34\x00\x01c\x00\x01u\x00\x02\xff\x00";
        assert_eq!(encode(&connect), &expected[..]);

        let connect = Connect {
            version: Version::V5,
            clean_start: false,
            session_expiry_seconds: Some(3_600),
            receive_maximum: Some(1_000),
            maximum_packet_size: Some(0x0002_0000),
            user_name: None,
            ..connect
        };
        let expected = b"\x10\x1f\x00\x04MQTT\x05\x40\x12\x34\
            \x0d\x11\x00\x00\x0e\x10\x21\x03\xe8\x27\x00\x02\x00\x00\
            \x00\x01c\x00\x02\xff\x00";
        assert_eq!(encode(&connect), &expected[..]);
    }

    #[test]
    fn a_will_matches_the_bytes_of_the_specification() {
        let mut will = Will {
            topic: "w".to_owned(),
            payload: b"bye".to_vec(),
            qos: 1,
            retain: true,
            delay_seconds: 5,
            properties: PublishProperties {
                payload_format: Some(1),
                subscription_identifiers: vec![9],
                ..PublishProperties::default()
            },
        };
        let connect = |version, will: &Will| {
            encode(&Connect {
                version,
                client_id: "c",
                user_name: Some("u"),
                password: Some(b"p"),
                will: Some(will),
                ..PLAIN
            })
        };
        assert_eq!(
            connect(Version::V311, &will),
            &b"\x10\x1b\x00\x04MQTT\x04\xee\x00\x3c\x00\x01c\
            \x00\x01w\x00\x03bye\x00\x01u\x00\x01p"[..]
        );
        assert_eq!(
            connect(Version::V5, &will),
            &b"\x10\x24\x00\x04MQTT\x05\xee\x00\x3c\x00\x00\x01c\
            \x07\x18\x00\x00\x00\x05\x01\x01\x00\x01w\x00\x03bye\x00\x01u\x00\x01p"[..]
        );

        will.delay_seconds = 0;
        will.properties = PublishProperties::default();
        (will.qos, will.retain) = (0, false);
        assert_eq!(
            connect(Version::V5, &will),
            &b"\x10\x1d\x00\x04MQTT\x05\xc6\x00\x3c\x00\x00\x01c\
            \x00\x00\x01w\x00\x03bye\x00\x01u\x00\x01p"[..]
        );
    }

    #[test]
    fn user_properties_and_aliases_match_the_bytes_of_the_specification() {
        let connect = Connect {
            version: Version::V5,
            client_id: "c",
            topic_alias_maximum: Some(0x0102),
            user_properties: &[
                ("k".to_owned(), "1".to_owned()),
                ("k".to_owned(), String::new()),
            ],
            ..PLAIN
        };
        assert_eq!(
            encode(&connect),
            &b"\x10\x1e\x00\x04MQTT\x05\x02\x00\x3c\x10\x22\x01\x02\
            \x26\x00\x01k\x00\x011\x26\x00\x01k\x00\x00\x00\x01c"[..]
        );
    }

    #[test]
    fn an_empty_user_name_is_not_an_absent_one() {
        let none = encode(&PLAIN);
        assert_eq!(none[9], 0x02);
        assert!(none.ends_with(b"device-1"));

        let empty = encode(&Connect {
            user_name: Some(""),
            password: Some(b""),
            ..PLAIN
        });
        assert_eq!(empty[9], 0xc2);
        assert!(empty.ends_with(b"device-1\x00\x00\x00\x00"));
    }

    #[test]
    fn rumqttc_reads_what_we_write() {
        for len in [1, 90, 127, 128, 16_000, 16_384, 65_535] {
            let user_name = "u".repeat(len);
            let connect = Connect {
                user_name: Some(&user_name),
                password: Some(b"secret"),
                ..PLAIN
            };
            let mut bytes = encode(&connect);
            let Ok(v4::Packet::Connect(read)) = v4::Packet::read(&mut bytes, usize::MAX) else {
                panic!()
            };
            assert!(bytes.is_empty());
            assert_eq!((read.client_id.as_str(), read.keep_alive), ("device-1", 60));
            assert!(read.clean_session);
            let login = read.login.unwrap();
            assert_eq!(login, v4::Login::new(&user_name, "secret"));

            let mut bytes = encode(&Connect {
                version: Version::V5,
                session_expiry_seconds: Some(u32::MAX),
                receive_maximum: Some(7),
                maximum_packet_size: Some(9),
                ..connect
            });
            let Ok(v5::Packet::Connect(read, None, Some(login))) =
                v5::Packet::read(&mut bytes, None)
            else {
                panic!()
            };
            assert!(bytes.is_empty());
            assert_eq!(login, v5::Login::new(&user_name, "secret"));
            let expected = ConnectProperties {
                session_expiry_interval: Some(u32::MAX),
                receive_maximum: Some(7),
                max_packet_size: Some(9),
                ..ConnectProperties::new()
            };
            assert_eq!(read.properties, Some(expected));
        }
    }

    #[test]
    fn rumqttc_reads_every_will() {
        for (mask, flags, delay) in (0..64)
            .flat_map(|mask| (0..4).map(move |flags| (mask, flags)))
            .flat_map(|(mask, flags)| [0, 1, 900].map(|delay| (mask, flags, delay)))
        {
            let (qos, retain) = (flags & 1, flags & 2 != 0);
            let will = will(mask, qos, retain, delay);
            let connect = Connect {
                user_name: Some("u"),
                password: Some(b"secret"),
                will: Some(&will),
                topic_alias_maximum: Some(8),
                user_properties: &sample(mask).user_properties,
                ..PLAIN
            };
            let mut bytes = encode(&connect);
            let Ok(v4::Packet::Connect(read)) = v4::Packet::read(&mut bytes, usize::MAX) else {
                panic!()
            };
            assert!(bytes.is_empty());
            assert_eq!(read.login, Some(v4::Login::new("u", "secret")));
            let qos_4 = [mqttbytes::QoS::AtMostOnce, mqttbytes::QoS::AtLeastOnce];
            assert_eq!(
                read.last_will,
                Some(v4::LastWill {
                    topic: "w/ä".to_owned(),
                    message: Bytes::from_static(&[0xff, 0x00]),
                    qos: qos_4[usize::from(qos)],
                    retain,
                })
            );

            let mut bytes = encode(&Connect {
                version: Version::V5,
                ..connect
            });
            let Ok(v5::Packet::Connect(read, last_will, login)) =
                v5::Packet::read(&mut bytes, None)
            else {
                panic!()
            };
            assert!(bytes.is_empty());
            assert_eq!(login, Some(v5::Login::new("u", "secret")));
            assert_eq!(
                read.properties,
                Some(ConnectProperties {
                    topic_alias_max: Some(8),
                    user_properties: sample(mask).user_properties,
                    ..ConnectProperties::new()
                })
            );
            let list = sample(mask);
            let properties = v5::LastWillProperties {
                delay_interval: (delay > 0).then_some(delay),
                payload_format_indicator: list.payload_format,
                message_expiry_interval: list.message_expiry_interval,
                content_type: list.content_type,
                response_topic: list.response_topic,
                correlation_data: list.correlation_data.map(Bytes::from),
                user_properties: list.user_properties,
            };
            assert_eq!(
                last_will,
                Some(v5::LastWill {
                    topic: Bytes::from_static("w/ä".as_bytes()),
                    message: Bytes::from_static(&[0xff, 0x00]),
                    qos: [QoS::AtMostOnce, QoS::AtLeastOnce][usize::from(qos)],
                    retain,
                    properties: (mask > 0 || delay > 0).then_some(properties),
                })
            );
        }
    }

    #[test]
    fn a_will_without_payload_and_one_with_the_longest_are_read_back() {
        for (topic, payload) in [(1, 0), (65_535, 65_535)] {
            let will = Will {
                topic: "w".repeat(topic),
                payload: vec![0x5a; payload],
                ..will(0, 0, false, 0)
            };
            let mut bytes = encode(&Connect {
                version: Version::V5,
                will: Some(&will),
                ..PLAIN
            });
            let Ok(v5::Packet::Connect(_, Some(read), None)) = v5::Packet::read(&mut bytes, None)
            else {
                panic!()
            };
            assert!(read.topic == will.topic && read.message == will.payload);
        }
    }

    #[test]
    fn options_of_mqtt_5_do_not_reach_3_1_1() {
        let connect = Connect {
            session_expiry_seconds: Some(1),
            receive_maximum: Some(1),
            maximum_packet_size: Some(1),
            topic_alias_maximum: Some(1),
            user_properties: &sample(0b11_1111).user_properties,
            ..PLAIN
        };
        assert_eq!(encode(&connect), encode(&PLAIN));

        let [bare, full] = [(0, 0), (0b11_1111, 1)].map(|(mask, delay)| will(mask, 1, true, delay));
        let [bare, full] = [&bare, &full].map(|will| {
            encode(&Connect {
                will: Some(will),
                ..PLAIN
            })
        });
        assert_eq!(bare, full);
    }

    #[test]
    fn refuses_what_does_not_fit_and_writes_nothing() {
        let long = "x".repeat(65_536);
        for (connect, name) in [
            (
                Connect {
                    client_id: &long,
                    ..PLAIN
                },
                "clientId",
            ),
            (
                Connect {
                    user_name: Some(&long),
                    ..PLAIN
                },
                "username",
            ),
            (
                Connect {
                    user_name: Some("u"),
                    password: Some(long.as_bytes()),
                    ..PLAIN
                },
                "password",
            ),
            (
                Connect {
                    password: Some(b"p"),
                    ..PLAIN
                },
                "password",
            ),
        ] {
            let mut out = BytesMut::new();
            let failure = encode_connect(&connect, &mut out).unwrap_err();
            assert_eq!(failure.code(), Code::InvalidOption);
            assert!(failure.message().contains(name), "{failure}");
            assert!(!failure.message().contains("xx"));
            assert!(out.is_empty());
        }
    }
    #[test]
    fn refuses_a_will_and_user_properties_and_writes_nothing() {
        let long = "secret".repeat(10_923);
        assert_eq!(long.len(), 65_538);
        type Spoil = fn(&mut Will, String);
        let fields: [(Spoil, &str); 4] = [
            (|will, text| will.topic = text, "will.topic"),
            (
                |will, text| will.payload = text.into_bytes(),
                "will.payload",
            ),
            (
                |will, text| will.properties.content_type = Some(text),
                "will.properties.contentType",
            ),
            (
                |will, text| will.properties.user_properties.push((text, String::new())),
                "a key of will.properties.userProperties",
            ),
        ];
        for (spoil, name) in fields {
            let mut will = will(0, 1, false, 0);
            spoil(&mut will, long.clone());
            let expected = format!("{name} takes 65538 bytes; MQTT allows 65,535");
            let mut versions = vec![Version::V5];
            if !name.contains("properties") {
                versions.push(Version::V311);
            }
            for version in versions {
                let connect = Connect {
                    version,
                    will: Some(&will),
                    ..PLAIN
                };
                assert_refused(&connect, &expected);
            }
        }
        for (topic, what) in [
            ("", "is empty"),
            (
                "secret/#",
                "holds a wildcard; messages are published on one topic",
            ),
            ("secret\0", "holds a NUL character"),
        ] {
            let will = Will {
                topic: topic.to_owned(),
                ..will(0, 0, false, 0)
            };
            let connect = Connect {
                will: Some(&will),
                ..PLAIN
            };
            assert_refused(&connect, &format!("will.topic {what}"));
        }

        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let name = "connectProperties.userProperties";
        let many = vec![pair("", &long[..65_531]); 17];
        for (pairs, expected) in [
            (
                vec![pair("k", "v"), pair(&long, "v")],
                format!("a key of {name} takes 65538 bytes; MQTT allows 65,535"),
            ),
            (
                vec![pair("k", "v"), pair("k", "secret\0")],
                format!("a value of {name} holds a NUL character"),
            ),
            (
                many,
                format!("{name} take 1114112 bytes; at most 1,048,576 are allowed"),
            ),
        ] {
            let connect = Connect {
                version: Version::V5,
                user_properties: &pairs,
                ..PLAIN
            };
            assert_refused(&connect, &expected);
        }
    }

    fn assert_refused(connect: &Connect<'_>, expected: &str) {
        let mut out = BytesMut::new();
        let failure = encode_connect(connect, &mut out).unwrap_err();
        assert_eq!(failure.code(), Code::InvalidOption);
        assert_eq!(failure.message(), expected);
        assert!(out.is_empty());
    }
}
