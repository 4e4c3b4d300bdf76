//! A frame in place of compressed ones.

use tokio::io::ReadBuf;

use super::head::MASKED;

/// How many bytes of a message are inflated at once.
const PAYLOAD: usize = 4096;
/// The most bytes of its head: two, a length of two, a mask of four.
const HEAD: usize = 8;

/// A frame in the making, and then in reading. Its head is written before its payload when that is complete.
pub(super) struct Chunk {
    bytes: Box<[u8]>,
    /// What is to be read next, once the frame is complete.
    start: Option<usize>,
    end: usize,
}

impl Chunk {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; HEAD + PAYLOAD].into(), start: None, end: HEAD }
    }

    /// Where there is room for payload.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.end..]
    }

    /// Takes what was written into the room.
    pub(super) fn grow(&mut self, by: usize) {
        self.end += by;
    }

    pub(super) fn is_full(&self) -> bool {
        self.end == self.bytes.len()
    }

    /// Puts a head before the payload: what it begins with, the length, and a mask that changes nothing where there was one.
    pub(super) fn complete(&mut self, first: u8, is_masked: bool) {
        let len = self.end - HEAD;
        let mask = if is_masked { MASKED } else { 0 };
        let mut head = vec![first];
        match (u8::try_from(len), len as u16) {
            (Ok(len @ ..126), _) => head.push(mask | len),
            (_, len) => {
                head.push(mask | 126);
                head.extend(len.to_be_bytes());
            }
        }
        head.extend(is_masked.then_some([0; 4]).into_iter().flatten());
        let start = HEAD - head.len();
        self.bytes[start..HEAD].copy_from_slice(&head);
        self.start = Some(start);
    }

    /// Whether it is complete: to be read, not written.
    pub(super) fn is_complete(&self) -> bool {
        self.start.is_some()
    }

    /// Hands out what there is room for; whether that was the last of it.
    pub(super) fn read(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let start = self.start.unwrap_or(self.end);
        let len = buffer.remaining().min(self.end - start);
        buffer.put_slice(&self.bytes[start..start + len]);
        self.start = Some(start + len);
        start + len == self.end
    }
}
