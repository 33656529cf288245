use fastrand::Rng;

use super::*;
use crate::wire::Version::{V5, V311};

const NAME: &str = "x-amz-customauthorizer-name=";
const SIGNATURE: &str = "x-amz-customauthorizer-signature=";

/// Fields by their public names, each with its value.
type Fields<'a> = &'a [(&'a str, &'a str)];

/// What is not among the fields is absent.
fn credentials(fields: Fields) -> Credentials {
    let mut credentials = Credentials::default();
    for (field, value) in fields {
        let value = Some((*value).to_owned());
        match *field {
            "authorizerName" => credentials.authorizer_name = value,
            "username" => credentials.username = value,
            "password" => credentials.password = value.map(String::into_bytes),
            "tokenKeyName" => credentials.token_key_name = value,
            "tokenValue" => credentials.token_value = value,
            "tokenSignature" => credentials.token_signature = value,
            "tokenSigningKey" => credentials.token_signing_key = value.map(String::into_bytes),
            other => panic!("{other}"),
        }
    }
    credentials
}

fn login(fields: Fields) -> Login {
    match credentials(fields).compose(V5, None) {
        Ok(login) => login,
        Err(failure) => panic!("{fields:?}: {failure}"),
    }
}

/// The user name of credentials that cause no warning.
fn user_name(fields: Fields) -> Option<String> {
    let login = login(fields);
    assert!(login.warnings.is_empty(), "{:?}", login.warnings);
    login.user_name
}

fn refusal(credentials: &Credentials, version: Version) -> Failure {
    match credentials.compose(version, None) {
        Ok(login) => panic!("accepted as {:?}", login.user_name),
        Err(failure) => {
            assert_eq!(failure.stage(), Stage::Options);
            failure
        }
    }
}

fn signed<'a>(token: &'a str, signature: &'a str) -> [(&'a str, &'a str); 3] {
    [
        ("tokenKeyName", "tok"),
        ("tokenValue", token),
        ("tokenSignature", signature),
    ]
}

#[test]
fn composes_user_names() {
    let both = format!("Hello?{NAME}A");
    let cases: &[(Fields, Option<&str>)] = &[
        (&[], None),
        (&[("username", "")], None),
        (&[("username", "Hello")], Some("Hello")),
        (
            &[("username", "Hello"), ("authorizerName", "A")],
            Some(&both),
        ),
        (
            &[("username", "Hello?"), ("authorizerName", "A")],
            Some(&both),
        ),
        (
            &[("username", "Hello"), ("authorizerName", "")],
            Some("Hello"),
        ),
        // No trailing '?', and no empty items.
        (&[("username", "?")], None),
        (&[("username", "Hello?")], Some("Hello")),
        (&[("username", "Hello?&")], Some("Hello")),
        (&[("username", "Hello?a=1&&b=2&")], Some("Hello?a=1&b=2")),
        // Text before the '?' and unknown items stay byte for byte.
        (&[("username", "h&=%+#ä b")], Some("h&=%+#ä b")),
        (
            &[(
                "username",
                "u?SDK=IoTDeviceSDK/JS&Metadata=(k=v;k=v)&x=%2f+ä #",
            )],
            Some("u?SDK=IoTDeviceSDK/JS&Metadata=(k=v;k=v)&x=%2f+ä #"),
        ),
    ];
    for (fields, expected) in cases {
        assert_eq!(user_name(fields).as_deref(), *expected, "{fields:?}");
    }
}

#[test]
fn writes_name_signature_and_token_in_this_order() {
    let fields = [
        ("username", "thermostat-7"),
        ("authorizerName", "FleetAuth"),
        ("tokenKeyName", "tok"),
        ("tokenValue", "9f3c2a"),
        ("tokenSignature", "mK1/z+==="),
    ];
    assert_eq!(
        user_name(&fields).unwrap(),
        format!("thermostat-7?{NAME}FleetAuth&{SIGNATURE}mK1%2Fz%2B%3D%3D&tok=9f3c2a")
    );
    // Without a base and without a name, for a default authorizer.
    assert_eq!(
        user_name(&fields[2..]).unwrap(),
        format!("?{SIGNATURE}mK1%2Fz%2B%3D%3D&tok=9f3c2a")
    );
}

/// The vector of AWS's 3.1.1 builder, but for the padding that makes the signature base64.
#[test]
fn agrees_with_the_aws_sdk() {
    let fields = [
        ("username", "Hello"),
        ("authorizerName", "MyAuthorizer"),
        ("tokenKeyName", "MyToken"),
        ("tokenValue", "TheToken"),
        ("tokenSignature", "SignedToken"),
    ];
    assert_eq!(
        user_name(&fields).unwrap(),
        format!("Hello?{NAME}MyAuthorizer&{SIGNATURE}SignedToken%3D&MyToken=TheToken")
    );
}

/// reference/peers.md, section 6: what other clients get wrong.
#[test]
fn has_none_of_the_bugs_of_other_clients() {
    let name = ("authorizerName", "A");
    let cases = [
        // 1: the padding of a token in the user name was lost.
        ("Hello?tok=abc==", format!("Hello?tok=abc==&{NAME}A")),
        // 3: a parameter that was there already came twice.
        (&format!("Hello?{NAME}A"), format!("Hello?{NAME}A")),
        // 4: `Hello?=&...` and `flag=`.
        ("Hello?", format!("Hello?{NAME}A")),
        ("?flag", format!("?flag&{NAME}A")),
        // 11: a second '?'.
        ("Hello?a=b", format!("Hello?a=b&{NAME}A")),
    ];
    for (username, expected) in cases {
        assert_eq!(
            user_name(&[("username", username), name]).unwrap(),
            expected
        );
    }
    // 6: any '%' was taken for "encoded already".
    let failure = refusal(&credentials(&signed("t", "100%sure")), V5);
    assert_eq!(failure.code(), Code::InvalidOption);
    // 7: a token that holds its key's name lost its key.
    let fields = [
        ("tokenKeyName", "T"),
        ("tokenValue", "jwt.T=abc"),
        ("tokenSignature", "AAAA"),
    ];
    assert!(user_name(&fields).unwrap().ends_with("&T=jwt.T=abc"));
    // 8: a token could add parameters.
    let injected = user_name(&signed("a&b=c", "AAAA")).unwrap();
    assert!(injected.ends_with("&tok=a%26b=c"));
    // 12: '/' stayed as it was.
    assert!(
        user_name(&signed("t", "ab+/cw=="))
            .unwrap()
            .contains("=ab%2B%2Fcw%3D%3D&")
    );
}

#[test]
fn a_further_question_mark_is_escaped_with_a_warning() {
    let login = login(&[
        ("username", "u?url=http://h/p?a?b&c=d"),
        ("authorizerName", "A"),
    ]);
    assert_eq!(
        login.user_name.unwrap(),
        format!("u?url=http://h/p%3Fa%3Fb&c=d&{NAME}A")
    );
    assert_eq!(login.warnings.len(), 1);
    assert!(login.warnings[0].contains("%3F"));
}

#[test]
fn accepts_the_signature_in_every_form() {
    for form in [
        "ab+/cw==",
        "ab-_cw==",
        "ab-_cw",
        "ab+_cw",
        "ab%2B%2Fcw%3D%3D",
        "ab%2b%2fcw%3d%3d",
        "ab%2B/cw%3D=",
        "ab%2B_cw",
        "  ab+/cw==\r\n",
        "%20ab+/cw==%0A",
        "ab+/cw====",
        // What `openssl base64` writes without -A.
        "ab+/\ncw==\n",
    ] {
        let user_name = user_name(&signed("t", form)).unwrap();
        assert_eq!(
            user_name,
            format!("?{SIGNATURE}ab%2B%2Fcw%3D%3D&tok=t"),
            "{form:?}"
        );
    }
    let whole = user_name(&signed("t", "abcd")).unwrap();
    assert_eq!(whole, format!("?{SIGNATURE}abcd&tok=t"));
}

#[test]
fn refuses_a_signature_that_is_not_base64_without_an_echo() {
    for form in [
        "a", "abcde", "=", "====", "  ", "ab cw==", "ab=cw", "a%252Bcw", "%", "%2", "ab\0cw", "ü",
        "ab.cw", "%ff%fe",
    ] {
        let failure = refusal(&credentials(&signed("t", form)), V5);
        assert_eq!(failure.code(), Code::InvalidOption);
        assert_eq!(
            failure.message(),
            "tokenSignature is not base64",
            "{form:?}"
        );
    }
}

#[test]
fn the_token_is_all_or_nothing() {
    let all = [
        ("tokenKeyName", "tok"),
        ("tokenValue", "secret-token"),
        ("tokenSignature", "AAAA"),
        ("tokenSigningKey", "secret-key"),
    ];
    for set in 0..16_u8 {
        let mut credentials = credentials(&all);
        let absent = |bit: u8| set & (1 << bit) == 0;
        // Both ways to be absent.
        if absent(0) {
            credentials.token_key_name = None;
        }
        if absent(1) {
            credentials.token_value = Some(String::new());
        }
        if absent(2) {
            credentials.token_signature = Some(String::new());
        }
        if absent(3) {
            credentials.token_signing_key = Some(Vec::new());
        }
        match set {
            0 => assert!(credentials.compose(V5, None).unwrap().user_name.is_none()),
            0b0111 => assert!(credentials.compose(V5, None).unwrap().user_name.is_some()),
            _ => {
                let failure = refusal(&credentials, V5);
                let message = failure.message();
                assert!(!message.contains("secret") && !message.contains("AAAA"));
                if set >= 0b1100 {
                    assert_eq!(failure.code(), Code::InvalidOption);
                    assert!(message.contains("tokenSignature and tokenSigningKey"));
                } else if set == 0b1011 {
                    assert_eq!(failure.code(), Code::InvalidOption);
                    assert!(message.starts_with("tokenSigningKey is not"));
                } else {
                    assert_eq!(failure.code(), Code::IncompleteToken);
                    assert_eq!(message.contains("tokenKeyName"), absent(0), "{message}");
                    assert_eq!(message.contains("tokenValue"), absent(1), "{message}");
                    assert_eq!(message.contains("tokenSignature"), set < 4, "{message}");
                    assert!(failure.hint().contains("username: '?tok=value'"));
                }
            }
        }
    }
    let missing = refusal(&credentials(&[("tokenValue", "t")]), V5);
    assert_eq!(
        missing.message(),
        "the token is incomplete without tokenKeyName and tokenSignature (or tokenSigningKey)"
    );
}

#[test]
fn an_unsigned_token_goes_into_the_user_name() {
    assert_eq!(
        user_name(&[("username", "?tok=value"), ("authorizerName", "A")]).unwrap(),
        format!("?tok=value&{NAME}A")
    );
}

#[test]
fn signs_the_token_where_a_key_is_given() {
    let mut credentials = credentials(&[("tokenKeyName", "tok"), ("tokenValue", "header.payload")]);
    credentials.token_signing_key = Some(include_bytes!("fixtures/rsa-2048.pem").to_vec());
    let signature = include_str!("fixtures/rsa-2048.signature")
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D");
    assert_eq!(
        credentials.compose(V5, None).unwrap().user_name.unwrap(),
        format!("?{SIGNATURE}{signature}&tok=header.payload")
    );
}

#[test]
fn encodes_what_would_break_the_query() {
    use TokenEncoding::{Auto, Percent, Raw};

    let jwt = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJk-_0ifQ.c2ln-_0";
    for (token, encoding, expected) in [
        (jwt, Auto, jwt),
        (jwt, Percent, jwt),
        (jwt, Raw, jwt),
        ("abc==", Auto, "abc=="),
        ("abc==", Percent, "abc%3D%3D"),
        ("a/b:c;d@e,f!g$h'(i)*~", Auto, "a/b:c;d@e,f!g$h'(i)*~"),
        ("a/b~c-d.e_f", Percent, "a%2Fb~c-d.e_f"),
        ("a&b?c#d+e f", Auto, "a%26b%3Fc%23d%2Be%20f"),
        ("\u{0}\t\n\u{7f}ä€", Auto, "%00%09%0A%7F%C3%A4%E2%82%AC"),
        ("a%2Bb%2fc", Auto, "a%2Bb%2fc"),
        ("a%2Bb", Percent, "a%252Bb"),
        ("100%", Auto, "100%25"),
        ("%", Auto, "%25"),
        ("%%41", Auto, "%25%41"),
        ("%4", Auto, "%254"),
        ("%4g%zz%ä", Auto, "%254g%25zz%25%C3%A4"),
        ("%41&%", Auto, "%41%26%25"),
        ("a+b c%ä", Raw, "a+b c%ä"),
    ] {
        let credentials = Credentials {
            token_encoding: encoding,
            ..credentials(&signed(token, "AAAA"))
        };
        let login = credentials.compose(V5, None).unwrap();
        let told = usize::from(encoding == Raw && token != jwt);
        assert_eq!(login.warnings.len(), told, "{token:?}");
        assert_eq!(
            login.user_name.unwrap(),
            format!("?{SIGNATURE}AAAA&tok={expected}"),
            "{token:?} {encoding:?}"
        );
    }
}

#[test]
fn encodes_name_and_key_alike() {
    let fields = [
        ("authorizerName", "My=Auth,a@b c"),
        ("tokenKeyName", "my=tok&"),
        ("tokenValue", "t"),
        ("tokenSignature", "AAAA"),
    ];
    assert_eq!(
        user_name(&fields).unwrap(),
        format!("?{NAME}My=Auth,a@b%20c&{SIGNATURE}AAAA&my%3Dtok%26=t")
    );
    let raw = Credentials {
        token_encoding: TokenEncoding::Raw,
        ..credentials(&fields)
    };
    let login = raw.compose(V5, None).unwrap();
    assert_eq!(
        login.user_name.unwrap(),
        format!("?{NAME}My=Auth,a@b c&{SIGNATURE}AAAA&my=tok&=t")
    );
    let [of_name, of_key] = &login.warnings[..] else {
        panic!("{:?}", login.warnings)
    };
    assert!(of_name.starts_with("authorizerName holds a character"));
    assert!(of_key.starts_with("tokenKeyName holds &"));
}

#[test]
fn raw_warns_of_what_does_not_stay_as_it_is_in_a_query_and_quotes_nothing() {
    let of = |token: &str, encoding| {
        let credentials = Credentials {
            token_encoding: encoding,
            ..credentials(&signed(token, "AAAA"))
        };
        credentials.compose(V5, None).unwrap().warnings
    };
    for token in [
        "s3cr3t+",
        "s3cr3t x",
        "s3cr3t#",
        "100%s3cr3t",
        "s3cr3tä",
        "s3cr3t&",
    ] {
        let [warning] = &of(token, TokenEncoding::Raw)[..] else {
            panic!("{token}")
        };
        assert!(warning.contains("tokenEncoding is 'raw'"), "{warning}");
        assert!(!warning.contains("s3cr3t"), "{warning}");
        assert!(of(token, TokenEncoding::Auto).is_empty());
    }
    assert!(of("a%20b=c/d", TokenEncoding::Raw).is_empty());
}

#[test]
fn a_login_warns_of_its_own_and_of_what_the_time_makes_of_it() {
    let fields = [
        ("authorizerName", "A "),
        ("password", &*jwt::tests::jwt("{\"exp\":1}")),
    ];
    let login = credentials(&fields).login(V5, None).unwrap();
    let warnings: Vec<String> = login.warnings_at(jwt::tests::now()).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("white space"), "{warnings:?}");
    assert!(warnings[1].starts_with("password is a JWT that expired"));
    let earlier: Vec<String> = login.warnings_at(SystemTime::UNIX_EPOCH).collect();
    assert_eq!(earlier.len(), 1, "{earlier:?}");
}

#[test]
fn a_user_name_that_is_a_jwt_is_looked_at() {
    let expired = jwt::tests::jwt("{\"exp\":1}");
    for username in [expired.clone(), format!("{expired}?a=b")] {
        let login = credentials(&[("username", &username)])
            .login(V5, None)
            .unwrap();
        let warnings: Vec<String> = login.warnings_at(jwt::tests::now()).collect();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with("username is a JWT that expired"));
    }
}

#[test]
fn accepts_a_parameter_that_says_the_same_twice() {
    let token = signed("a b", "ab+/cw==");
    let name = ("authorizerName", "A-1");
    for (username, expected) in [
        // The user's item stays as it is, where it is.
        ("u?X-Amz-CustomAuthorizer-Name=A%2D1&z=1", None),
        (
            "u?x-amz-customauthorizer-name=A-1&x-amz-customauthorizer-name=A%2d1&z=1",
            Some("u?x-amz-customauthorizer-name=A-1&z=1"),
        ),
        ("u?x%2Damz-customauthorizer-name=A-1", None),
        ("u?x-amz-customauthorizer-signature=ab%2B_cw", None),
        ("u?TOK=a%20b", None),
        ("u?tok=a b", None),
        ("u?same=1&same=1&same=2", None),
    ] {
        let fields = [&[("username", username), name][..], &token].concat();
        let user_name = user_name(&fields).unwrap();
        let start = expected.unwrap_or(username);
        assert!(user_name.starts_with(start), "{user_name}");
        let lower = user_name.to_lowercase().replace("%2d", "-");
        for key in [NAME, SIGNATURE, "tok="] {
            assert_eq!(lower.matches(key).count(), 1, "{user_name}");
        }
    }
}

#[test]
fn refuses_a_parameter_that_contradicts_another() {
    let token = signed("secret-token", "ab+/cw==");
    let name = ("authorizerName", "secret-name");
    for (username, option) in [
        (
            "u?x-amz-customauthorizer-name=B",
            "authorizerName contradicts",
        ),
        (
            "u?X-AMZ-CUSTOMAUTHORIZER-NAME=secret-Name",
            "authorizerName contradicts",
        ),
        (
            "u?x-amz-customauthorizer-name=",
            "authorizerName contradicts",
        ),
        (
            "u?x-amz-customauthorizer-signature=AAAA",
            "tokenSignature contradicts",
        ),
        (
            "u?x-amz-customauthorizer-signature=secret!",
            "tokenSignature contradicts",
        ),
        ("u?tok=secret-tokeN", "tokenValue contradicts"),
        ("u?Tok=secret", "tokenValue contradicts"),
        ("u?tok", "tokenValue contradicts"),
        (
            "u?tok=secret&tok=secret2",
            "username holds the parameter tok twice",
        ),
    ] {
        let fields = [&[("username", username), name][..], &token].concat();
        let failure = refusal(&credentials(&fields), V5);
        assert_eq!(failure.code(), Code::InvalidOption);
        assert!(failure.message().starts_with(option), "{failure}");
        assert!(
            !failure.message().to_lowercase().contains("secret"),
            "{failure}"
        );
    }
    // Without an option, in the user name alone.
    let twice = format!("u?{NAME}A&{NAME}B");
    let failure = refusal(&credentials(&[("username", &twice)]), V5);
    assert!(failure.message().starts_with("username holds"));
}

#[test]
fn refuses_a_token_key_that_aws_reserves() {
    let mut credentials = credentials(&signed("t", "AAAA"));
    credentials.token_key_name = Some("X-Amz-CustomAuthorizer-Name".to_owned());
    let failure = refusal(&credentials, V5);
    assert_eq!(failure.code(), Code::InvalidOption);
    assert!(failure.message().contains("tokenKeyName"));
}

#[test]
fn warns_of_a_bare_plus_in_the_users_own_signature() {
    let username = format!("?{SIGNATURE}ab+/cw==&tok=t");
    let login = login(&[("username", &username)]);
    assert_eq!(login.user_name.unwrap(), username);
    assert_eq!(login.warnings.len(), 1);
    assert!(login.warnings[0].contains("%2B") && !login.warnings[0].contains("cw"));
}

#[test]
fn the_password_is_opaque() {
    let password = vec![0, 0xff, b'?'];
    let credentials = Credentials {
        password: Some(password.clone()),
        ..credentials(&[("username", "u")])
    };
    assert_eq!(
        credentials.compose(V311, None).unwrap().password,
        Some(password)
    );
    let empty = Credentials {
        password: Some(Vec::new()),
        ..credentials
    };
    assert!(empty.compose(V311, None).unwrap().password.is_none());
}

#[test]
fn a_password_needs_a_user_name_in_3_1_1() {
    for username in ["", "?", "?&"] {
        let credentials = credentials(&[("username", username), ("password", "secret")]);
        let failure = refusal(&credentials, V311);
        assert_eq!(failure.code(), Code::InvalidOption);
        assert!(failure.message().starts_with("password is given without"));
        assert!(failure.hint().contains("mqttVersion: 5"));
        let login = credentials.compose(V5, None).unwrap();
        assert!(login.user_name.is_none() && login.password.is_some());
    }
    let named = credentials(&[("authorizerName", "A"), ("password", "p")]);
    assert!(named.compose(V311, None).is_ok());
}

#[test]
fn refuses_what_mqtt_cannot_carry() {
    let longest = "x".repeat(65_535);
    let login = login(&[("username", &longest), ("password", &longest)]);
    assert_eq!(login.user_name.unwrap().len(), 65_535);

    let too_long = "x".repeat(65_536);
    for (fields, option) in [
        (&[("username", too_long.as_str())][..], "username"),
        (
            &[("username", longest.as_str()), ("authorizerName", "A")],
            "username",
        ),
        (&[("password", too_long.as_str())], "password"),
        (&[("username", "a\0b")], "username holds NUL"),
    ] {
        let failure = refusal(&credentials(fields), V5);
        assert_eq!(failure.code(), Code::InvalidOption);
        assert!(failure.message().contains(option), "{failure}");
        assert!(failure.message().len() < 200);
    }
}

/// Whatever the fields hold, the query has the items that a reader expects, each with the value that was meant.
#[test]
fn any_fields_make_a_query_that_reads_back() {
    const LETTERS: [&str; 16] = [
        "a", "Z", "0", "?", "&", "=", "%", "%41", "+", " ", "#", "ä", "\n", "/", ".", "x-amz-",
    ];
    let mut rng = Rng::with_seed(0x6175_7468);
    let mut composed = 0;
    for _ in 0..50_000 {
        let text = |rng: &mut Rng| -> String {
            let len = rng.usize(1..8);
            (0..len).map(|_| *rng.choice(&LETTERS).unwrap()).collect()
        };
        let (username, name, key, value) = (
            text(&mut rng),
            text(&mut rng),
            text(&mut rng),
            text(&mut rng),
        );
        let credentials = Credentials {
            token_encoding: TokenEncoding::Percent,
            ..credentials(&[
                ("username", &username),
                ("authorizerName", &name),
                ("tokenKeyName", &key),
                ("tokenValue", &value),
                ("tokenSignature", "ab+/cw=="),
            ])
        };
        // A key may contradict an item of the user name.
        let Ok(login) = credentials.compose(V311, None) else {
            continue;
        };
        composed += 1;
        let user_name = login.user_name.unwrap();
        let (base, query) = user_name.rsplit_once('?').unwrap();
        assert_eq!(base, username.split('?').next().unwrap());
        let find = |wanted: &str| {
            query.split('&').find_map(|item| {
                let (key, value) = item.split_once('=').unwrap_or((item, ""));
                let same = encoding::decode(key).eq_ignore_ascii_case(wanted);
                same.then(|| encoding::decode(value).into_owned())
            })
        };
        assert_eq!(find("x-amz-customauthorizer-name").as_ref(), Some(&name));
        assert_eq!(
            find("x-amz-customauthorizer-signature").unwrap(),
            "ab+/cw=="
        );
        assert_eq!(find(&key).as_ref(), Some(&value), "{user_name}");
    }
    assert!(composed > 40_000);
}
