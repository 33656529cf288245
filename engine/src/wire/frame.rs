use bytes::BufMut;

use crate::error::{Failure, Result};

/// One complete packet: type and flags, body without fixed header, whole length.
#[derive(Debug)]
pub struct Frame<'a> {
    pub header: u8,
    pub body: &'a [u8],
    pub len: usize,
}

/// The first complete packet in `bytes`; `None` if more bytes are needed (MQTT 5, section 2.1).
///
/// A first byte that no MQTT packet has, a malformed length and a packet larger than `max_packet` fail at once,
/// from the fixed header alone: a peer that speaks something else is not waited for, a huge packet not received.
pub fn next_frame(bytes: &[u8], max_packet: usize) -> Result<Option<Frame<'_>>> {
    let Some((&header, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    if kind(header) != PUBLISH {
        check_flags(header).map_err(|failure| not_mqtt(bytes).unwrap_or(failure))?;
    }
    let name = packet_name(header);
    let (remaining, size) = match decode_variable(rest) {
        Ok(Some(length)) => length,
        Ok(None) => return Ok(None),
        Err(TooLong) => {
            return Err(Failure::protocol(format!(
                "malformed {name}: its length takes more than four bytes"
            )));
        }
    };
    // At most 268,435,455, so neither the cast nor the sum can overflow.
    let remaining = remaining as usize;
    let len = 1 + size + remaining;
    if len > max_packet {
        return Err(Failure::protocol(format!(
            "the server sent a {name} of {len} bytes, more than the {max_packet} that this side takes"
        )));
    }
    let body = rest.get(size..size + remaining);
    Ok(body.map(|body| Frame { header, body, len }))
}

/// The name of a packet by the first byte of its fixed header, for logs and errors.
pub fn packet_name(header: u8) -> &'static str {
    const NAMES: [&str; 16] = [
        "packet of type 0",
        "CONNECT",
        "CONNACK",
        "PUBLISH",
        "PUBACK",
        "PUBREC",
        "PUBREL",
        "PUBCOMP",
        "SUBSCRIBE",
        "SUBACK",
        "UNSUBSCRIBE",
        "UNSUBACK",
        "PINGREQ",
        "PINGRESP",
        "DISCONNECT",
        "AUTH",
    ];
    NAMES[usize::from(kind(header))]
}

pub(super) const CONNACK: u8 = 2;
pub(super) const PUBLISH: u8 = 3;
pub(super) const PUBACK: u8 = 4;
const PUBREL: u8 = 6;
const SUBSCRIBE: u8 = 8;
pub(super) const SUBACK: u8 = 9;
const UNSUBSCRIBE: u8 = 10;
pub(super) const UNSUBACK: u8 = 11;
pub(super) const PINGRESP: u8 = 13;
pub(super) const DISCONNECT: u8 = 14;

/// The packet type in the first byte of a fixed header.
pub(super) fn kind(header: u8) -> u8 {
    header >> 4
}

/// Checks that the type is not reserved and that the flags have the one value the type allows (MQTT 5, section 2.1.3).
pub(super) fn check_flags(header: u8) -> Result<()> {
    let expected = match kind(header) {
        0 => return Err(Failure::protocol("malformed packet: its type is 0")),
        PUBLISH => return Ok(()),
        PUBREL | SUBSCRIBE | UNSUBSCRIBE => 0b0010,
        _ => 0,
    };
    let flags = header & 0x0f;
    if flags == expected {
        return Ok(());
    }
    Err(Failure::protocol(format!(
        "malformed {}: its reserved flags are 0x{flags:x}",
        packet_name(header)
    )))
}

/// A variable byte integer takes at most four bytes (MQTT 5, section 1.5.5).
pub(super) struct TooLong;

/// A variable byte integer and the bytes it takes; `None` if `bytes` ends before it does.
///
/// A longer form than needed is accepted: MQTT 3.1.1 does not forbid it.
pub(super) fn decode_variable(bytes: &[u8]) -> std::result::Result<Option<(u32, usize)>, TooLong> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() < 4 {
        Ok(None)
    } else {
        Err(TooLong)
    }
}

/// Writes a variable byte integer. Every caller's sum of checked lengths is below its limit of 268,435,455.
pub(super) fn put_variable(mut value: usize, out: &mut impl BufMut) {
    debug_assert!(value <= 268_435_455);
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// The bytes that [`put_variable`] writes.
pub(super) fn variable_size(value: usize) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

/// The commonest peer that is no broker: a web server or a proxy that answers in HTTP.
fn not_mqtt(bytes: &[u8]) -> Option<Failure> {
    const HTTP: &[u8] = b"HTTP/";
    HTTP.starts_with(&bytes[..bytes.len().min(HTTP.len())])
        .then(|| Failure::protocol("the server answered in HTTP, not in MQTT"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    const MAX: usize = 300_000_000;

    #[test]
    fn needs_the_whole_packet() {
        assert!(next_frame(&[], MAX).unwrap().is_none());
        for incomplete in [
            &[0x30][..],
            &[0x30, 0x02, 0x00],
            &[0x30, 0x80],
            &[0x30, 0xff, 0xff, 0xff],
        ] {
            assert!(next_frame(incomplete, MAX).unwrap().is_none());
        }
        let frame = next_frame(&[0xd0, 0x00, 0x30, 0x02], MAX).unwrap().unwrap();
        assert_eq!((frame.header, frame.body, frame.len), (0xd0, &[][..], 2));
    }

    #[test]
    fn reads_every_length_at_its_edges() {
        for remaining in [
            0, 1, 126, 127, 128, 129, 16_383, 16_384, 2_097_151, 2_097_152, 3_000_000,
        ] {
            let mut bytes = vec![0x30];
            put_variable(remaining, &mut bytes);
            let header = bytes.len();
            assert_eq!(header, 1 + variable_size(remaining));
            bytes.resize(header + remaining, 0xaa);
            let frame = next_frame(&bytes, MAX).unwrap().unwrap();
            assert_eq!((frame.body.len(), frame.len), (remaining, bytes.len()));
            if remaining > 0 {
                let short = &bytes[..bytes.len() - 1];
                assert!(next_frame(short, MAX).unwrap().is_none());
            }
            bytes.push(0xd0);
            assert_eq!(
                next_frame(&bytes, MAX).unwrap().unwrap().len,
                bytes.len() - 1
            );
        }
    }

    #[test]
    fn refuses_five_byte_lengths_and_reserved_first_bytes() {
        for (bytes, expected) in [
            (&[0x30, 0x80, 0x80, 0x80, 0x80][..], "more than four bytes"),
            (
                &[0x30, 0xff, 0xff, 0xff, 0xff, 0x01],
                "more than four bytes",
            ),
            (&[0x00, 0x00], "type is 0"),
            (&[0x21], "malformed CONNACK: its reserved flags are 0x1"),
            (&[0x60], "malformed PUBREL"),
            (&[0x80], "malformed SUBSCRIBE"),
            (b"H", "in HTTP"),
            (b"HTTP/1.1 400 Bad Request\r\n", "in HTTP"),
            (b"HELO", "malformed PUBACK"),
        ] {
            let failure = next_frame(bytes, MAX).unwrap_err();
            assert_eq!(failure.code(), Code::Protocol);
            assert!(failure.message().contains(expected), "{failure}");
        }
        assert!(next_frame(&[0x82, 0x00], MAX).is_ok());
    }

    #[test]
    fn refuses_a_large_packet_before_it_arrives() {
        let failure = next_frame(&[0x30, 0xff, 0xff, 0xff, 0x7f], 1_000).unwrap_err();
        assert_eq!(failure.code(), Code::Protocol);
        assert_eq!(
            failure.message(),
            "the server sent a PUBLISH of 268435460 bytes, more than the 1000 that this side takes"
        );
        assert!(next_frame(&[0x30, 98], 100).unwrap().is_none());
        assert!(next_frame(&[0x30, 99], 100).is_err());
        assert!(next_frame(&[0x30, 0], 0).is_err());
    }

    #[test]
    fn names_packets() {
        assert_eq!(packet_name(0x3d), "PUBLISH");
        assert_eq!(packet_name(0xe0), "DISCONNECT");
        assert_eq!(packet_name(0xf0), "AUTH");
    }
}
