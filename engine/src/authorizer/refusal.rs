//! Why a server may refuse a login: IoT Core says nothing of it, and some of it is known here.

use std::time::{Duration, SystemTime};

use super::{Credentials, Jwt, WebSocket, description::looks_secret, given, user_name};
use crate::limits::quoted;

/// What is known of a login as to its refusal, none of it a secret.
#[derive(Default)]
pub struct Known {
    /// The authorizer that is asked for; `None`: the default one.
    authorizer: Option<String>,
    /// `None`: no token that is signed.
    signed: Option<Signed>,
    /// With a token that is signed.
    token_key: Option<String>,
    jwts: Vec<Jwt>,
}

/// Who made a token's signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signed {
    Elsewhere,
    /// With `tokenSigningKey`: it fits the token.
    Here,
    /// It was checked with the authorizer's public key.
    Verified,
}

/// What a login was sent with.
pub struct Circumstances<'a> {
    pub client_id: &'a str,
    /// The client id was made up here, since none was given.
    pub client_id_made_up: bool,
    /// The session is to outlive the connection.
    pub keeps_session: bool,
    /// The topic of the will, and whether it is retained.
    pub will: Option<(&'a str, bool)>,
    pub host: &'a str,
    /// What looked wrong in the login before it was sent.
    pub warnings: &'a [String],
    /// What is wrong with the port.
    pub wrong_port: Option<String>,
    /// TLS sent no server name, since the endpoint is an address.
    pub lacks_server_name: bool,
    /// TLS has agreed on no protocol, where IoT Core wants `mqtt`.
    pub lacks_alpn: bool,
    /// A client certificate was given, which IoT Core takes beside an authorizer only where a domain says so.
    pub has_certificate: bool,
    /// How long the answer took.
    pub waited: Duration,
}

/// IoT Core gives a Lambda 5 s. An answer that took about as long is one about time.
const LAMBDA_TIME: Duration = Duration::from_millis(4_900);

impl Known {
    pub(super) fn of(credentials: &Credentials, websocket: Option<&WebSocket>) -> Self {
        let username = given(&credentials.username).unwrap_or_default();
        let carried = |key: &str| {
            user_name::value_of(username, key)
                .or_else(|| websocket.and_then(|websocket| websocket.carried(key)))
        };
        let signing_key = credentials.token_signing_key.as_deref();
        let signed = if signing_key.is_some_and(|key| !key.is_empty()) {
            given(&credentials.token_value).map(|_| Signed::Here)
        } else if given(&credentials.token_signature).is_some() {
            Some(Signed::Elsewhere)
        } else {
            carried(user_name::SIGNATURE).map(|_| Signed::Elsewhere)
        };
        let password = credentials.password.as_deref();
        let token = given(&credentials.token_value);
        let jwts = token
            .and_then(|token| Jwt::read("tokenValue", token))
            .into_iter()
            .chain(
                password
                    .and_then(|password| std::str::from_utf8(password).ok())
                    .and_then(|password| Jwt::read("password", password)),
            )
            .chain(Jwt::read(
                "username",
                username.split('?').next().unwrap_or_default(),
            ))
            .chain(
                user_name::values(username)
                    .filter_map(|value| Jwt::read("a parameter of username", &value)),
            )
            .chain(websocket.into_iter().flat_map(|websocket| {
                let query = user_name::values(&websocket.path)
                    .filter_map(|value| Jwt::read("a parameter of websocket.path", &value));
                let headers = websocket.headers.iter();
                query.chain(
                    headers
                        .filter_map(|(_, value)| Jwt::read("a value of websocket.headers", value)),
                )
            }));
        Self {
            authorizer: given(&credentials.authorizer_name)
                .map(str::to_owned)
                .or_else(|| carried(user_name::AUTHORIZER_NAME)),
            token_key: signed.and(given(&credentials.token_key_name).map(str::to_owned)),
            signed,
            jwts: jwts.collect(),
        }
    }

    pub(super) fn signature_is_verified(&mut self) {
        self.signed = Some(Signed::Verified);
    }

    /// What is wrong at this time with the JWTs in it.
    pub(super) fn trouble(&self, now: SystemTime) -> impl Iterator<Item = String> {
        self.jwts.iter().filter_map(move |jwt| jwt.trouble(now))
    }

    /// What may be the reason, the likeliest first, without what is ruled out, and where to find out.
    pub fn hint(&self, sent: &Circumstances<'_>, now: SystemTime) -> String {
        let which = if matches!(sent.host, "localhost" | "127.0.0.1" | "::1") {
            "On localhost the log of custom-authorizer-local tells which; on AWS"
        } else {
            "To find out which:"
        };
        format!(
            "In order of likelihood: {}. {which} `aws iot test-invoke-authorizer` and the Lambda's log.",
            self.reasons(sent, now).join("; ")
        )
    }

    fn reasons(&self, sent: &Circumstances<'_>, now: SystemTime) -> Vec<String> {
        let mut reasons: Vec<String> = self.trouble(now).collect();
        let suspicious = sent.warnings.iter().chain(&sent.wrong_port);
        // A semicolon separates the items.
        reasons.extend(suspicious.map(|warning| warning.replace(';', ",")));
        if sent.lacks_server_name {
            reasons.push("the endpoint is an address, so TLS sent no server name (SNI), by which IoT Core knows the account: give the endpoint's name, or set tls.serverName".to_owned());
        }
        if sent.lacks_alpn {
            reasons.push("the protocol `mqtt` was not agreed on (ALPN), by which IoT Core takes a custom authorizer on port 443".to_owned());
        }
        if sent.has_certificate {
            reasons.push("tls.cert is given, and IoT Core takes a client certificate beside an authorizer only on a domain with CUSTOM_AUTH_X509".to_owned());
        }
        let slow = sent.waited >= LAMBDA_TIME;
        if slow {
            reasons.push(format!(
                "the Lambda took longer than the 5 s that IoT Core gives it: the answer came after {:.1} s",
                sent.waited.as_secs_f64()
            ));
        }
        let denied = "the authorizer answered isAuthenticated: false".to_owned();
        let id = quoted(sent.client_id);
        if sent.client_id_made_up {
            reasons.push(format!(
                "the policy does not allow iot:Connect for the client id {id}, which was made up here: set clientId to the device's own"
            ));
            reasons.push(denied);
        } else {
            reasons.push(denied);
            let session = if sent.keeps_session {
                ", or no session that is kept (iot:ConnectAttributes, PersistentConnect)"
            } else {
                ""
            };
            reasons.push(format!(
                "its policy does not allow iot:Connect for the client id {id}{session}"
            ));
        }
        if let Some((topic, retain)) = sent.will {
            let action = if retain {
                "iot:Publish and iot:RetainPublish"
            } else {
                "iot:Publish"
            };
            reasons.push(format!(
                "its policy does not allow {action} on the topic of the will, {}",
                quoted(topic)
            ));
        }
        match self.signed {
            None | Some(Signed::Verified) => {}
            Some(Signed::Elsewhere) => reasons.push(
                "the signature does not match the token under the authorizer's public key"
                    .to_owned(),
            ),
            Some(Signed::Here) => reasons.push(
                "the authorizer's public key is not the one of tokenSigningKey, by which the token was signed here"
                    .to_owned(),
            ),
        }
        if let Some(key) = &self.token_key {
            // What the token was taken for may be a secret.
            let key = if looks_secret(key) {
                String::new()
            } else {
                format!("{} ", quoted(key))
            };
            reasons.push(format!(
                "tokenKeyName {key}is not the one that the authorizer has"
            ));
        }
        reasons.push(match &self.authorizer {
            Some(name) => format!(
                "the authorizer name {} is wrong or the authorizer is INACTIVE",
                quoted(name)
            ),
            None => "no authorizer was named, and there is no default authorizer or it is INACTIVE"
                .to_owned(),
        });
        if self.signed.is_none() {
            reasons.push("the authorizer takes signed tokens only (signingDisabled is not set), and none was sent".to_owned());
        }
        reasons.push("IoT Core may not invoke the Lambda (aws lambda add-permission)".to_owned());
        reasons.push(if slow {
            "the Lambda failed or gave an invalid answer".to_owned()
        } else {
            "the Lambda failed, took over 5 s or gave an invalid answer".to_owned()
        });
        reasons
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorizer::{
        Carrier,
        jwt::tests::{jwt, now},
    };

    const SENT: Circumstances<'static> = Circumstances {
        client_id: "thermostat-7",
        client_id_made_up: false,
        keeps_session: false,
        will: None,
        warnings: &[],
        wrong_port: None,
        lacks_server_name: false,
        waited: Duration::ZERO,
        host: "abc-ats.iot.eu-west-1.amazonaws.com",
        lacks_alpn: false,
        has_certificate: false,
    };

    fn known(change: impl FnOnce(&mut Credentials)) -> Known {
        over(None, change)
    }

    fn over(websocket: Option<&WebSocket>, change: impl FnOnce(&mut Credentials)) -> Known {
        let mut credentials = Credentials::default();
        change(&mut credentials);
        Known::of(&credentials, websocket)
    }

    fn reasons(known: &Known) -> Vec<String> {
        known.reasons(&SENT, now())
    }

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    /// The whole list is what the README and the issue promise.
    #[test]
    fn the_list_of_a_login_with_a_signed_token() {
        let known = known(|credentials| {
            credentials.authorizer_name = text("Fleet");
            credentials.token_value = text("t");
            credentials.token_signature = text("AAAA");
        });
        assert_eq!(
            reasons(&known),
            [
                "the authorizer answered isAuthenticated: false",
                "its policy does not allow iot:Connect for the client id \"thermostat-7\"",
                "the signature does not match the token under the authorizer's public key",
                "the authorizer name \"Fleet\" is wrong or the authorizer is INACTIVE",
                "IoT Core may not invoke the Lambda (aws lambda add-permission)",
                "the Lambda failed, took over 5 s or gave an invalid answer",
            ]
        );
    }

    #[test]
    fn without_a_token_it_is_not_the_signature() {
        let known = known(|credentials| credentials.password = Some(b"pass".to_vec()));
        let reasons = reasons(&known);
        assert!(!reasons.iter().any(|reason| reason.contains("signature")));
        assert!(
            reasons[3].starts_with("the authorizer takes signed tokens only"),
            "{reasons:?}"
        );
    }

    #[test]
    fn a_token_that_was_signed_here_fits_its_signature() {
        let known = known(|credentials| {
            credentials.token_value = text("t");
            credentials.token_signing_key = Some(vec![1]);
        });
        let reasons = reasons(&known);
        assert!(!reasons.iter().any(|reason| reason.contains("signature")));
        assert!(
            reasons[2].starts_with("the authorizer's public key is not the one of tokenSigningKey"),
            "{reasons:?}"
        );
        assert!(
            !reasons
                .iter()
                .any(|reason| reason.contains("signed tokens only"))
        );
    }

    #[test]
    fn without_a_name_it_is_the_default_authorizer() {
        let reasons = reasons(&known(|_| {}));
        assert!(
            !reasons
                .iter()
                .any(|reason| reason.contains("name is wrong"))
        );
        assert!(reasons[2].contains("no default authorizer"), "{reasons:?}");
    }

    #[test]
    fn a_name_and_signature_that_the_user_has_written_are_seen_wherever_they_are() {
        let query = "X-Amz-CustomAuthorizer-Name=My%20Own&x-amz-customauthorizer-signature=AAAA";
        let headers = vec![
            (
                "X-Amz-CustomAuthorizer-Name".to_owned(),
                "My Own".to_owned(),
            ),
            (
                "x-amz-customauthorizer-signature".to_owned(),
                "AAAA".to_owned(),
            ),
        ];
        let websocket = |path: &str, headers| WebSocket {
            path: path.to_owned(),
            credentials_in: Carrier::Connect,
            headers,
        };
        let in_query = websocket(&format!("/mqtt?{query}"), Vec::new());
        let in_headers = websocket("/mqtt", headers);
        for known in [
            known(|credentials| credentials.username = Some(format!("me?{query}"))),
            over(Some(&in_query), |_| {}),
            over(Some(&in_headers), |_| {}),
        ] {
            assert_eq!(known.authorizer.as_deref(), Some("My Own"));
            assert_eq!(known.signed, Some(Signed::Elsewhere));
        }
    }

    #[test]
    fn a_jwt_that_has_expired_comes_first_wherever_it_is() {
        let expired = jwt(r#"{"exp":1767225420}"#);
        let valid = jwt(r#"{"exp":1767229200}"#);
        type Put = fn(&mut Credentials, &str);
        let cases: [(&str, Put); 3] = [
            ("tokenValue", |credentials, jwt| {
                credentials.token_value = text(jwt)
            }),
            ("password", |credentials, jwt| {
                credentials.password = Some(jwt.into())
            }),
            ("a parameter of username", |credentials, jwt| {
                credentials.username = Some(format!("me?tok={jwt}"));
            }),
        ];
        for (option, put) in cases {
            let reasons_of = |jwt: &str| reasons(&known(|credentials| put(credentials, jwt)));
            assert_eq!(
                reasons_of(&expired)[0],
                format!("{option} is a JWT that expired 3 minutes ago by this machine's clock")
            );
            assert_eq!(
                reasons_of(&valid)[0],
                "the authorizer answered isAuthenticated: false"
            );
        }
    }

    #[test]
    fn a_road_without_alpn_is_named_before_the_authorizer() {
        let sent = Circumstances {
            lacks_alpn: true,
            ..SENT
        };
        let reasons = known(|_| {}).reasons(&sent, now());
        assert!(reasons[0].contains("ALPN"), "{reasons:?}");
        assert!(reasons[1].contains("isAuthenticated"), "{reasons:?}");
    }

    #[test]
    fn a_signature_that_was_verified_is_no_reason() {
        let mut known = known(|credentials| {
            credentials.token_key_name = Some("tok".to_owned());
            credentials.token_value = Some("t".to_owned());
            credentials.token_signature = Some("YWJj".to_owned());
        });
        known.signature_is_verified();
        let reasons = known.reasons(&SENT, now()).join("; ");
        assert!(!reasons.contains("sign"), "{reasons}");
        assert!(reasons.contains("tokenKeyName \"tok\" is not the one"));
    }

    #[test]
    fn jwts_of_the_request_for_a_websocket_are_looked_at() {
        let expired = jwt(r#"{"exp":1}"#);
        let websocket = WebSocket {
            path: format!("/mqtt?tok={expired}"),
            credentials_in: Carrier::Connect,
            headers: vec![("Authorization".to_owned(), format!("Bearer {expired}"))],
        };
        let known = over(Some(&websocket), |_| {});
        let trouble: Vec<String> = known.trouble(now()).collect();
        assert!(trouble[0].starts_with("a parameter of websocket.path is a JWT that expired"));
        assert!(trouble[1].starts_with("a value of websocket.headers is a JWT that expired"));
    }

    #[test]
    fn a_will_has_to_be_allowed_too() {
        for (retain, action) in [
            (false, "iot:Publish on"),
            (true, "iot:Publish and iot:RetainPublish on"),
        ] {
            let sent = Circumstances {
                will: Some(("lwt/7", retain)),
                ..SENT
            };
            let reasons = known(|_| {}).reasons(&sent, now());
            let expected =
                format!("its policy does not allow {action} the topic of the will, \"lwt/7\"");
            assert_eq!(reasons[2], expected);
        }
    }

    #[test]
    fn a_session_that_is_kept_has_to_be_allowed_too() {
        let sent = Circumstances {
            keeps_session: true,
            ..SENT
        };
        let reasons = known(|_| {}).reasons(&sent, now());
        assert!(reasons[1].contains("PersistentConnect"), "{reasons:?}");
    }

    #[test]
    fn a_token_that_was_given_for_its_key_is_not_quoted() {
        let known = known(|credentials| {
            credentials.token_key_name =
                text("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ0In0.c2lnbmVkLWJ5LW1l");
            credentials.token_value = text("tok");
            credentials.token_signature = text("AAAA");
        });
        let reasons = reasons(&known).join("; ");
        assert!(reasons.contains("tokenKeyName is not the one"), "{reasons}");
        assert!(!reasons.contains("eyJ"), "{reasons}");
    }

    #[test]
    fn what_is_certain_comes_first() {
        for (sent, expected) in [
            (
                Circumstances {
                    wrong_port: Some("port is 8883".to_owned()),
                    ..SENT
                },
                "port is 8883",
            ),
            (
                Circumstances {
                    warnings: &["authorizerName ends with white space; leave it out".to_owned()],
                    ..SENT
                },
                "authorizerName ends with white space, leave it out",
            ),
            (
                Circumstances {
                    lacks_server_name: true,
                    ..SENT
                },
                "the endpoint is an address",
            ),
            (
                Circumstances {
                    waited: Duration::from_millis(5_012),
                    ..SENT
                },
                "the Lambda took longer than the 5 s that IoT Core gives it: the answer came after 5.0 s",
            ),
            (
                Circumstances {
                    client_id_made_up: true,
                    ..SENT
                },
                "the policy does not allow iot:Connect for the client id \"thermostat-7\", which was made up here",
            ),
        ] {
            let reasons = known(|_| {}).reasons(&sent, now());
            assert!(reasons[0].starts_with(expected), "{reasons:?}");
        }
    }

    #[test]
    fn a_client_certificate_is_named_before_the_authorizer() {
        let sent = Circumstances {
            has_certificate: true,
            ..SENT
        };
        let reasons = known(|_| {}).reasons(&sent, now());
        assert!(reasons[0].starts_with("tls.cert is given"), "{reasons:?}");
    }

    #[test]
    fn the_hint_is_one_list_and_where_to_look() {
        let hint = known(|_| {}).hint(&SENT, now());
        assert!(hint.starts_with("In order of likelihood: the authorizer answered"));
        assert!(hint.ends_with("invalid answer. To find out which: `aws iot test-invoke-authorizer` and the Lambda's log."), "{hint}");
        for host in ["localhost", "127.0.0.1", "::1"] {
            let sent = Circumstances { host, ..SENT };
            let hint = known(|_| {}).hint(&sent, now());
            assert!(
                hint.contains("the log of custom-authorizer-local tells which"),
                "{hint}"
            );
        }
    }
}
