//! Joining: pieces of an answer that wait become fewer and larger ones, and no byte of it is lost.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use super::{lanes::Waiting, mailbox::Letter};
use crate::model::{
    event::{Draft, Event, Happening},
    ids::MessageId,
    topic::Topic,
};

/// The most text that waiting pieces of an answer are joined to, in bytes: a reader that is slow gets them in frames that it
/// can take one by one.
const MAX_PIECE: usize = 16 << 10;

/// Letters that become one: pieces of an answer that follow each other, or a single other letter. Empty: its letters went
/// into a later one.
#[derive(Debug, Default)]
struct Run {
    bytes: usize,
    letters: Vec<Waiting>,
}

/// The queue with those pieces of answers joined that follow each other in their topic; the whole stands at the place of the
/// last. Nothing of the topic lies in between: whoever has seen a place has seen everything before it.
pub(super) fn joined(queue: VecDeque<Waiting>) -> VecDeque<Waiting> {
    let mut runs: Vec<Run> = Vec::with_capacity(queue.len());
    let mut open: HashMap<Topic, (MessageId, usize)> = HashMap::new();
    for waiting in queue {
        let Letter::Event(event) = &waiting.letter else {
            runs.push(Run { bytes: 0, letters: vec![waiting] });
            continue;
        };
        let last = open.remove(&event.topic);
        let Some((message, text)) = waiting.letter.piece() else {
            runs.push(Run { bytes: 0, letters: vec![waiting] });
            continue;
        };
        let earlier = last.filter(|(other, at)| *other == message && runs[*at].bytes + text <= MAX_PIECE);
        open.insert(event.topic.clone(), (message, runs.len()));
        let mut run = earlier.map(|(_, at)| std::mem::take(&mut runs[at])).unwrap_or_default();
        run.bytes += text;
        run.letters.push(waiting);
        runs.push(run);
    }
    runs.into_iter().filter_map(Run::join).collect()
}

impl Run {
    fn join(mut self) -> Option<Waiting> {
        if self.letters.len() < 2 {
            return self.letters.pop();
        }
        let since = self.letters.first()?.since;
        let pieces = self.letters.into_iter().filter_map(|waiting| match waiting.letter {
            Letter::Event(event) => Some(event),
            _ => None,
        });
        let letter = Letter::Event(join(&pieces.collect::<Vec<_>>())?);
        Some(Waiting { letter, since })
    }
}

/// One piece made of those that follow each other, written once; it stands at the place of the last.
fn join(pieces: &[Arc<Event>]) -> Option<Arc<Event>> {
    let (first, last) = (pieces.first()?, pieces.last()?);
    let Happening::Token { index, .. } = &first.draft.happening else { return None };
    let texts = pieces.iter().map(|piece| match &piece.draft.happening {
        Happening::Token { content, .. } => content.as_str(),
        _ => "",
    });
    let happening = Happening::Token { content: texts.collect(), index: *index };
    let draft = Draft { happening, ..last.draft.clone() };
    Some(Event::new(last.topic.clone(), last.offset, last.at, draft))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

    use super::*;
    use crate::{
        model::{clock::Clock, ids::ConversationId},
        session::lanes::{Bounds, Lane, Lanes},
    };

    const BOUNDS: Bounds = Bounds { frames: 12, bytes: 1 << 20, ttl: Duration::from_secs(3600) };

    /// A conversation with everything that happened in it, and up to where a viewer is.
    struct Story {
        topic: Topic,
        answers: [(MessageId, u64); 2],
        log: Vec<Arc<Event>>,
        place: u64,
    }

    impl Story {
        fn new() -> Self {
            let answers = [(MessageId::generate(), 0), (MessageId::generate(), 0)];
            Self { topic: Topic::Conversation(ConversationId::generate()), answers, log: Vec::new(), place: 0 }
        }

        /// Something happens: mostly a piece of the one answer or the other.
        fn go_on(&mut self, random: &mut StdRng) -> Letter {
            let which = usize::from(random.random_bool(0.1));
            let (message, index) = &mut self.answers[which];
            let (message_id, happening) = if random.random_bool(0.1) {
                (None, Happening::MessageDeleted)
            } else {
                let content = format!("{index} ");
                let happening = Happening::Token { index: *index, content: content.clone() };
                *index += content.len() as u64;
                (Some(*message), happening)
            };
            let draft = Draft::within(ConversationId::generate(), message_id, happening);
            let event = Event::new(self.topic.clone(), self.log.len() as u64 + 1, Clock::default().now(), draft);
            self.log.push(event.clone());
            Letter::Event(event)
        }

        /// What the viewer gets next must be all that happened since, and nothing more.
        fn see(&mut self, event: &Event) {
            let missed = &self.log[self.place as usize..event.offset as usize];
            assert!(!missed.is_empty(), "seen before: {event:?}");
            match missed {
                [one] => assert_eq!(one.draft.happening, event.draft.happening),
                pieces => {
                    let whole = join(pieces).expect("pieces");
                    assert!(pieces.iter().all(|piece| piece.draft.message_id == event.draft.message_id), "{pieces:?}");
                    assert_eq!(whole.draft.happening, event.draft.happening);
                }
            }
            self.place = event.offset;
        }
    }

    #[tokio::test]
    async fn wherever_a_viewer_stops_it_has_seen_everything_up_to_its_place() {
        let (mut overflows, mut joins) = (0, 0);
        for seed in 0..200 {
            let mut random = StdRng::seed_from_u64(seed);
            let (mut lanes, mut stories) = (Lanes::new(BOUNDS), [Story::new(), Story::new()]);
            for _ in 0..500 {
                if random.random_bool(0.8) {
                    let letter = stories[random.random_range(0..2)].go_on(&mut random);
                    lanes.push(letter);
                    continue;
                }
                match lanes.pop(Lane::Low) {
                    Some(Letter::Event(event)) => {
                        let story = stories.iter_mut().find(|story| story.topic == event.topic).expect("one of them");
                        joins += u64::from(event.offset > story.place + 1);
                        story.see(&event);
                    }
                    Some(Letter::Overflow) => {
                        overflows += 1;
                        // It resumes from its places.
                        stories.iter_mut().for_each(|story| story.place = story.log.len() as u64);
                    }
                    other => assert!(other.is_none(), "{other:?}"),
                }
            }
        }
        assert!(overflows > 100 && joins > 100, "{overflows} {joins}");
    }
}
