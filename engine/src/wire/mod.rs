//! MQTT 3.1.1 and 5 on bytes: framing, one enum of what a server sends, one function for each packet we send.
//!
//! The only place that knows rumqttc. Its codec writes SUBSCRIBE and UNSUBSCRIBE; everything else is our own, because
//! that codec loses short packets, refuses unknown codes, accepts repeated properties and has no binary password.

use std::fmt;

mod frame;
pub use frame::{Frame, next_frame, packet_name};

mod trace;
pub use trace::{Direction, Trace};

mod reader;

mod inbound;
pub use inbound::{Ack, Inbound, Reason, SubAck, read};

mod connack;
pub use connack::ConnAck;

mod field;
mod user_properties;

mod properties;
pub use properties::PublishProperties;

mod publish;
pub use publish::Publish;

mod will;
pub use will::Will;

mod connect;
pub use connect::{Connect, check_connect_properties, encode_connect};

mod outbound_publish;
pub use outbound_publish::OutboundPublish;

mod outbound;
pub use outbound::{
    encode_disconnect, encode_pingreq, encode_puback, encode_subscribe, encode_unsubscribe,
};

#[cfg(test)]
mod robustness;
#[cfg(test)]
mod testing;

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V311,
    V5,
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::V311 => "MQTT 3.1.1",
            Self::V5 => "MQTT 5",
        })
    }
}
