//! A place in an answer: how much of its text and of its tool events a viewer has.

/// What one tool event counts in an offset. No answer has as many bytes, and the sum stays within the numbers that JSON
/// readers keep exactly.
const TOOL_EVENT: u64 = 1_000_000_000;

/// A place in an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Bytes of the text.
    pub bytes: u64,
    /// Tool events.
    pub tools: u64,
}

impl Cursor {
    /// The place that an offset of the contract names; a number of bytes is one.
    pub fn from_offset(offset: u64) -> Self {
        Self { bytes: offset % TOOL_EVENT, tools: offset / TOOL_EVENT }
    }

    /// The place as the contract writes it.
    pub fn to_offset(self) -> u64 {
        self.tools * TOOL_EVENT + self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_bytes_is_an_offset_and_tool_events_show_in_it() {
        assert_eq!(Cursor::from_offset(120), Cursor { bytes: 120, tools: 0 });
        assert_eq!(Cursor { bytes: 120, tools: 3 }.to_offset(), 3_000_000_120);
        assert_eq!(Cursor::from_offset(3_000_000_120), Cursor { bytes: 120, tools: 3 });
    }
}
