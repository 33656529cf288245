//! What a message of MQTT 5 says about itself, in both directions.

use engine::PublishProperties;
use napi::bindgen_prelude::Buffer;
use napi_derive::napi;

#[napi(object)]
pub struct NativeProperties {
    pub payload_format: Option<u32>,
    /// Of a message that arrived.
    pub message_expiry_seconds: Option<u32>,
    pub content_type: Option<String>,
    pub response_topic: Option<String>,
    pub correlation_data: Option<Buffer>,
    /// Key, value, key, value.
    pub user_properties: Vec<String>,
}

impl From<PublishProperties> for NativeProperties {
    fn from(properties: PublishProperties) -> Self {
        Self {
            payload_format: properties.payload_format.map(u32::from),
            message_expiry_seconds: properties.message_expiry_interval,
            content_type: properties.content_type,
            response_topic: properties.response_topic,
            correlation_data: properties.correlation_data.map(Buffer::from),
            user_properties: properties
                .user_properties
                .into_iter()
                .flat_map(|(key, value)| [key, value])
                .collect(),
        }
    }
}

impl From<NativeProperties> for PublishProperties {
    fn from(properties: NativeProperties) -> Self {
        Self {
            payload_format: properties.payload_format.map(|format| u8::from(format > 0)),
            message_expiry_interval: properties.message_expiry_seconds,
            content_type: properties.content_type,
            response_topic: properties.response_topic,
            correlation_data: properties.correlation_data.map(|data| data.to_vec()),
            user_properties: pairs(properties.user_properties),
            subscription_identifiers: Vec::new(),
        }
    }
}

/// Key, value, key, value as pairs.
pub(crate) fn pairs(flat: Vec<String>) -> Vec<(String, String)> {
    let mut flat = flat.into_iter();
    std::iter::from_fn(|| flat.next().zip(flat.next())).collect()
}
