//! What answers cost, by user, day and model.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::{Store, page, read, schema::daily_usage};
use crate::{
    error::Result,
    model::{
        clock::Day,
        ids::UserId,
        page::{Page, PageRequest},
        usage::{DailyUsage, Usage, UserUsage},
    },
};

/// Adds what an answer cost to its day, within a transaction; of an account that is gone nothing is kept, nor of an answer
/// for which nobody was asked.
macro_rules! add_usage {
    ($connection:ident, $user:expr, $model:expr, $usage:expr, $now:expr) => {{
        use $crate::store::{
            schema::{daily_usage, users},
            steady::Steadily as _,
        };
        let known: Option<$crate::model::ids::UserId> =
            users::table.find($user).select(users::id).first($connection).await.optional()?;
        if known.is_some() && $usage != $crate::model::usage::Usage::default() {
            ::diesel::insert_into(daily_usage::table)
                .values((
                    daily_usage::user_id.eq($user),
                    daily_usage::day.eq($now.day()),
                    daily_usage::model.eq($model),
                    daily_usage::input_tokens.eq($usage.input_tokens),
                    daily_usage::output_tokens.eq($usage.output_tokens),
                    daily_usage::message_count.eq(1_i64),
                ))
                .on_conflict((daily_usage::user_id, daily_usage::day, daily_usage::model))
                .do_update()
                .set((
                    daily_usage::input_tokens
                        .eq(daily_usage::input_tokens + ::diesel::upsert::excluded(daily_usage::input_tokens)),
                    daily_usage::output_tokens
                        .eq(daily_usage::output_tokens + ::diesel::upsert::excluded(daily_usage::output_tokens)),
                    daily_usage::message_count.eq(daily_usage::message_count + 1),
                ))
                .steady()
                .execute($connection)
                .await?;
        }
    }};
}

/// Refuses, within a transaction, a user who has used up the day's tokens.
macro_rules! hold_to_quota {
    ($connection:ident, $user:expr, $quota:expr, $now:expr) => {{
        use $crate::store::schema::daily_usage;
        if let Some(quota) = $quota {
            let spent: Vec<(i64, i64)> = daily_usage::table
                .filter(daily_usage::user_id.eq($user))
                .filter(daily_usage::day.eq($now.day()))
                .select((daily_usage::input_tokens, daily_usage::output_tokens))
                .load($connection)
                .await?;
            let $crate::model::usage::DailyQuota(tokens) = quota;
            if spent.into_iter().map(|(input, output)| input + output).sum::<i64>() >= tokens {
                let retry_after = $now.next_day().since($now);
                return Err($crate::error::Error::QuotaExceeded { user_id: $user, tokens, retry_after });
            }
        }
    }};
}

pub(super) use {add_usage, hold_to_quota};

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

    /// Usage from the first to the last day, everybody's or one user's, newest day first, then by user and model.
    pub(crate) async fn usage(
        &self,
        user: Option<UserId>,
        (first, last): (Day, Day),
        request: &PageRequest,
    ) -> Result<Page<UserUsage>> {
        let after = page::after(request, read_key)?;
        let rows: Vec<(UserId, UsageRow)> = read!(self, |connection| {
            let mut query = daily_usage::table
                .filter(daily_usage::day.between(first.to_string(), last.to_string()))
                .order((daily_usage::day.desc(), daily_usage::user_id, daily_usage::model))
                .limit(request.fetch())
                .select((daily_usage::user_id, UsageRow::as_select()))
                .into_boxed();
            if let Some(user) = user {
                query = query.filter(daily_usage::user_id.eq(user));
            }
            if let Some((day, user, model)) = &after {
                let is_later_model = daily_usage::user_id.eq(user).and(daily_usage::model.gt(model));
                let is_later_user = daily_usage::user_id.gt(user).or(is_later_model);
                query = query.filter(daily_usage::day.lt(day).or(daily_usage::day.eq(day).and(is_later_user)));
            }
            query.load(connection).await?
        });
        let usage = rows.into_iter().map(|(user_id, row)| UserUsage { user_id, daily: row.into() }).collect();
        Ok(Page::cut(usage, request, |usage: &UserUsage| {
            page::pair(&usage.daily.day, page::pair(usage.user_id, &usage.daily.model))
        }))
    }
}

/// Reads the key of a list by day, user and model.
fn read_key(key: &str) -> Option<(String, UserId, String)> {
    let (day, rest): (Day, String) = page::read_pair(key)?;
    let (user, model) = page::read_pair(&rest)?;
    Some((day.to_string(), user, model))
}
