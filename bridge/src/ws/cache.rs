//! Events as they were last written: many sockets of a bridge get the same ones at about the same time.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio_tungstenite::tungstenite::Message;

use super::frame::Subprotocol;

/// How many events are kept at most; each has one place, where the next one that belongs there takes over.
const PLACES: usize = 128;
/// The most bytes of an event, as it came and as it was written, that are kept.
const MOST: usize = 64 * 1024;
/// As much of an event as tells it from others: its id is among it.
const TELLING: usize = 40;

/// What an event is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Form {
    Json,
    /// Compressed within a window, whose size is given by its base-2 logarithm.
    Deflated(Subprotocol, u8),
}

/// Writes events once for all that get them.
pub(super) struct Cache {
    hasher: RandomState,
    places: Box<[Place]>,
}

#[derive(Default)]
struct Place {
    /// What was written last. An event is kept from the second time on: most have but one viewer.
    seen: AtomicU64,
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    form: Form,
    /// A copy: what came shares its memory with whatever came with it.
    event: Bytes,
    message: Message,
}

impl Cache {
    pub(super) fn new() -> Self {
        Self { hasher: RandomState::new(), places: (0..PLACES).map(|_| Place::default()).collect() }
    }

    /// The event in this form, as it was written before or as `write` writes it.
    pub(super) fn get_or_write<E>(
        &self,
        form: Form,
        event: &[u8],
        write: impl FnOnce() -> Result<Message, E>,
    ) -> Result<Message, E> {
        let hash = self.hasher.hash_one((form, &event[..event.len().min(TELLING)]));
        let place = &self.places[hash as usize % PLACES];
        if place.seen.swap(hash, Ordering::Relaxed) != hash {
            return write();
        }
        let is_this = |kept: &&Kept| kept.form == form && kept.event == event;
        let found = place.lock().as_ref().filter(is_this).map(|kept| kept.message.clone());
        if let Some(message) = found {
            return Ok(message);
        }
        let message = write()?;
        if event.len() + message.len() <= MOST {
            let event = Bytes::copy_from_slice(event);
            *place.lock() = Some(Kept { form, event, message: message.clone() });
        }
        Ok(message)
    }
}

impl Place {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Kept>> {
        // Nothing that could panic happens under the lock.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// How often events are written when they are asked for in this order.
    fn written(asked: &[(Form, &[u8])]) -> usize {
        let (cache, mut count) = (Cache::new(), 0);
        for (form, event) in asked {
            let expected = Message::text(format!("{form:?} {event:?}"));
            let message = cache.get_or_write(*form, event, || {
                count += 1;
                Ok::<_, Infallible>(expected.clone())
            });
            assert_eq!(message.unwrap(), expected);
        }
        count
    }

    #[test]
    fn an_event_of_many_viewers_is_written_for_the_first_two() {
        assert_eq!(written(&[(Form::Json, b"a".as_slice()); 1000]), 2);
    }

    #[test]
    fn events_that_begin_alike_are_told_apart() {
        let [mut one, mut other] = [[b'x'; 200]; 2];
        (one[199], other[199]) = (b'1', b'2');
        let asked = [(Form::Json, one.as_slice()), (Form::Json, &other)].repeat(5);
        assert_eq!(written(&asked), 10);
    }

    #[test]
    fn each_form_is_written_and_kept_for_itself() {
        let deflated = |window| Form::Deflated(Subprotocol::Json, window);
        let asked = [Form::Json, deflated(9), deflated(15), Form::Deflated(Subprotocol::Proto, 9)];
        let asked = asked.map(|form| [(form, b"a".as_slice()); 5]);
        assert_eq!(written(asked.as_flattened()), 2 * asked.len());
    }

    #[test]
    fn what_is_too_large_to_keep_is_written_each_time() {
        assert_eq!(written(&[(Form::Json, [0; MOST].as_slice()); 5]), 5);
    }
}
