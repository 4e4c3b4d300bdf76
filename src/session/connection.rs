//! A live connection: one viewer's commands in, everything that concerns the viewer out, in order.

use std::{
    collections::VecDeque,
    future::ready,
    ops::ControlFlow,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_stream::stream;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use tokio::time::Instant;

use super::{
    backlog::Backlog,
    command::{Answer, Command, Outgoing},
    credit::{Breaker, Credit, Report},
    flight::{self, Passage, Recorder},
    health::Health,
    hub::Live,
    lanes::Lane,
    limits::{Entrance, Pace},
    mailbox::Letter,
    notices::Notices,
    presence::Attendance,
    receipt::Receipts,
    recovery::Recovery,
    seat::Seat,
    sessions::Sessions,
    splice::Shown,
};
use crate::{
    error::{Error, Result},
    model::{caller::Caller, connection::Transport, event::Event, ids::ConversationId, topic::Topic},
};

/// How long before its credential expires a viewer is reminded.
const EXPIRY_NOTICE: Duration = Duration::from_secs(60);
/// Frames of a viewer that wait while it does not take the answers to those before.
const MAX_HELD: usize = 16;

/// A frame of the viewer's.
#[derive(Debug)]
pub struct Frame {
    /// Its id.
    pub id: String,
    /// Its bytes, as protobuf.
    pub bytes: usize,
    /// What it says, or what is wrong with it.
    pub command: Result<Command>,
}

/// What comes from a viewer's side.
#[derive(Debug)]
pub enum Request {
    /// The viewer says something.
    Frame(Frame),
    /// The link to the viewer does.
    Report(Report),
}

/// How a connection begins.
#[derive(Debug)]
pub struct Opening {
    /// The conversation to join.
    pub conversation: Option<ConversationId>,
    /// Bytes that the link takes; `None`: it takes what its transport does.
    pub credit: Option<u64>,
    /// What carries it.
    pub transport: Transport,
}

/// A viewer's connection.
pub(super) struct Connection {
    pub(super) sessions: Arc<Sessions>,
    pub(super) seat: Seat,
    pub(super) caller: Caller,
    pub(super) shown: Shown,
    pub(super) backlog: Backlog,
    pub(super) recovery: Recovery,
    pub(super) notices: Notices,
    pub(super) attendance: Attendance,
    pub(super) expiry: Expiry,
    pace: Pace,
    credit: Credit,
    breaker: Breaker,
    pub(super) receipts: Receipts,
    health: Arc<Mutex<Health>>,
    recorder: Arc<Mutex<Recorder>>,
    judged_at: Instant,
    /// What goes to the viewer next.
    pub(super) ready: VecDeque<Outgoing>,
    /// What the viewer said before it took what is ready.
    held: VecDeque<Frame>,
}

/// The next moment at which the credential's end matters.
pub(super) struct Expiry {
    is_reminded: bool,
    next: Instant,
}

/// Whether a connection goes on, or why it ends.
type Flow = ControlFlow<Option<Error>>;

/// Serves a viewer until its requests end, its credential does, or the server does; `write` puts what it gets in the
/// form in which it leaves. An error is the last item: the credential is no good any more, or the viewer sent far too much.
pub fn connect(
    sessions: Arc<Sessions>,
    caller: Caller,
    entrance: Entrance,
    opening: Opening,
    requests: impl Stream<Item = Request> + Send,
    write: impl Fn(Outgoing) -> Bytes + Send,
) -> impl Stream<Item = Result<Bytes>> + Send {
    // Made here and boxed: what is moved within a stream is held in it twice.
    let mut requests = Box::pin(requests);
    let mut connection = Box::new(Connection::new(sessions, caller, entrance, &opening));
    stream! {
        tracing::Span::current().record("connection_id", tracing::field::display(connection.seat.id()));
        tracing::debug!("connected");
        // Boxed, here and below: what it takes to serve a frame is not held while waiting for one.
        Box::pin(connection.establish(opening.conversation)).await;
        let end = loop {
            while connection.credit.is_open() && let Some(outgoing) = connection.ready.pop_front() {
                let handed_over = connection.receipts.note(&outgoing);
                let frame = connection.hand(outgoing, &write);
                connection.credit.spend(frame.len());
                connection.receipts.leave(frame.len(), handed_over);
                yield Ok(frame);
            }
            connection.settle();
            if let ControlFlow::Break(end) = connection.turn(requests.as_mut()).await {
                break end;
            }
        };
        // Last words do not wait for credit.
        connection.keep_back();
        while let Some(outgoing) = connection.ready.pop_front() {
            connection.receipts.note(&outgoing);
            yield Ok(connection.hand(outgoing, &write));
        }
        if let Some(error) = end {
            yield Err(error);
        }
    }
}

impl Connection {
    fn new(sessions: Arc<Sessions>, caller: Caller, entrance: Entrance, opening: &Opening) -> Self {
        let rules = sessions.rules;
        let seat = sessions.seat(&caller);
        let health = Arc::new(Mutex::new(Health::new(rules.standards)));
        let since = sessions.clock.now();
        let recorder = Arc::new(Mutex::new(Recorder::new(since)));
        let live = Live { health: health.clone(), recorder: recorder.clone(), transport: opening.transport, since };
        sessions.hub.attend(seat.id(), live);
        Self {
            attendance: Attendance::begin(&sessions, &caller),
            expiry: Expiry::of(&sessions, &caller),
            pace: Pace::new(entrance, rules.free_pings),
            credit: Credit::new(opening.credit),
            breaker: Breaker::new(rules.breaker_failures),
            judged_at: Instant::now() + rules.standards.interval,
            shown: Shown::default(),
            backlog: Backlog::default(),
            recovery: Recovery::default(),
            notices: Notices::default(),
            ready: VecDeque::new(),
            held: VecDeque::new(),
            receipts: Receipts::new(sessions.deliveries.clone(), sessions.notifications.clone(), caller.user_id),
            sessions,
            seat,
            caller,
            health,
            recorder,
        }
    }

    async fn establish(&mut self, conversation_id: Option<ConversationId>) {
        let (connection_id, user_id) = (self.seat.id(), self.caller.user_id);
        self.say(Answer::Established { connection_id, user_id, conversation_id });
        self.attend().await;
        if let Some(id) = conversation_id {
            let joined = self.join(None, id).await;
            self.ready.extend(joined);
        }
    }

    /// Does one thing: whatever is next.
    async fn turn(&mut self, mut requests: Pin<&mut (impl Stream<Item = Request> + Send)>) -> Flow {
        if self.ready.is_empty()
            && let Some(frame) = self.held.pop_front()
        {
            return Box::pin(self.serve(frame)).await;
        }
        if self.ready.is_empty() {
            // An idle connection holds no memory.
            self.ready = VecDeque::new();
        }
        // A viewer that takes nothing still learns of the end.
        let takes = self.ready.is_empty() && self.credit.is_open() && !self.breaker.is_open();
        let least = if takes { Lane::Low } else { Lane::Critical };
        let alarm = self.expiry.next.min(self.judged_at);
        let stopping = self.sessions.lifecycle.stopping();
        tokio::select! {
            request = requests.next() => match request {
                Some(Request::Frame(frame)) => self.receive(frame).await,
                Some(Request::Report(report)) => {
                    self.learn(&report);
                    Flow::Continue(())
                }
                None => Flow::Break(None),
            },
            letter = self.seat.next(least) => self.open(letter),
            // As likely as what is live: neither starves the other.
            () = ready(()), if takes && self.is_owed() => Box::pin(self.recover()).await,
            () = tokio::time::sleep_until(alarm) => self.wake(),
            () = stopping.cancelled() => self.send_away("shutdown"),
        }
    }

    async fn receive(&mut self, frame: Frame) -> Flow {
        flight::lock(&self.recorder).note(Passage::taken(self.sessions.clock.now(), &frame));
        self.health().act();
        if self.ready.is_empty() {
            return Box::pin(self.serve(frame)).await;
        }
        self.held.push_back(frame);
        if self.held.len() > MAX_HELD { self.send_away("slow_reader") } else { Flow::Continue(()) }
    }

    async fn serve(&mut self, Frame { id, command, .. }: Frame) -> Flow {
        // Nothing is done any more for somebody who has been signed out.
        if self.seat.is_signed_out() {
            return Flow::Continue(());
        }
        if let Ok(command) = &command {
            self.sessions.analytics.take(command);
        }
        let answers = match self.pace.admit(&self.sessions.limits, &self.caller, &command).await {
            Ok(()) => self.obey(id, command).await,
            Err(flooded @ Error::Flooded { .. }) => return Flow::Break(Some(flooded)),
            Err(refusal) => vec![Outgoing::Answer(Some(id), Answer::Refused(refusal))],
        };
        let is_refused = answers.iter().any(|answer| matches!(answer, Outgoing::Answer(_, Answer::Refused(_))));
        self.health().count(is_refused);
        self.ready.extend(answers);
        Flow::Continue(())
    }

    /// Puts what goes to the viewer in the form in which it leaves.
    fn hand(&mut self, outgoing: Outgoing, write: &impl Fn(Outgoing) -> Bytes) -> Bytes {
        self.sessions.analytics.hand(&outgoing);
        let passage = Passage::handed(self.sessions.clock.now(), &outgoing);
        let frame = write(outgoing);
        flight::lock(&self.recorder).note(passage.weighing(frame.len()));
        frame
    }

    /// Whether more is to be handed over, or caught up with.
    fn is_owed(&self) -> bool {
        self.notices.is_waiting() || !self.recovery.is_empty()
    }

    /// Notes what of what was handed over has left.
    fn settle(&mut self) {
        let is_all = self.ready.is_empty() && !self.is_owed();
        self.receipts.settle(&self.credit, is_all);
    }

    fn learn(&mut self, report: &Report) {
        self.credit.grant(report.credit);
        if let Some(round_trip) = report.round_trip {
            self.health().measure(round_trip);
            self.sessions.analytics.measure(round_trip);
        }
        (0..report.failed_sends).for_each(|_| self.health().count(true));
        if self.breaker.learn(report) {
            if self.breaker.is_open() {
                tracing::info!("the viewer takes nothing: what is published waits in the histories");
                metrics::counter!("colloquy_send_breaker_openings_total").increment(1);
                self.seat.hold();
            } else {
                self.seat.go_on();
                self.recovery.add(self.seat.behind().cloned());
            }
        }
    }

    fn open(&mut self, letter: Letter) -> Flow {
        match letter {
            Letter::Event(event) => self.show(event),
            Letter::Status(change) => self.say(Answer::StatusChanged(change)),
            Letter::Barred(id) => {
                if self.leave(&Topic::Conversation(id)) {
                    self.say(Answer::Unsubscribed(vec![Topic::Conversation(id)]));
                }
            }
            Letter::Role(role) => self.change_role(role),
            Letter::Closed => return self.send_away("closed_by_admin"),
            Letter::SignedOut => {
                self.ready.clear();
                return Flow::Break(Some(Error::Unauthenticated("the session has ended")));
            }
            // Nothing of it could be loaded: whoever comes back begins from now on as well.
            Letter::Missed(topic) if *topic == Topic::System => {}
            Letter::Missed(_) => return self.send_away("missed_events"),
            Letter::Overflow => return self.send_away("slow_reader"),
        }
        Flow::Continue(())
    }

    /// Shows an event, or what of it the viewer has not seen.
    pub(super) fn show(&mut self, event: Arc<Event>) {
        // Nobody is told of themselves, nor of what they were handed when they joined.
        let is_known = self.backlog.has(&event) || !self.notices.is_new(&event);
        if is_known
            || event.is_over(self.sessions.clock)
            || event.draft.happening.present() == Some(self.caller.user_id)
        {
            return;
        }
        self.ready.extend(self.shown.pass(event));
        self.health().count(false);
    }

    /// The credential's end is near or there, or the connection is to be judged.
    fn wake(&mut self) -> Flow {
        let now = Instant::now();
        if self.judged_at <= now {
            self.judged_at = now + self.sessions.rules.standards.interval;
            self.notices.refresh();
            let is_fit = self.health().judge();
            if !is_fit {
                metrics::counter!("colloquy_unhealthy_connections_total").increment(1);
                return self.send_away("unhealthy");
            }
        }
        if self.expiry.next > now {
            return Flow::Continue(());
        }
        let left = self.caller.expires_at.since(self.sessions.clock.now());
        if self.expiry.is_reminded || left.is_zero() {
            return Flow::Break(Some(Error::Unauthenticated("the access token has expired")));
        }
        self.expiry = Expiry { is_reminded: true, next: now + left };
        self.say(Answer::AuthExpiring(self.caller.expires_at));
        Flow::Continue(())
    }

    /// Asks the viewer to come back: those who are sent away together not all at once.
    pub(super) fn send_away(&mut self, reason: &'static str) -> Flow {
        let after_ms = match reason {
            "slow_reader" | "closed_by_admin" => 0,
            _ => self.sessions.reconnect_after_ms(),
        };
        self.say(Answer::Reconnect { after_ms, reason });
        Flow::Break(None)
    }

    fn say(&mut self, answer: Answer) {
        self.ready.push_back(Outgoing::Answer(None, answer));
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        // A panic elsewhere leaves samples that are whole.
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let (id, now) = ((self.seat.id(), self.caller.user_id), self.sessions.clock.now());
        self.sessions.flights.keep(id, now, &self.recorder);
    }
}

impl Expiry {
    pub(super) fn of(sessions: &Sessions, caller: &Caller) -> Self {
        let left = caller.expires_at.since(sessions.clock.now());
        Self { is_reminded: false, next: Instant::now() + left.saturating_sub(EXPIRY_NOTICE) }
    }
}
