//! Inflates one message.

use std::cell::Cell;

use flate2::{Decompress, FlushDecompress, Status};

use super::violation::Violation;

thread_local! {
    /// What the last message on this thread was inflated with: the next one need not make its own 40 KiB.
    static SPARE: Cell<Option<Decompress>> = const { Cell::new(None) };
}

/// Inflates the payload of one message, piece by piece.
pub(super) struct Inflater {
    /// Always there; taken when this is dropped.
    zlib: Option<Decompress>,
}

/// What became of a piece.
#[derive(Debug)]
pub(super) struct Inflated {
    /// How many bytes of the input were taken.
    pub(super) taken: usize,
    /// How many bytes of the output were made.
    pub(super) made: usize,
    /// Whether a deflate stream ended there.
    pub(super) ended: bool,
}

impl Inflater {
    pub(super) fn new() -> Self {
        let zlib = match SPARE.take() {
            Some(mut spare) => {
                spare.reset(false);
                spare
            }
            None => Decompress::new(false),
        };
        Self { zlib: Some(zlib) }
    }

    /// Inflates as much as there is, and room for. After the end of a deflate stream another one begins: that of a message may
    /// consist of several (RFC 7692, section 7.2.3.4).
    pub(super) fn inflate(&mut self, input: &[u8], output: &mut [u8]) -> Result<Inflated, Violation> {
        let zlib = self.zlib.get_or_insert_with(|| Decompress::new(false));
        let (before_in, before_out) = (zlib.total_in(), zlib.total_out());
        let status = zlib.decompress(input, output, FlushDecompress::None).map_err(|_| Violation::Deflate)?;
        let inflated = Inflated {
            taken: (zlib.total_in() - before_in) as usize,
            made: (zlib.total_out() - before_out) as usize,
            ended: status == Status::StreamEnd,
        };
        if inflated.ended {
            zlib.reset(false);
        }
        Ok(inflated)
    }
}

impl Drop for Inflater {
    fn drop(&mut self) {
        // A thread that ends has nothing to spare any more.
        let _ = SPARE.try_with(|spare| spare.set(self.zlib.take()));
    }
}
