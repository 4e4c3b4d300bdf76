//! Takes JSON text apart, strictly as RFC 8259 has it.

use std::borrow::Cow;

use super::{error::Invalid, json, number};

/// How deep objects and lists may nest.
const MAX_DEPTH: usize = 32;

/// The members of a JSON object: each key with the text of its value. The values are checked to be JSON; doubled keys come
/// as often as they stand. Ends after the first error.
pub fn object_members(json: &[u8]) -> impl Iterator<Item = Result<(Cow<'_, str>, &[u8]), Invalid>> {
    let mut state = Some(Scanner::new(json).and_then(|mut scanner| {
        if scanner.peek()? != b'{' {
            return Err(Invalid::field(format!("expected an object, found {}", scanner.found()?)));
        }
        scanner.begin()?;
        Ok(scanner)
    }));
    std::iter::from_fn(move || {
        let member = state.take()?.and_then(|mut scanner| {
            let Some(key) = scanner.member()? else { return scanner.finish().map(|()| None) };
            let value = scanner.value()?;
            state = Some(Ok(scanner));
            Ok(Some((key, value)))
        });
        member.transpose()
    })
}

/// The text that a JSON string stands for.
pub fn parse_string(json: &[u8]) -> Result<Cow<'_, str>, Invalid> {
    let mut scanner = Scanner::new(json)?;
    if scanner.peek()? != b'"' {
        return Err(Invalid::field(format!("expected a string, found {}", scanner.found()?)));
    }
    let text = scanner.string()?;
    scanner.finish()?;
    Ok(text)
}

/// Reads JSON from the front to the end.
pub(super) struct Scanner<'j> {
    text: &'j str,
    at: usize,
    depth: usize,
    /// Whether nothing stands yet in the object or list that is read.
    first: bool,
}

impl<'j> Scanner<'j> {
    pub(super) fn new(json: &'j [u8]) -> Result<Self, Invalid> {
        match std::str::from_utf8(json) {
            Ok(text) => Ok(Self { text, at: 0, depth: 0, first: true }),
            Err(error) => Err(Invalid::syntax(format!("not UTF-8 at byte {}", error.valid_up_to()))),
        }
    }

    /// The first byte of what comes next.
    #[inline]
    pub(super) fn peek(&mut self) -> Result<u8, Invalid> {
        while let Some(&byte) = self.text.as_bytes().get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Ok(byte);
            }
            self.at += 1;
        }
        Err(Invalid::syntax("unexpected end of the text"))
    }

    /// What comes next, for an error to name; an error of its own where it is not JSON.
    #[cold]
    pub(super) fn found(&mut self) -> Result<&'static str, Invalid> {
        Ok(match self.peek()? {
            b'{' => "an object",
            b'[' => "a list",
            b'"' => "a string",
            b'-' | b'0'..=b'9' => "a number",
            b't' => self.literal("true")?,
            b'f' => self.literal("false")?,
            b'n' => self.literal("null")?,
            _ => return Err(self.unexpected("a value")),
        })
    }

    /// Enters the object or list that comes next.
    pub(super) fn begin(&mut self) -> Result<(), Invalid> {
        if self.depth == MAX_DEPTH {
            return Err(Invalid::syntax(format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.at += 1;
        self.depth += 1;
        self.first = true;
        Ok(())
    }

    /// The key of the next member of the object; its value comes next. `None` leaves the object.
    #[inline]
    pub(super) fn member(&mut self) -> Result<Option<Cow<'j, str>>, Invalid> {
        if !self.more(b'}', "`,` or `}`")? {
            return Ok(None);
        }
        if self.peek()? != b'"' {
            return Err(self.unexpected("a key"));
        }
        let key = self.string()?;
        if self.peek()? != b':' {
            return Err(self.unexpected("`:`"));
        }
        self.at += 1;
        Ok(Some(key))
    }

    /// Whether another element of the list comes next. `false` leaves the list.
    #[inline]
    pub(super) fn element(&mut self) -> Result<bool, Invalid> {
        self.more(b']', "`,` or `]`")
    }

    #[inline]
    fn more(&mut self, close: u8, expected: &str) -> Result<bool, Invalid> {
        let first = std::mem::replace(&mut self.first, false);
        match self.peek()? {
            byte if byte == close => {
                self.at += 1;
                self.depth -= 1;
                Ok(false)
            }
            _ if first => Ok(true),
            b',' => {
                self.at += 1;
                Ok(true)
            }
            _ => Err(self.unexpected(expected)),
        }
    }

    /// The string that comes next.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Cow<'j, str>, Invalid> {
        let start = self.at + 1;
        let plain = json::plain_length(&self.text.as_bytes()[start..]);
        let end = start + plain;
        if self.text.as_bytes().get(end) == Some(&b'"') {
            self.at = end + 1;
            return Ok(Cow::Borrowed(&self.text[start..end]));
        }
        self.at = start;
        self.escaped().map(Cow::Owned)
    }

    /// A string from behind its opening quote on.
    fn escaped(&mut self) -> Result<String, Invalid> {
        let mut string = String::new();
        loop {
            let end = self.at + json::plain_length(&self.text.as_bytes()[self.at..]);
            string.push_str(&self.text[self.at..end]);
            self.at = end + 1;
            match self.text.as_bytes().get(end) {
                Some(b'"') => return Ok(string),
                Some(b'\\') => string.push(self.escape()?),
                Some(_) => return Err(Invalid::syntax(format!("control character in a string at byte {end}"))),
                None => return Err(Invalid::syntax("string without an end")),
            }
        }
    }

    /// The character that an escape stands for, from behind its backslash on.
    fn escape(&mut self) -> Result<char, Invalid> {
        let letter = self.text.as_bytes().get(self.at).copied();
        self.at += 1;
        Ok(match letter {
            Some(letter @ (b'"' | b'\\' | b'/')) => char::from(letter),
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'u') => return self.unicode_escape(),
            _ => return Err(Invalid::syntax(format!("unknown escape at byte {}", self.at - 2))),
        })
    }

    /// The character that four digits, or two surrogates of four, stand for.
    fn unicode_escape(&mut self) -> Result<char, Invalid> {
        let start = self.at - 2;
        let mut code = self.code_unit()?;
        if (0xd800..0xdc00).contains(&code) && self.text[self.at..].starts_with("\\u") {
            self.at += 2;
            let low = self.code_unit()?;
            if (0xdc00..0xe000).contains(&low) {
                code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
            }
        }
        char::from_u32(code).ok_or_else(|| Invalid::syntax(format!("surrogate without its other half at byte {start}")))
    }

    fn code_unit(&mut self) -> Result<u32, Invalid> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).unwrap_or_default();
        let value = digits.iter().try_fold(0, |value, &digit| Some(value << 4 | char::from(digit).to_digit(16)?));
        let start = self.at;
        self.at += 4;
        match value {
            Some(value) if !digits.is_empty() => Ok(value),
            _ => Err(Invalid::syntax(format!("expected four hexadecimal digits at byte {start}"))),
        }
    }

    /// The number that comes next, as it stands.
    #[inline]
    pub(super) fn number(&mut self) -> Result<&'j str, Invalid> {
        let rest = &self.text[self.at..];
        match number::length(rest.as_bytes()) {
            0 => Err(self.unexpected("a number")),
            length => {
                self.at += length;
                Ok(&rest[..length])
            }
        }
    }

    /// Takes the word that comes next, which has to be `literal`.
    pub(super) fn literal(&mut self, literal: &'static str) -> Result<&'static str, Invalid> {
        if !self.text[self.at..].starts_with(literal) {
            return Err(self.unexpected("a value"));
        }
        self.at += literal.len();
        Ok(literal)
    }

    /// The text of the value that comes next, whatever it is.
    fn value(&mut self) -> Result<&'j [u8], Invalid> {
        self.peek()?;
        let start = self.at;
        self.skip()?;
        Ok(&self.text.as_bytes()[start..self.at])
    }

    fn skip(&mut self) -> Result<(), Invalid> {
        match self.peek()? {
            b'{' => {
                self.begin()?;
                while self.member()?.is_some() {
                    self.skip()?;
                }
            }
            b'[' => {
                self.begin()?;
                while self.element()? {
                    self.skip()?;
                }
            }
            b'"' => drop(self.string()?),
            b'-' | b'0'..=b'9' => drop(self.number()?),
            _ => drop(self.found()?),
        }
        Ok(())
    }

    /// Makes sure that nothing is left.
    pub(super) fn finish(mut self) -> Result<(), Invalid> {
        match self.peek() {
            Err(_) => Ok(()),
            Ok(_) => Err(Invalid::syntax(format!("unexpected text at byte {}", self.at))),
        }
    }

    #[cold]
    fn unexpected(&self, expected: &str) -> Invalid {
        Invalid::syntax(format!("expected {expected} at byte {}", self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_split_into_its_members() {
        let json = br#" { "type" : "mess\u0061ge", "d\"ata": {"a":[1,{"b":null}]} ,"n":-1.5e3,"type":true} "#;
        let members: Result<Vec<_>, _> = object_members(json).collect();
        let members: Vec<_> =
            members.unwrap().into_iter().map(|(key, value)| (key, str::from_utf8(value).unwrap())).collect();
        let expected =
            [("type", r#""mess\u0061ge""#), ("d\"ata", r#"{"a":[1,{"b":null}]}"#), ("n", "-1.5e3"), ("type", "true")];
        assert_eq!(members, expected.map(|(key, value)| (Cow::Borrowed(key), value)));
        assert_eq!(object_members(b"{}").count(), 0);
    }

    #[test]
    fn splitting_ends_at_the_first_error() {
        for (json, description) in [
            ("", "unexpected end of the text"),
            ("[]", "expected an object, found a list"),
            ("{", "unexpected end of the text"),
            ("{\"a\":1,}", "expected a key at byte 7"),
            ("{\"a\":1}x", "unexpected text at byte 7"),
            ("{\"a\" 1}", "expected `:` at byte 5"),
            ("{\"a\":tru}", "expected a value at byte 5"),
            ("{\"a\":[1 2]}", "expected `,` or `]` at byte 8"),
        ] {
            let errors: Vec<_> = object_members(json.as_bytes()).filter_map(Result::err).collect();
            assert_eq!(errors.len(), 1, "{json}");
            assert_eq!(errors[0].description, description, "{json}");
        }
    }

    #[test]
    fn strings_are_unescaped() {
        assert_eq!(parse_string(br#""plain""#).unwrap(), "plain");
        assert_eq!(parse_string(br#" "\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00" "#).unwrap(), "\"\\/\u{8}\u{c}\n\r\té😀");
        for (json, description) in [
            (r#""\x""#, "unknown escape at byte 1"),
            (r#""\u12g4""#, "expected four hexadecimal digits at byte 3"),
            (r#""\u12"#, "expected four hexadecimal digits at byte 3"),
            (r#""\ud83d""#, "surrogate without its other half at byte 1"),
            (r#""\ude00\ud83d""#, "surrogate without its other half at byte 1"),
            (r#""\ud83d\u0041""#, "surrogate without its other half at byte 1"),
            ("\"a\nb\"", "control character in a string at byte 2"),
            ("\"a", "string without an end"),
            ("\"a\\", "unknown escape at byte 2"),
        ] {
            assert_eq!(parse_string(json.as_bytes()).unwrap_err().description, description, "{json}");
        }
    }
}
