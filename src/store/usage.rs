//! What answers cost, by user, day and model.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::{Store, read, schema::daily_usage};
use crate::{
    error::Result,
    model::{
        clock::Day,
        ids::UserId,
        usage::{DailyUsage, Usage},
    },
};

/// The columns of a day's usage that people see.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = daily_usage)]
struct UsageRow {
    day: String,
    model: String,
    input_tokens: i64,
    output_tokens: i64,
    message_count: i64,
}

impl From<UsageRow> for DailyUsage {
    fn from(row: UsageRow) -> Self {
        Self {
            day: row.day,
            model: row.model,
            usage: Usage { input_tokens: row.input_tokens, output_tokens: row.output_tokens },
            message_count: row.message_count,
        }
    }
}

impl Store {
    /// The user's usage from the first to the last day, newest day first, then by model.
    pub(crate) async fn daily_usage(&self, user: UserId, first: Day, last: Day) -> Result<Vec<DailyUsage>> {
        let rows: Vec<UsageRow> = read!(self, |connection| {
            daily_usage::table
                .filter(daily_usage::user_id.eq(user))
                .filter(daily_usage::day.between(first.to_string(), last.to_string()))
                .order((daily_usage::day.desc(), daily_usage::model))
                .select(UsageRow::as_select())
                .load(connection)
                .await?
        });
        Ok(rows.into_iter().map(Into::into).collect())
    }
}
