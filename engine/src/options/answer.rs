//! What the host answers where it is asked for credentials.

use super::Options;
use crate::{
    authorizer::{Credentials, Login},
    error::{Code, Failure, Result, Stage},
};

impl Options {
    /// The answer, completed by what is fixed, and what it logs in with. Every failure is `ERR_CREDENTIALS`.
    pub fn answered(
        &self,
        attempt: u32,
        answer: Result<Credentials>,
    ) -> Result<(Credentials, Login)> {
        let complete = |answer: Credentials| {
            let credentials = answer.completed(&self.credentials);
            let login = credentials.login(self.version, self.websocket.as_ref())?;
            Ok((credentials, login))
        };
        answer
            .and_then(complete)
            .map_err(|failure| match failure.code() {
                Code::Credentials => failure,
                _ => unusable(attempt, &failure),
            })
    }

    /// The failure of a host that does not answer.
    pub fn unanswered(&self) -> Failure {
        let message = format!(
            "credentials() did not answer within {} ms",
            self.credentials_timeout.as_millis()
        );
        Failure::new(Code::Credentials, Stage::Credentials, message).with_hint("The app's own function `credentials` has not answered: look at what it waits for, or raise credentialsTimeoutMs.")
    }
}

/// It may return better the next time.
fn unusable(attempt: u32, failure: &Failure) -> Failure {
    let message = format!(
        "what credentials() returned for attempt {attempt} cannot be used: {}",
        failure.message()
    );
    let unusable = Failure::new(Code::Credentials, Stage::Credentials, message);
    match failure.hint() {
        "" => unusable,
        hint => unusable.with_hint(hint.to_owned()),
    }
}
