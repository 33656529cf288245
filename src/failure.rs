//! A failure as JavaScript gets it: plain values, from which `MqttError` is made there.

use engine::{Code, Failure, Stage};
use napi_derive::napi;

#[napi(object, object_from_js = false)]
pub struct NativeFailure {
    pub code: &'static str,
    pub stage: &'static str,
    pub message: String,
    pub hint: String,
    pub retryable: bool,
    pub reason_code: Option<u32>,
    pub reason_string: Option<String>,
    pub cause: Option<String>,
    pub warnings: Vec<String>,
}

impl From<&Failure> for NativeFailure {
    fn from(failure: &Failure) -> Self {
        Self {
            code: failure.code().as_str(),
            stage: failure.stage().as_str(),
            message: failure.message().to_owned(),
            hint: failure.hint().to_owned(),
            retryable: failure.retryable(),
            reason_code: failure.reason_code().map(u32::from),
            reason_string: failure.reason_string().map(str::to_owned),
            cause: failure.cause().map(str::to_owned),
            warnings: failure.warnings().to_vec(),
        }
    }
}

impl From<Failure> for NativeFailure {
    fn from(failure: Failure) -> Self {
        Self::from(&failure)
    }
}

/// A failure of this package itself.
pub(crate) fn internal(message: &str, cause: impl std::fmt::Display) -> Failure {
    Failure::new(Code::Internal, Stage::Operation, message).with_cause(cause)
}
