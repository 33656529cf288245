//! What the server's reason codes mean.

/// The name of an MQTT 5 reason code (section 2.4), in words.
pub fn reason_name(code: u8) -> &'static str {
    match code {
        0x00 => "success",
        0x04 => "disconnect with will message",
        0x10 => "no matching subscribers",
        0x11 => "no subscription existed",
        0x80 => "unspecified error",
        0x81 => "malformed packet",
        0x82 => "protocol error",
        0x83 => "implementation specific error",
        0x84 => "unsupported protocol version",
        0x85 => "client identifier not valid",
        0x86 => "bad user name or password",
        0x87 => "not authorized",
        0x88 => "server unavailable",
        0x89 => "server busy",
        0x8a => "banned",
        0x8b => "server shutting down",
        0x8c => "bad authentication method",
        0x8d => "keep alive timeout",
        0x8e => "session taken over",
        0x8f => "topic filter invalid",
        0x90 => "topic name invalid",
        0x91 => "packet identifier in use",
        0x92 => "packet identifier not found",
        0x93 => "receive maximum exceeded",
        0x94 => "topic alias invalid",
        0x95 => "packet too large",
        0x96 => "message rate too high",
        0x97 => "quota exceeded",
        0x98 => "administrative action",
        0x99 => "payload format invalid",
        0x9a => "retain not supported",
        0x9b => "QoS not supported",
        0x9c => "use another server",
        0x9d => "server moved",
        0x9e => "shared subscriptions not supported",
        0x9f => "connection rate exceeded",
        0xa0 => "maximum connect time",
        0xa1 => "subscription identifiers not supported",
        0xa2 => "wildcard subscriptions not supported",
        _ => "unknown reason",
    }
}

/// The name of an MQTT 3.1.1 return code of CONNACK (section 3.2.2.3), in words.
pub fn return_code_name(code: u8) -> &'static str {
    match code {
        0 => "accepted",
        1 => "unacceptable protocol version",
        2 => "client identifier rejected",
        3 => "server unavailable",
        4 => "bad user name or password",
        5 => "not authorized",
        // IoT Core's own: its guide names it in place of 5.
        7 => "not authorized (a code of IoT Core's own)",
        _ => "unknown return code",
    }
}

/// What to do about a CONNACK with this code, where it is not the login.
pub fn refusal_hint(code: u8) -> Option<&'static str> {
    Some(match code {
        1 | 0x84 => {
            "The server does not speak this version of MQTT: IoT Core speaks both, another broker may want the other mqttVersion."
        }
        2 | 0x85 => {
            "The server does not take this clientId: IoT Core takes up to 128 bytes, none that begins with `$`, and a policy may allow others than this."
        }
        3 | 0x88 | 0x89 | 0x8b => {
            "The server cannot take connections for the moment: the next attempts come with growing delays."
        }
        0x8a => "The server has banned this client: ask whoever runs it.",
        0x90 | 0x99 | 0x9a | 0x9b => {
            "It is about the will: its topic, QoS, retain or payload is not what the server takes, or the policy allows."
        }
        0x95 => {
            "CONNECT is larger than the server takes: the will, user properties or the token make it so."
        }
        0x97 | 0x9f => {
            "A quota is used up: IoT Core takes 500 connects a second for an account by default, and one a second for a client id."
        }
        0x80 | 0x83 => {
            "The server names no reason. On IoT Core the log of the Lambda and AWSIotLogsV2 may."
        }
        0x9c | 0x9d => {
            "The server is at another place now: look at reasonString, and set endpoint to it."
        }
        _ => return None,
    })
}

/// The same for a DISCONNECT.
pub fn disconnect_hint(code: u8) -> Option<&'static str> {
    Some(match code {
        0x87 => {
            "Right after a publish or subscribe: the authorizer's policy does not allow it. Otherwise the time that the authorizer gave is over (disconnectAfterInSeconds, 24 hours at most), or a refresh of its policy refused."
        }
        0x98 | 0xa0 => {
            "The time that the authorizer gave is over (disconnectAfterInSeconds, 24 hours at most), or somebody ended the connection."
        }
        0x8d => {
            "The server heard nothing for 1.5 times keepAliveSeconds: the network, or a process that stood still."
        }
        0x93 => {
            "More messages were unacknowledged than the server takes: that is a bug of this package. Please report it."
        }
        0x95 => "A packet was larger than the server takes.",
        0x96 | 0x97 | 0x9f => {
            "A quota is used up: IoT Core takes 100 publishes and 512 KiB a second on a connection, and 50 subscriptions."
        }
        0x8b | 0x88 | 0x89 | 0 => {
            "The server ends connections for reasons of its own, such as maintenance: the next attempt comes by itself."
        }
        0x9c | 0x9d => "The server is at another place now: look at reasonString.",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_iot_core_sends_has_a_hint_of_its_own() {
        // AWS IoT Core Developer Guide, "MQTT 5 reason codes".
        for code in [0x80, 0x81, 0x82, 0x84, 0x85, 0x88, 0x90, 0x95, 0x97, 0x9b] {
            let malformed = matches!(code, 0x81 | 0x82);
            assert_eq!(refusal_hint(code).is_none(), malformed, "{code:02x}");
        }
        for code in [0x00, 0x87, 0x8d, 0x93, 0x95, 0x97, 0x98] {
            assert!(disconnect_hint(code).is_some(), "{code:02x}");
        }
    }
}
