//! Splicing: an answer's text is taken from the log up to a byte, then from live pieces; none is shown twice.

use crate::model::event::Happening;

/// What remains of a live piece for a viewer who has the first `shown` bytes of the answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Rest {
    /// The viewer has it.
    Nothing,
    /// All of it is new.
    Whole,
    /// This much is new.
    Part(Happening),
    /// Something before it is missing: read the log again.
    Gap,
}

/// Compares a live piece with what the viewer has, and moves `shown` to its end unless there is a gap.
pub(super) fn splice(shown: &mut u64, content: &str, index: u64) -> Rest {
    let end = index + content.len() as u64;
    if end <= *shown {
        return Rest::Nothing;
    }
    if index > *shown {
        return Rest::Gap;
    }
    let known = usize::try_from(*shown - index).unwrap_or(usize::MAX);
    let rest = match (known, content.get(known..)) {
        (0, _) => Rest::Whole,
        (_, Some(new)) => Rest::Part(Happening::Token { content: new.to_owned(), index: *shown }),
        // The log and the pieces were cut from the same text at the ends of characters.
        (_, None) => return Rest::Gap,
    };
    *shown = end;
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_shown_once_however_it_overlaps() {
        let part = |content: &str, index| Rest::Part(Happening::Token { content: content.into(), index });
        for (shown, index, expected, after) in [
            (0, 0, Rest::Whole, 5),
            (5, 5, Rest::Whole, 10),
            (5, 0, Rest::Nothing, 5),
            (9, 3, Rest::Nothing, 9),
            (5, 3, part("llo", 5), 8),
            (4, 5, Rest::Gap, 4),
        ] {
            let mut position = shown;
            assert_eq!(splice(&mut position, "hello", index), expected, "shown {shown}, index {index}");
            assert_eq!(position, after);
        }
    }

    #[test]
    fn a_cut_within_a_character_is_a_gap() {
        let mut shown = 1;
        assert_eq!(splice(&mut shown, "ä", 0), Rest::Gap);
    }
}
