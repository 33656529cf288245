use bytes::BufMut;

use super::{
    PublishProperties, Version,
    field::{check_field, check_topic, field_size, put_field},
    frame::{put_variable, variable_size},
    reader::property,
};
use crate::error::Result;

/// The message that the server publishes when the connection is lost (MQTT 5, section 3.1.2.5). What it says is
/// private to the app, hence no `Debug`.
pub struct Will {
    pub topic: String,
    pub payload: Vec<u8>,
    /// 0 or 1.
    pub qos: u8,
    pub retain: bool,
    /// How long the server waits for the client to come back. Like the properties, in MQTT 5 only.
    pub delay_seconds: u32,
    pub properties: PublishProperties,
}

impl Will {
    /// Its bits among the flags of CONNECT.
    pub(super) fn flags(&self) -> u8 {
        debug_assert!(self.qos <= 1, "IoT Core has no QoS 2");
        1 << 2 | self.qos << 3 | u8::from(self.retain) << 5
    }

    /// Checks all that CONNECT of this version says of it.
    pub fn check(&self, version: Version) -> Result<()> {
        check_topic(format_args!("will.topic"), &self.topic)?;
        check_field(format_args!("will.payload"), &self.payload)?;
        match version {
            Version::V311 => Ok(()),
            Version::V5 => self.properties.check_as("will.properties"),
        }
    }

    /// The bytes that [`Will::put`] writes.
    pub(super) fn size(&self, version: Version) -> usize {
        let list = match version {
            Version::V311 => 0,
            Version::V5 => variable_size(self.list_size()) + self.list_size(),
        };
        list + field_size(self.topic.as_bytes()) + field_size(&self.payload)
    }

    /// Writes the part of the payload of CONNECT that follows the client id.
    pub(super) fn put(&self, version: Version, out: &mut impl BufMut) {
        if version == Version::V5 {
            put_variable(self.list_size(), out);
            if self.delay_seconds > 0 {
                out.put_u8(property::WILL_DELAY);
                out.put_u32(self.delay_seconds);
            }
            self.properties.put(out);
        }
        put_field(self.topic.as_bytes(), out);
        put_field(&self.payload, out);
    }

    /// 0 seconds are the default, and not sent.
    fn list_size(&self) -> usize {
        let delay = if self.delay_seconds > 0 { 5 } else { 0 };
        delay + self.properties.size()
    }
}
