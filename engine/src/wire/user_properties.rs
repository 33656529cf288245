//! Pairs of text, in order, of which keys may repeat (MQTT 5, section 1.5.7).

use std::fmt::Arguments;

use bytes::BufMut;

use super::{
    field::{check_text, field_size, put_field},
    reader::property,
};
use crate::error::Result;

/// The bytes that [`put`] writes.
pub(super) fn size(pairs: &[(String, String)]) -> usize {
    pairs
        .iter()
        .map(|(key, value)| 1 + field_size(key.as_bytes()) + field_size(value.as_bytes()))
        .sum()
}

/// Writes pairs that [`check`] has passed.
pub(super) fn put(pairs: &[(String, String)], out: &mut impl BufMut) {
    for (key, value) in pairs {
        out.put_u8(property::USER_PROPERTY);
        put_field(key.as_bytes(), out);
        put_field(value.as_bytes(), out);
    }
}

/// Checks each key and value. How much they take together is for the caller to check.
pub(super) fn check(name: Arguments<'_>, pairs: &[(String, String)]) -> Result<()> {
    for (key, value) in pairs {
        check_text(format_args!("a key of {name}"), key)?;
        check_text(format_args!("a value of {name}"), value)?;
    }
    Ok(())
}
