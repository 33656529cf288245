//! What is legal in options and unlikely to work.

use std::net::IpAddr;

use super::is_default_endpoint;
use crate::limits::quoted;

/// Client ids that stand in examples. The whole id, in lower case and with `-` between its words.
const EXAMPLES: [&str; 13] = [
    "basicpubsub",
    "changeme",
    "client-id",
    "clientid",
    "device-id",
    "example",
    "my-client-id",
    "my-device",
    "my-thing",
    "mydevice",
    "mything",
    "test",
    "thing-name",
];
/// What may follow `your` in them.
const YOURS: [&str; 4] = ["-", "client", "device", "thing"];
/// What JavaScript writes for a value that is not there.
const ABSENT: [&str; 4] = ["undefined", "null", "[object Object]", "NaN"];

/// What looks wrong. `client_id` is the caller's own; one that was made here is not looked at. `server_name` is the name
/// that TLS asks for.
pub(super) fn warnings(
    endpoint: &str,
    server_name: &str,
    port: u16,
    client_id: Option<&str>,
) -> Vec<String> {
    [
        other_port(endpoint, server_name, port),
        no_data_endpoint(endpoint),
        client_id.and_then(|id| placeholder(id).or_else(|| reserved(id))),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(super) fn other_port(endpoint: &str, server_name: &str, port: u16) -> Option<String> {
    // An address may be IoT Core's. On this machine it is the end of a tunnel, which has a port of its own.
    let name = match endpoint.parse::<IpAddr>() {
        Ok(address) if !address.is_loopback() => server_name,
        _ => endpoint,
    };
    (port != 443 && is_default_endpoint(name)).then(|| {
        format!(
            "port is {port}, and IoT Core's own endpoints run custom authorizers on 443 only; leave it out"
        )
    })
}

/// Names of AWS that are no data endpoint with a certificate of today. Names of VPCs are longer.
fn no_data_endpoint(endpoint: &str) -> Option<String> {
    let endpoint = endpoint.trim_end_matches('.').to_ascii_lowercase();
    let name = endpoint.strip_suffix(".cn").unwrap_or(&endpoint);
    let labels: Vec<&str> = name.strip_suffix(".amazonaws.com")?.split('.').collect();
    let wrong = match labels[..] {
        ["iot", _region] => "is that of IoT Core's control plane, and is no data endpoint",
        [_, "credentials", "iot", _region] => {
            "is that of the credentials provider, and is no data endpoint"
        }
        [_, "jobs", "iot", _region] => "is that of AWS IoT Jobs, and is no data endpoint",
        // China's are of another kind.
        [id, "iot", _region] if name == endpoint && !id.ends_with("-ats") => {
            "is one of the old kind, whose certificate is by an authority that systems trust no more"
        }
        _ => return None,
    };
    let prints = match labels[..] {
        [id, "iot", _region] if id != "data" => format!("{id}-ats with the rest of the name"),
        _ => "the account's own".to_owned(),
    };
    Some(format!(
        "endpoint {wrong}: `aws iot describe-endpoint --endpoint-type iot:Data-ATS` prints {prints}"
    ))
}

fn placeholder(client_id: &str) -> Option<String> {
    let id = client_id.to_ascii_lowercase().replace('_', "-");
    let yours = id.strip_prefix("your").unwrap_or_default();
    let looks_so = EXAMPLES.contains(&id.as_str())
        || YOURS.iter().any(|rest| yours.starts_with(rest))
        || id.contains("${")
        || is_blank_to_fill(client_id)
        || ABSENT.iter().any(|absent| {
            let before = client_id.strip_suffix(absent);
            before.is_some_and(|before| before.is_empty() || before.ends_with(['-', '_', '.']))
        });
    looks_so.then(|| {
        format!(
            "clientId {} looks like a placeholder: of two connections with one client id each ends the other",
            quoted(client_id)
        )
    })
}

/// `<client-id>`, `{clientId}`, `$CLIENT_ID` and their like. Braces around digits may be a GUID.
fn is_blank_to_fill(client_id: &str) -> bool {
    let between = |open, close| client_id.strip_prefix(open)?.strip_suffix(close);
    let is_name = |name: &str, upper: bool| {
        let belongs = |byte: u8| match byte {
            b'-' | b'.' | b' ' => !upper,
            b'_' => true,
            _ => byte.is_ascii_uppercase() || (!upper && byte.is_ascii_lowercase()),
        };
        !name.is_empty() && name.bytes().all(belongs)
    };
    between("<", ">").is_some()
        || between("[", "]").is_some_and(|name| is_name(name, false))
        || between("%", "%").is_some_and(|name| is_name(name, false))
        || between("{{", "}}")
            .or(between("{", "}"))
            .is_some_and(|name| is_name(name, false))
        || client_id
            .strip_prefix('$')
            .is_some_and(|name| is_name(name, true))
}

fn reserved(client_id: &str) -> Option<String> {
    client_id.starts_with('$').then(|| {
        format!(
            "clientId {} begins with $, and IoT Core reserves client ids that do",
            quoted(client_id)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATS: &str = "abc123-ats.iot.eu-west-1.amazonaws.com";

    /// Those that begin with the name of one option.
    fn about(option: &str, endpoint: &str, port: u16, client_id: Option<&str>) -> usize {
        let warnings = warnings(endpoint, endpoint, port, client_id);
        let about = |warning: &&String| warning.starts_with(option);
        warnings.iter().filter(about).count()
    }

    #[test]
    fn what_iot_core_is_reached_at_gives_no_warning() {
        for endpoint in [ATS, "ABC123-ATS.iot.eu-west-1.amazonaws.com", "iot.example"] {
            assert!(warnings(endpoint, endpoint, 443, Some("thermostat-7")).is_empty());
            assert!(warnings(endpoint, endpoint, 443, None).is_empty());
        }
    }

    #[test]
    fn another_port_than_443_on_an_endpoint_of_aws() {
        for port in [8_883, 8_443, 1_883] {
            assert_eq!(about("port", ATS, port, None), 1);
            assert_eq!(about("port", "iot.example", port, None), 0);
            assert_eq!(about("port", "localhost", port, None), 0);
            let fips = "data.iot-fips.us-east-1.amazonaws.com";
            assert_eq!(about("port", fips, port, None), 1);
            for (address, expected) in [
                ("192.0.2.7", 1),
                ("2001:db8::7", 1),
                ("127.0.0.1", 0),
                ("::1", 0),
                ("iot.example", 0),
            ] {
                let warned = other_port(address, ATS, port).is_some();
                assert_eq!(u8::from(warned), expected, "{address}");
            }
        }
    }

    #[test]
    fn an_endpoint_without_ats() {
        for (endpoint, expected) in [
            ("abc123.iot.eu-west-1.amazonaws.com", 1),
            ("abc123.iot.eu-west-1.amazonaws.com.", 1),
            ("data.iot.eu-west-1.amazonaws.com", 1),
            ("abc123.iot.cn-north-1.amazonaws.com.cn", 0),
            ("vpce-1.iot.eu-west-1.vpce.amazonaws.com", 0),
            ("abc123.ats.iot.cn-north-1.amazonaws.com.cn", 0),
            ("abc123.iot.example.com", 0),
            (ATS, 0),
        ] {
            assert_eq!(
                about("endpoint", endpoint, 443, None),
                expected,
                "{endpoint}"
            );
        }
    }

    #[test]
    fn what_is_no_data_endpoint() {
        for (endpoint, words) in [
            ("iot.eu-west-1.amazonaws.com", "control plane"),
            ("iot.cn-north-1.amazonaws.com.cn", "control plane"),
            (
                "abc123.credentials.iot.eu-west-1.amazonaws.com",
                "credentials provider",
            ),
            ("abc123.jobs.iot.eu-west-1.amazonaws.com", "AWS IoT Jobs"),
        ] {
            let warning = no_data_endpoint(endpoint).expect(endpoint);
            assert!(
                warning.contains(&format!("{words}, and is no data endpoint")),
                "{warning}"
            );
        }
        let generic = no_data_endpoint("data.iot.eu-west-1.amazonaws.com").expect("a warning");
        assert!(!generic.contains("data-ats"), "{generic}");
    }

    #[test]
    fn a_client_id_that_is_reserved() {
        for id in ["$aws", "$1"] {
            let warnings = warnings(ATS, ATS, 443, Some(id));
            assert_eq!(
                warnings,
                [format!(
                    "clientId {id:?} begins with $, and IoT Core reserves client ids that do"
                )]
            );
        }
    }

    #[test]
    fn a_client_id_out_of_an_example() {
        for id in [
            "test",
            "TEST",
            "my-device",
            "my_device",
            "MyDevice",
            "client-id",
            "clientId",
            "example",
            "your-client-id",
            "YOUR_DEVICE",
            "<client-id>",
            "${iot:ClientId}",
            "device-${SERIAL}",
            "my-client-id",
            "my-thing",
            "MyThing",
            "thing-name",
            "basicPubSub",
            "changeme",
            "yourClientId",
            "{clientId}",
            "{{client_id}}",
            "$CLIENT_ID",
            "%CLIENT_ID%",
            "[client-id]",
            "undefined",
            "device-undefined",
            "device_null",
            "device.NaN",
            "device-[object Object]",
            "[object Object]",
        ] {
            assert_eq!(about("clientId", ATS, 443, Some(id)), 1, "{id}");
        }
        for id in [
            "test-12345678",
            "mqtt5-sample-0badcafe",
            "thermostat-7",
            "my-device-7",
            "yourte",
            "latest",
            "a<b>c",
            "nullarbor-7",
            "my-thing-4711",
            "undefined7",
            "isnull",
            "device-nan",
            "yourself",
            "youride-7",
            "{3f2504e0-4f89-11d3-9a0c-0305e82c3301}",
            "[2001:db8::7]",
            "50%",
        ] {
            assert_eq!(about("clientId", ATS, 443, Some(id)), 0, "{id}");
        }
    }
}
