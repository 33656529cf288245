use bytes::{BufMut, BytesMut};
use rumqttc::{mqttbytes as v4, v5::mqttbytes as v5};

use super::{Version, reader::property};

/// Writes PUBACK in the form of four bytes, which is legal in both versions (MQTT 5, section 3.4).
pub fn encode_puback(packet_id: u16, out: &mut BytesMut) {
    let [high, low] = packet_id.to_be_bytes();
    out.put_slice(&[0x40, 0x02, high, low]);
}

/// Writes SUBSCRIBE (MQTT 5, section 3.8). The caller has checked the filters; QoS is 0 or 1.
pub fn encode_subscribe(
    version: Version,
    packet_id: u16,
    filters: &[(&str, u8)],
    out: &mut BytesMut,
) {
    let written = match version {
        Version::V311 => {
            let mut subscribe =
                v4::v4::Subscribe::new_many(filters.iter().map(|&(filter, qos)| {
                    let qos = if qos == 0 {
                        v4::QoS::AtMostOnce
                    } else {
                        v4::QoS::AtLeastOnce
                    };
                    v4::v4::SubscribeFilter::new(filter.to_owned(), qos)
                }));
            subscribe.pkid = packet_id;
            subscribe.write(out).is_ok()
        }
        Version::V5 => {
            let filters = filters.iter().map(|&(filter, qos)| {
                let qos = if qos == 0 {
                    v5::QoS::AtMostOnce
                } else {
                    v5::QoS::AtLeastOnce
                };
                v5::v5::Filter::new(filter, qos)
            });
            let mut subscribe = v5::v5::Subscribe::new_many(filters, None);
            subscribe.pkid = packet_id;
            subscribe.write(out).is_ok()
        }
    };
    debug_assert!(written, "SUBSCRIBE over 256 MiB");
}

/// Writes UNSUBSCRIBE (MQTT 5, section 3.10). The caller has checked the filters.
pub fn encode_unsubscribe(version: Version, packet_id: u16, filters: &[&str], out: &mut BytesMut) {
    let filters = filters.iter().map(|&filter| filter.to_owned()).collect();
    let written = match version {
        Version::V311 => {
            let unsubscribe = v4::v4::Unsubscribe {
                pkid: packet_id,
                topics: filters,
            };
            unsubscribe.write(out).is_ok()
        }
        Version::V5 => {
            let unsubscribe = v5::v5::Unsubscribe {
                pkid: packet_id,
                filters,
                properties: None,
            };
            unsubscribe.write(out).is_ok()
        }
    };
    debug_assert!(written, "UNSUBSCRIBE over 256 MiB");
}

/// Writes PINGREQ (MQTT 5, section 3.12).
pub fn encode_pingreq(out: &mut BytesMut) {
    out.put_slice(&[0xc0, 0x00]);
}

/// Writes DISCONNECT (MQTT 5, section 3.14). Reason and session expiry do not exist in MQTT 3.1.1.
pub fn encode_disconnect(
    version: Version,
    reason: u8,
    session_expiry_seconds: Option<u32>,
    out: &mut BytesMut,
) {
    match (version, reason, session_expiry_seconds) {
        (Version::V311, ..) | (Version::V5, 0, None) => out.put_slice(&[0xe0, 0x00]),
        (Version::V5, _, None) => out.put_slice(&[0xe0, 0x01, reason]),
        (Version::V5, _, Some(seconds)) => {
            out.put_slice(&[0xe0, 0x07, reason, 0x05, property::SESSION_EXPIRY]);
            out.put_u32(seconds);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
        let mut out = BytesMut::from("before");
        write(&mut out);
        out.strip_prefix(b"before").unwrap().to_vec()
    }

    #[test]
    fn writes_puback_and_pingreq() {
        assert_eq!(
            written(|out| encode_puback(0x1234, out)),
            b"\x40\x02\x12\x34"
        );
        assert_eq!(written(encode_pingreq), b"\xc0\x00");
    }

    #[test]
    fn writes_subscribe() {
        let filters = [("a/#", 1), ("$share/g/+", 0)];
        assert_eq!(
            written(|out| encode_subscribe(Version::V311, 0x1234, &filters, out)),
            b"\x82\x15\x12\x34\x00\x03a/#\x01\x00\x0a$share/g/+\x00"
        );
        assert_eq!(
            written(|out| encode_subscribe(Version::V5, 0x1234, &filters, out)),
            b"\x82\x16\x12\x34\x00\x00\x03a/#\x01\x00\x0a$share/g/+\x00"
        );
    }

    #[test]
    fn writes_unsubscribe() {
        assert_eq!(
            written(|out| encode_unsubscribe(Version::V311, 2, &["a/#", "b"], out)),
            b"\xa2\x0a\x00\x02\x00\x03a/#\x00\x01b"
        );
        assert_eq!(
            written(|out| encode_unsubscribe(Version::V5, 2, &["a/#", "b"], out)),
            b"\xa2\x0b\x00\x02\x00\x00\x03a/#\x00\x01b"
        );
    }

    #[test]
    fn writes_the_shortest_disconnect() {
        for (version, reason, expiry, expected) in [
            (Version::V311, 0x04, Some(1), &b"\xe0\x00"[..]),
            (Version::V5, 0x00, None, b"\xe0\x00"),
            (Version::V5, 0x04, None, b"\xe0\x01\x04"),
            (
                Version::V5,
                0x00,
                Some(0),
                b"\xe0\x07\x00\x05\x11\x00\x00\x00\x00",
            ),
            (
                Version::V5,
                0x82,
                Some(3_600),
                b"\xe0\x07\x82\x05\x11\x00\x00\x0e\x10",
            ),
        ] {
            let bytes = written(|out| encode_disconnect(version, reason, expiry, out));
            assert_eq!(bytes, expected);
        }
    }

    #[test]
    fn rumqttc_reads_a_disconnect_with_a_session_expiry() {
        let mut out = BytesMut::new();
        encode_disconnect(Version::V5, 0x04, Some(0), &mut out);
        let Ok(v5::v5::Packet::Disconnect(read)) = v5::v5::Packet::read(&mut out, None) else {
            panic!()
        };
        assert_eq!(
            read.reason_code,
            v5::v5::DisconnectReasonCode::DisconnectWithWillMessage
        );
        assert_eq!(read.properties.unwrap().session_expiry_interval, Some(0));
    }
}
