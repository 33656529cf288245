//! Strings and binary data: two bytes of length, then so many bytes (MQTT 5, sections 1.5.4 and 1.5.6).
//!
//! A failure names the option by `name` and never quotes what is in it: a message may hold private data.

use std::fmt::Arguments;

use bytes::BufMut;

use crate::error::{Failure, Result};

/// The bytes that [`put_field`] writes.
pub(super) fn field_size(field: &[u8]) -> usize {
    2 + field.len()
}

/// Writes a field of which the length is checked.
pub(super) fn put_field(field: &[u8], out: &mut impl BufMut) {
    debug_assert!(field.len() <= usize::from(u16::MAX));
    out.put_u16(field.len() as u16);
    out.put_slice(field);
}

/// Checks that the length fits.
pub(super) fn check_field(name: Arguments<'_>, field: &[u8]) -> Result<()> {
    if field.len() <= usize::from(u16::MAX) {
        return Ok(());
    }
    Err(Failure::option(format!(
        "{name} takes {} bytes; MQTT allows 65,535",
        field.len()
    )))
}

/// Checks that the length fits and that there is no NUL in it.
pub(super) fn check_text(name: Arguments<'_>, text: &str) -> Result<()> {
    check_field(name, text.as_bytes())?;
    if text.contains('\0') {
        return Err(Failure::option(format!("{name} holds a NUL character")));
    }
    Ok(())
}

/// Checks that a message can be published on it (MQTT 5, section 4.7).
pub(super) fn check_topic(name: Arguments<'_>, topic: &str) -> Result<()> {
    check_text(name, topic)?;
    if topic.is_empty() {
        return Err(Failure::option(format!("{name} is empty")));
    }
    if topic.contains(['+', '#']) {
        return Err(Failure::option(format!(
            "{name} holds a wildcard; messages are published on one topic"
        )));
    }
    Ok(())
}
