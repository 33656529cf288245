use std::fmt::Arguments;

use bytes::BufMut;

use super::{
    field::{check_field, check_text, check_topic, field_size, put_field},
    reader::{Reader, property},
    user_properties,
};
use crate::error::{Failure, Result};

/// How much a list of properties may take. MQTT has no limit but that of the packet; this one is far above what any
/// server takes and keeps every length of a packet within four bytes.
const MAX_BYTES: usize = 1024 * 1024;

/// What a message of MQTT 5 says about its payload (MQTT 5, section 3.3.2.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishProperties {
    /// 0: bytes. 1: UTF-8, says the sender.
    pub payload_format: Option<u8>,
    /// Seconds that are left of the message's life.
    pub message_expiry_interval: Option<u32>,
    pub content_type: Option<String>,
    pub response_topic: Option<String>,
    pub correlation_data: Option<Vec<u8>>,
    /// In the sender's order; keys may repeat.
    pub user_properties: Vec<(String, String)>,
    /// Of the subscriptions that matched: only the server sends them.
    pub subscription_identifiers: Vec<u32>,
}

impl PublishProperties {
    /// Whether the properties can be sent. A failure names the property and does not quote it.
    pub fn check(&self) -> Result<()> {
        self.check_as("properties")
    }

    /// The bytes that the properties take in a packet, without the length of the list.
    pub fn size(&self) -> usize {
        let text = |field: &Option<String>| {
            field
                .as_ref()
                .map_or(0, |field| 1 + field_size(field.as_bytes()))
        };
        self.message_expiry_interval.map_or(0, |_| 5)
            + self.payload_format.map_or(0, |_| 2)
            + text(&self.content_type)
            + text(&self.response_topic)
            + self
                .correlation_data
                .as_ref()
                .map_or(0, |data| 1 + field_size(data))
            + user_properties::size(&self.user_properties)
    }

    /// [`PublishProperties::check`] for properties that the app knows as `name`.
    pub(super) fn check_as(&self, name: &str) -> Result<()> {
        if let Some(text) = &self.content_type {
            check_text(format_args!("{name}.contentType"), text)?;
        }
        if let Some(topic) = &self.response_topic {
            check_topic(format_args!("{name}.responseTopic"), topic)?;
        }
        if let Some(data) = &self.correlation_data {
            check_field(format_args!("{name}.correlationData"), data)?;
        }
        user_properties::check(format_args!("{name}.userProperties"), &self.user_properties)?;
        check_list(format_args!("{name}"), self.size())
    }

    /// Writes properties that [`PublishProperties::check`] has passed, without the length of the list. The message
    /// expiry is first, so that it can be found again.
    pub(super) fn put(&self, out: &mut impl BufMut) {
        if let Some(seconds) = self.message_expiry_interval {
            out.put_u8(property::MESSAGE_EXPIRY);
            out.put_u32(seconds);
        }
        if let Some(format) = self.payload_format {
            debug_assert!(format <= 1);
            out.put_u8(property::PAYLOAD_FORMAT);
            out.put_u8(format);
        }
        for (id, field) in [
            (property::CONTENT_TYPE, self.content_type.as_deref()),
            (property::RESPONSE_TOPIC, self.response_topic.as_deref()),
        ] {
            if let Some(text) = field {
                out.put_u8(id);
                put_field(text.as_bytes(), out);
            }
        }
        if let Some(data) = &self.correlation_data {
            out.put_u8(property::CORRELATION_DATA);
            put_field(data, out);
        }
        user_properties::put(&self.user_properties, out);
    }

    /// The topic alias and, if there is anything else, the rest.
    pub(super) fn read(mut list: Reader<'_>) -> Result<(Option<u16>, Option<Box<Self>>)> {
        let mut alias = None;
        let mut properties: Option<Box<Self>> = None;
        while let Some(id) = list.property()? {
            if id == property::TOPIC_ALIAS {
                alias = Some(list.positive_u16("topic alias")?);
                continue;
            }
            let found = properties.get_or_insert_default();
            match id {
                property::PAYLOAD_FORMAT => {
                    found.payload_format = Some(list.flag("payload format")?.into());
                }
                property::MESSAGE_EXPIRY => found.message_expiry_interval = Some(list.u32()?),
                property::CONTENT_TYPE => {
                    found.content_type = Some(list.string("content type")?.to_owned());
                }
                property::RESPONSE_TOPIC => {
                    found.response_topic = Some(list.string("response topic")?.to_owned());
                }
                property::CORRELATION_DATA => {
                    found.correlation_data = Some(list.binary()?.to_owned());
                }
                property::USER_PROPERTY => {
                    let (key, value) = list.user_property()?;
                    found
                        .user_properties
                        .push((key.to_owned(), value.to_owned()));
                }
                property::SUBSCRIPTION_IDENTIFIER => {
                    let identifier = list.variable()?;
                    if identifier == 0 {
                        return Err(list.malformed("its subscription identifier is 0"));
                    }
                    found.subscription_identifiers.push(identifier);
                }
                _ => return Err(list.foreign_property(id)),
            }
        }
        Ok((alias, properties))
    }
}

/// Checks how much a list of properties takes.
pub(super) fn check_list(name: Arguments<'_>, size: usize) -> Result<()> {
    if size <= MAX_BYTES {
        return Ok(());
    }
    Err(Failure::option(format!(
        "{name} take {size} bytes; at most 1,048,576 are allowed"
    )))
}

#[cfg(test)]
mod tests {
    use super::{super::testing::sample, *};
    use crate::error::Code;

    fn written(properties: &PublishProperties) -> Vec<u8> {
        let mut out = Vec::new();
        properties.put(&mut out);
        assert_eq!(out.len(), properties.size());
        out
    }

    fn refusal(properties: &PublishProperties) -> String {
        let failure = properties.check().unwrap_err();
        assert_eq!(failure.code(), Code::InvalidOption);
        failure.message().to_owned()
    }

    #[test]
    fn matches_the_bytes_of_the_specification() {
        assert_eq!(written(&PublishProperties::default()), b"");
        let properties = PublishProperties {
            payload_format: Some(1),
            message_expiry_interval: Some(0x0001_0203),
            content_type: Some("c".to_owned()),
            response_topic: Some("r/s".to_owned()),
            correlation_data: Some(vec![0, 0xff]),
            user_properties: vec![
                ("k".to_owned(), "1".to_owned()),
                ("k".to_owned(), String::new()),
            ],
            subscription_identifiers: vec![1, 2],
        };
        assert_eq!(
            written(&properties),
            b"\x02\x00\x01\x02\x03\x01\x01\x03\x00\x01c\x08\x00\x03r/s\x09\x00\x02\x00\xff\
            \x26\x00\x01k\x00\x011\x26\x00\x01k\x00\x00"
        );
    }

    #[test]
    fn reads_back_every_combination() {
        for mask in 0..64 {
            let properties = sample(mask);
            assert!(properties.check().is_ok());
            let list = written(&properties);
            let (alias, read) = PublishProperties::read(Reader::new("PUBLISH", &list)).unwrap();
            assert_eq!(alias, None);
            assert_eq!(read.is_none(), mask == 0);
            assert_eq!(read.map(|read| *read).unwrap_or_default(), properties);
        }
    }

    #[test]
    fn sends_the_longest_fields_and_no_longer_ones() {
        type Set = fn(&mut PublishProperties, String);
        let fields: [(Set, &str); 5] = [
            (
                |to, text| to.content_type = Some(text),
                "properties.contentType",
            ),
            (
                |to, text| to.response_topic = Some(text),
                "properties.responseTopic",
            ),
            (
                |to, text| to.correlation_data = Some(text.into_bytes()),
                "properties.correlationData",
            ),
            (
                |to, text| to.user_properties.push((text, String::new())),
                "a key of properties.userProperties",
            ),
            (
                |to, text| to.user_properties.push((String::new(), text)),
                "a value of properties.userProperties",
            ),
        ];
        for (set, name) in fields {
            let mut properties = sample(0b11_1111);
            set(&mut properties, "x".repeat(65_535));
            assert!(properties.check().is_ok());
            set(&mut properties, "ä".repeat(32_768));
            let expected = format!("{name} takes 65536 bytes; MQTT allows 65,535");
            assert_eq!(refusal(&properties), expected);

            let mut properties = sample(0);
            set(&mut properties, "secret\0secret".to_owned());
            if properties.correlation_data.is_some() {
                assert!(properties.check().is_ok());
            } else {
                assert_eq!(
                    refusal(&properties),
                    format!("{name} holds a NUL character")
                );
            }
        }
    }

    #[test]
    fn refuses_what_is_no_topic_to_answer_on() {
        for (topic, expected) in [
            ("", "is empty"),
            (
                "secret/+",
                "holds a wildcard; messages are published on one topic",
            ),
            ("#", "holds a wildcard; messages are published on one topic"),
        ] {
            let properties = PublishProperties {
                response_topic: Some(topic.to_owned()),
                ..PublishProperties::default()
            };
            let expected = format!("properties.responseTopic {expected}");
            assert_eq!(refusal(&properties), expected);
        }
    }

    #[test]
    fn refuses_more_than_a_mebibyte_together() {
        let pair = |bytes: usize| (String::new(), "v".repeat(bytes - 5));
        let mut properties = PublishProperties {
            user_properties: vec![pair(65_536); 16],
            ..PublishProperties::default()
        };
        assert_eq!(properties.size(), 1_048_576);
        assert!(properties.check().is_ok());
        properties.user_properties[7] = pair(65_537);
        assert_eq!(
            refusal(&properties),
            "properties take 1048577 bytes; at most 1,048,576 are allowed"
        );
    }
}
