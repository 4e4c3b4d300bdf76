//! The cores elsewhere: one connection each, and for every call the core that is least busy of those that answer.
//!
//! A call goes to another core for as long as nothing of it has been sent. From then on it may have been taken, and what
//! becomes of its connection becomes of it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::client::conn::http2::SendRequest;
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};
use tokio_util::task::TaskTracker;
use tonic::{Status, body::Body};

use crate::place::Place;

/// How long a connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a core is left alone that was lost for the first time; twice as long each time that it is lost again soon.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// How long a core is left alone at most. One that was connected for longer than that starts from the first pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// No core can be called now.
#[derive(Debug, thiserror::Error)]
#[error("no core can be reached")]
struct NoneReached;

/// All cores of a bridge. Cheap to clone; connections end with the last clone.
#[derive(Clone)]
pub(crate) struct Cores(Arc<Inner>);

struct Inner {
    cores: Vec<Core>,
    /// A connection was made or lost.
    changed: Notify,
    /// Where the choice between equals begins.
    next: AtomicUsize,
    tasks: TaskTracker,
}

struct Core {
    place: Place,
    /// Each call underway holds a clone.
    busy: Arc<()>,
    line: Mutex<Line>,
}

/// The connection of a core, past, present or attempted.
struct Line {
    state: State,
    /// Counts the attempts, so that word of an old connection is not taken for word of the present one.
    attempt: u64,
    since: Instant,
    /// How often it was lost soon after it was made, in a row.
    losses: u32,
}

enum State {
    /// There is none, and none is attempted before that moment.
    Down(Instant),
    Connecting,
    Up(SendRequest<Body>),
}

/// A connection chosen for a call.
struct Chosen<'a> {
    core: &'a Core,
    sender: SendRequest<Body>,
    attempt: u64,
}

impl Cores {
    /// The cores at these places. Nothing is connected before the first call.
    pub(crate) fn new(places: impl IntoIterator<Item = Place>) -> Self {
        let cores = places.into_iter().map(Core::new).collect();
        let (changed, next, tasks) = Default::default();
        Self(Arc::new(Inner { cores, changed, next, tasks }))
    }

    /// Sends a call to the core that is least busy. One whose request could not be sent goes to the next.
    ///
    /// # Errors
    /// When no core can be reached, or the call's connection is lost.
    pub(crate) async fn call(self, mut request: Request<Body>) -> Result<Response<Body>, Status> {
        let mut has_insisted = false;
        loop {
            // Before looking, so that no change is missed.
            let changed = self.0.changed.notified();
            self.connect(false);
            let Some(Chosen { core, mut sender, attempt }) = self.least_busy() else {
                if self.is_connecting() {
                    // An attempt does not last.
                    changed.await;
                } else if has_insisted {
                    return Err(Status::from_error(Box::new(NoneReached)));
                } else {
                    // Pauses spare those that are down while others answer; one of them may be back by now.
                    has_insisted = true;
                    self.connect(true);
                }
                continue;
            };
            core.place.address(&mut request)?;
            let busy = core.busy.clone();
            match sender.try_send_request(request).await {
                Ok(response) => {
                    let underway = move |frame| {
                        let _ = &busy;
                        frame
                    };
                    return Ok(response.map(|body| Body::new(body.map_frame(underway))));
                }
                Err(mut failed) => match failed.take_message() {
                    Some(unsent) => {
                        core.lose(attempt, failed.error());
                        request = unsent;
                    }
                    None => return Err(Status::from_error(Box::new(failed.into_error()))),
                },
            }
        }
    }

    /// Begins to connect whatever core is not connected and has been left alone for long enough, or must be tried at once.
    fn connect(&self, at_once: bool) {
        for (number, core) in self.0.cores.iter().enumerate() {
            if let Some(attempt) = core.begin(at_once) {
                let keeping = keep(Arc::downgrade(&self.0), number, attempt, core.place.clone());
                self.0.tasks.spawn(keeping);
            }
        }
    }

    fn least_busy(&self) -> Option<Chosen<'_>> {
        let cores = &self.0.cores;
        let first = self.0.next.fetch_add(1, Ordering::Relaxed);
        let round = (0..cores.len()).map(|step| &cores[first.wrapping_add(step) % cores.len()]);
        round.filter_map(Core::chosen).min_by_key(|chosen| Arc::strong_count(&chosen.core.busy))
    }

    fn is_connecting(&self) -> bool {
        self.0.cores.iter().any(|core| !matches!(core.line().state, State::Down(_)))
    }
}

impl Core {
    fn new(place: Place) -> Self {
        let now = Instant::now();
        let line = Line { state: State::Down(now), attempt: 0, since: now, losses: 0 };
        Self { place, busy: Arc::default(), line: Mutex::new(line) }
    }

    /// The number of the attempt to be made now, if one is.
    fn begin(&self, at_once: bool) -> Option<u64> {
        let mut line = self.line();
        let now = Instant::now();
        match line.state {
            State::Down(until) if at_once || until <= now => {
                (line.state, line.since) = (State::Connecting, now);
                line.attempt += 1;
                Some(line.attempt)
            }
            State::Down(_) | State::Connecting | State::Up(_) => None,
        }
    }

    fn gain(&self, attempt: u64, sender: SendRequest<Body>) {
        let mut line = self.line();
        if line.attempt == attempt {
            (line.state, line.since) = (State::Up(sender), Instant::now());
        }
    }

    /// Leaves the core alone for a while, unless that connection is the past already.
    fn lose(&self, attempt: u64, error: impl std::fmt::Display) {
        let mut line = self.line();
        if line.attempt != attempt || matches!(line.state, State::Down(_)) {
            return;
        }
        let has_lasted = matches!(line.state, State::Up(_)) && line.since.elapsed() > LONGEST_PAUSE;
        line.losses = if has_lasted { 0 } else { line.losses + 1 };
        let pause = pause_after(line.losses);
        line.state = State::Down(Instant::now() + pause);
        tracing::warn!(core.address = %self.place, pause_ms = pause.as_millis(), %error, "a core is lost");
    }

    fn chosen(&self) -> Option<Chosen<'_>> {
        let line = self.line();
        match &line.state {
            State::Up(sender) => Some(Chosen { core: self, sender: sender.clone(), attempt: line.attempt }),
            State::Down(_) | State::Connecting => None,
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        // A panic elsewhere leaves it whole: it is held for single moves.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Between half of the pause and the whole of it, so that bridges which lost a core together do not come back together.
fn pause_after(losses: u32) -> Duration {
    let pause = FIRST_PAUSE.saturating_mul(1 << losses.min(8)).min(LONGEST_PAUSE);
    pause.mul_f64(rand::random_range(0.5..=1.0))
}

/// Makes a connection and drives it until it ends or nobody is left to use it.
async fn keep(cores: Weak<Inner>, number: usize, attempt: u64, place: Place) {
    let tell = |happened: &dyn Fn(&Core)| {
        if let Some(cores) = cores.upgrade() {
            happened(&cores.cores[number]);
            cores.changed.notify_waiters();
        }
    };
    let (sender, connection) = match timeout(CONNECT_TIMEOUT, place.open()).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => return tell(&|core| core.lose(attempt, &error)),
        Err(late) => return tell(&|core| core.lose(attempt, &late)),
    };
    tell(&|core| core.gain(attempt, sender.clone()));
    drop(sender);
    match connection.await {
        Ok(()) => tell(&|core| core.lose(attempt, "it has closed the connection")),
        Err(error) => tell(&|core| core.lose(attempt, &error)),
    }
}

#[cfg(test)]
mod tests {
    use http::uri::Authority;

    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_differ() {
        for (losses, longest) in [(0, 100), (1, 200), (3, 800), (5, 2000), (u32::MAX, 2000)] {
            let longest = Duration::from_millis(longest);
            let pauses: Vec<_> = (0..32).map(|_| pause_after(losses)).collect();
            assert!(pauses.iter().all(|pause| (longest / 2..=longest).contains(pause)), "{pauses:?}");
            assert!(pauses.iter().any(|pause| *pause != pauses[0]));
        }
    }

    #[test]
    fn word_of_an_old_connection_changes_nothing() {
        let core = Core::new(Place::new(Authority::from_static("localhost:1"), None));
        let first = core.begin(false).unwrap();
        assert_eq!(core.begin(false), None, "one attempt at a time");
        core.lose(first, "refused");
        assert_eq!(core.begin(false), None, "it is left alone");
        core.line().state = State::Down(Instant::now());
        let second = core.begin(false).unwrap();
        core.lose(first, "broken");
        assert!(matches!(core.line().state, State::Connecting));
        core.lose(second, "refused");
        assert!(matches!(core.line().state, State::Down(_)));
        assert_eq!(core.line().losses, 2);
    }
}
