//! The head of a frame (RFC 6455, section 5.2), which may come in pieces.

/// The most bytes of a head: two, a length of eight, a mask of four.
const MOST: usize = 14;
/// Where a head says that the frame is the message's last.
pub(super) const FIN: u8 = 0x80;
/// Where a head says that the message is compressed; on its first frame only.
pub(super) const RSV1: u8 = 0x40;
/// All that extensions may use.
const RSV: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const CONTINUATION: u8 = 0;
const DATA: [u8; 2] = [1, 2];
pub(super) const MASKED: u8 = 0x80;

/// As much of a frame's head as has come.
#[derive(Debug, Default)]
pub(super) struct Head {
    bytes: [u8; MOST],
    len: usize,
}

impl Head {
    /// Takes what belongs to the head; whether it is complete.
    pub(super) fn take(&mut self, input: &mut &[u8]) -> bool {
        while self.len < self.wanted() {
            let Some((&byte, rest)) = input.split_first() else { return false };
            self.bytes[self.len] = byte;
            self.len += 1;
            *input = rest;
        }
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What comes first: whether the frame is the last, what extensions say of it, and its type.
    pub(super) fn first(&self) -> u8 {
        self.bytes[0]
    }

    /// How many bytes follow the head, as it says.
    pub(super) fn payload_len(&self) -> u64 {
        match self.bytes[1] & !MASKED {
            126 => be(&self.bytes[2..4]),
            127 => be(&self.bytes[2..10]),
            len => u64::from(len),
        }
    }

    /// What the payload is masked with; nothing where a client forgot to.
    pub(super) fn mask(&self) -> Option<[u8; 4]> {
        let at = self.wanted().checked_sub(4).filter(|_| self.bytes[1] & MASKED != 0)?;
        Some(std::array::from_fn(|byte| self.bytes[at + byte]))
    }

    /// How long the head is, as far as that is known.
    fn wanted(&self) -> usize {
        if self.len < 2 {
            return 2;
        }
        let mask = if self.bytes[1] & MASKED == 0 { 0 } else { 4 };
        let len = match self.bytes[1] & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + len + mask
    }
}

/// Whether a frame that begins like this begins a compressed message.
pub(super) fn begins_compressed(first: u8) -> bool {
    first & RSV == RSV1 && DATA.contains(&(first & OPCODE))
}

/// Whether a frame that begins like this goes on with a message.
pub(super) fn continues(first: u8) -> bool {
    first & RSV == 0 && first & OPCODE == CONTINUATION
}

fn be(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
}
