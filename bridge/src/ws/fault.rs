//! What is wrong with a frame or a session, as an `error` frame tells it.

use std::borrow::Cow;

use serde_json::{Value, json};
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::refusal::{FieldFault, Refusal, reason_of};

/// Characters of a client's id that are told back: as many as the core takes.
const MAX_ID: usize = 128;

/// The contents of an `error` frame.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fault {
    /// An `ErrorReason` without its prefix.
    pub(crate) code: Cow<'static, str>,
    /// A plain sentence.
    pub(crate) message: Cow<'static, str>,
    /// When to try again, in seconds.
    pub(crate) retry_after: Option<f64>,
    /// The fields at fault.
    pub(crate) details: Vec<FieldFault>,
    /// The id of the frame that it answers.
    pub(crate) reply_to: Option<String>,
}

impl Fault {
    /// The same, as the answer to a frame; of an id that is too long, as much as an id may have.
    pub(crate) fn in_reply_to(self, mut id: Option<String>) -> Self {
        if let Some(id) = &mut id
            && let Some((end, _)) = id.char_indices().nth(MAX_ID)
        {
            id.truncate(end);
        }
        Self { reply_to: id, ..self }
    }

    /// The JSON of the contract's `Error`.
    pub(crate) fn to_json(&self) -> Value {
        let details = self
            .details
            .iter()
            .map(|fault| json!({"field": fault.name, "description": fault.description}))
            .collect::<Vec<_>>();
        json!({"code": self.code, "message": self.message, "retry_after": self.retry_after, "details": details})
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self {
            code: refusal.reason.name().into(),
            message: refusal.message,
            retry_after: None,
            details: refusal.field.into_iter().collect(),
            reply_to: None,
        }
    }
}

impl From<&Status> for Fault {
    fn from(status: &Status) -> Self {
        let violations = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
        let retry_delay = status.get_details_retry_info().and_then(|info| info.retry_delay);
        Self {
            code: reason_of(status),
            message: status.message().to_owned().into(),
            retry_after: retry_delay.map(|delay| delay.as_secs_f64()),
            details: violations
                .into_iter()
                .map(|fault| FieldFault { name: fault.field, description: fault.description })
                .collect(),
            reply_to: None,
        }
    }
}
