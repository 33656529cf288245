//! What the host answers where it is asked for credentials.

use super::{Options, Tls, is_default_endpoint};
use crate::{
    authorizer::{Credentials, Login, WebSocket},
    error::{Code, Failure, Result, Stage},
    wire::Version,
};

impl Options {
    /// The answer, completed by what is fixed, and what it logs in with. Every failure is `ERR_CREDENTIALS`.
    pub fn answered(
        &self,
        attempt: u32,
        answer: Result<Credentials>,
    ) -> Result<(Credentials, Login)> {
        let complete = |answer: Credentials| {
            let credentials = match &self.credentials {
                Some(fixed) => answer.completed(fixed),
                None => answer,
            };
            let login = self.login_with(&credentials)?;
            Ok((credentials, login))
        };
        answer
            .and_then(complete)
            .map_err(|failure| match failure.code() {
                Code::Credentials => failure,
                _ => unusable(attempt, &failure),
            })
    }

    /// What these credentials log in with over this connection.
    pub fn login_with(&self, credentials: &Credentials) -> Result<Login> {
        login(
            credentials,
            self.version,
            self.websocket.as_ref(),
            &self.tls,
        )
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

pub(super) fn login(
    credentials: &Credentials,
    version: Version,
    websocket: Option<&WebSocket>,
    tls: &Tls,
) -> Result<Login> {
    let mut login = credentials.login(version, websocket)?;
    // Another broker may want nothing.
    let is_of_aws = is_default_endpoint(&tls.server_name.to_str());
    if is_of_aws && tls.profile.identity.is_none() && login.is_empty() {
        login.warnings.push("nothing to log in with is given: no authorizer's name, user name, password, token or client certificate".to_owned());
    }
    Ok(login)
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
