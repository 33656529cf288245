use super::{
    Version,
    reader::{Reader, property},
};
use crate::error::Result;

/// CONNACK (MQTT 3.1.1, section 3.2; MQTT 5, section 3.2). What the server does not say has its default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnAck {
    /// Never true beside a refusal.
    pub session_present: bool,
    /// 0 accepts. A code that MQTT does not know keeps its number: IoT Core answers 3.1.1 with 7.
    pub code: u8,
    pub reason_string: Option<String>,
    pub assigned_client_id: Option<String>,
    /// Replaces the keep-alive of CONNECT; 0 turns it off.
    pub server_keep_alive: Option<u16>,
    /// Replaces the session expiry of CONNECT.
    pub session_expiry: Option<u32>,
    /// How many QoS 1 messages the server takes at a time. Never 0.
    pub receive_maximum: u16,
    /// Never 0.
    pub maximum_packet_size: Option<u32>,
    /// 0 or 1: this side never sends QoS 2.
    pub maximum_qos: u8,
    pub retain_available: bool,
    /// 0: the server takes no topic aliases.
    pub topic_alias_maximum: u16,
    pub wildcard_subscriptions: bool,
    pub shared_subscriptions: bool,
    pub subscription_identifiers: bool,
}

impl ConnAck {
    pub(super) fn read(version: Version, mut reader: Reader<'_>) -> Result<Self> {
        let session_present = reader.flag("acknowledge flags")?;
        let code = reader.u8()?;
        let mut ack = Self {
            // A refusal must not claim a session. If it does, what counts is why it refuses.
            session_present: session_present && code == 0,
            code,
            reason_string: None,
            assigned_client_id: None,
            server_keep_alive: None,
            session_expiry: None,
            receive_maximum: u16::MAX,
            maximum_packet_size: None,
            maximum_qos: 1,
            retain_available: true,
            topic_alias_maximum: 0,
            wildcard_subscriptions: true,
            shared_subscriptions: true,
            subscription_identifiers: version == Version::V5,
        };
        // A server that speaks only MQTT 3.1.1 refuses MQTT 5 with the CONNACK of MQTT 3.1.1.
        let old_refusal = code != 0 && reader.is_empty();
        if version == Version::V5 && !old_refusal {
            ack.read_properties(reader.properties()?)?;
        }
        reader.end()?;
        Ok(ack)
    }

    fn read_properties(&mut self, mut list: Reader<'_>) -> Result<()> {
        while let Some(id) = list.property()? {
            match id {
                property::SESSION_EXPIRY => self.session_expiry = Some(list.u32()?),
                property::RECEIVE_MAXIMUM => {
                    self.receive_maximum = list.positive_u16("Receive Maximum")?;
                }
                property::MAXIMUM_QOS => self.maximum_qos = list.flag("Maximum QoS")?.into(),
                property::RETAIN_AVAILABLE => {
                    self.retain_available = list.flag("Retain Available")?;
                }
                property::MAXIMUM_PACKET_SIZE => {
                    let size = list.u32()?;
                    if size == 0 {
                        return Err(list.malformed("its Maximum Packet Size is 0"));
                    }
                    self.maximum_packet_size = Some(size);
                }
                property::ASSIGNED_CLIENT_ID => {
                    self.assigned_client_id = Some(list.string("client id")?.to_owned());
                }
                property::TOPIC_ALIAS_MAXIMUM => self.topic_alias_maximum = list.u16()?,
                property::REASON_STRING => {
                    self.reason_string = Some(list.string("reason string")?.to_owned());
                }
                property::WILDCARD_SUBSCRIPTIONS => {
                    self.wildcard_subscriptions = list.flag("Wildcard Subscription Available")?;
                }
                property::SUBSCRIPTION_IDENTIFIERS => {
                    self.subscription_identifiers =
                        list.flag("Subscription Identifier Available")?;
                }
                property::SHARED_SUBSCRIPTIONS => {
                    self.shared_subscriptions = list.flag("Shared Subscription Available")?;
                }
                property::SERVER_KEEP_ALIVE => self.server_keep_alive = Some(list.u16()?),
                // Nothing here acts on the rest.
                property::USER_PROPERTY => {
                    list.user_property()?;
                }
                property::RESPONSE_INFORMATION
                | property::SERVER_REFERENCE
                | property::AUTHENTICATION_METHOD => {
                    list.string("property")?;
                }
                property::AUTHENTICATION_DATA => {
                    list.binary()?;
                }
                _ => return Err(list.foreign_property(id)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use rumqttc::{
        mqttbytes::v4,
        v5::mqttbytes::v5::{self, ConnAckProperties},
    };

    use super::{
        super::{
            Inbound,
            testing::{V5, V311, assert_refused, packet, properties, read_one},
        },
        *,
    };

    fn connack(version: Version, bytes: &[u8]) -> ConnAck {
        match read_one(version, bytes).unwrap() {
            Inbound::ConnAck(ack) => *ack,
            other => panic!("{other:?}"),
        }
    }

    fn defaults() -> ConnAck {
        ConnAck {
            session_present: false,
            code: 0,
            reason_string: None,
            assigned_client_id: None,
            server_keep_alive: None,
            session_expiry: None,
            receive_maximum: 65_535,
            maximum_packet_size: None,
            maximum_qos: 1,
            retain_available: true,
            topic_alias_maximum: 0,
            wildcard_subscriptions: true,
            shared_subscriptions: true,
            subscription_identifiers: true,
        }
    }

    #[test]
    fn keeps_every_code() {
        for code in 0..=0xff {
            assert_eq!(connack(V311, &[0x20, 2, 0, code]).code, code);
            assert_eq!(connack(V5, &[0x20, 3, 0, code, 0]).code, code);
        }
        for code in 1..=0xff {
            assert_eq!(connack(V5, &[0x20, 2, 0, code]).code, code);
        }
    }

    #[test]
    fn has_the_defaults_of_mqtt() {
        assert_eq!(connack(V5, &[0x20, 3, 0, 0, 0]), defaults());
        let old = ConnAck {
            session_present: true,
            subscription_identifiers: false,
            ..defaults()
        };
        assert_eq!(connack(V311, &[0x20, 2, 1, 0]), old);
        assert!(!connack(V311, &[0x20, 2, 1, 5]).session_present);
    }

    #[test]
    fn reads_every_property_that_rumqttc_writes() {
        let mut bytes = BytesMut::new();
        v5::ConnAck {
            session_present: true,
            code: v5::ConnectReturnCode::Success,
            properties: Some(ConnAckProperties {
                session_expiry_interval: Some(3_600),
                receive_max: Some(100),
                max_qos: Some(0),
                retain_available: Some(0),
                max_packet_size: Some(149_504),
                assigned_client_identifier: Some("assigned".to_owned()),
                topic_alias_max: Some(8),
                reason_string: Some("welcome".to_owned()),
                user_properties: vec![("a".to_owned(), "b".to_owned()); 3],
                wildcard_subscription_available: Some(0),
                subscription_identifiers_available: Some(0),
                shared_subscription_available: Some(0),
                server_keep_alive: Some(1_200),
                response_information: Some("information".to_owned()),
                server_reference: Some("reference".to_owned()),
                authentication_method: Some("method".to_owned()),
                authentication_data: Some(vec![0, 1, 2].into()),
            }),
        }
        .write(&mut bytes)
        .unwrap();
        let expected = ConnAck {
            session_present: true,
            code: 0,
            reason_string: Some("welcome".to_owned()),
            assigned_client_id: Some("assigned".to_owned()),
            server_keep_alive: Some(1_200),
            session_expiry: Some(3_600),
            receive_maximum: 100,
            maximum_packet_size: Some(149_504),
            maximum_qos: 0,
            retain_available: false,
            topic_alias_maximum: 8,
            wildcard_subscriptions: false,
            shared_subscriptions: false,
            subscription_identifiers: false,
        };
        assert_eq!(connack(V5, &bytes), expected);

        bytes.clear();
        v4::ConnAck::new(v4::ConnectReturnCode::NotAuthorized, false)
            .write(&mut bytes)
            .unwrap();
        assert_eq!(connack(V311, &bytes).code, 5);
    }

    #[test]
    fn refuses_malformed_ones() {
        assert_refused(
            V311,
            &[
                (&[0x20, 0], "CONNACK: it ends inside"),
                (&[0x20, 1, 0], "ends inside"),
                (&[0x20, 2, 2, 0], "acknowledge flags is 2"),
                (&[0x20, 3, 0, 0, 0], "bytes follow"),
            ],
        );
        assert_refused(
            V5,
            &[
                (&[0x20, 2, 0, 0], "ends inside"),
                (&[0x20, 3, 0x80, 0, 0], "acknowledge flags is 128"),
                (&[0x20, 4, 0, 0, 0, 0], "bytes follow"),
                (&[0x20, 3, 0, 0x87, 5], "ends inside"),
            ],
        );
    }

    #[test]
    fn refuses_malformed_properties() {
        let cases: &[(&[u8], &str)] = &[
            (b"\x21\x00\x00", "Receive Maximum is 0"),
            (b"\x27\x00\x00\x00\x00", "Maximum Packet Size is 0"),
            (b"\x24\x02", "Maximum QoS is 2"),
            (b"\x25\x02", "Retain Available is 2"),
            (b"\x28\xff", "Wildcard Subscription Available is 255"),
            (b"\x29\x02", "Subscription Identifier Available is 2"),
            (b"\x2a\x02", "Shared Subscription Available is 2"),
            (b"\x23\x00\x01", "0x23 does not belong"),
            (b"\x17\x01", "0x17 does not belong"),
            (b"\x40\x01", "0x40 does not belong"),
            (b"\x80\x01", "0x80 does not belong"),
            (b"\x12\x00\x01\xff", "client id is not UTF-8"),
            (b"\x12\x00\x05ab", "ends inside"),
            (b"\x16\x00\x01", "ends inside"),
            (b"\x11\x00\x00", "ends inside"),
        ];
        for (list, expected) in cases {
            let bytes = packet(0x20, &[&[0, 0], &properties(&[list])]);
            assert_refused(V5, &[(&bytes, expected)]);
        }
    }

    #[test]
    fn refuses_each_property_twice() {
        let all: &[&[u8]] = &[
            b"\x11\x00\x00\x00\x01",
            b"\x12\x00\x01a",
            b"\x13\x00\x01",
            b"\x15\x00\x01a",
            b"\x16\x00\x01a",
            b"\x1a\x00\x01a",
            b"\x1c\x00\x01a",
            b"\x1f\x00\x01a",
            b"\x21\x00\x01",
            b"\x22\x00\x01",
            b"\x24\x01",
            b"\x25\x01",
            b"\x27\x00\x00\x00\x01",
            b"\x28\x01",
            b"\x29\x01",
            b"\x2a\x01",
        ];
        for property in all {
            let bytes = packet(0x20, &[&[0, 0], &properties(&[property])]);
            assert!(read_one(V5, &bytes).is_ok());
            let bytes = packet(0x20, &[&[0, 0], &properties(&[property, property])]);
            assert_refused(V5, &[(&bytes, "comes twice")]);
        }
    }
}
