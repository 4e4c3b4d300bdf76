//! The audit log: written by the transactions that do what it tells, never changed.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::{Store, admin::claim_admins, page, read, schema::audit_log, transaction};
use crate::{
    error::{Error, Result},
    model::{
        audit::{Act, AuditEntry, AuditFilter, Details, Target},
        clock::{Clock, Timestamp},
        ids::{AuditId, UserId},
        page::{Page, PageRequest},
    },
};

/// What stands in the log for an act that was done.
const DONE: &str = "ok";

/// An entry's row.
#[derive(Debug, Insertable, Queryable, Selectable)]
#[diesel(table_name = audit_log)]
pub(super) struct AuditRow {
    id: AuditId,
    created_at: Timestamp,
    admin_id: UserId,
    action: String,
    target_kind: String,
    target_id: String,
    address: String,
    request_id: String,
    result: String,
    details: String,
}

impl AuditRow {
    /// What became of an act.
    pub(super) fn of(act: &Act, refusal: Option<&Error>, details: &Details, now: Timestamp) -> Result<Self> {
        Ok(Self {
            id: AuditId::generate(),
            created_at: now,
            admin_id: act.admin_id,
            action: act.action.as_str().to_owned(),
            target_kind: act.target.kind.clone(),
            target_id: act.target.id.clone(),
            address: act.origin.address.clone(),
            request_id: act.origin.request_id.clone(),
            result: refusal.map_or(DONE, Error::reason).to_owned(),
            details: serde_json::to_string(details).map_err(Error::internal)?,
        })
    }
}

impl TryFrom<AuditRow> for AuditEntry {
    type Error = Error;

    fn try_from(row: AuditRow) -> Result<Self> {
        Ok(Self {
            id: row.id,
            created_at: row.created_at,
            admin_id: row.admin_id,
            action: row.action,
            target: Target { kind: row.target_kind, id: row.target_id },
            address: row.address,
            request_id: row.request_id,
            result: row.result,
            details: serde_json::from_str(&row.details).map_err(Error::internal)?,
        })
    }
}

/// Writes down what became of an act, within the transaction that does or refuses it.
macro_rules! note_act {
    ($connection:ident, $act:expr, $refusal:expr, $details:expr, $now:expr) => {{
        let row = $crate::store::audit::AuditRow::of($act, $refusal, $details, $now)?;
        ::diesel::insert_into($crate::store::schema::audit_log::table).values(row).execute($connection).await?;
    }};
}

pub(super) use note_act;

impl Store {
    /// Writes down what becomes of an act that changes nothing in the store.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`] when who acts is no admin any more, which is then written down instead.
    pub(crate) async fn note_act(
        &self,
        act: &Act,
        refusal: Option<&Error>,
        details: &Details,
        clock: Clock,
    ) -> Result<()> {
        transaction!(self, "note_act", |connection| {
            let is_admin = claim_admins!(connection, act.admin_id).contains(&act.admin_id);
            let verdict = if is_admin { Ok(()) } else { Err(Error::ROLE) };
            note_act!(connection, act, verdict.as_ref().err().or(refusal), details, clock.now());
            Ok(verdict)
        })?
    }

    /// What admins did and tried, newest first.
    pub(crate) async fn audit_log(&self, filter: &AuditFilter, request: &PageRequest) -> Result<Page<AuditEntry>> {
        let after: Option<(Timestamp, AuditId)> = page::after(request, page::read_moment)?;
        let target = filter.target.as_deref().map(Target::parse);
        let rows: Vec<AuditRow> = read!(self, |connection| {
            let mut query = audit_log::table
                .order((audit_log::created_at.desc(), audit_log::id.desc()))
                .limit(request.fetch())
                .select(AuditRow::as_select())
                .into_boxed();
            if let Some(admin) = filter.admin_id {
                query = query.filter(audit_log::admin_id.eq(admin));
            }
            if let Some(action) = &filter.action {
                query = query.filter(audit_log::action.eq(action));
            }
            if let Some((kind, id)) = target {
                query = query.filter(audit_log::target_id.eq(id));
                if let Some(kind) = kind {
                    query = query.filter(audit_log::target_kind.eq(kind));
                }
            }
            if let Some(from) = filter.from {
                query = query.filter(audit_log::created_at.ge(from));
            }
            if let Some(to) = filter.to {
                query = query.filter(audit_log::created_at.lt(to));
            }
            if let Some((at, id)) = after {
                let is_earlier = audit_log::created_at.lt(at);
                query = query.filter(is_earlier.or(audit_log::created_at.eq(at).and(audit_log::id.lt(id))));
            }
            query.load(connection).await?
        });
        let entries: Vec<AuditEntry> = rows.into_iter().map(TryInto::try_into).collect::<Result<_>>()?;
        Ok(Page::cut(entries, request, |entry| page::pair(entry.created_at.as_micros(), entry.id)))
    }
}
