//! What can stand in a request of HTTP/1.1.

use crate::error::{Failure, Result};

/// Whether a header can be written: what breaks a line would smuggle in another header (RFC 9110, section 5.5). The
/// value never shows in the failure.
pub fn check_header(name: &str, value: &str) -> Result<()> {
    if !is_token(name) {
        return Err(Failure::option(format!(
            "{name:?} is no valid name of a header: letters, digits and !#$%&'*+-.^_`|~ are"
        )));
    }
    if !value
        .bytes()
        .all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
    {
        return Err(Failure::option(format!(
            "the value of the header {name} holds a line break, a control character or one beyond ASCII"
        )));
    }
    if value.trim() != value {
        return Err(Failure::option(format!(
            "the value of the header {name} begins or ends with white space"
        )));
    }
    if value.len() > MAX_HEADER_BYTES {
        return Err(Failure::option(format!(
            "the value of the header {name} takes {} bytes; at most {MAX_HEADER_BYTES} are allowed",
            value.len()
        )));
    }
    Ok(())
}

/// RFC 9110, section 5.6.2.
pub fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Whether it can stand in the request line (RFC 9112, section 3.2.1). It may hold a query, which may be secret.
pub fn check_target(path: &str) -> Result<()> {
    if !path.starts_with('/') {
        return Err(Failure::option("websocket.path must begin with '/'"));
    }
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::option(
            "websocket.path holds white space, a control character or one beyond ASCII; such are percent-encoded",
        ));
    }
    if path.contains('#') {
        return Err(Failure::option(
            "websocket.path holds a '#', which no server gets to see",
        ));
    }
    if path.len() > MAX_HEADER_BYTES {
        return Err(Failure::option(format!(
            "websocket.path takes {} bytes; at most {MAX_HEADER_BYTES} are allowed",
            path.len()
        )));
    }
    Ok(())
}

/// More than any server takes.
const MAX_HEADER_BYTES: usize = 8_192;
