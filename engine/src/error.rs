//! The one error type of the engine: what failed, where, and what to look at next.

use std::{borrow::Cow, error, fmt, sync::Arc};

use crate::secrets::repeats;

/// The result of anything in the engine that can fail.
pub type Result<T> = std::result::Result<T, Failure>;

/// A failure that a person can act on. Cheap to clone: one lost connection settles thousands of operations.
///
/// No part of it ever holds a password, token, signature or key.
#[derive(Clone)]
pub struct Failure(Arc<Detail>);

#[derive(Clone, Debug)]
struct Detail {
    code: Code,
    stage: Stage,
    message: String,
    hint: Cow<'static, str>,
    retryable: bool,
    refusal: bool,
    reason_code: Option<u8>,
    reason_string: Option<String>,
    cause: Option<String>,
    warnings: Vec<String>,
}

impl Failure {
    /// A failure with the hint that belongs to its code.
    pub fn new(code: Code, stage: Stage, message: impl Into<String>) -> Self {
        Self(Arc::new(Detail {
            code,
            stage,
            message: message.into(),
            hint: code.hint().into(),
            retryable: code.retryable(),
            refusal: matches!(code, Code::NotAuthorized | Code::ProxyAuth),
            reason_code: None,
            reason_string: None,
            cause: None,
            warnings: Vec::new(),
        }))
    }

    /// An option that cannot work, found before any network traffic.
    pub fn option(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidOption, Stage::Options, message)
    }

    /// A violation of MQTT by the server.
    pub fn protocol(message: impl Into<String>) -> Self {
        Self::new(Code::Protocol, Stage::Session, message)
    }

    /// Names who is at the other end, where the message does not.
    #[must_use]
    pub fn of_peer(self, peer: &str) -> Self {
        if self.message().contains(peer) {
            return self;
        }
        self.edit(|detail| detail.message = format!("{peer}: {}", detail.message))
    }

    /// The same, with more to its message.
    #[must_use]
    pub fn adding(self, more: &str) -> Self {
        self.edit(|detail| detail.message.push_str(more))
    }

    /// Replaces the hint of the code by one that fits this case better.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.edit(|detail| detail.hint = hint.into())
    }

    /// Trying again will not help, whatever is true of the code.
    #[must_use]
    pub fn for_good(self) -> Self {
        self.edit(|detail| detail.retryable = false)
    }

    /// Somebody was there and refused us, or was refused, whatever is true of the code.
    #[must_use]
    pub fn as_refusal(self) -> Self {
        self.edit(|detail| detail.refusal = true)
    }

    /// Moves the failure to the stage in which it happened.
    #[must_use]
    pub fn at(self, stage: Stage) -> Self {
        self.edit(|detail| detail.stage = stage)
    }

    /// Adds the reason code of the server's packet, and its reason string where there was one.
    #[must_use]
    pub fn with_reason(self, code: u8, reason: Option<String>) -> Self {
        self.edit(|detail| {
            detail.reason_code = Some(code);
            detail.reason_string = reason;
        })
    }

    /// Adds the error underneath, in its own words.
    #[must_use]
    pub fn with_cause(self, cause: impl fmt::Display) -> Self {
        self.edit(|detail| detail.cause = Some(cause.to_string()))
    }

    /// Adds what looked suspicious before it came to this.
    #[must_use]
    pub fn with_warnings(self, warnings: &[String]) -> Self {
        if warnings.is_empty() {
            return self;
        }
        self.edit(|detail| warnings.clone_into(&mut detail.warnings))
    }

    /// Takes out the words of the other side that repeat one of these secrets.
    #[must_use]
    pub fn without(self, secrets: &[String]) -> Self {
        let tells = |words: &mut String| secrets.iter().any(|secret| repeats(words, secret));
        self.edit(|detail| {
            detail.reason_string.take_if(tells);
            detail.cause.take_if(tells);
        })
    }

    pub fn code(&self) -> Code {
        self.0.code
    }

    pub fn stage(&self) -> Stage {
        self.0.stage
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What to look at next, the likeliest first. Empty where the message says it all.
    pub fn hint(&self) -> &str {
        &self.0.hint
    }

    /// Whether the same call can succeed later without a change.
    pub fn retryable(&self) -> bool {
        self.0.retryable
    }

    /// Whether a login or a certificate was refused, here or at a proxy.
    pub fn is_refusal(&self) -> bool {
        self.0.refusal
    }

    pub fn reason_code(&self) -> Option<u8> {
        self.0.reason_code
    }

    pub fn reason_string(&self) -> Option<&str> {
        self.0.reason_string.as_deref()
    }

    pub fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    /// What looked suspicious in options and credentials.
    pub fn warnings(&self) -> &[String] {
        &self.0.warnings
    }

    fn edit(mut self, change: impl FnOnce(&mut Detail)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.code().as_str(), self.message())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

impl error::Error for Failure {}

/// Where on the way to the endpoint a failure happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Options,
    Credentials,
    Dns,
    Tcp,
    Proxy,
    Tls,
    WebSocket,
    Connack,
    Session,
    Operation,
}

impl Stage {
    /// The name that users see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Options => "options",
            Self::Credentials => "credentials",
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Proxy => "proxy",
            Self::Tls => "tls",
            Self::WebSocket => "websocket",
            Self::Connack => "connack",
            Self::Session => "session",
            Self::Operation => "operation",
        }
    }
}

/// Where the login is known, the list of what may be the reason takes its place.
const LOGIN_REFUSED: &str = "IoT Core refuses a login without saying why: `aws iot test-invoke-authorizer` and the Lambda's log tell.";

/// Declares every code once: variant, public name, whether it is retryable, hint.
macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $retryable:literal, $hint:expr;)*) => {
        /// The stable codes that programs branch on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $variant,)*
        }

        impl Code {
            /// The name that users see.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            fn retryable(self) -> bool {
                match self { $(Self::$variant => $retryable,)* }
            }

            #[cfg(test)]
            const ALL: &'static [Self] = &[$(Self::$variant,)*];

            fn hint(self) -> &'static str {
                match self { $(Self::$variant => $hint,)* }
            }
        }
    };
}

codes! {
    /// An option is missing, malformed or contradicts another.
    InvalidOption = "ERR_INVALID_OPTION", false, "";
    /// Of token key name, token value and signature some are given and some are not.
    IncompleteToken = "ERR_INCOMPLETE_TOKEN", false,
        "A signed authorizer needs all three: tokenKeyName, tokenValue, and tokenSignature (or tokenSigningKey). An unsigned one needs none of them, or tokenKeyName and tokenValue in the user name.";
    /// The function `credentials` failed, gave nothing usable or took too long.
    Credentials = "ERR_CREDENTIALS", true,
        "Look at the message and the cause: it is the app's own function `credentials`. It is asked again before each attempt; an error with `retryable: false` ends the connection.";
    /// The endpoint's name did not resolve.
    Dns = "ERR_DNS", true,
        "Check the endpoint for a typing error: `aws iot describe-endpoint --endpoint-type iot:Data-ATS` prints it. Then check that this machine has a working resolver and network.";
    /// No TCP connection to the endpoint.
    Tcp = "ERR_TCP", true,
        "Check the port (443 for a custom authorizer) and whether a firewall lets this machine reach it. A network with a proxy needs the option `proxy`.";
    /// The proxy could not be reached, or does not let through to the endpoint.
    Proxy = "ERR_PROXY", true,
        "The message says which hop failed. Check host and port of the proxy, and whether it may connect to the endpoint's name and port: many allow 443 alone.";
    /// The proxy wants another login than it was given.
    ProxyAuth = "ERR_PROXY_AUTH", true,
        "User name and password belong into the proxy's URL, percent-encoded: http://user:p%40ss@host:port. Basic is supported, and SOCKS 5 with a password; NTLM, Kerberos and Digest are not: there a local relay that speaks them, such as Cntlm or Px, is the way.";
    /// The TLS handshake failed for another reason than certificate or ALPN.
    Tls = "ERR_TLS", true,
        "IoT Core ends the handshake when the server name (SNI) is not one of its endpoints or domains. A firewall or proxy that inspects TLS does so too. Check the endpoint and the port.";
    /// The server's certificate was not accepted.
    TlsCertificate = "ERR_TLS_CERTIFICATE", true, "";
    /// The server did not agree to the protocol `mqtt`.
    Alpn = "ERR_ALPN", true,
        "A custom authorizer over MQTT needs port 443 and ALPN `mqtt`. Check that the port is 443, that the endpoint is an IoT data endpoint (its name holds `-ats`), and that no proxy that inspects TLS stands between.";
    /// The WebSocket was not opened, or its protocol was broken.
    WebSocket = "ERR_WEBSOCKET", true,
        "IoT Core opens it at wss://<endpoint>/mqtt on port 443. 404: check websocket.path. 200, 301 and 502: a proxy or web server answers in its place.";
    /// The way to CONNACK took longer than `connectTimeoutMs`.
    ConnectTimeout = "ERR_CONNECT_TIMEOUT", true,
        "A firewall that swallows packets is the likeliest cause; where there is a proxy, set the option `proxy`. Raise connectTimeoutMs only on slow networks.";
    /// The server refused the login.
    NotAuthorized = "ERR_NOT_AUTHORIZED", true, LOGIN_REFUSED;
    /// The server closed the connection after CONNECT and before CONNACK.
    ClosedBeforeConnack = "ERR_CLOSED_BEFORE_CONNACK", true, LOGIN_REFUSED;
    /// CONNACK refused the connection for another reason than the login.
    ConnectRefused = "ERR_CONNECT_REFUSED", true,
        "Look at reasonCode: a protocol version or client id that the server does not accept, or a quota that is used up.";
    /// The server broke the MQTT protocol.
    Protocol = "ERR_PROTOCOL", true,
        "The other side does not speak MQTT as specified. Check that endpoint and port belong to an MQTT broker, and that mqttVersion fits it.";
    /// No answer to a PINGREQ.
    KeepAlive = "ERR_KEEP_ALIVE", true,
        "The network stopped carrying packets without closing the connection: typical for mobile networks and NAT gateways. A smaller keepAliveSeconds finds it sooner.";
    /// The server accepted no byte for too long.
    WriteStalled = "ERR_WRITE_STALLED", true,
        "The network stopped carrying packets, or the server stopped reading.";
    /// The connection broke.
    ConnectionLost = "ERR_CONNECTION_LOST", true,
        "Right after a publish or subscribe: the authorizer's policy may not allow it, since IoT Core answers a denied operation by closing. After a fixed time: disconnectAfterInSeconds of the authorizer's answer, 24 hours at most. Right after another connection with the same client id: under MQTT 3.1.1 it is told no reason. Otherwise the network failed.";
    /// There is no connection at the moment.
    NotConnected = "ERR_NOT_CONNECTED", true,
        "QoS 0 is not kept while there is no connection. Publish at QoS 1, set queue.qos0 to 'queue', or wait for `connect` or `resume`.";
    /// The server keeps closing the connection for this operation.
    SuspectedPolicy = "ERR_SUSPECTED_POLICY", false,
        "IoT Core closes the connection for what the authorizer's policy does not allow: check iot:Publish, iot:RetainPublish or iot:Subscribe for this topic. Next likely: a topic below `$` that may not be used, or a limit that is exceeded.";
    /// Another connection came with the same client id.
    SessionTakenOver = "ERR_SESSION_TAKEN_OVER", true,
        "Two connections use one client id. Give every device, process and instance a client id of its own.";
    /// The server sent a DISCONNECT.
    ServerDisconnect = "ERR_SERVER_DISCONNECT", true,
        "Look at reasonCode and reasonString. 0x87 right after a publish or subscribe means that the authorizer's policy does not allow it.";
    /// A payload is larger than the server takes.
    PayloadTooLarge = "ERR_PAYLOAD_TOO_LARGE", false,
        "IoT Core takes up to 128 KiB (131,072 bytes) per message. Compress it, split it, or upload to S3 and publish the key.";
    /// A topic or filter that MQTT or IoT Core does not allow.
    InvalidTopic = "ERR_INVALID_TOPIC", false,
        "A topic to publish to holds no + and no #; in a filter + is a whole level, and # the last one. IoT Core takes 256 bytes and 7 slashes; for another broker set limits: 'none'.";
    /// A limit of the server would be exceeded.
    Limit = "ERR_LIMIT", false,
        "The message names the limit. Those of IoT Core hold by default, and `limits` changes single ones; what CONNACK announced holds in any case.";
    /// `queue` is full.
    QueueFull = "ERR_QUEUE_FULL", true,
        "More is accepted than the network carries. Await the promises of publish, slow down, or raise queue.maxMessages and queue.maxBytes.";
    /// `expiresInMs` passed before the message was sent.
    Expired = "ERR_EXPIRED", true,
        "It waited for a connection, or behind what was accepted before it: stats().lastError and stats().queued tell which. Raise expiresInMs if it is still worth sending later.";
    /// No acknowledgement in time; the outcome is unknown.
    AckTimeout = "ERR_ACK_TIMEOUT", true,
        "The server may or may not have processed it. IoT Core does not acknowledge what exceeds its quotas: see its limits of publishes and subscriptions.";
    /// No answer to a request in time.
    NoResponse = "ERR_NO_RESPONSE", true,
        "Whoever answers has to publish to the request's responseTopic with its correlationData, and the policy has to allow this client iot:Subscribe and iot:Receive there.";
    /// PUBACK with an error.
    PublishRejected = "ERR_PUBLISH_REJECTED", false,
        "0x87: the authorizer's policy does not allow iot:Publish on this topic (retained messages need iot:RetainPublish too). 0x97: a quota is used up.";
    /// SUBACK with an error.
    SubscribeRejected = "ERR_SUBSCRIBE_REJECTED", false,
        "0x80 or 0x87: the authorizer's policy does not allow iot:Subscribe on this filter. 0x97: a quota is used up.";
    /// The connection is closed.
    Closed = "ERR_CLOSED", false,
        "This connection does not come back: connect anew. Its promise `closed` tells why it ended.";
    /// A bug of this package.
    Internal = "ERR_INTERNAL", false,
        "This is a bug in custom-authorizer-connect. Please report it with the message and what the app was doing.";
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those two are always made with what is known of the case.
    #[test]
    fn every_code_has_a_hint_but_those_whose_message_says_it_all() {
        for code in Code::ALL {
            let says_it_all = matches!(code, Code::InvalidOption | Code::TlsCertificate);
            assert_eq!(code.hint().is_empty(), says_it_all, "{}", code.as_str());
        }
    }

    #[test]
    fn a_message_names_the_peer_once() {
        let named = Failure::protocol("malformed CONNACK").of_peer("host:443");
        assert_eq!(named.message(), "host:443: malformed CONNACK");
        let again = named.of_peer("host:443");
        assert_eq!(again.message(), "host:443: malformed CONNACK");
    }

    #[test]
    fn warnings_travel_with_a_failure() {
        let failure = Failure::protocol("broken");
        assert!(failure.clone().with_warnings(&[]).warnings().is_empty());
        let warned = failure.with_warnings(&["port is 1".to_owned()]);
        assert_eq!(warned.warnings(), ["port is 1"]);
    }
}
