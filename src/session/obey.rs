//! What a viewer's frames do.

use super::{
    command::{Answer, Command, Outgoing},
    connection::{Connection, Expiry},
};
use crate::{
    error::{Error, Result},
    model::{
        history::{History, HistoryRequest, Window},
        ids::{ConversationId, MessageId},
        presence::Status,
        topic::Topic,
    },
    service::messages::Sending,
};

impl Connection {
    /// Does what a frame says. Whatever it does to the store runs to its end even when the viewer leaves meanwhile.
    pub(super) async fn obey(&mut self, id: String, command: Result<Command>) -> Vec<Outgoing> {
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
            Ok(Command::Leave(conversation_id)) => Ok(self.unsubscribe([Topic::Conversation(conversation_id)])),
            Ok(Command::Unsubscribe(wanted)) => {
                Ok(self.unsubscribe(wanted.into_iter().filter_map(|wanted| wanted.topic)))
            }
            Ok(Command::Send { conversation_id, sending }) => {
                return self.send(reply_to, conversation_id, sending).await;
            }
            Ok(Command::Stop(message_id)) => self.stop(message_id).await,
            Ok(Command::Regenerate { message_id, model }) => return self.regenerate(reply_to, message_id, model).await,
            Ok(Command::Read { conversation_id, seq }) => match self.read(conversation_id, seq).await {
                Ok(()) => return Vec::new(),
                Err(error) => Err(error),
            },
            Ok(Command::History { conversation_id, window, limit }) => {
                self.history(conversation_id, window, limit).await
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

    async fn history(&self, conversation_id: ConversationId, window: Window, limit: u16) -> Result<Answer> {
        let (histories, caller) = (self.sessions.histories.clone(), self.caller.clone());
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
        self.sessions.hub.renew(self.seat.id(), &caller);
        self.expiry = Expiry::of(&self.sessions, &caller);
        let role = caller.role;
        self.caller = caller;
        self.change_role(role);
        Ok(Answer::AuthRefreshed(self.caller.expires_at))
    }
}
