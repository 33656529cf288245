use bytes::{BufMut, BytesMut};

use super::{
    Version,
    frame::{put_variable, variable_size},
    reader::property,
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
    /// The last three exist in MQTT 5 only.
    pub session_expiry_seconds: Option<u32>,
    pub receive_maximum: Option<u16>,
    pub maximum_packet_size: Option<u32>,
}

/// Writes CONNECT. A field that does not fit into MQTT is `ERR_INVALID_OPTION`, and then nothing is written.
pub fn encode_connect(connect: &Connect<'_>, out: &mut BytesMut) -> Result<()> {
    let user_name = connect.user_name.map(str::as_bytes);
    check(connect, user_name)?;
    let properties = properties_size(connect);
    let remaining = 10
        + properties.map_or(0, |size| variable_size(size) + size)
        + field_size(connect.client_id.as_bytes())
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
            | u8::from(connect.password.is_some()) << 6
            | u8::from(connect.user_name.is_some()) << 7,
    );
    out.put_u16(connect.keep_alive_seconds);
    if let Some(size) = properties {
        put_variable(size, out);
        put_properties(connect, out);
    }
    put_field(connect.client_id.as_bytes(), out);
    if let Some(user_name) = user_name {
        put_field(user_name, out);
    }
    if let Some(password) = connect.password {
        put_field(password, out);
    }
    Ok(())
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
}

fn field_size(field: &[u8]) -> usize {
    2 + field.len()
}

/// Writes a field that [`check`] has passed.
fn put_field(field: &[u8], out: &mut BytesMut) {
    out.put_u16(field.len() as u16);
    out.put_slice(field);
}

#[cfg(test)]
mod tests {
    use rumqttc::{
        mqttbytes::v4,
        v5::mqttbytes::v5::{self, ConnectProperties},
    };

    use super::*;
    use crate::error::Code;

    const PLAIN: Connect<'_> = Connect {
        version: Version::V311,
        client_id: "device-1",
        clean_start: true,
        keep_alive_seconds: 60,
        user_name: None,
        password: None,
        session_expiry_seconds: None,
        receive_maximum: None,
        maximum_packet_size: None,
    };

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
    fn options_of_mqtt_5_do_not_reach_3_1_1() {
        let connect = Connect {
            session_expiry_seconds: Some(1),
            receive_maximum: Some(1),
            maximum_packet_size: Some(1),
            ..PLAIN
        };
        assert_eq!(encode(&connect), encode(&PLAIN));
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
}
