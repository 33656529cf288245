//! What is legal in options and unlikely to work.

use super::is_default_endpoint;
use crate::limits::quoted;

/// Client ids that stand in examples. The whole id, in lower case and with `-` between its words.
const EXAMPLES: [&str; 7] = [
    "client-id",
    "clientid",
    "device-id",
    "example",
    "my-device",
    "mydevice",
    "test",
];

/// What looks wrong. `client_id` is the caller's own; one that was made here is not looked at.
pub(super) fn warnings(endpoint: &str, port: u16, client_id: Option<&str>) -> Vec<String> {
    [
        other_port(endpoint, port),
        without_ats(endpoint),
        client_id.and_then(placeholder),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(super) fn other_port(endpoint: &str, port: u16) -> Option<String> {
    (port != 443 && is_default_endpoint(endpoint)).then(|| {
        format!(
            "port is {port}, and IoT Core's own endpoints run custom authorizers on 443 only; leave it out"
        )
    })
}

/// `<id>.iot.<region>.amazonaws.com`, and none of the longer names, such as those of VPCs and of the credentials
/// provider.
fn without_ats(endpoint: &str) -> Option<String> {
    let endpoint = endpoint.trim_end_matches('.').to_ascii_lowercase();
    let labels: Vec<&str> = endpoint.split('.').collect();
    let [id, "iot", _region, "amazonaws", "com"] = labels[..] else {
        return None;
    };
    (!id.ends_with("-ats")).then(|| {
        format!(
            "endpoint is one of the old kind, whose certificate is by an authority that systems trust no more: `aws iot describe-endpoint --endpoint-type iot:Data-ATS` prints {id}-ats with the rest of the name"
        )
    })
}

fn placeholder(client_id: &str) -> Option<String> {
    let id = client_id.to_ascii_lowercase().replace('_', "-");
    let looks_so = EXAMPLES.contains(&id.as_str())
        || id.starts_with("your-")
        || id.contains("${")
        || (id.starts_with('<') && id.ends_with('>'));
    looks_so.then(|| {
        format!(
            "clientId {} looks like a placeholder: of two connections with one client id each ends the other",
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
        let warnings = warnings(endpoint, port, client_id);
        let about = |warning: &&String| warning.starts_with(option);
        warnings.iter().filter(about).count()
    }

    #[test]
    fn what_iot_core_is_reached_at_gives_no_warning() {
        for endpoint in [ATS, "ABC123-ATS.iot.eu-west-1.amazonaws.com", "iot.example"] {
            assert!(warnings(endpoint, 443, Some("thermostat-7")).is_empty());
            assert!(warnings(endpoint, 443, None).is_empty());
        }
    }

    #[test]
    fn another_port_than_443_on_an_endpoint_of_aws() {
        for port in [8_883, 8_443, 1_883] {
            assert_eq!(about("port", ATS, port, None), 1);
            assert_eq!(about("port", "iot.example", port, None), 0);
            assert_eq!(about("port", "localhost", port, None), 0);
        }
    }

    #[test]
    fn an_endpoint_without_ats() {
        for (endpoint, expected) in [
            ("abc123.iot.eu-west-1.amazonaws.com", 1),
            ("abc123.iot.eu-west-1.amazonaws.com.", 1),
            ("abc123.credentials.iot.eu-west-1.amazonaws.com", 0),
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
            "$1",
        ] {
            assert_eq!(about("clientId", ATS, 443, Some(id)), 0, "{id}");
        }
    }
}
