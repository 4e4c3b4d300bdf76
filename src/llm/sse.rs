//! Reads server-sent events out of bytes that arrive in any portions.
//!
//! Written here because the events of a stranger's server need a size limit and should cost linear time, however
//! finely they are cut. Only `data` is kept: both dialects repeat the event's name in it, and neither uses `id` or
//! `retry`. The rules are those of the HTML standard, section 9.2.6.

use bytes::{Buf, BytesMut};

use super::failure::Breach;

/// The longest event taken, in bytes. Real ones are a few hundred; a tool's result may be more.
pub(super) const MAX_EVENT: usize = 1 << 20;

/// Cuts a byte stream into events: [`feed`](Self::feed) it, then take [`next`](Self::next) until there is none.
#[derive(Default)]
pub(super) struct Decoder {
    buffer: BytesMut,
    /// Bytes at the front of `buffer` that are known to hold no line end.
    scanned: usize,
    /// The last line ended in CR, so that an LF now belongs to that end.
    after_cr: bool,
    /// The `data` lines of the event so far.
    data: Option<String>,
    past_bom: bool,
}

impl Decoder {
    /// Takes more bytes in.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The data of the next complete event. What is left when the stream ends was never complete and is dropped.
    pub(super) fn next(&mut self) -> Result<Option<String>, Breach> {
        while let Some(line) = self.line()? {
            if line.is_empty() {
                if let Some(data) = self.data.take() {
                    return Ok(Some(data));
                }
            } else if let Some(value) = data_field(&line) {
                match &mut self.data {
                    None => self.data = Some(value.to_owned()),
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                }
            }
            self.check_size()?;
        }
        self.check_size()?;
        Ok(None)
    }

    /// The next complete line without its end, which is LF, CR or both.
    fn line(&mut self) -> Result<Option<String>, Breach> {
        if self.after_cr && !self.buffer.is_empty() {
            self.after_cr = false;
            if self.buffer[0] == b'\n' {
                self.buffer.advance(1);
            }
        }
        let Some(length) = self.buffer[self.scanned..].iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
            self.scanned = self.buffer.len();
            return Ok(None);
        };
        let line = self.buffer.split_to(self.scanned + length);
        self.scanned = 0;
        self.after_cr = self.buffer.get_u8() == b'\r';
        let line = String::from_utf8(line.into()).map_err(|_| Breach::Malformed)?;
        if !std::mem::replace(&mut self.past_bom, true)
            && let Some(line) = line.strip_prefix('\u{feff}')
        {
            return Ok(Some(line.to_owned()));
        }
        Ok(Some(line))
    }

    fn check_size(&self) -> Result<(), Breach> {
        let event = self.scanned + self.data.as_ref().map_or(0, String::len);
        if event > MAX_EVENT { Err(Breach::Oversize) } else { Ok(()) }
    }
}

/// The value of a `data` line; other fields and comments have none.
fn data_field(line: &str) -> Option<&str> {
    match line.strip_prefix("data")? {
        "" => Some(""),
        rest => rest.strip_prefix(':').map(|value| value.strip_prefix(' ').unwrap_or(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(portions: &[&[u8]]) -> Vec<String> {
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        for portion in portions {
            decoder.feed(portion);
            while let Some(event) = decoder.next().unwrap() {
                events.push(event);
            }
        }
        events
    }

    const TEXT: &str = "\u{feff}: comment\n\nevent: x\ndata: {\"héllo\": \"🦀\"}\nid: 7\n\nretry: 5\n\n\
        data:first\ndata\ndata:  third\n\ndatabase: no\n\ndata: [DONE]\n\ndata: unfinished\n";

    const EVENTS: [&str; 3] = ["{\"héllo\": \"🦀\"}", "first\n\n third", "[DONE]"];

    #[test]
    fn every_split_gives_the_same_events() {
        for line_end in ["\n", "\r\n", "\r"] {
            let text = TEXT.replace('\n', line_end);
            let bytes = text.as_bytes();
            for cut in 0..=bytes.len() {
                assert_eq!(events(&[&bytes[..cut], &bytes[cut..]]), EVENTS, "cut at {cut} with {line_end:?}");
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(events(&single), EVENTS);
        }
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut line = Decoder::default();
        line.feed(&vec![b'x'; MAX_EVENT + 1]);
        assert!(matches!(line.next(), Err(Breach::Oversize)));

        let mut lines = Decoder::default();
        lines.feed("data: 0123456789\n".repeat(MAX_EVENT / 10).as_bytes());
        assert!(matches!(lines.next(), Err(Breach::Oversize)));
    }

    #[test]
    fn many_events_at_once_are_no_large_event() {
        let mut decoder = Decoder::default();
        decoder.feed("data: 0123456789\n\n".repeat(MAX_EVENT / 8).as_bytes());
        let mut count = 0;
        while decoder.next().unwrap().is_some() {
            count += 1;
        }
        assert_eq!(count, MAX_EVENT / 8);
    }

    #[test]
    fn broken_utf8_is_malformed() {
        let mut decoder = Decoder::default();
        decoder.feed(b"data: \xff\xfe\n\n");
        assert!(matches!(decoder.next(), Err(Breach::Malformed)));
    }
}
