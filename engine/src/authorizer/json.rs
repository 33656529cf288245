//! The numbers at the top of a JSON object (RFC 8259), which is all that is asked of a JWT here.

/// The member of each of these names where it is a number, as itself or in a string, the last one where it comes twice.
/// `None`: the text is no JSON object.
pub(super) fn numbers<const N: usize>(json: &[u8], names: [&str; N]) -> Option<[Option<f64>; N]> {
    let mut scanner = Scanner(json);
    let mut found = [None; N];
    scanner.take(b'{')?;
    if scanner.peek()? == b'}' {
        scanner.take(b'}')?;
        return scanner.end().then_some(found);
    }
    loop {
        let name = scanner.string()?;
        scanner.take(b':')?;
        let value = scanner.value()?;
        for (slot, wanted) in found.iter_mut().zip(names) {
            if name == wanted.as_bytes() {
                *slot = value;
            }
        }
        if scanner.peek()? == b'}' {
            scanner.take(b'}')?;
            return scanner.end().then_some(found);
        }
        scanner.take(b',')?;
    }
}

/// What is left of a text.
struct Scanner<'a>(&'a [u8]);

impl<'a> Scanner<'a> {
    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        let start = self.0.iter().position(|byte| !blank(byte))?;
        self.0 = &self.0[start..];
        self.0.first().copied()
    }

    fn take(&mut self, wanted: u8) -> Option<()> {
        (self.peek()? == wanted).then(|| self.0 = &self.0[1..])
    }

    fn end(&mut self) -> bool {
        self.peek().is_none()
    }

    /// What stands between two quotes, escapes as they are.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.take(b'"')?;
        let mut escaped = false;
        let length = self.0.iter().position(|byte| {
            let ends = *byte == b'"' && !escaped;
            escaped = *byte == b'\\' && !escaped;
            ends
        })?;
        let (string, rest) = self.0.split_at(length);
        self.0 = &rest[1..];
        Some(string)
    }

    /// Reads over a value; gives it where it is a number, or a string of digits.
    fn value(&mut self) -> Option<Option<f64>> {
        match self.peek()? {
            b'"' => {
                let string = self.string()?;
                let is_number = string.iter().all(u8::is_ascii_digit);
                let digits = is_number.then(|| std::str::from_utf8(string).ok());
                Some(digits.flatten().and_then(|digits| digits.parse().ok()))
            }
            b'{' | b'[' => self.nested().map(|()| None),
            b'-' | b'0'..=b'9' => {
                let number = self.run(|byte| {
                    byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E')
                });
                number.parse().ok().map(Some)
            }
            _ => {
                let word = self.run(u8::is_ascii_lowercase);
                matches!(word, "true" | "false" | "null").then_some(None)
            }
        }
    }

    /// Reads over an object or array with all that is in it.
    fn nested(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.0 = &self.0[1..];
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// The ASCII at the front for which `belongs` holds.
    fn run(&mut self, belongs: impl Fn(&u8) -> bool) -> &'a str {
        let end = self.0.iter().position(|byte| !belongs(byte));
        let (run, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest;
        std::str::from_utf8(run).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;

    fn exp(json: &str) -> Option<Option<f64>> {
        numbers(json.as_bytes(), ["exp"]).map(|[exp]| exp)
    }

    #[test]
    fn finds_numbers_at_the_top_and_nowhere_else() {
        for (json, found) in [
            (r#"{"exp":1700000000}"#, Some(1_700_000_000.0)),
            (
                r#" { "a" : "x" , "exp" : 1.5e3 , "b" : null } "#,
                Some(1_500.0),
            ),
            (r#"{"exp":1,"exp":-2}"#, Some(-2.0)),
            (
                r#"{"a":[1,{"exp":1}],"b":{"exp":2,"c":["}"]},"exp":3}"#,
                Some(3.0),
            ),
            (r#"{"a":"\",\"exp\":1,\\","exp":4}"#, Some(4.0)),
            (r#"{"exp":"5"}"#, Some(5.0)),
            (r#"{"exp":"5 days"}"#, None),
            (r#"{"exp":""}"#, None),
            (r#"{"exp":true,"expires":6}"#, None),
            (r#"{"x":{"exp":7}}"#, None),
            ("{}", None),
        ] {
            assert_eq!(exp(json), Some(found), "{json}");
        }
        assert_eq!(
            numbers(br#"{"nbf":1,"exp":2}"#, ["exp", "nbf"]),
            Some([Some(2.0), Some(1.0)])
        );
    }

    #[test]
    fn what_is_no_object_has_none() {
        for json in [
            "",
            " ",
            "1",
            "[]",
            "{",
            "}",
            "{}}",
            "{\"exp\"}",
            "{\"exp\":}",
            "{\"exp\":1",
            "{\"exp\":1,}",
            "{\"exp\":1-2}",
            "{\"exp\":nil}",
            "{\"exp\":[}",
            "{\"exp\":\"",
            "{exp:1}",
        ] {
            assert_eq!(exp(json), None, "{json}");
        }
    }

    #[test]
    fn no_text_makes_it_panic() {
        let mut rng = Rng::with_seed(0x6a73_6f6e);
        let alphabet = b"{}[]\",:\\ expnbf01.-e\xff";
        for _ in 0..100_000 {
            let json: Vec<u8> = (0..rng.usize(..40))
                .map(|_| alphabet[rng.usize(..alphabet.len())])
                .collect();
            let _found = numbers(&json, ["exp", "nbf"]);
        }
    }
}
