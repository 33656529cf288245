//! Signing a token for a custom authorizer.

use engine::sign_token;
use napi::Either;
use napi_derive::napi;

use crate::failure::NativeFailure;

/// RSASSA-PKCS1-v1_5 with SHA-256, in base64. The key is PEM or DER.
#[napi(js_name = "signToken", catch_unwind)]
pub fn sign(token: String, private_key: &[u8]) -> Either<String, NativeFailure> {
    match sign_token(&token, private_key) {
        Ok(signature) => Either::A(signature),
        Err(failure) => Either::B(failure.into()),
    }
}
