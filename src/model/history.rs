//! Histories: which part of a conversation's messages is wanted, and what was found.

use std::{fmt, str::FromStr};

use super::message::Message;

/// Which part of a history, seen from a `seq`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Window {
    /// The latest messages.
    #[default]
    Latest,
    /// The nearest messages before this `seq`.
    Before(i64),
    /// The nearest messages after this `seq`.
    After(i64),
}

impl fmt::Display for Window {
    /// The key of a page of the history.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => formatter.write_str("latest"),
            Self::Before(seq) => write!(formatter, "before:{seq}"),
            Self::After(seq) => write!(formatter, "after:{seq}"),
        }
    }
}

impl FromStr for Window {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.split_once(':') {
            None if text == "latest" => Ok(Self::Latest),
            Some(("before", seq)) => seq.parse().map(Self::Before).map_err(|_| ()),
            Some(("after", seq)) => seq.parse().map(Self::After).map_err(|_| ()),
            _ => Err(()),
        }
    }
}

/// A page of a history to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryRequest {
    /// From where, in which direction.
    pub window: Window,
    /// Messages at most.
    pub size: u16,
    /// Whether to show messages off the chosen path as well.
    pub include_siblings: bool,
}

/// A page of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// In ascending `seq`.
    pub messages: Vec<Message>,
    /// Where the next page in the same direction lies, when there is one.
    pub next: Option<Window>,
}

impl History {
    /// Makes a page of what was found, one more than it holds when more lie beyond, the nearest to the window first.
    pub fn cut(mut messages: Vec<Message>, request: &HistoryRequest) -> Self {
        let has_more = messages.len() > usize::from(request.size);
        messages.truncate(usize::from(request.size));
        let farthest = messages.last().map(|message| message.seq).filter(|_| has_more);
        let next = match request.window {
            Window::After(_) => farthest.map(Window::After),
            Window::Latest | Window::Before(_) => {
                messages.reverse();
                farthest.map(Window::Before)
            }
        };
        Self { messages, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_read_as_it_was_written() {
        for window in [Window::Latest, Window::Before(7), Window::After(0)] {
            assert_eq!(window.to_string().parse(), Ok(window));
        }
        for text in ["", "before", "before:", "after:x", "beside:3"] {
            assert_eq!(text.parse::<Window>(), Err(()), "{text}");
        }
    }
}
