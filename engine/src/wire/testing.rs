//! Packets by hand, for the tests of this folder.

use super::{Inbound, PublishProperties, Version, frame::put_variable, next_frame, read};
use crate::error::{Code, Failure, Result};

pub(super) use Version::{V5, V311};

/// A packet with the length that its body has.
pub(super) fn packet(header: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut packet = vec![header];
    put_variable(body.len(), &mut packet);
    packet.extend(body);
    packet
}

/// A list of properties with the length that it has.
pub(super) fn properties(parts: &[&[u8]]) -> Vec<u8> {
    let list = parts.concat();
    let mut properties = Vec::new();
    put_variable(list.len(), &mut properties);
    properties.extend(list);
    properties
}

/// Reads bytes that hold exactly one packet.
pub(super) fn read_one(version: Version, bytes: &[u8]) -> Result<Inbound<'_>> {
    let frame = next_frame(bytes, usize::MAX)?.expect("a whole packet");
    assert_eq!(frame.len, bytes.len());
    read(version, &frame)
}

/// Reads a packet that must be refused.
pub(super) fn refusal(version: Version, bytes: &[u8]) -> Failure {
    match read_one(version, bytes) {
        Ok(packet) => panic!("{bytes:02x?} was read as {packet:?}"),
        Err(failure) => {
            assert_eq!(failure.code(), Code::Protocol);
            failure
        }
    }
}

/// Checks that each packet is refused with a message that holds the text beside it.
pub(super) fn assert_refused(version: Version, cases: &[(&[u8], &str)]) {
    for (bytes, expected) in cases {
        let failure = refusal(version, bytes);
        assert!(
            failure.message().contains(expected),
            "{bytes:02x?}: {failure}, expected: {expected}"
        );
    }
}

/// Properties of a message, of which each bit of `mask` sets one.
pub(super) fn sample(mask: u8) -> PublishProperties {
    let has = |bit: u8| mask >> bit & 1 == 1;
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    PublishProperties {
        payload_format: has(0).then_some(1),
        message_expiry_interval: has(1).then_some(0x0102_0304),
        content_type: has(2).then(|| "text/plain".to_owned()),
        response_topic: has(3).then(|| "ä/answers".to_owned()),
        correlation_data: has(4).then(|| vec![0, 0xff, 2]),
        user_properties: match has(5) {
            true => vec![pair("k", "1"), pair("k", ""), pair("", "ü")],
            false => vec![],
        },
        subscription_identifiers: vec![],
    }
}
