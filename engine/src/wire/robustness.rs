//! No bytes, however broken, do more than fail.

use bytes::BytesMut;
use fastrand::Rng;
use rumqttc::v5::mqttbytes::v5 as rumqttc_v5;

use super::{
    Inbound, OutboundPublish, Publish, Version, next_frame, read,
    testing::{V5, V311, packet, properties, read_one},
};
use crate::error::Code;

/// Valid packets of every kind that a server sends.
fn valid(version: Version) -> Vec<Vec<u8>> {
    let mut all = vec![
        packet(0xd0, &[]),
        packet(0xe0, &[]),
        packet(0x40, &[&[0, 1]]),
        packet(0x30, &[b"\x00\x03a/b\x00", b"0123456789"]),
        packet(0x32, &[b"\x00\x03a/b\x01\x02\x00", &[7; 300]]),
    ];
    match version {
        V311 => all.extend([
            packet(0x20, &[&[1, 0]]),
            packet(0x90, &[&[0, 1, 0, 1, 0x80]]),
            packet(0xb0, &[&[0, 1]]),
        ]),
        V5 => {
            let reason = properties(&[b"\x1f\x00\x03why", b"\x26\x00\x01k\x00\x01v"]);
            let granted = properties(&[
                b"\x11\x00\x00\x0e\x10",
                b"\x12\x00\x02id",
                b"\x13\x00\x3c",
                b"\x1f\x00\x02hi",
                b"\x21\x00\x64",
                b"\x22\x00\x08",
                b"\x24\x01\x25\x01\x28\x01\x29\x00\x2a\x01",
                b"\x27\x00\x02\x48\x00",
                b"\x26\x00\x01k\x00\x01v",
            ]);
            let message = properties(&[
                b"\x01\x01\x02\x00\x00\x00\x3c\x23\x00\x01",
                b"\x03\x00\x01c\x08\x00\x01r\x09\x00\x02\xff\x00",
                b"\x26\x00\x01k\x00\x01v\x0b\x05\x0b\x80\x01",
            ]);
            all.extend([
                packet(0x20, &[&[1, 0], &granted]),
                packet(0x40, &[&[0, 1, 0x87], &reason]),
                packet(0x90, &[&[0, 1], &reason, &[0, 1, 0x87]]),
                packet(0xb0, &[&[0, 1], &reason, &[0, 0x11]]),
                packet(0xe0, &[&[0x8e], &reason]),
                packet(0x32, &[b"\x00\x01t\x00\x09", &message, b"payload"]),
            ]);
        }
    }
    all
}

#[test]
fn every_truncation_waits_or_fails() {
    for version in [V311, V5] {
        for bytes in valid(version) {
            assert!(read_one(version, &bytes).is_ok(), "{bytes:02x?}");
            for end in 0..bytes.len() {
                let frame = next_frame(&bytes[..end], usize::MAX).unwrap();
                assert!(frame.is_none(), "{bytes:02x?} cut at {end}");
            }
            // The same packet with a length that fits what is left of its body.
            let frame = next_frame(&bytes, usize::MAX).unwrap().unwrap();
            for end in 0..frame.body.len() {
                check(version, &packet(frame.header, &[&frame.body[..end]]));
            }
        }
    }
}

#[test]
fn trailing_bytes_fail_unless_they_are_payload_or_codes() {
    for version in [V311, V5] {
        for bytes in valid(version) {
            let frame = next_frame(&bytes, usize::MAX).unwrap().unwrap();
            let longer = packet(frame.header, &[frame.body, &[0x7e; 3]]);
            let open = match read_one(version, &bytes).unwrap() {
                Inbound::Publish(_) | Inbound::SubAck(_) => true,
                Inbound::UnsubAck(_) => version == V5,
                _ => false,
            };
            assert_eq!(read_one(version, &longer).is_ok(), open, "{longer:02x?}");
        }
    }
}

#[test]
fn mutated_packets_never_panic() {
    let mut rng = Rng::with_seed(0x6d71_7474);
    let corpora = [V311, V5].map(|version| (version, valid(version)));
    for _ in 0..150_000 {
        let (version, corpus) = rng.choice(&corpora).unwrap();
        let mut bytes = rng.choice(corpus).unwrap().clone();
        for _ in 0..rng.usize(1..4) {
            mutate(&mut bytes, &mut rng);
        }
        check(*version, &bytes);
        // With a length that fits, so that the mutation reaches the readers.
        if bytes.len() > 2 {
            check(*version, &packet(bytes[0], &[&bytes[2..]]));
        }
    }
}

#[test]
fn random_bytes_never_panic() {
    let mut rng = Rng::with_seed(0x7261_6e64);
    let mut bytes = [0; 64];
    for _ in 0..100_000 {
        let bytes = &mut bytes[..rng.usize(0..64)];
        rng.fill(bytes);
        for version in [V311, V5] {
            check(version, bytes);
            let header = rng.u8(..) & 0xf2;
            check(version, &packet(header, &[bytes]));
        }
    }
}

fn mutate(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let at = rng.usize(..bytes.len());
    match rng.u8(..6) {
        0 => bytes[at] ^= 1 << rng.u8(..8),
        1 => bytes[at] = rng.u8(..),
        2 => bytes[at] = *rng.choice(&[0x00, 0x01, 0x7f, 0x80, 0xff]).unwrap(),
        3 => bytes.insert(at, rng.u8(..)),
        4 if bytes.len() > 1 => drop(bytes.remove(at)),
        _ => {
            let end = rng.usize(at..bytes.len()).min(at + 8);
            bytes.extend_from_within(at..end);
        }
    }
}

/// Reads all packets in `bytes`: each is within what the readers promise, or fails as a violation of the protocol.
fn check(version: Version, mut bytes: &[u8]) {
    loop {
        let frame = match next_frame(bytes, 1_000_000) {
            Ok(Some(frame)) => frame,
            Ok(None) => return,
            Err(failure) => return assert_eq!(failure.code(), Code::Protocol),
        };
        match read(version, &frame) {
            Err(failure) => assert_eq!(failure.code(), Code::Protocol),
            Ok(Inbound::ConnAck(ack)) => {
                assert!(ack.receive_maximum > 0 && ack.maximum_qos <= 1);
                assert_ne!(ack.maximum_packet_size, Some(0));
            }
            Ok(Inbound::Publish(publish)) => {
                check_publish(&publish);
                if version == V5 {
                    check_against_rumqttc(&publish, &bytes[..frame.len]);
                    check_sent_on(&publish);
                }
            }
            Ok(Inbound::PubAck(ack)) => assert_ne!(ack.packet_id, 0),
            Ok(Inbound::SubAck(ack) | Inbound::UnsubAck(ack)) => assert_ne!(ack.packet_id, 0),
            Ok(Inbound::PingResp | Inbound::Disconnect(_)) => {}
        }
        bytes = &bytes[frame.len..];
    }
}

fn check_publish(publish: &Publish<'_>) {
    assert_eq!(publish.packet_id == 0, publish.qos == 0);
    assert!(publish.qos <= 1);
    assert!(!publish.topic.contains(['+', '#', '\0']));
    assert!(!publish.topic.is_empty() || publish.topic_alias.is_some());
    assert_ne!(publish.topic_alias, Some(0));
}

/// What we accept, a decoder by others accepts too, and reads the same.
fn check_against_rumqttc(publish: &Publish<'_>, bytes: &[u8]) {
    let mut bytes = BytesMut::from(bytes);
    let Ok(rumqttc_v5::Packet::Publish(theirs)) = rumqttc_v5::Packet::read(&mut bytes, None) else {
        panic!("rumqttc refuses {publish:?}")
    };
    assert_eq!(theirs.topic, publish.topic.as_bytes());
    assert_eq!(theirs.payload, publish.payload);
    assert_eq!(
        (theirs.pkid, theirs.dup, theirs.retain),
        (publish.packet_id, publish.dup, publish.retain)
    );
    let ours = publish.properties.as_deref().cloned().unwrap_or_default();
    let theirs = theirs.properties.unwrap_or_default();
    assert_eq!(theirs.topic_alias, publish.topic_alias);
    assert_eq!(theirs.message_expiry_interval, ours.message_expiry_interval);
    assert_eq!(theirs.response_topic, ours.response_topic);
    assert_eq!(theirs.user_properties, ours.user_properties);
}

/// What we accept, we can send on with its properties, under an alias or not.
fn check_sent_on(publish: &Publish<'_>) {
    let mut properties = publish.properties.as_deref().cloned().unwrap_or_default();
    let outbound = OutboundPublish::with_properties(
        publish.topic,
        publish.payload,
        publish.qos,
        publish.retain,
        &properties,
    );
    properties.subscription_identifiers.clear();
    let (packet_id, dup) = (publish.packet_id, publish.dup && publish.qos > 0);
    for (alias, known) in [(None, false), (Some(9), false), (Some(9), true)] {
        let mut out = BytesMut::new();
        match alias {
            // A topic may be empty only beside an alias.
            None if publish.topic.is_empty() => continue,
            None => outbound.write(packet_id, dup, &mut out),
            Some(alias) => outbound.write_aliased(packet_id, dup, alias, known, &mut out),
        }
        let Ok(Inbound::Publish(read)) = read_one(V5, &out) else {
            panic!("{publish:?} became {out:?}")
        };
        assert_eq!(read.topic, if known { "" } else { publish.topic });
        assert_eq!((read.payload, read.topic_alias), (publish.payload, alias));
        assert_eq!(
            (read.packet_id, read.qos, read.retain, read.dup),
            (packet_id, publish.qos, publish.retain, dup)
        );
        let list = read.properties.as_deref().cloned().unwrap_or_default();
        assert_eq!(list, properties);
    }
}
