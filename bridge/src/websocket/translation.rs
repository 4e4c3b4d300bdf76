//! The way from a client's frames to the same without compression.

use bytes::{Buf as _, BytesMut};
use tokio::io::ReadBuf;

use super::{
    chunk::Chunk,
    head::{self, FIN, Head, RSV1},
    inflater::Inflater,
    violation::Violation,
};

/// The end of every compressed message, which is not sent (RFC 7692, section 7.2.2); and an empty last block, at which zlib says
/// whether the message was complete.
const TAIL: &[u8] = &[0, 0, 0xff, 0xff, 0x03, 0x00];
/// How many bytes are unmasked at once.
const PIECE: usize = 512;

/// Finds compressed messages among a client's frames and puts plain ones in their place.
///
/// All other bytes stay as they are: whether they are frames is for others to judge. Of a compressed message only as much is
/// held as is inflated at once, and frame by frame what is read is fragmented as the client fragmented it.
pub(super) struct Translation {
    place: Place,
    /// The compressed message that has begun.
    message: Option<Message>,
    /// What has been read and not been looked at.
    raw: BytesMut,
    chunk: Option<Chunk>,
    /// The most bytes of a message.
    limit: usize,
}

/// Where among the client's frames the next byte is.
enum Place {
    Head(Head),
    /// So many bytes before the end of a frame that stays as it is.
    Plain(u64),
    Compressed(Frame),
    /// Behind the last frame of a compressed message.
    Tail {
        rest: &'static [u8],
        is_masked: bool,
    },
}

/// A frame of a compressed message.
struct Frame {
    is_last: bool,
    mask: Option<[u8; 4]>,
    /// How many bytes of the payload have been taken.
    taken: u64,
    len: u64,
}

/// A compressed message.
struct Message {
    inflater: Inflater,
    /// How many bytes it has so far, as it was sent.
    len: u64,
    /// What the next frame in its place begins with.
    first: u8,
}

impl Translation {
    pub(super) fn new(limit: usize) -> Self {
        Self { place: Place::start(), message: None, raw: BytesMut::new(), chunk: None, limit }
    }

    /// Hands out what is ready; whether there was anything.
    pub(super) fn read(&mut self, buffer: &mut ReadBuf<'_>) -> Result<bool, Violation> {
        loop {
            if let Some(chunk) = self.chunk.as_mut().filter(|chunk| chunk.is_complete()) {
                if chunk.read(buffer) {
                    self.chunk = None;
                }
                return Ok(true);
            }
            let len = self.raw.len().min(buffer.remaining());
            let plain = self.place.pass(&self.raw[..len], self.message.is_some());
            if plain > 0 {
                buffer.put_slice(&self.raw[..plain]);
                self.advance(plain);
                return Ok(true);
            }
            if !self.inflate()? {
                return Ok(false);
            }
        }
    }

    /// Takes what was read, when nothing is left of what was there; returns how much of it, from its start, stays as it is.
    pub(super) fn take(&mut self, read: &[u8]) -> usize {
        let plain = self.place.pass(read, self.message.is_some());
        self.raw.extend_from_slice(&read[plain..]);
        plain
    }

    /// Makes a frame of what is there; whether that was enough for one.
    fn inflate(&mut self) -> Result<bool, Violation> {
        loop {
            let made = match &mut self.place {
                Place::Head(_) => {
                    if !self.begin()? {
                        return Ok(false);
                    }
                    continue;
                }
                Place::Plain(_) => return Ok(false),
                Place::Compressed(frame) if frame.taken == frame.len => self.end_frame(),
                Place::Compressed(_) if self.raw.is_empty() => return Ok(false),
                Place::Compressed(_) => self.inflate_payload()?,
                Place::Tail { .. } => self.inflate_tail()?,
            };
            if made {
                return Ok(true);
            }
        }
    }

    /// Reads the head of a compressed frame; whether all of it was there.
    fn begin(&mut self) -> Result<bool, Violation> {
        let Place::Head(head) = &mut self.place else { return Ok(false) };
        let mut rest = &self.raw[..];
        let (before, is_complete) = (rest.len(), head.take(&mut rest));
        let (taken, first, len, mask) = (before - rest.len(), head.first(), head.payload_len(), head.mask());
        self.advance(taken);
        if !is_complete {
            return Ok(false);
        }
        let message = self.message.get_or_insert_with(|| Message {
            inflater: Inflater::new(),
            len: 0,
            first: first & !(FIN | RSV1),
        });
        // What a client says of a frame's length is good enough to refuse it, and for nothing else.
        message.len = message.len.saturating_add(len);
        if message.len > self.limit as u64 {
            return Err(Violation::Size);
        }
        self.place = Place::Compressed(Frame { is_last: first & FIN != 0, mask, taken: 0, len });
        Ok(true)
    }

    fn inflate_payload(&mut self) -> Result<bool, Violation> {
        let (Place::Compressed(frame), Some(message)) = (&mut self.place, &mut self.message) else { return Ok(false) };
        let left = usize::try_from(frame.len - frame.taken).unwrap_or(PIECE);
        let len = left.min(self.raw.len()).min(PIECE);
        let mut piece = [0; PIECE];
        piece[..len].copy_from_slice(&self.raw[..len]);
        if let Some(mask) = frame.mask {
            let mask = mask.iter().cycle().skip((frame.taken % 4) as usize);
            piece[..len].iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
        }
        let chunk = self.chunk.get_or_insert_with(Chunk::new);
        let inflated = message.inflater.inflate(&piece[..len], chunk.room())?;
        frame.taken += inflated.taken as u64;
        chunk.grow(inflated.made);
        let is_full = chunk.is_full();
        let is_masked = frame.mask.is_some();
        self.advance(inflated.taken);
        if is_full {
            self.complete(false, is_masked);
        } else if inflated.taken == 0 && inflated.made == 0 {
            return Err(Violation::Deflate);
        }
        Ok(is_full)
    }

    /// At the end of a client's frame there is one in its place, be it empty: what may come next is the same for both.
    fn end_frame(&mut self) -> bool {
        let Place::Compressed(frame) = &self.place else { return false };
        let (is_last, is_masked) = (frame.is_last, frame.mask.is_some());
        if is_last {
            self.place = Place::Tail { rest: TAIL, is_masked };
            return false;
        }
        self.place = Place::start();
        self.complete(false, is_masked);
        true
    }

    fn inflate_tail(&mut self) -> Result<bool, Violation> {
        let (Place::Tail { rest, is_masked }, Some(message)) = (&mut self.place, &mut self.message) else {
            return Ok(false);
        };
        let chunk = self.chunk.get_or_insert_with(Chunk::new);
        let inflated = message.inflater.inflate(rest, chunk.room())?;
        *rest = &rest[inflated.taken..];
        chunk.grow(inflated.made);
        let (has_ended, is_full) = (inflated.ended && rest.is_empty(), chunk.is_full());
        let is_masked = *is_masked;
        if has_ended {
            self.complete(true, is_masked);
            self.place = Place::start();
            self.message = None;
        } else if is_full {
            self.complete(false, is_masked);
        } else if inflated.taken == 0 && inflated.made == 0 {
            return Err(Violation::Deflate);
        }
        Ok(has_ended || is_full)
    }

    /// Completes the frame in the making, which may be empty.
    fn complete(&mut self, is_last: bool, is_masked: bool) {
        let first = self.message.as_mut().map_or(0, |message| std::mem::take(&mut message.first));
        let fin = if is_last { FIN } else { 0 };
        self.chunk.get_or_insert_with(Chunk::new).complete(first | fin, is_masked);
    }

    fn advance(&mut self, len: usize) {
        self.raw.advance(len);
        if self.raw.is_empty() {
            // An idle socket holds no buffer.
            self.raw = BytesMut::new();
        }
    }
}

impl Place {
    /// Before a frame's first byte.
    fn start() -> Self {
        Self::Head(Head::default())
    }

    /// Goes past what stays as it is, and returns how much that is.
    fn pass(&mut self, bytes: &[u8], in_message: bool) -> usize {
        let mut rest = bytes;
        while let Some(&next) = rest.first() {
            match self {
                Self::Head(head) => {
                    let first = if head.is_empty() { next } else { head.first() };
                    let is_compressed =
                        if in_message { head::continues(first) } else { head::begins_compressed(first) };
                    if is_compressed {
                        break;
                    }
                    if head.take(&mut rest) {
                        *self = Self::Plain(head.payload_len()).or_start();
                    }
                }
                Self::Plain(left) => {
                    let len = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    rest = &rest[len..];
                    *self = Self::Plain(*left - len as u64).or_start();
                }
                Self::Compressed(_) | Self::Tail { .. } => break,
            }
        }
        bytes.len() - rest.len()
    }

    fn or_start(self) -> Self {
        if matches!(self, Self::Plain(0)) { Self::start() } else { self }
    }
}
