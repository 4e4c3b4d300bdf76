//! The chosen path: of messages with several versions, those that a conversation's history shows.

use diesel::prelude::*;

use super::types::sql;
use crate::model::ids::MessageId;

/// The end of the path that leads through a message: the latest of its descendants, or itself. `$1` is the message, `$2`
/// its conversation.
pub(super) const END: &str = "\
    WITH RECURSIVE below (id, seq) AS (
        SELECT id, seq FROM messages WHERE id = $1 AND conversation_id = $2
        UNION ALL
        SELECT messages.id, messages.seq FROM messages JOIN below ON messages.parent_id = below.id
    )
    SELECT id FROM below ORDER BY seq DESC LIMIT 1";

/// Makes the path end with a message: it and its ancestors are on the path, nothing else is. `$1` is the message, NULL for
/// an empty path, `$2` its conversation.
pub(super) const LEAD_TO: &str = "\
    WITH RECURSIVE path (id, parent_id) AS (
        SELECT id, parent_id FROM messages WHERE id = $1
        UNION ALL
        SELECT messages.id, messages.parent_id FROM messages JOIN path ON messages.id = path.parent_id
    )
    UPDATE messages SET on_path = (id IN (SELECT id FROM path))
    WHERE conversation_id = $2 AND on_path <> (id IN (SELECT id FROM path))";

/// What [`END`] finds.
#[derive(Debug, QueryableByName)]
pub(super) struct End {
    /// The message.
    #[diesel(sql_type = sql::Id)]
    pub(super) id: MessageId,
}

/// Leads a conversation's path through a message, within a transaction: `Some` is its new end, `None` says that the
/// conversation has no such message.
macro_rules! choose_path {
    ($connection:ident, $conversation:expr, $message:expr) => {{
        let end: Option<$crate::store::path::End> = ::diesel::sql_query($crate::store::path::END)
            .bind::<$crate::store::types::sql::Id, _>($message)
            .bind::<$crate::store::types::sql::Id, _>($conversation)
            .get_result($connection)
            .await
            .optional()?;
        let end = end.map(|end| end.id);
        if end.is_some() {
            $crate::store::path::lead_to!($connection, $conversation, end);
        }
        end
    }};
}

/// Makes a conversation's path end with a message, `None` for an empty path, within a transaction.
macro_rules! lead_to {
    ($connection:ident, $conversation:expr, $end:expr) => {
        ::diesel::sql_query($crate::store::path::LEAD_TO)
            .bind::<::diesel::sql_types::Nullable<$crate::store::types::sql::Id>, _>($end)
            .bind::<$crate::store::types::sql::Id, _>($conversation)
            .execute($connection)
            .await?
    };
}

pub(super) use {choose_path, lead_to};
