use base64::{Engine, prelude::BASE64_STANDARD};
use ring::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};

use crate::error::{Failure, Result};

/// Signs a token as a custom authorizer verifies it: RSASSA-PKCS1-v1_5 with SHA-256 over exactly the token's bytes, as
/// standard base64 with padding (AWS IoT Core Developer Guide, "Creating and managing custom authorizers").
///
/// The key is an RSA private key of 2,048 to 4,096 bits, PEM or DER, PKCS#8 or PKCS#1.
pub fn sign_token(token: &str, private_key: &[u8]) -> Result<String> {
    let key = read_key(private_key).map_err(|found| {
        Failure::option(format!(
            "tokenSigningKey is not an RSA private key of 2,048 to 4,096 bits, PEM or DER: it is {found}"
        ))
    })?;
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        token.as_bytes(),
        &mut signature,
    )
    // The key was well-formed, but its numbers do not belong together.
    .map_err(|_| Failure::option("tokenSigningKey is a damaged RSA key: it cannot sign"))?;
    Ok(BASE64_STANDARD.encode(signature))
}

/// What was found in place of a key that can sign.
type Found = &'static str;

fn read_key(key: &[u8]) -> std::result::Result<RsaKeyPair, Found> {
    let decoded;
    let der = if key
        .windows(PEM_BEGIN.len())
        .any(|part| part == PEM_BEGIN.as_bytes())
    {
        decoded = decode_pem(key)?;
        decoded.as_slice()
    } else {
        key
    };
    RsaKeyPair::from_der(find_pkcs1(der)?).map_err(|rejected| match rejected.to_string().as_str() {
        "TooSmall" => "an RSA key of less than 2,048 bits, or with a public exponent below 65,537",
        "TooLarge" => "an RSA key of more than 4,096 bits",
        _ => "an RSA key that is damaged or of an unusual form",
    })
}

const PEM_BEGIN: &str = "-----BEGIN ";

/// The contents of the private key in a PEM file, or of its first block if there is none.
fn decode_pem(pem: &[u8]) -> std::result::Result<Vec<u8>, Found> {
    let pem = std::str::from_utf8(pem).map_err(|_| "a damaged PEM file")?;
    let blocks = || {
        let parts = pem.split(PEM_BEGIN).skip(1);
        parts.filter_map(|block| block.split_once("-----"))
    };
    let (label, rest) = blocks()
        .find(|(label, _)| label.ends_with("PRIVATE KEY"))
        .or_else(|| blocks().next())
        .ok_or("a damaged PEM file")?;
    let (body, _) = rest
        .split_once("-----END ")
        .ok_or("a PEM file that was cut off")?;
    if label.contains("ENCRYPTED") || body.contains("ENCRYPTED") {
        return Err(ENCRYPTED);
    }
    if label.contains("OPENSSH") {
        return Err("a key in the format of OpenSSH");
    }
    let base64: String = body.split_ascii_whitespace().collect();
    BASE64_STANDARD.decode(&base64).map_err(|_| {
        if base64.contains('\\') {
            r"a PEM file with the two characters \n in place of its line breaks"
        } else {
            "a damaged PEM file"
        }
    })
}

const ENCRYPTED: Found =
    "an encrypted private key (`openssl pkey -in key.pem -out plain.pem` decrypts it)";

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

/// 1.2.840.113549.1.1.1, RFC 8017.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// 1.2.840.10045.2.1, RFC 5480.
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

/// The `RSAPrivateKey` of RFC 8017 in DER: the whole of a PKCS#1 file, the inner part of a PKCS#8 one.
///
/// It looks at the outline of the other files that people have at hand, to name what it was given.
fn find_pkcs1(der: &[u8]) -> std::result::Result<&[u8], Found> {
    const UNKNOWN: Found = "neither PEM nor the DER of a key";

    let (SEQUENCE, body, _) = element(der).ok_or_else(|| not_der(der))? else {
        return Err(not_der(der));
    };
    let (tag, first, rest) = element(body).ok_or(UNKNOWN)?;
    let (second_tag, second, rest) = element(rest).ok_or(UNKNOWN)?;
    match (tag, second_tag) {
        (INTEGER, SEQUENCE) if first == [3] => Err("a PKCS#12 file"),
        (INTEGER, SEQUENCE) => match (element(second), element(rest)) {
            (Some((OBJECT_IDENTIFIER, RSA, _)), Some((OCTET_STRING, key, _))) => Ok(key),
            (Some((OBJECT_IDENTIFIER, EC, _)), _) => Err("an EC private key"),
            (Some((OBJECT_IDENTIFIER, ..)), _) => Err("a private key of another kind than RSA"),
            _ => Err(UNKNOWN),
        },
        (INTEGER, INTEGER) if first == [0] => Ok(der),
        (INTEGER, INTEGER) if rest.is_empty() => Err("an RSA public key"),
        (INTEGER, OCTET_STRING) => Err("an EC private key"),
        (SEQUENCE, BIT_STRING) => Err("a public key"),
        (SEQUENCE, OCTET_STRING) => Err(ENCRYPTED),
        (SEQUENCE, SEQUENCE) => Err("a certificate"),
        _ => Err(UNKNOWN),
    }
}

fn not_der(bytes: &[u8]) -> Found {
    if bytes.is_empty() {
        "empty"
    } else if bytes
        .iter()
        .all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace())
    {
        "text without a PEM block (the name of a file?)"
    } else {
        "neither PEM nor the DER of a key"
    }
}

/// Tag and contents of the first DER element, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => {
            let (&len, rest) = rest.split_first()?;
            (usize::from(len), rest)
        }
        0x82 => {
            let (&len, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(len)), rest)
        }
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(len)?;
    Some((tag, contents, rest))
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;
    use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    use super::*;
    use crate::error::Code;

    const PKCS8: &[u8] = include_bytes!("fixtures/rsa-2048.pem");
    const PKCS1: &[u8] = include_bytes!("fixtures/rsa-2048-pkcs1.pem");
    const RSA_4096: &[u8] = include_bytes!("fixtures/rsa-4096.pem");

    fn refusal(key: &[u8]) -> String {
        let failure = sign_token("token", key).unwrap_err();
        assert_eq!(failure.code(), Code::InvalidOption);
        failure.message().to_owned()
    }

    /// The signatures are by `openssl dgst -sha256 -sign`, which custom authorizers are documented with.
    #[test]
    fn signs_as_openssl_does() {
        for (key, expected) in [
            (PKCS8, include_str!("fixtures/rsa-2048.signature")),
            (PKCS1, include_str!("fixtures/rsa-2048.signature")),
            (RSA_4096, include_str!("fixtures/rsa-4096.signature")),
        ] {
            assert_eq!(sign_token("header.payload", key).unwrap(), expected);
            let der = decode_pem(key).unwrap();
            assert_eq!(sign_token("header.payload", &der).unwrap(), expected);
        }
    }

    #[test]
    fn the_public_key_verifies_exactly_the_tokens_bytes() {
        for (private, public) in [
            (
                PKCS8,
                include_bytes!("fixtures/rsa-2048-public.pem").as_slice(),
            ),
            (RSA_4096, include_bytes!("fixtures/rsa-4096-public.pem")),
        ] {
            let spki = decode_pem(public).unwrap();
            let (_, spki, _) = element(&spki).unwrap();
            let (_, _, rest) = element(spki).unwrap();
            let (BIT_STRING, [0, public @ ..], _) = element(rest).unwrap() else {
                panic!()
            };
            let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public);
            for token in ["", "t", "ä\n", "header.payload"] {
                let signature = sign_token(token, private).unwrap();
                let signature = BASE64_STANDARD.decode(signature).unwrap();
                assert!(public.verify(token.as_bytes(), &signature).is_ok());
                let other = format!("{token}\n");
                assert!(public.verify(other.as_bytes(), &signature).is_err());
            }
        }
    }

    #[test]
    fn reads_pem_as_people_keep_it() {
        let pem = std::str::from_utf8(PKCS8).unwrap();
        let certificate = include_str!("fixtures/certificate.pem");
        let expected = sign_token("t", PKCS8).unwrap();
        for form in [
            pem.replace('\n', "\r\n"),
            format!("\u{feff}Bag Attributes\n  friendlyName: k\n{pem}\n\n"),
            format!("{certificate}{pem}"),
            format!("{pem}{certificate}"),
            pem.trim().to_owned(),
        ] {
            assert_eq!(sign_token("t", form.as_bytes()).unwrap(), expected);
        }
    }

    #[test]
    fn says_what_was_found_in_place_of_a_key() {
        let pem = std::str::from_utf8(PKCS8).unwrap();
        let in_one_line = pem.replace('\n', "\\n");
        let cut_off = &PKCS8[..400];
        let damaged = pem.replacen("MII", "M!I", 1);
        let fixtures: &[(&[u8], &str)] = &[
            (
                include_bytes!("fixtures/rsa-1024.pem"),
                "less than 2,048 bits",
            ),
            (include_bytes!("fixtures/ec.pem"), "an EC private key"),
            (include_bytes!("fixtures/ec-sec1.pem"), "an EC private key"),
            (
                include_bytes!("fixtures/ed25519.pem"),
                "another kind than RSA",
            ),
            (
                include_bytes!("fixtures/rsa-pss.pem"),
                "another kind than RSA",
            ),
            (
                include_bytes!("fixtures/rsa-2048-encrypted.pem"),
                "an encrypted",
            ),
            (
                include_bytes!("fixtures/rsa-2048-encrypted-pkcs1.pem"),
                "an encrypted",
            ),
            (
                include_bytes!("fixtures/rsa-2048-public.pem"),
                "a public key",
            ),
            (include_bytes!("fixtures/certificate.pem"), "a certificate"),
        ];
        for (pem, found) in fixtures {
            assert!(refusal(pem).contains(found), "{}", refusal(pem));
            // The same in DER, where it is not legacy encryption, which exists in PEM only.
            if let Ok(der) = decode_pem(pem) {
                assert!(refusal(&der).contains(found), "{}", refusal(&der));
            }
        }
        for (key, found) in [
            (&b""[..], "it is empty"),
            (b"keys/private.pem", "the name of a file?"),
            (include_bytes!("fixtures/bundle.p12"), "a PKCS#12 file"),
            (b"\xff\x00\x01", "neither PEM nor"),
            (b"-----BEGIN ", "a damaged PEM file"),
            (b"-----BEGIN \xff", "a damaged PEM file"),
            (
                b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----",
                "OpenSSH",
            ),
            (cut_off, "cut off"),
            (damaged.as_bytes(), "a damaged PEM file"),
            (in_one_line.as_bytes(), "two characters \\n in place"),
        ] {
            assert!(refusal(key).contains(found), "{}", refusal(key));
        }
    }

    #[test]
    fn a_damaged_key_fails_and_never_panics() {
        let mut rng = Rng::with_seed(0x6b65_7973);
        let der = decode_pem(PKCS8).unwrap();
        for _ in 0..3_000 {
            let mut key = der.clone();
            // Mostly the outline, where lengths and tags are.
            let at = if rng.bool() {
                rng.usize(..60)
            } else {
                rng.usize(..key.len())
            };
            key[at] = rng.u8(..);
            key.truncate(key.len() - rng.usize(..3) * rng.usize(..600));
            if let Err(failure) = sign_token("t", &key) {
                assert_eq!(failure.code(), Code::InvalidOption);
            }
        }
        for _ in 0..50_000 {
            let mut key = vec![0; rng.usize(..40)];
            rng.fill(&mut key);
            if let Some(first) = key.first_mut() {
                *first = SEQUENCE;
            }
            assert!(sign_token("t", &key).is_err());
        }
    }
}
