//! A notification as a push tells it: as much of it as there is room for.

use serde::Serialize;
use serde_json::Value;

use super::encryption::MAX_PLAIN;
use crate::{
    error::{Error, Result},
    model::{ids::NotificationId, notification::Notification},
};

/// What the browser gets, in the contract's words.
#[derive(Serialize)]
struct Told<'a> {
    id: NotificationId,
    title: &'a str,
    content: &'a str,
    notification_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'a Value>,
    created_at: String,
    /// Whether something was left out: the list of notifications has it.
    is_cut: bool,
}

/// The text of a push. Where there is no room for all, the action is left out first if it leaves none to the content, and the content is
/// cut.
///
/// # Errors
/// When it cannot be written.
pub fn payload(notification: &Notification) -> Result<Vec<u8>> {
    let mut told = Told {
        id: notification.id,
        title: &notification.title,
        content: "",
        notification_type: &notification.notification_type,
        action: notification.action.as_ref(),
        created_at: notification.created_at.to_string(),
        is_cut: false,
    };
    let written = |told: &Told<'_>| serde_json::to_vec(told).map_err(Error::internal);
    if written(&told)?.len() > MAX_PLAIN {
        (told.action, told.is_cut) = (None, true);
    }
    let room = MAX_PLAIN.saturating_sub(written(&told)?.len());
    told.content = beginning(&notification.content, room);
    told.is_cut |= told.content.len() < notification.content.len();
    written(&told)
}

/// As much of the text as its JSON has room for.
fn beginning(text: &str, mut room: usize) -> &str {
    for (at, character) in text.char_indices() {
        let bytes = match character {
            '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
            '\0'..='\u{1f}' => 6,
            other => other.len_utf8(),
        };
        match room.checked_sub(bytes) {
            Some(left) => room = left,
            None => return &text[..at],
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::model::{clock::Timestamp, ids::UserId, notification::Related};

    fn notification(title: &str, content: &str, action: Option<Value>) -> Notification {
        let at = Timestamp::from_micros(1_767_225_600_000_000);
        Notification {
            id: NotificationId::generate(),
            user_id: UserId::generate(),
            title: title.to_owned(),
            content: content.to_owned(),
            notification_type: "info".to_owned(),
            action,
            related: Related::default(),
            read_at: None,
            created_at: at,
            updated_at: at,
        }
    }

    fn read(notification: &Notification) -> Value {
        let text = payload(notification).unwrap();
        assert!(text.len() <= MAX_PLAIN, "{}", text.len());
        serde_json::from_slice(&text).unwrap()
    }

    #[test]
    fn what_fits_is_told_whole() {
        let told = notification("Invoice", "It is due.", Some(json!({ "open": "/invoices/7" })));
        let expected = json!({
            "id": told.id, "title": "Invoice", "content": "It is due.", "notification_type": "info",
            "action": { "open": "/invoices/7" }, "created_at": "2026-01-01T00:00:00Z", "is_cut": false,
        });
        assert_eq!(read(&told), expected);
    }

    #[test]
    fn a_long_content_is_cut_and_an_action_that_leaves_no_room_is_left_out() {
        let long = read(&notification("x", &"ä".repeat(5000), Some(json!(1))));
        assert_eq!((&long["is_cut"], &long["action"]), (&json!(true), &json!(1)));
        assert!(long["content"].as_str().unwrap().len() > 3500);
        let stuffed = read(&notification("x", "text", Some(json!("y".repeat(9000)))));
        assert_eq!(
            (&stuffed["is_cut"], stuffed.get("action"), &stuffed["content"]),
            (&json!(true), None, &json!("text"))
        );
        let title = read(&notification(&"\u{1}".repeat(255), &"\u{1}".repeat(9000), None));
        assert_eq!(title["title"].as_str().unwrap().len(), 255);
    }

    proptest! {
        #[test]
        fn a_push_is_never_too_long_and_always_json(title in ".{0,255}", content in "(?s).{0,5000}") {
            let told = read(&notification(&title, &content, None));
            let kept = told["content"].as_str().unwrap();
            prop_assert!(content.starts_with(kept));
            prop_assert_eq!(kept.len() < content.len(), told["is_cut"].as_bool().unwrap());
        }
    }
}
