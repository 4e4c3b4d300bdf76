//! A live connection: one viewer's commands in, everything that concerns the viewer out, in order.

use std::time::Duration;

use async_stream::stream;
use futures_util::{Stream, StreamExt as _};
use tokio::time::Instant;

use super::{
    command::{Answer, Command, Outgoing},
    limits::{Entrance, Pace},
    mailbox::Letter,
    presence::Attendance,
    seat::Seat,
    sessions::Sessions,
    splice::Shown,
};
use crate::{
    error::{Error, Result},
    model::{
        caller::Caller,
        history::{History, HistoryRequest, Window},
        ids::{ConversationId, MessageId},
        presence::Status,
        topic::Topic,
    },
    service::messages::Sending,
};

/// How long before its credential expires a viewer is reminded.
const EXPIRY_NOTICE: Duration = Duration::from_secs(60);
/// The longest pause after which viewers come back whom a node sends away together; each gets its own, so that they do
/// not all come at once.
const RECONNECT_SPREAD_MS: i64 = 5000;

/// A frame of the viewer's: its id, and what it says or what is wrong with it.
pub type Frame = (String, Result<Command>);

/// A viewer's connection.
pub(super) struct Connection {
    pub(super) sessions: Sessions,
    pub(super) seat: Seat,
    pub(super) caller: Caller,
    pub(super) shown: Shown,
    pace: Pace,
    pub(super) attendance: Attendance,
    expiry: Expiry,
}

/// The next moment at which the credential's end matters.
struct Expiry {
    is_reminded: bool,
    next: Instant,
}

/// Serves a viewer until its frames end, its credential does, or the server does. An error is the last item: the
/// credential is no good any more, or the viewer sent far too much.
pub fn connect(
    sessions: Sessions,
    caller: Caller,
    entrance: Entrance,
    named: Option<ConversationId>,
    frames: impl Stream<Item = Frame> + Send,
) -> impl Stream<Item = Result<Outgoing>> + Send {
    stream! {
        let mut frames = std::pin::pin!(frames);
        let mut connection = Connection::new(sessions, caller, entrance);
        tracing::Span::current().record("connection_id", tracing::field::display(connection.seat.id()));
        tracing::debug!("connected");
        yield Ok(Outgoing::Answer(None, connection.established(named)));
        if let Some(conversation) = named {
            // Boxed, here and below: what it takes to serve a frame is not held while waiting for one.
            for outgoing in Box::pin(connection.join(None, conversation)).await {
                yield Ok(outgoing);
            }
        }
        let stopping = connection.sessions.lifecycle.stopping().clone();
        loop {
            let expiry = connection.expiry.next;
            tokio::select! {
                frame = frames.next() => match frame {
                    // Nothing is done any more for somebody who has been signed out.
                    Some(_) if connection.seat.is_signed_out() => {}
                    Some((id, command)) => match Box::pin(connection.admit(&command)).await {
                        Ok(()) => for outgoing in Box::pin(connection.obey(id, command)).await {
                            yield Ok(outgoing);
                        },
                        Err(flooded @ Error::Flooded { .. }) => {
                            yield Err(flooded);
                            return;
                        }
                        Err(refusal) => yield Ok(Outgoing::Answer(Some(id), Answer::Refused(refusal))),
                    },
                    None => return,
                },
                letter = connection.seat.next() => match letter {
                    // Nobody is told of themselves.
                    Letter::Event(event) if event.draft.happening.present() == Some(connection.caller.user_id) => {}
                    Letter::Status(change) => yield Ok(Outgoing::Answer(None, Answer::StatusChanged(change))),
                    Letter::Event(event) => if let Some(outgoing) = connection.shown.pass(event) {
                        yield Ok(outgoing);
                    },
                    Letter::Barred(id) => if connection.leave(&Topic::Conversation(id)) {
                        yield Ok(Outgoing::Answer(None, Answer::Unsubscribed(vec![Topic::Conversation(id)])));
                    },
                    Letter::SignedOut => {
                        yield Err(Error::Unauthenticated("the session has ended"));
                        return;
                    }
                    Letter::Missed(_) => {
                        let after_ms = rand::random_range(0..RECONNECT_SPREAD_MS);
                        yield Ok(Outgoing::Answer(None, Answer::Reconnect { after_ms, reason: "missed_events" }));
                        return;
                    }
                    Letter::Overflow => {
                        yield Ok(Outgoing::Answer(None, Answer::Reconnect { after_ms: 0, reason: "slow_reader" }));
                        return;
                    }
                },
                () = tokio::time::sleep_until(expiry) => match connection.remind() {
                    Some(reminder) => yield Ok(reminder),
                    None => {
                        yield Err(Error::Unauthenticated("the access token has expired"));
                        return;
                    }
                },
                () = stopping.cancelled() => {
                    let after_ms = rand::random_range(0..RECONNECT_SPREAD_MS);
                    yield Ok(Outgoing::Answer(None, Answer::Reconnect { after_ms, reason: "shutdown" }));
                    return;
                }
            }
        }
    }
}

impl Connection {
    fn new(sessions: Sessions, caller: Caller, entrance: Entrance) -> Self {
        let seat = sessions.seat(&caller);
        let (attendance, expiry) = (Attendance::begin(&sessions, &caller), Expiry::of(&sessions, &caller));
        let pace = Pace::new(entrance, sessions.free_pings);
        Self { sessions, seat, caller, shown: Shown::default(), pace, attendance, expiry }
    }

    fn established(&self, conversation_id: Option<ConversationId>) -> Answer {
        Answer::Established { connection_id: self.seat.id(), user_id: self.caller.user_id, conversation_id }
    }

    /// Counts a frame, unless it is too many.
    async fn admit(&mut self, command: &Result<Command>) -> Result<()> {
        self.pace.admit(&self.sessions.limits, &self.caller, command).await
    }

    /// Does what a frame says. Whatever it does to the store runs to its end even when the viewer leaves meanwhile.
    async fn obey(&mut self, id: String, command: Result<Command>) -> Vec<Outgoing> {
        let reply_to = Some(id);
        if command.as_ref().is_ok_and(Command::is_act) {
            self.attendance.act();
        }
        let done = match command {
            Err(error) => Err(error),
            Ok(Command::Ping { ping_id }) => Ok(Answer::Pong { ping_id }),
            Ok(Command::Heartbeat { client_timestamp }) => Ok(Answer::HeartbeatAck { client_timestamp }),
            Ok(Command::Subscribe(wanted)) => return self.subscribe(reply_to, wanted).await,
            Ok(Command::Join(conversation_id)) => return self.join(reply_to, conversation_id).await,
            Ok(Command::Unsubscribe(wanted)) => Ok(self.unsubscribe(&wanted)),
            Ok(Command::Send { conversation_id, sending }) => {
                return self.send(reply_to, conversation_id, sending).await;
            }
            Ok(Command::Stop(message_id)) => self.stop(message_id).await,
            Ok(Command::Regenerate { message_id, model }) => return self.regenerate(reply_to, message_id, model).await,
            Ok(Command::Read { conversation_id, seq }) => match self.read(conversation_id, seq).await {
                Ok(()) => return Vec::new(),
                Err(error) => Err(error),
            },
            Ok(Command::History { conversation_id, before_seq, limit }) => {
                self.history(conversation_id, before_seq, limit).await
            }
            Ok(Command::RefreshAuth { token }) => self.refresh(token).await,
            Ok(Command::Type { conversation_id, is_typing }) => match self.write(conversation_id, is_typing).await {
                Ok(()) => return Vec::new(),
                Err(error) => Err(error),
            },
            Ok(Command::Choose(status)) => match self.choose(status).await {
                Ok(()) => return Vec::new(),
                Err(error) => Err(error),
            },
        };
        vec![Outgoing::Answer(reply_to, done.unwrap_or_else(Answer::Refused))]
    }

    async fn send(
        &mut self,
        reply_to: Option<String>,
        named: Option<ConversationId>,
        sending: Sending,
    ) -> Vec<Outgoing> {
        let (messages, caller) = (self.sessions.messages.clone(), self.caller.clone());
        let conversation_id = match named.map_or_else(|| self.only_conversation(), |id| Ok(Some(id))) {
            Err(error) => return vec![Outgoing::Answer(reply_to, Answer::Refused(error))],
            Ok(Some(id)) => id,
            Ok(None) => {
                let (messages, caller, sending) = (messages.clone(), caller.clone(), sending.clone());
                let opened = self.sessions.run(async move { messages.open_conversation(&caller, &sending).await });
                match opened.await {
                    Ok(id) => id,
                    Err(error) => return vec![Outgoing::Answer(reply_to, Answer::Refused(error))],
                }
            }
        };
        // Joined before it is sent: the sender sees its own run from the start.
        let joined = self.join_quietly(conversation_id).await;
        match self.sessions.run(async move { messages.send(&caller, conversation_id, sending).await }).await {
            Ok(sent) => {
                let accepted = Answer::Sent {
                    conversation_id,
                    message_id: sent.message.id,
                    reply_message_id: sent.reply.map(|reply| reply.id),
                    seq: sent.message.seq,
                };
                joined.into_iter().chain([Outgoing::Answer(reply_to, accepted)]).collect()
            }
            Err(error) => {
                // Whoever may not see the conversation has not joined it either: one answer says it all.
                let is_joined = self.seat.has_joined(&Topic::Conversation(conversation_id));
                let joined = joined.into_iter().filter(|_| is_joined);
                joined.chain([Outgoing::Answer(reply_to, Answer::Refused(error))]).collect()
            }
        }
    }

    /// Joins a conversation that a frame speaks of, unless it is joined.
    async fn join_quietly(&mut self, id: ConversationId) -> Vec<Outgoing> {
        if self.seat.has_joined(&Topic::Conversation(id)) {
            return Vec::new();
        }
        self.join(None, id).await
    }

    /// The conversation that is joined, if any is.
    fn only_conversation(&self) -> Result<Option<ConversationId>> {
        let mut joined = self.seat.topics().filter_map(|topic| match topic {
            Topic::Conversation(id) => Some(*id),
            Topic::User(_) | Topic::System | Topic::Event(_) => None,
        });
        match (joined.next(), joined.next()) {
            (_, Some(_)) => Err(Error::invalid("conversation_id", "is needed where several conversations are joined")),
            (only, None) => Ok(only),
        }
    }

    async fn stop(&self, message_id: MessageId) -> Result<Answer> {
        let (messages, caller) = (self.sessions.messages.clone(), self.caller.clone());
        let conversation_id = self.sessions.run(async move { messages.ask_to_stop(&caller, message_id).await }).await?;
        Ok(Answer::Accepted { conversation_id, message_id })
    }

    async fn regenerate(
        &mut self,
        reply_to: Option<String>,
        message_id: MessageId,
        model: Option<String>,
    ) -> Vec<Outgoing> {
        let (messages, caller) = (self.sessions.messages.clone(), self.caller.clone());
        match self.sessions.run(async move { messages.regenerate(&caller, message_id, model).await }).await {
            Ok(reply) => {
                let conversation_id = reply.conversation_id;
                let accepted = Answer::Accepted { conversation_id, message_id: reply.id };
                let mut outgoing = vec![Outgoing::Answer(reply_to, accepted)];
                outgoing.extend(self.join_quietly(conversation_id).await);
                outgoing
            }
            Err(error) => vec![Outgoing::Answer(reply_to, Answer::Refused(error))],
        }
    }

    async fn read(&self, conversation_id: ConversationId, seq: i64) -> Result<()> {
        let (histories, caller) = (self.sessions.histories.clone(), self.caller.clone());
        self.sessions.run(async move { histories.mark_read(&caller, conversation_id, seq).await }).await?;
        Ok(())
    }

    async fn write(&mut self, conversation_id: ConversationId, is_typing: bool) -> Result<()> {
        let (presences, caller) = (self.sessions.presences.clone(), self.caller.clone());
        // Noted first: it must end with the connection, even if that ends before the answer is here.
        self.attendance.write(conversation_id, is_typing);
        self.sessions.run(async move { presences.set_typing(&caller, conversation_id, is_typing).await }).await
    }

    async fn choose(&self, status: Status) -> Result<()> {
        let (presences, caller) = (self.sessions.presences.clone(), self.caller.clone());
        self.sessions.run(async move { presences.choose(&caller, status).await }).await?;
        Ok(())
    }

    async fn history(&self, conversation_id: ConversationId, before_seq: Option<i64>, limit: u16) -> Result<Answer> {
        let (histories, caller) = (self.sessions.histories.clone(), self.caller.clone());
        let window = before_seq.map_or(Window::Latest, Window::Before);
        let request = HistoryRequest { window, size: limit, include_siblings: false };
        let page = async move { histories.list(&caller, conversation_id, &request).await };
        let History { messages, next } = self.sessions.run(page).await?;
        Ok(Answer::History { conversation_id, messages, has_more: next.is_some() })
    }

    async fn refresh(&mut self, token: String) -> Result<Answer> {
        let accounts = self.sessions.accounts.clone();
        let caller = self.sessions.run(async move { accounts.authenticate(&token).await }).await?;
        if caller.user_id != self.caller.user_id {
            return Err(Error::PermissionDenied("the token belongs to another user"));
        }
        self.sessions.hub.renew(self.seat.id(), caller.session_id);
        self.expiry = Expiry::of(&self.sessions, &caller);
        self.caller = caller;
        Ok(Answer::AuthRefreshed(self.caller.expires_at))
    }

    /// The reminder that the credential expires, once; `None` when it has.
    fn remind(&mut self) -> Option<Outgoing> {
        let left = self.caller.expires_at.since(self.sessions.clock.now());
        if self.expiry.is_reminded || left.is_zero() {
            return None;
        }
        self.expiry = Expiry { is_reminded: true, next: Instant::now() + left };
        Some(Outgoing::Answer(None, Answer::AuthExpiring(self.caller.expires_at)))
    }
}

impl Expiry {
    fn of(sessions: &Sessions, caller: &Caller) -> Self {
        let left = caller.expires_at.since(sessions.clock.now());
        Self { is_reminded: false, next: Instant::now() + left.saturating_sub(EXPIRY_NOTICE) }
    }
}
