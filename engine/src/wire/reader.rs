use std::fmt::Display;

use super::frame::{TooLong, decode_variable};
use crate::error::{Failure, Result};

/// The identifiers of properties (MQTT 5, section 2.2.2.2).
pub(super) mod property {
    pub(crate) const PAYLOAD_FORMAT: u8 = 0x01;
    pub(crate) const MESSAGE_EXPIRY: u8 = 0x02;
    pub(crate) const CONTENT_TYPE: u8 = 0x03;
    pub(crate) const RESPONSE_TOPIC: u8 = 0x08;
    pub(crate) const CORRELATION_DATA: u8 = 0x09;
    pub(crate) const SUBSCRIPTION_IDENTIFIER: u8 = 0x0b;
    pub(crate) const SESSION_EXPIRY: u8 = 0x11;
    pub(crate) const ASSIGNED_CLIENT_ID: u8 = 0x12;
    pub(crate) const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub(crate) const AUTHENTICATION_METHOD: u8 = 0x15;
    pub(crate) const AUTHENTICATION_DATA: u8 = 0x16;
    pub(crate) const WILL_DELAY: u8 = 0x18;
    pub(crate) const RESPONSE_INFORMATION: u8 = 0x1a;
    pub(crate) const SERVER_REFERENCE: u8 = 0x1c;
    pub(crate) const REASON_STRING: u8 = 0x1f;
    pub(crate) const RECEIVE_MAXIMUM: u8 = 0x21;
    pub(crate) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub(crate) const TOPIC_ALIAS: u8 = 0x23;
    pub(crate) const MAXIMUM_QOS: u8 = 0x24;
    pub(crate) const RETAIN_AVAILABLE: u8 = 0x25;
    pub(crate) const USER_PROPERTY: u8 = 0x26;
    pub(crate) const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub(crate) const WILDCARD_SUBSCRIPTIONS: u8 = 0x28;
    pub(crate) const SUBSCRIPTION_IDENTIFIERS: u8 = 0x29;
    pub(crate) const SHARED_SUBSCRIPTIONS: u8 = 0x2a;
}

/// Reads the fields of one packet in order. Whatever is missing or malformed fails with the packet's name.
pub(super) struct Reader<'a> {
    packet: &'static str,
    rest: &'a [u8],
    /// A bit for each property that was read and may not come again.
    seen: u64,
}

impl<'a> Reader<'a> {
    pub(super) fn new(packet: &'static str, body: &'a [u8]) -> Self {
        Self {
            packet,
            rest: body,
            seen: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// All that is left.
    pub(super) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Checks that nothing is left.
    pub(super) fn end(self) -> Result<()> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(self.malformed("bytes follow its last field"))
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16> {
        self.take().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        self.take().map(u32::from_be_bytes)
    }

    /// A byte that is 0 or 1.
    pub(super) fn flag(&mut self, what: &str) -> Result<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.malformed(format_args!("its {what} is {other}"))),
        }
    }

    /// An integer of 16 bits that is not 0.
    pub(super) fn positive_u16(&mut self, what: &str) -> Result<u16> {
        match self.u16()? {
            0 => Err(self.malformed(format_args!("its {what} is 0"))),
            value => Ok(value),
        }
    }

    pub(super) fn variable(&mut self) -> Result<u32> {
        match decode_variable(self.rest) {
            Ok(Some((value, size))) => {
                self.rest = &self.rest[size..];
                Ok(value)
            }
            Ok(None) => Err(self.short()),
            Err(TooLong) => Err(self.malformed("an integer takes more than four bytes")),
        }
    }

    pub(super) fn binary(&mut self) -> Result<&'a [u8]> {
        let len = usize::from(self.u16()?);
        self.split(len)
    }

    /// Text as MQTT allows it: UTF-8 without NUL (MQTT 5, section 1.5.4).
    pub(super) fn string(&mut self, what: &str) -> Result<&'a str> {
        let text = self.utf8(what)?;
        if text.as_bytes().contains(&0) {
            return Err(self.malformed(format_args!("its {what} holds NUL")));
        }
        Ok(text)
    }

    /// Text that the caller checks for NUL.
    pub(super) fn utf8(&mut self, what: &str) -> Result<&'a str> {
        std::str::from_utf8(self.binary()?)
            .map_err(|_| self.malformed(format_args!("its {what} is not UTF-8")))
    }

    /// The list of properties, to be read with [`Reader::property`] until it is empty.
    pub(super) fn properties(&mut self) -> Result<Reader<'a>> {
        let len = self.variable()? as usize;
        Ok(Reader::new(self.packet, self.split(len)?))
    }

    /// The identifier of the next property; its value comes next. A property that may come once fails when it comes
    /// again (MQTT 5, section 2.2.2.2).
    pub(super) fn property(&mut self) -> Result<Option<u8>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let id = self.u8()?;
        let repeats = matches!(
            id,
            property::USER_PROPERTY | property::SUBSCRIPTION_IDENTIFIER
        );
        // An identifier over 63 does not exist; the caller refuses it.
        let bit = 1_u64.checked_shl(id.into()).unwrap_or(0);
        if !repeats && self.seen & bit != 0 {
            return Err(self.malformed(format_args!("property 0x{id:02x} comes twice")));
        }
        self.seen |= bit;
        Ok(Some(id))
    }

    pub(super) fn user_property(&mut self) -> Result<(&'a str, &'a str)> {
        Ok((self.string("user property")?, self.string("user property")?))
    }

    /// The failure for a property that this packet cannot have.
    pub(super) fn foreign_property(&self, id: u8) -> Failure {
        self.malformed(format_args!("property 0x{id:02x} does not belong in it"))
    }

    #[cold]
    pub(super) fn malformed(&self, what: impl Display) -> Failure {
        Failure::protocol(format!("malformed {}: {what}", self.packet))
    }

    #[cold]
    fn short(&self) -> Failure {
        self.malformed("it ends inside a field")
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let Some((&field, rest)) = self.rest.split_first_chunk() else {
            return Err(self.short());
        };
        self.rest = rest;
        Ok(field)
    }

    fn split(&mut self, len: usize) -> Result<&'a [u8]> {
        let Some((field, rest)) = self.rest.split_at_checked(len) else {
            return Err(self.short());
        };
        self.rest = rest;
        Ok(field)
    }
}
