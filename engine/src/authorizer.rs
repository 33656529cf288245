//! What a custom authorizer reads: from the options' fields to the user name and password of CONNECT.

mod description;
mod encoding;
mod json;
mod jwt;
mod lint;
mod refusal;
mod signing;
mod upgrade;
mod user_name;

use std::{borrow::Cow, time::SystemTime};

use crate::{
    error::{Code, Failure, Result, Stage},
    secrets::is_secret,
    wire::Version,
};
use description::looks_secret;
use encoding::{encode_key, encode_url, encode_value, normalise_signature};
pub use jwt::Jwt;
pub use refusal::{Circumstances, Known};
pub use signing::sign_token;
pub use upgrade::{Carrier, Upgrade, WebSocket};
use user_name::Parameter;

/// What a custom authorizer checks, by the names that AWS uses in `MqttConnectCustomAuthConfig`. An empty field means
/// the same as an absent one.
///
/// It carries secrets, hence no `Debug`.
#[derive(Clone, Default)]
pub struct Credentials {
    pub authorizer_name: Option<String>,
    pub username: Option<String>,
    pub password: Option<Vec<u8>>,
    pub token_key_name: Option<String>,
    pub token_value: Option<String>,
    /// Base64, base64url or percent-encoded.
    pub token_signature: Option<String>,
    /// An RSA private key, PEM or DER, that signs the token here instead of `token_signature`.
    pub token_signing_key: Option<Vec<u8>>,
    pub token_encoding: TokenEncoding,
}

/// How authorizer name, token key and token are written into the query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenEncoding {
    /// Only characters that would break the query are percent-encoded: a JWT goes through untouched.
    #[default]
    Auto,
    /// As they are.
    Raw,
    /// Everything but letters, digits, `-`, `.`, `_` and `~` is percent-encoded.
    Percent,
}

/// What an attempt logs in with. It holds secrets, hence no `Debug`; the warnings hold none.
#[derive(Default)]
pub struct Login {
    /// `None` where there is nothing to say: never empty.
    pub user_name: Option<String>,
    pub password: Option<Vec<u8>>,
    /// What the WebSocket's request says, where MQTT is carried so.
    pub upgrade: Option<Upgrade>,
    /// What is legal in it and unlikely to get in, whatever the time is.
    pub warnings: Vec<String>,
    /// For a refusal.
    pub known: Known,
}

impl Login {
    /// Everything that is legal in it and unlikely to get in at this time.
    pub fn warnings_at(&self, now: SystemTime) -> impl Iterator<Item = String> {
        self.warnings.iter().cloned().chain(self.known.trouble(now))
    }

    /// Whether nothing in it could tell an authorizer who logs in.
    pub fn is_empty(&self) -> bool {
        let is_plain =
            |upgrade: &Upgrade| !upgrade.target.contains('?') && upgrade.headers.is_empty();
        self.user_name.is_none()
            && self.password.is_none()
            && self.upgrade.as_ref().is_none_or(is_plain)
    }

    /// The host has checked the token's signature with the authorizer's public key.
    pub fn signature_is_verified(&mut self) {
        self.known.signature_is_verified();
    }

    /// What nobody gets to read.
    pub fn secrets(&self) -> Vec<String> {
        let user_name = self.user_name.as_deref().unwrap_or_default();
        let base = user_name.split('?').next().unwrap_or_default();
        let mut secrets: Vec<String> = user_name::values(user_name)
            .chain(looks_secret(base).then(|| base.to_owned()))
            .chain(self.upgrade.iter().flat_map(Upgrade::secrets))
            .collect();
        let password = self.password.as_deref().map(String::from_utf8_lossy);
        secrets.extend(password.map(Cow::into_owned));
        secrets.retain(|secret| is_secret(secret));
        secrets
    }
}

impl Credentials {
    /// These, with what they lack of names and signing key taken from `fixed`.
    #[must_use]
    pub fn completed(mut self, fixed: &Self) -> Self {
        let complete = |own: &mut Option<String>, fixed: &Option<String>| {
            if own.is_none() {
                own.clone_from(fixed);
            }
        };
        complete(&mut self.authorizer_name, &fixed.authorizer_name);
        complete(&mut self.username, &fixed.username);
        // Without a token there is nothing to name, and one that is signed is not signed again.
        if given(&self.token_value).is_some() {
            complete(&mut self.token_key_name, &fixed.token_key_name);
            if self.token_signature.is_none() && self.token_signing_key.is_none() {
                self.token_signing_key.clone_from(&fixed.token_signing_key);
            }
        }
        if self.token_encoding == TokenEncoding::Auto {
            self.token_encoding = fixed.token_encoding;
        }
        self
    }

    /// What these credentials log in with, and what is to be said of it.
    pub fn login(&self, version: Version, websocket: Option<&WebSocket>) -> Result<Login> {
        let mut login = self.compose(version, websocket)?;
        login.warnings.extend(lint::warnings(self, websocket));
        login.known = Known::of(self, websocket);
        Ok(login)
    }

    /// User name and password as CONNECT carries them (AWS IoT Core Developer Guide, "Connecting to AWS IoT Core by
    /// using custom authentication"): `<username>?<its query>&<authorizer name>&<signature>&<token>`. Over WebSocket all
    /// but user name and password may travel in the upgrade request.
    fn compose(&self, version: Version, websocket: Option<&WebSocket>) -> Result<Login> {
        let mut warnings = Vec::new();
        let carrier = websocket.map_or(Carrier::Connect, |websocket| websocket.credentials_in);
        let parameters = self.parameters(carrier, &mut warnings)?;
        let in_connect = match carrier {
            Carrier::Connect => &parameters[..],
            Carrier::Query | Carrier::Headers => &[],
        };
        let username = given(&self.username).unwrap_or_default();
        let user_name = user_name::compose("username", username, in_connect, &mut warnings)?;
        let password = self
            .password
            .clone()
            .filter(|password| !password.is_empty());
        check(version, carrier, &user_name, password.as_deref())?;
        Ok(Login {
            user_name: (!user_name.is_empty()).then_some(user_name),
            password,
            upgrade: websocket
                .map(|websocket| Upgrade::new(websocket, &parameters, &mut warnings))
                .transpose()?,
            warnings,
            known: Known::default(),
        })
    }

    /// What these credentials add to the caller's text, in the order in which AWS's guide shows it.
    fn parameters(&self, carrier: Carrier, warnings: &mut Vec<String>) -> Result<Vec<Parameter>> {
        let mut parameters = Vec::new();
        let encoding = self.token_encoding;
        let write = |text: &str, in_query: fn(&str, TokenEncoding) -> Cow<'_, str>| match carrier {
            Carrier::Connect => in_query(text, encoding).into_owned(),
            Carrier::Query => encode_url(&in_query(text, encoding), encoding).into_owned(),
            Carrier::Headers if encoding == TokenEncoding::Percent => {
                in_query(text, encoding).into_owned()
            }
            Carrier::Headers => text.to_owned(),
        };
        if let Some(name) = given(&self.authorizer_name) {
            parameters.push(Parameter {
                option: "authorizerName",
                key: user_name::AUTHORIZER_NAME.to_owned(),
                value: write(name, encode_value),
            });
            self.warn_if_raw("authorizerName", name, carrier, encode_value, warnings);
        }
        if let Some(token) = self.token()? {
            parameters.push(Parameter {
                option: "tokenSignature",
                key: user_name::SIGNATURE.to_owned(),
                value: match carrier {
                    Carrier::Headers => token.signature,
                    Carrier::Connect | Carrier::Query => {
                        encode_value(&token.signature, TokenEncoding::Percent).into_owned()
                    }
                },
            });
            parameters.push(Parameter {
                option: "tokenValue",
                key: match carrier {
                    Carrier::Headers => token.key.to_owned(),
                    Carrier::Connect | Carrier::Query => write(token.key, encode_key),
                },
                value: write(token.value, encode_value),
            });
            self.warn_if_raw("tokenKeyName", token.key, carrier, encode_key, warnings);
            self.warn_if_raw("tokenValue", token.value, carrier, encode_value, warnings);
        }
        Ok(parameters)
    }

    /// The token with its signature as it is sent. All of its parts are given, or none.
    pub fn token(&self) -> Result<Option<SignedToken<'_>>> {
        let key = given(&self.token_key_name);
        let value = given(&self.token_value);
        let signature = given(&self.token_signature);
        let signing_key = self
            .token_signing_key
            .as_deref()
            .filter(|signing_key| !signing_key.is_empty());

        if signature.is_some() && signing_key.is_some() {
            return Err(Failure::option(
                "tokenSignature and tokenSigningKey are both given; a token is signed once",
            )
            .with_hint("Leave tokenSigningKey out where the token comes with its signature."));
        }
        let signed = signature.is_some() || signing_key.is_some();
        let (Some(key), Some(value), true) = (key, value, signed) else {
            return match (key, value, signed) {
                (None, None, false) => Ok(None),
                _ => Err(incomplete(key.is_some(), value.is_some(), signed)),
            };
        };
        if user_name::is_reserved(key) {
            return Err(Failure::option(
                "tokenKeyName is the name of a parameter that AWS reserves",
            )
            .with_hint("`aws iot describe-authorizer --authorizer-name <name>` prints the tokenKeyName that the authorizer expects."));
        }
        let signature = match (signature, signing_key) {
            (Some(signature), _) => normalise_signature(signature).ok_or_else(not_base64)?,
            (None, key) => sign_token(value, key.unwrap_or_default())?,
        };
        Ok(Some(SignedToken {
            key,
            value,
            signature,
        }))
    }

    /// With `raw` the caller answers for the query, but is told when it comes apart or reads as something else.
    fn warn_if_raw(
        &self,
        option: &str,
        text: &str,
        carrier: Carrier,
        in_query: fn(&str, TokenEncoding) -> Cow<'_, str>,
        warnings: &mut Vec<String>,
    ) {
        if carrier == Carrier::Headers || self.token_encoding != TokenEncoding::Raw {
            return;
        }
        if text.contains(['&', '?']) {
            warnings.push(format!(
                "{option} holds & or ?, and tokenEncoding is 'raw': IoT Core reads it as several parameters"
            ));
        } else if in_query(text, TokenEncoding::Auto) != text {
            warnings.push(format!(
                "{option} holds a character that has to be percent-encoded, such as +, #, % or a space, and tokenEncoding is 'raw': leave tokenEncoding out"
            ));
        }
    }
}

/// A token that is signed. It holds secrets, hence no `Debug`.
pub struct SignedToken<'a> {
    pub key: &'a str,
    pub value: &'a str,
    /// In base64.
    pub signature: String,
}

fn given(field: &Option<String>) -> Option<&str> {
    field.as_deref().filter(|text| !text.is_empty())
}

fn incomplete(key: bool, value: bool, signed: bool) -> Failure {
    let missing = [
        (key, "tokenKeyName"),
        (value, "tokenValue"),
        (signed, "tokenSignature (or tokenSigningKey)"),
    ]
    .into_iter()
    .filter_map(|(present, name)| (!present).then_some(name))
    .collect::<Vec<_>>()
    .join(" and ");
    let message = format!("the token is incomplete without {missing}");
    Failure::new(Code::IncompleteToken, Stage::Options, message).with_hint(
        "A signed token needs all three: tokenKeyName, tokenValue, and tokenSignature (or tokenSigningKey). For an authorizer without signing, put the token into the user name: `username: '?tok=value'`.",
    )
}

fn not_base64() -> Failure {
    Failure::option("tokenSignature is not base64").with_hint(
        "Give the signature as base64, base64url, or either of them percent-encoded once. A space in it is usually a '+' that a query parser has replaced.",
    )
}

fn check(
    version: Version,
    carrier: Carrier,
    user_name: &str,
    password: Option<&[u8]>,
) -> Result<()> {
    const LIMIT: usize = u16::MAX as usize;

    if user_name.contains('\0') {
        return Err(Failure::option(
            "username holds NUL, which MQTT does not allow",
        ));
    }
    if user_name.len() > LIMIT {
        return Err(Failure::option(format!(
            "username with authorizerName, token and signature takes {} bytes; MQTT allows 65,535",
            user_name.len()
        )));
    }
    let Some(password) = password else {
        return Ok(());
    };
    if password.len() > LIMIT {
        return Err(Failure::option(format!(
            "password takes {} bytes; MQTT allows 65,535",
            password.len()
        )));
    }
    if version == Version::V311 && user_name.is_empty() {
        return Err(Failure::option(
            "password is given without a user name, which MQTT 3.1.1 does not allow",
        )
        .with_hint(match carrier {
            Carrier::Connect => "Set username or authorizerName, or use mqttVersion: 5.",
            Carrier::Query | Carrier::Headers => "Set username, or use mqttVersion: 5.",
        }));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
