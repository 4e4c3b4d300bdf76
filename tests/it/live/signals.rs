//! Signals: heard everywhere, once.

use colloquy::{
    live::signal::Signal,
    model::{
        ids::{ConnectionId, ConversationId, SessionId, UserId},
        user::Role,
    },
};

use super::{Ground, on_both, topic};
use crate::harness::soon;

on_both!(a_signal_is_heard_on_every_node_once);

async fn a_signal_is_heard_on_every_node_once(ground: Ground) {
    let (here, there) = (ground.node().await, ground.node().await);
    // Their links stand once a topic is theirs.
    let topic = topic();
    here.watch(&topic).await;
    there.watch(&topic).await;
    let (mut heard_here, mut heard_there) = (here.signals.listen(), there.signals.listen());
    let signals = [
        Signal::SessionEnded(SessionId::generate()),
        Signal::UserEnded(UserId::generate()),
        Signal::RoleChanged(UserId::generate(), Role::Admin),
        Signal::ConnectionClosed(ConnectionId::generate()),
        Signal::MembershipEnded(ConversationId::generate(), UserId::generate()),
        Signal::ConversationEnded(ConversationId::generate()),
    ];
    for signal in signals {
        here.signals.send(signal);
    }
    for signal in signals {
        assert_eq!(soon("a signal", heard_here.recv()).await.unwrap(), signal);
        assert_eq!(soon("a signal", heard_there.recv()).await.unwrap(), signal);
    }
    let last = Signal::SessionEnded(SessionId::generate());
    there.signals.send(last);
    assert_eq!(soon("the next signal", heard_here.recv()).await.unwrap(), last);
}
