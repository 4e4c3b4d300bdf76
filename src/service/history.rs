//! stub
use crate::{error::Result, model::{caller::Caller, ids::ConversationId, message::Message}};
/// stub
#[derive(Clone, Debug)]
pub struct History {}
impl History {
    pub async fn mark_read(&self, _: &Caller, _: ConversationId, seq: i64) -> Result<i64> { Ok(seq) }
    pub async fn before(&self, _: &Caller, _: ConversationId, _: Option<i64>, _: u16) -> Result<(Vec<Message>, bool)> { Ok((vec![], false)) }
}
