//! What a client offers in `Sec-WebSocket-Extensions`, and which of it is taken.

use super::compression::Compression;

const PERMESSAGE_DEFLATE: &str = "permessage-deflate";
/// The windows of RFC 7692, by their base-2 logarithm.
const WINDOW_BITS: std::ops::RangeInclusive<u8> = 8..=15;

/// The first offer of a client that can be kept. What is no list of offers by its grammar ends the list: who cannot tell where an
/// offer ends cannot tell where the next one begins.
pub(super) fn choose<'a>(headers: impl IntoIterator<Item = &'a str>) -> Option<Compression> {
    headers.into_iter().find_map(|header| {
        let mut reader = Reader(header);
        std::iter::from_fn(|| reader.offer()).find_map(|offer| offer.accept())
    })
}

/// An extension with its parameters.
struct Offer<'a> {
    name: &'a str,
    parameters: Vec<(&'a str, Option<String>)>,
}

impl Offer<'_> {
    /// Whether it can be kept: it is declined for a parameter that is unknown, doubled or without meaning.
    fn accept(&self) -> Option<Compression> {
        if self.name != PERMESSAGE_DEFLATE {
            return None;
        }
        let mut asked = None;
        for (at, (name, value)) in self.parameters.iter().enumerate() {
            if self.parameters[..at].iter().any(|(earlier, _)| earlier == name) {
                return None;
            }
            match (*name, value.as_deref()) {
                // Both sides forget between messages, asked to or not.
                ("server_no_context_takeover" | "client_no_context_takeover", None) => {}
                ("server_max_window_bits", Some(bits)) => asked = Some(window_bits(bits)?),
                // Whatever window the client has is read.
                ("client_max_window_bits", None) => {}
                ("client_max_window_bits", Some(bits)) => {
                    window_bits(bits)?;
                }
                _ => return None,
            }
        }
        Compression::with_window(asked)
    }
}

fn window_bits(text: &str) -> Option<u8> {
    WINDOW_BITS.into_iter().find(|bits| bits.to_string() == text)
}

/// Reads the grammar of the header (RFC 6455, section 9.1).
struct Reader<'a>(&'a str);

impl<'a> Reader<'a> {
    /// The next offer; `None` at the end, and where the grammar is not kept.
    fn offer(&mut self) -> Option<Offer<'a>> {
        // Elements of a list may be empty.
        while self.takes(',') {}
        let mut offer = Offer { name: self.token()?, parameters: Vec::new() };
        while self.takes(';') {
            let name = self.token()?;
            let value = if self.takes('=') { Some(self.value()?) } else { None };
            offer.parameters.push((name, value));
        }
        (self.0.is_empty() || self.0.starts_with(',')).then_some(offer)
    }

    /// Takes a separator and the space around it.
    fn takes(&mut self, separator: char) -> bool {
        self.space();
        let rest = self.0.strip_prefix(separator);
        self.0 = rest.unwrap_or(self.0);
        self.space();
        rest.is_some()
    }

    fn space(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t']);
    }

    fn token(&mut self) -> Option<&'a str> {
        let end = self.0.find(|char| !is_token(char)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        (!token.is_empty()).then_some(token)
    }

    /// A token, or one in quotes.
    fn value(&mut self) -> Option<String> {
        let Some(quoted) = self.0.strip_prefix('"') else { return self.token().map(str::to_owned) };
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        loop {
            match chars.next()? {
                (end, '"') => {
                    self.0 = &quoted[end + 1..];
                    self.space();
                    return (!value.is_empty() && value.chars().all(is_token)).then_some(value);
                }
                (_, '\\') => value.push(chars.next()?.1),
                (_, char) => value.push(char),
            }
        }
    }
}

/// The characters of tokens (RFC 9110, section 5.6.2).
fn is_token(char: char) -> bool {
    char.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(char)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_offer_that_can_be_kept_is_taken() {
        const ANY: Option<&str> = Some("");
        let table: &[(&[&str], Option<&str>)] = &[
            (&[], None),
            (&[""], None),
            (&["permessage-deflate"], ANY),
            (&["permessage-deflate; client_max_window_bits"], ANY),
            (&["permessage-deflate;client_max_window_bits=8;server_no_context_takeover"], ANY),
            (&["permessage-deflate; client_no_context_takeover; server_max_window_bits=10"], Some("10")),
            (&["permessage-deflate; server_max_window_bits=\"1\\2\" ; client_no_context_takeover"], Some("12")),
            (&["permessage-deflate; server_max_window_bits = 15"], Some("15")),
            (&["x-webkit-deflate-frame, permessage-deflate"], ANY),
            (&["mux; max=\"4\"", " ,, permessage-deflate ,"], ANY),
            // The second offer is what to fall back to.
            (&["permessage-deflate; server_max_window_bits=8, permessage-deflate"], ANY),
            (&["permessage-deflate; colour=red, permessage-deflate; server_max_window_bits=9"], Some("9")),
            // No window of 256 bytes: zlib has none.
            (&["permessage-deflate; server_max_window_bits=8"], None),
            (&["permessage-deflate; server_max_window_bits"], None),
            (&["permessage-deflate; server_max_window_bits=7"], None),
            (&["permessage-deflate; server_max_window_bits=16"], None),
            (&["permessage-deflate; server_max_window_bits=010"], None),
            (&["permessage-deflate; server_max_window_bits=+9"], None),
            (&["permessage-deflate; client_max_window_bits=0"], None),
            (&["permessage-deflate; server_no_context_takeover=1"], None),
            (&["permessage-deflate; client_max_window_bits; client_max_window_bits"], None),
            (&["permessage-deflate; unknown"], None),
            (&["Permessage-Deflate"], None),
            // Not of the grammar.
            (&["permessage-deflate;"], None),
            (&["permessage-deflate; server_max_window_bits="], None),
            (&["permessage-deflate; server_max_window_bits=\"12"], None),
            (&["permessage-deflate server_no_context_takeover"], None),
            (&["mux; a=\", permessage-deflate"], None),
            (&["mux; a=\"b c\", permessage-deflate"], None),
        ];
        for (headers, expected) in table {
            let answer = choose(headers.iter().copied()).map(|compression| compression.answer());
            let answer = answer.as_ref().map(|answer| answer.to_str().unwrap());
            let expected = expected.map(|bits| {
                let window = if bits.is_empty() { String::new() } else { format!("; server_max_window_bits={bits}") };
                format!("permessage-deflate; server_no_context_takeover; client_no_context_takeover{window}")
            });
            assert_eq!(answer, expected.as_deref(), "{headers:?}");
        }
    }
}
