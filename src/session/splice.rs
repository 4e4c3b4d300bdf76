//! Splicing: an answer is taken from the log up to a place, then from what is live; nothing of it is shown twice.

use std::{collections::HashMap, sync::Arc};

use super::command::Outgoing;
use crate::model::{
    cursor::Cursor,
    event::{Draft, Event, Happening},
    ids::MessageId,
    tool::ToolCall,
};

/// Of the answers that a viewer was shown in part from the log: how far it has them.
#[derive(Debug, Default)]
pub(super) struct Shown(HashMap<MessageId, Cursor>);

impl Shown {
    /// The viewer was shown an answer up to a place.
    pub(super) fn set(&mut self, id: MessageId, place: Cursor) {
        self.0.insert(id, place);
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
            Happening::ToolCall { number, index, .. } | Happening::ToolResult { number, index, .. } => {
                match splice_tool(shown, *number, *index) {
                    Rest::Nothing => None,
                    Rest::Whole | Rest::Gap | Rest::Part(_) => Some(Outgoing::Event(event)),
                }
            }
            // It would begin the text anew.
            Happening::Start { .. } => None,
            Happening::End { .. } | Happening::Failed { .. } => {
                self.0.remove(&id);
                Some(Outgoing::Event(event))
            }
            _ => Some(Outgoing::Event(event)),
        }
    }
}

/// How far an answer was before these events; `None` when it begins with them.
pub(super) fn before(id: MessageId, events: &[Arc<Event>]) -> Option<Cursor> {
    let mut place = Cursor { bytes: u64::MAX, tools: u64::MAX };
    for event in events.iter().filter(|event| event.draft.message_id == Some(id)) {
        match &event.draft.happening {
            Happening::Start { .. } => return None,
            Happening::Token { index, .. } => place.bytes = place.bytes.min(*index),
            Happening::ToolCall { number, index, .. } | Happening::ToolResult { number, index, .. } => {
                place.bytes = place.bytes.min(*index);
                place.tools = place.tools.min(number.saturating_sub(1));
            }
            _ => {}
        }
    }
    Some(place)
}

/// What remains of a live piece for a viewer who has the answer up to a place.
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
pub(super) fn splice(shown: &mut Cursor, content: &str, index: u64) -> Rest {
    let end = index + content.len() as u64;
    if end <= shown.bytes {
        return Rest::Nothing;
    }
    if index > shown.bytes {
        return Rest::Gap;
    }
    let known = usize::try_from(shown.bytes - index).unwrap_or(usize::MAX);
    let rest = match (known, content.get(known..)) {
        (0, _) => Rest::Whole,
        (_, Some(new)) => Rest::Part(Happening::Token { content: new.to_owned(), index: shown.bytes }),
        // The log and the pieces were cut from the same text at the ends of characters.
        (_, None) => return Rest::Gap,
    };
    shown.bytes = end;
    rest
}

/// Compares a live tool event with what the viewer has, and moves `shown` behind it unless there is a gap.
pub(super) fn splice_tool(shown: &mut Cursor, number: u64, index: u64) -> Rest {
    if number <= shown.tools {
        return Rest::Nothing;
    }
    if number > shown.tools + 1 || index > shown.bytes {
        return Rest::Gap;
    }
    shown.tools = number;
    Rest::Whole
}

/// The place of a viewer who counted bytes only: whoever has text has the tool events before it too.
pub(super) fn seen(after: Cursor, calls: &[ToolCall]) -> Cursor {
    let events = tool_events(calls);
    let before = events.iter().filter(|(_, index, _)| *index < after.bytes).count();
    let tools = after.tools.clamp(before as u64, events.len() as u64);
    Cursor { tools, ..after }
}

/// What a viewer does not have yet of an answer that is this far, in order, each with the place behind it.
pub(super) fn catch_up(shown: &mut Cursor, text: &str, calls: &[ToolCall]) -> Vec<(Cursor, Happening)> {
    let mut missing = Vec::new();
    let events = tool_events(calls).into_iter().filter(|(number, ..)| *number > shown.tools).collect::<Vec<_>>();
    for (number, index, happening) in events {
        missing.extend(text_until(shown, text, index));
        shown.tools = number;
        missing.push((*shown, happening));
    }
    missing.extend(text_until(shown, text, text.len() as u64));
    missing
}

fn text_until(shown: &mut Cursor, text: &str, end: u64) -> Option<(Cursor, Happening)> {
    let (from, to) = (usize::try_from(shown.bytes).ok()?, usize::try_from(end).ok()?);
    let content = text.get(from..to).filter(|content| !content.is_empty())?.to_owned();
    let happening = Happening::Token { content, index: shown.bytes };
    shown.bytes = end;
    Some((*shown, happening))
}

/// The tool events of an answer in their order: number, index, and what happened.
pub(super) fn tool_events(calls: &[ToolCall]) -> Vec<(u64, u64, Happening)> {
    let called = calls.iter().map(|call| (call.number, call.index, Happening::call_of(call)));
    let returned = calls.iter().filter_map(|call| {
        let number = call.result.as_ref()?.number;
        Some((number, call.index, Happening::result_of(call)?))
    });
    let mut events: Vec<_> = called.chain(returned).collect();
    events.sort_unstable_by_key(|(number, ..)| *number);
    events
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{clock::Clock, ids::ConversationId, tool::ToolResult, topic::Topic};

    fn at(bytes: u64, tools: u64) -> Cursor {
        Cursor { bytes, tools }
    }

    /// Two calls at byte 2, of which the second returned first, and one at byte 4 that works.
    fn calls() -> Vec<ToolCall> {
        let call = |number, index, result: Option<u64>| ToolCall {
            number,
            index,
            id: format!("c{number}"),
            name: "tool".into(),
            arguments: Default::default(),
            result: result.map(|number| ToolResult { number, content: "done".into(), is_error: false, duration_ms: 1 }),
        };
        vec![call(1, 2, Some(4)), call(2, 2, Some(3)), call(5, 4, None)]
    }

    /// What a viewer gets, in short.
    fn told(shown: &mut Cursor, text: &str) -> Vec<String> {
        let told = catch_up(shown, text, &calls()).into_iter().map(|(_, happening)| match happening {
            Happening::Token { content, .. } => content,
            Happening::ToolCall { id, .. } => format!("call {id}"),
            Happening::ToolResult { id, .. } => format!("result {id}"),
            other => panic!("not expected here: {other:?}"),
        });
        told.collect()
    }

    #[test]
    fn tools_and_text_come_in_the_order_in_which_they_happened() {
        let whole = ["ab", "call c1", "call c2", "result c2", "result c1", "cd", "call c5", "e"];
        assert_eq!(told(&mut at(0, 0), "abcde"), whole);
        assert_eq!(told(&mut at(2, 3), "abcde"), whole[4..]);
        assert_eq!(told(&mut at(4, 4), "abcde"), whole[6..]);
        let mut shown = at(5, 5);
        assert!(told(&mut shown, "abcde").is_empty());
        assert_eq!(shown, at(5, 5));
    }

    #[test]
    fn a_place_in_bytes_says_which_tools_were_seen_except_at_that_byte() {
        for (after, place) in [(at(0, 0), at(0, 0)), (at(2, 0), at(2, 0)), (at(3, 0), at(3, 4)), (at(4, 9), at(4, 5))] {
            assert_eq!(seen(after, &calls()), place);
        }
    }

    #[test]
    fn a_live_tool_event_is_shown_once_and_in_its_turn() {
        let mut shown = at(2, 1);
        assert_eq!(splice_tool(&mut shown, 1, 2), Rest::Nothing);
        assert_eq!(splice_tool(&mut shown, 3, 2), Rest::Gap);
        assert_eq!(splice_tool(&mut shown, 2, 3), Rest::Gap);
        assert_eq!(splice_tool(&mut shown, 2, 2), Rest::Whole);
        assert_eq!(shown, at(2, 2));
    }

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
            let mut position = at(shown, 0);
            assert_eq!(splice(&mut position, "hello", index), expected, "shown {shown}, index {index}");
            assert_eq!(position, at(after, 0));
        }
    }

    #[test]
    fn a_viewer_gets_of_live_pieces_what_the_log_did_not_show() {
        let (conversation_id, clock) = (ConversationId::generate(), Clock::default());
        let [known, other] = [MessageId::generate(), MessageId::generate()];
        let mut shown = Shown::default();
        shown.set(known, at(7, 0));
        for (message, content, index, expected) in [
            (known, "hello", 0, None),
            (known, " wide", 5, Some(("ide", 7))),
            (known, " world", 10, Some((" world", 10))),
            (known, " world", 10, None),
            (other, "hello", 0, Some(("hello", 0))),
        ] {
            let happening = Happening::Token { content: content.to_owned(), index };
            let draft = Draft::within(conversation_id, Some(message), happening);
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
    fn an_answer_is_shown_up_to_where_the_log_goes_on_with_it() {
        let (conversation_id, clock) = (ConversationId::generate(), Clock::default());
        let [one, other] = [MessageId::generate(), MessageId::generate()];
        let event = |id, happening| {
            let draft = Draft::within(conversation_id, Some(id), happening);
            Event::new(Topic::System, 1, clock.now(), draft)
        };
        let start = Happening::Start { user_message_id: other, model: String::new() };
        let token = |index| Happening::Token { content: "hello".into(), index };
        let call = Happening::call_of(&calls()[1]);
        assert_eq!(before(one, &[event(other, token(1))]), Some(at(u64::MAX, u64::MAX)));
        assert_eq!(before(one, &[event(one, token(7)), event(one, token(12))]), Some(at(7, u64::MAX)));
        assert_eq!(before(one, &[event(one, call), event(one, token(2))]), Some(at(2, 1)));
        assert_eq!(before(one, &[event(one, start.clone()), event(one, token(0))]), None);
        let mut shown = Shown::default();
        shown.set(one, at(5, 0));
        assert!(shown.pass(event(one, start.clone())).is_none() && shown.pass(event(other, start)).is_some());
    }

    #[test]
    fn a_cut_within_a_character_is_a_gap() {
        let mut shown = at(1, 0);
        assert_eq!(splice(&mut shown, "ä", 0), Rest::Gap);
    }
}
