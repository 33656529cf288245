//! What a JWT says of its own life (RFC 7519, sections 4.1.4 and 4.1.5). Whether it is genuine is the authorizer's to
//! find out.

use std::{
    ops::RangeInclusive,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use super::json::numbers;

/// What stands before a token in a header of HTTP: RFC 6750, section 2.1, and what frameworks have made of it.
const SCHEMES: [&str; 3] = ["Bearer ", "JWT ", "Token "];

/// When a JWT lives. Nothing else of it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Jwt {
    /// The option that holds it.
    option: &'static str,
    /// Seconds since the epoch, as below.
    expires: Option<f64>,
    not_before: Option<f64>,
}

/// Numbers that are rather milliseconds: from 2001 to 2099. Beyond them are the years that mean "never", such as 9999 in
/// seconds.
const MILLISECONDS: RangeInclusive<f64> = 1e12..=4.1e12;
/// An issuer's clock may be ahead of this machine's by so many seconds.
const LEEWAY: f64 = 60.0;
/// The start of 2024 in seconds since the epoch: a clock that stands before it was never set.
const FIRST_CREDIBLE: f64 = 1_704_067_200.0;

impl Jwt {
    /// `None`: the text is no JWT, whatever white space is around it and with a scheme before it or without. One without
    /// its signature counts too: IoT Core may get that apart from the token.
    pub(super) fn read(option: &'static str, text: &str) -> Option<Self> {
        let text = text.trim();
        let token = SCHEMES.iter().find_map(|scheme| {
            let (before, token) = text.split_at_checked(scheme.len())?;
            before.eq_ignore_ascii_case(scheme).then(|| token.trim())
        });
        let mut parts = token.unwrap_or(text).split('.');
        let (header, payload) = (parts.next()?, parts.next()?);
        if let Some(signature) = parts.next() {
            decode(signature)?;
        }
        if parts.next().is_some() {
            return None;
        }
        numbers(&decode(header)?, [])?;
        let [expires, not_before] = numbers(&decode(payload)?, ["exp", "nbf"])?;
        Some(Self {
            option,
            expires,
            not_before,
        })
    }

    /// Why it is not valid at this time: half a sentence that begins with the option.
    pub fn trouble(&self, now: SystemTime) -> Option<String> {
        let now = match now.duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_secs_f64(),
            Err(before) => -before.duration().as_secs_f64(),
        };
        let option = self.option;
        let in_milliseconds = |at: Option<f64>| at.is_some_and(|at| MILLISECONDS.contains(&at));
        for (claim, at) in [("nbf", self.not_before), ("exp", self.expires)] {
            if in_milliseconds(at) {
                return Some(format!(
                    "{option} is a JWT whose {claim} is in milliseconds, where a JWT counts seconds"
                ));
            }
        }
        if let Some(since) = self
            .expires
            .map(|at| now - at)
            .filter(|since| *since >= 0.0)
        {
            let since = span(since);
            return Some(format!(
                "{option} is a JWT that expired {since} ago by this machine's clock"
            ));
        }
        let until = self.not_before.map(|at| at - now);
        let until = span(until.filter(|until| *until > LEEWAY)?);
        let doubt = if now < FIRST_CREDIBLE {
            ", which is before 2024 and probably wrong"
        } else {
            ""
        };
        Some(format!(
            "{option} is a JWT that becomes valid in {until} only by this machine's clock{doubt}"
        ))
    }
}

fn decode(part: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(part).ok()
}

/// A time for people: in the largest unit of which there are two.
fn span(seconds: f64) -> String {
    let seconds = seconds.max(1.0) as u64;
    let (count, unit) = [(86_400, "day"), (3_600, "hour"), (60, "minute")]
        .into_iter()
        .map(|(size, unit)| (seconds / size, unit))
        .find(|(count, _)| *count >= 2)
        .unwrap_or((seconds, "second"));
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;

    /// 2026-01-01.
    pub fn now() -> SystemTime {
        at(1_767_225_600)
    }

    /// A JWT with these claims.
    pub fn jwt(claims: &str) -> String {
        let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        let header = encode(r#"{"alg":"RS256","typ":"JWT"}"#);
        format!("{header}.{}.{}", encode(claims), encode("signed"))
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn trouble(claims: &str, now: SystemTime) -> Option<String> {
        let jwt = Jwt::read("password", &jwt(claims)).expect("a JWT");
        jwt.trouble(now)
    }

    #[test]
    fn says_for_how_long_it_has_been_over() {
        for (ago, expected) in [
            (0, "1 second ago"),
            (1, "1 second ago"),
            (119, "119 seconds ago"),
            (180, "3 minutes ago"),
            (7_199, "119 minutes ago"),
            (7_200, "2 hours ago"),
            (200_000, "2 days ago"),
        ] {
            let claims = format!(r#"{{"sub":"t","exp":{}}}"#, 1_767_225_600 - ago);
            assert_eq!(
                trouble(&claims, now()).unwrap(),
                format!("password is a JWT that expired {expected} by this machine's clock")
            );
        }
    }

    #[test]
    fn numbers_may_be_written_as_strings() {
        assert_eq!(
            trouble(r#"{"exp":"1767225420"}"#, now()).unwrap(),
            "password is a JWT that expired 3 minutes ago by this machine's clock"
        );
        assert!(trouble(r#"{"nbf":"1767225900"}"#, now()).is_some());
    }

    #[test]
    fn says_how_long_it_takes_until_it_begins() {
        let claims = r#"{"nbf":1767225900,"exp":1767229200}"#;
        assert_eq!(
            trouble(claims, now()).unwrap(),
            "password is a JWT that becomes valid in 5 minutes only by this machine's clock"
        );
        let without_a_clock = trouble(claims, at(1_000)).unwrap();
        assert!(
            without_a_clock.ends_with("clock, which is before 2024 and probably wrong"),
            "{without_a_clock}"
        );
        // A clock before the epoch, where there is such a thing.
        assert!(trouble(claims, UNIX_EPOCH - Duration::from_secs(5)).is_some());
    }

    #[test]
    fn exp_has_no_leeway_and_nbf_no_more_than_its_own() {
        assert!(trouble(r#"{"exp":1767225600}"#, now()).is_some());
        assert_eq!(
            trouble(r#"{"nbf":1767225661}"#, now()).unwrap(),
            "password is a JWT that becomes valid in 61 seconds only by this machine's clock"
        );
    }

    #[test]
    fn one_that_counts_milliseconds_is_told() {
        for claim in ["exp", "nbf"] {
            let claims = format!(r#"{{"{claim}":1767225600000}}"#);
            assert_eq!(
                trouble(&claims, now()).unwrap(),
                format!(
                    "password is a JWT whose {claim} is in milliseconds, where a JWT counts seconds"
                )
            );
        }
    }

    #[test]
    fn a_scheme_may_stand_before_it_and_white_space_around_it() {
        let jwt = jwt(r#"{"exp":1}"#);
        for before in ["Bearer ", "bearer  ", "JWT ", "Token ", " ", "\n Bearer "] {
            for after in ["", "\n", "\r\n"] {
                let text = format!("{before}{jwt}{after}");
                assert!(Jwt::read("password", &text).is_some(), "{text:?}");
            }
        }
        assert_eq!(Jwt::read("password", &format!("Basic {jwt}")), None);
    }

    #[test]
    fn one_that_is_valid_or_says_nothing_gives_no_trouble() {
        for claims in [
            "{}",
            r#"{"exp":1767225601}"#,
            r#"{"nbf":1767225600}"#,
            r#"{"nbf":1767225660}"#,
            r#"{"exp":253402300799}"#,
            r#"{"exp":253402300799000}"#,
            r#"{"nbf":1,"exp":1767225601.5}"#,
            r#"{"exp":"soon"}"#,
        ] {
            assert_eq!(trouble(claims, now()), None, "{claims}");
        }
    }

    #[test]
    fn what_is_no_jwt_is_none() {
        let whole = jwt(r#"{"exp":1}"#);
        let unsigned = whole.rsplit_once('.').unwrap().0;
        assert!(Jwt::read("password", unsigned).is_some());
        let cut_short = &whole[..whole.len() - 3];
        let no_object = format!("{}.{}.c2ln", "WzFd", "e30");
        for text in [
            "",
            "a",
            "a.b",
            "a.b.c",
            "...",
            "secret.pass.word",
            &format!("{whole}.more"),
            &format!("{whole}="),
            &whole.replacen('.', " .", 1),
            &no_object,
            &cut_short.replace('.', ""),
        ] {
            assert_eq!(Jwt::read("password", text), None, "{text}");
        }
    }
}
