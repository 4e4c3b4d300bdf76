//! The bounds of texts that people write: what is wrong with one, if anything.

use std::ops::RangeInclusive;

/// What is wrong with a title.
pub(super) fn title_fault(title: &str) -> Option<&'static str> {
    label_fault(title, 0..=255, "must have at most 255 characters")
}

/// What is wrong with the text of a context.
pub(super) fn context_fault(content: &str) -> Option<&'static str> {
    if content.is_empty() || content.len() > 262_144 {
        return Some("must have 1 to 262144 bytes");
    }
    nul_fault(content)
}

/// What is wrong with the text of a search.
pub(super) fn query_fault(query: &str) -> Option<&'static str> {
    label_fault(query, 1..=256, "must have 1 to 256 characters")
}

/// What is wrong with a short text of so many characters; `wanted` says how many.
pub(super) fn label_fault(
    label: &str,
    characters: RangeInclusive<usize>,
    wanted: &'static str,
) -> Option<&'static str> {
    if characters.contains(&label.chars().count()) { nul_fault(label) } else { Some(wanted) }
}

/// What is wrong with the text of a notification.
pub(super) fn body_fault(body: &str) -> Option<&'static str> {
    if body.len() > 10_000 {
        return Some("must have at most 10000 bytes");
    }
    nul_fault(body)
}

/// PostgreSQL cannot store the character, and nobody can see it.
pub(super) fn nul_fault(text: &str) -> Option<&'static str> {
    text.contains('\0').then_some("must not contain the character U+0000")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_bounded_in_characters_or_bytes() {
        for (fault, is_fault) in [
            (title_fault(""), false),
            (title_fault(&"ä".repeat(255)), false),
            (title_fault(&"a".repeat(256)), true),
            (title_fault("a\0b"), true),
            (context_fault(""), true),
            (context_fault(&"a".repeat(262_144)), false),
            (context_fault(&"ä".repeat(131_073)), true),
            (context_fault("\0"), true),
            (query_fault(""), true),
            (query_fault(&"ä".repeat(256)), false),
            (query_fault(&"a".repeat(257)), true),
            (query_fault("\0"), true),
        ] {
            assert_eq!(fault.is_some(), is_fault, "{fault:?}");
        }
    }
}
