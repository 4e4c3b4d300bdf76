//! Splicing: an answer's text is taken from the log up to a byte, then from live pieces; none is shown twice.

use std::{collections::HashMap, sync::Arc};

use super::command::Outgoing;
use crate::model::{
    event::{Draft, Event, Happening},
    ids::MessageId,
};

/// Of the answers that a viewer was shown in part from the log: how many bytes it has.
#[derive(Debug, Default)]
pub(super) struct Shown(HashMap<MessageId, u64>);

impl Shown {
    /// The viewer was shown the first `bytes` of an answer.
    pub(super) fn set(&mut self, id: MessageId, bytes: u64) {
        self.0.insert(id, bytes);
    }

    /// What a published event adds to what the viewer was shown.
    pub(super) fn pass(&mut self, event: Arc<Event>) -> Option<Outgoing> {
        let shown = event.draft.message_id.and_then(|id| self.0.get_mut(&id).map(|shown| (id, shown)));
        let Some((id, shown)) = shown else { return Some(Outgoing::Event(event)) };
        match &event.draft.happening {
            Happening::Token { content, index } => match splice(shown, content, *index) {
                Rest::Nothing => None,
                Rest::Whole | Rest::Gap => Some(Outgoing::Event(event)),
                Rest::Part(happening) => Some(Outgoing::Draft(Draft { happening, ..event.draft.clone() })),
            },
            Happening::End { .. } | Happening::Failed { .. } => {
                self.0.remove(&id);
                Some(Outgoing::Event(event))
            }
            _ => Some(Outgoing::Event(event)),
        }
    }
}

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
    use crate::model::{clock::Clock, ids::ConversationId, topic::Topic};

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
    fn a_viewer_gets_of_live_pieces_what_the_log_did_not_show() {
        let (conversation_id, clock) = (ConversationId::generate(), Clock::default());
        let [known, other] = [MessageId::generate(), MessageId::generate()];
        let mut shown = Shown::default();
        shown.set(known, 7);
        for (message, content, index, expected) in [
            (known, "hello", 0, None),
            (known, " wide", 5, Some(("ide", 7))),
            (known, " world", 10, Some((" world", 10))),
            (known, " world", 10, None),
            (other, "hello", 0, Some(("hello", 0))),
        ] {
            let happening = Happening::Token { content: content.to_owned(), index };
            let draft = Draft { conversation_id, message_id: Some(message), happening };
            let passed = shown.pass(Event::new(Topic::System, 1, clock.now(), draft)).map(|outgoing| match outgoing {
                Outgoing::Event(event) => event.draft.happening.clone(),
                Outgoing::Draft(draft) => draft.happening,
                Outgoing::Answer(..) => panic!("nobody asked"),
            });
            let expected = expected.map(|(content, index)| Happening::Token { content: content.to_owned(), index });
            assert_eq!(passed, expected, "{content:?} at {index}");
        }
    }

    #[test]
    fn a_cut_within_a_character_is_a_gap() {
        let mut shown = 1;
        assert_eq!(splice(&mut shown, "ä", 0), Rest::Gap);
    }
}
