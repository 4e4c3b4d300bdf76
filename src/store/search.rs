//! Searching messages by their words.

use diesel::{
    prelude::*,
    sql_types::{BigInt, Double, Nullable, Text},
};
use diesel_async::RunQueryDsl;

use super::{Pools, Store, page, read, types::sql};
use crate::{
    error::Result,
    model::{
        ids::{ConversationId, MessageId, UserId},
        message::Message,
        page::{Page, PageRequest},
    },
};

/// Ranks what matches in the user's conversations; the lower the rank the better, of equals the later first. Ranks depend
/// on all that is stored and shift as messages come, so a page begins after the present rank of the last message of the
/// page before; the rank it had then counts only when it matches no more.
///
/// `$1` the user, `$2` the words, `$3` a conversation or NULL for all, `$4` and `$5` the last message and its rank or
/// NULL, `$6` how many.
const SQLITE_RANK: &str = "\
    WITH hits (id, rank) AS (
        SELECT messages.id, bm25(message_search)
        FROM message_search
        JOIN messages ON messages.search_id = message_search.rowid
        JOIN members ON members.conversation_id = messages.conversation_id AND members.user_id = $1
        WHERE message_search MATCH $2 AND ($3 IS NULL OR messages.conversation_id = $3)
    ),
    last (rank) AS (SELECT coalesce((SELECT rank FROM hits WHERE id = $4), $5))
    SELECT hits.id, hits.rank FROM hits, last
    WHERE $4 IS NULL OR hits.rank > last.rank OR (hits.rank = last.rank AND hits.id < $4)
    ORDER BY hits.rank, hits.id DESC LIMIT $6";

/// The same on PostgreSQL, which ranks the better the higher.
const POSTGRES_RANK: &str = "\
    WITH hits (id, rank) AS (
        SELECT messages.id, -ts_rank(messages.words, wanted)::float8
        FROM to_tsquery('simple', unmarked($2)) AS wanted
        JOIN messages ON messages.words @@ wanted
        JOIN members ON members.conversation_id = messages.conversation_id AND members.user_id = $1
        WHERE $3 IS NULL OR messages.conversation_id = $3
    ),
    last (rank) AS (SELECT coalesce((SELECT rank FROM hits WHERE id = $4), $5))
    SELECT hits.id, hits.rank FROM hits, last
    WHERE $4 IS NULL OR hits.rank > last.rank OR (hits.rank = last.rank AND hits.id < $4)
    ORDER BY hits.rank, hits.id DESC LIMIT $6";

/// A message that matches.
#[derive(Debug, QueryableByName)]
struct Hit {
    #[diesel(sql_type = sql::Id)]
    id: MessageId,
    #[diesel(sql_type = Double)]
    rank: f64,
}

impl Store {
    /// Messages of the user's conversations that hold all words of the text, the best match first. A word matches those
    /// that begin with it.
    pub(crate) async fn search_messages(
        &self,
        user: UserId,
        conversation: Option<ConversationId>,
        text: &str,
        request: &PageRequest,
    ) -> Result<Page<Message>> {
        let (rank, last) = page::after(request, page::read_pair::<f64, MessageId>)?.unzip();
        let words: Vec<&str> = words(text).collect();
        if words.is_empty() {
            return Ok(Page { entries: Vec::new(), next: None });
        }
        let (statement, query) = match &self.pools {
            Pools::Sqlite { .. } => (SQLITE_RANK, sqlite_query(&words)),
            Pools::Postgres(_) => (POSTGRES_RANK, postgres_query(&words)),
        };
        let _turn = self.slow_read().await?;
        let hits: Vec<Hit> = read!(self, |connection| {
            diesel::sql_query(statement)
                .bind::<sql::Id, _>(user)
                .bind::<Text, _>(query)
                .bind::<Nullable<sql::Id>, _>(conversation)
                .bind::<Nullable<sql::Id>, _>(last)
                .bind::<Nullable<Double>, _>(rank)
                .bind::<BigInt, _>(request.fetch())
                .load(connection)
                .await?
        });
        let page = Page::cut(hits, request, |last| page::pair(last.rank, last.id));
        let ids: Vec<MessageId> = page.entries.iter().map(|hit| hit.id).collect();
        Ok(Page { entries: self.messages_in_order(user, &ids).await?, next: page.next })
    }
}

/// The words of a text; what stands between them is no part of a query. PostgreSQL takes wide and small punctuation for
/// what it is the form of (Unicode, compatibility decomposition), quotes and backslashes included.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_form = |character| {
        matches!(character, '\u{fe50}'..='\u{fe6b}' | '\u{ff01}'..='\u{ff0f}' | '\u{ff1a}'..='\u{ff20}')
            || matches!(character, '\u{ff3b}'..='\u{ff40}' | '\u{ff5b}'..='\u{ff65}')
    };
    let is_between =
        move |character: char| character.is_whitespace() || character.is_ascii_punctuation() || is_form(character);
    text.split(is_between).filter(|word| word.contains(char::is_alphanumeric))
}

/// All words by their beginning, in FTS5's language. Quoted, a word is never an operator of it; words hold no quotes.
fn sqlite_query(words: &[&str]) -> String {
    let terms: Vec<String> = words.iter().map(|word| format!("\"{word}\"*")).collect();
    terms.join(" ")
}

/// All words by their beginning, in PostgreSQL's language (its documentation, §8.11.2): quoted, a word is never an operator.
fn postgres_query(words: &[&str]) -> String {
    let terms: Vec<String> = words.iter().map(|word| format!("'{word}':*")).collect();
    terms.join(" & ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_reach_the_query() {
        for (text, query) in [
            ("hello", r#""hello"*"#),
            ("  hello   wor ", r#""hello"* "wor"*"#),
            (r#"say "cheese" NEAR(a b, 2)"#, r#""say"* "cheese"* "NEAR"* "a"* "b"* "2"*"#),
            ("content:x* OR -y ^z", r#""content"* "x"* "OR"* "y"* "z"*"#),
            ("don't self-hosted", r#""don"* "t"* "self"* "hosted"*"#),
            ("Grüße “日本語” cafe\u{301}", "\"Grüße\"* \"“日本語”\"* \"cafe\u{301}\"*"),
            ("a\u{ff07}b\u{ff3c}c\u{fe68}d", r#""a"* "b"* "c"* "d"*"#),
            ("\"*\" — 🙂 ()", ""),
        ] {
            let words: Vec<&str> = words(text).collect();
            assert_eq!(sqlite_query(&words), query, "{text}");
        }
    }
}
