//! The time that connecting may take, and where it ran out.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, timeout_at};

use crate::{
    error::{Code, Failure, Result, Stage},
    options::Options,
};

/// One deadline for all stages of an attempt.
pub struct Deadline {
    at: Instant,
    after: Duration,
    peer: String,
    proxy: Option<String>,
}

impl Deadline {
    /// Begins to run at once.
    pub fn of_attempt(options: &Options) -> Self {
        Self {
            at: Instant::now() + options.connect_timeout,
            after: options.connect_timeout,
            peer: options.authority().to_string(),
            proxy: options.proxy.as_ref().map(ToString::to_string),
        }
    }

    pub fn remaining(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// Waits for one stage, or fails with `ERR_CONNECT_TIMEOUT` at that stage.
    pub async fn within<T>(
        &self,
        stage: Stage,
        waiting: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        timeout_at(self.at, waiting)
            .await
            .unwrap_or_else(|_elapsed| {
                let doing = match stage {
                    Stage::Dns => "its name was still being resolved",
                    Stage::Tcp => "TCP had not connected",
                    Stage::Proxy => "the proxy had not let through",
                    Stage::Tls => "the TLS handshake was not done",
                    Stage::WebSocket => "the request for a WebSocket was not answered",
                    _ => "CONNECT was not answered",
                };
                let through = match &self.proxy {
                    Some(proxy) => format!(" through the proxy {proxy}"),
                    None => String::new(),
                };
                let message = format!(
                    "no connection to {}{through} within {} ms: {doing}",
                    self.peer,
                    self.after.as_millis()
                );
                let failure = Failure::new(Code::ConnectTimeout, stage, message);
                Err(match stage {
                    Stage::Dns => failure.with_hint("The system's resolver does not answer: look at its servers, and whether a firewall swallows DNS."),
                    Stage::Proxy => failure.with_hint("The proxy does not answer, or cannot reach the endpoint itself: look at its host, port and log."),
                    Stage::Tls => failure.with_hint("Something accepts connections there and does not speak TLS, or a firewall swallows what follows: check endpoint and port."),
                    Stage::WebSocket => failure.with_hint("What is there speaks TLS and does not answer: check that endpoint and port are those of an IoT data endpoint."),
                    Stage::Connack => failure.with_hint("The way is open and the login is not answered: an authorizer's Lambda that takes too long is the likeliest cause (IoT Core allows 5 s); then a server that is no MQTT broker."),
                    _ => failure,
                })
            })
    }
}
