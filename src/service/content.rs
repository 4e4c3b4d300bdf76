//! The content policy: under `reject`, text that a careless page would run is refused. Under `store` text is data.
//!
//! Text is read as browsers read it (HTML standard, §13.2.5; URL standard, §4.4): a tag begins with `<` and a letter, an
//! attribute stands in a tag, and a URL's scheme may hold tabs and line breaks. It is read twice, as it stands and with
//! its character references decoded, because what is decoded once too often comes alive then.

use crate::{
    config::ContentPolicy,
    error::{Error, Result},
};

/// Elements that run or load what is not text.
const ELEMENTS: [&str; 2] = ["script", "iframe"];

/// Events whose handlers are refused outside tags too: text may be put into an attribute and break out of it. Other words
/// that begin with "on" are words there.
const EVENTS: &str = "abort afterprint animationend animationstart beforeprint beforeunload begin blur change click \
                      contextmenu copy cut dblclick drag drop error focus hashchange input keydown keypress keyup load \
                      message mousedown mouseenter mouseleave mousemove mouseout mouseover mouseup paste pointerdown \
                      resize submit toggle unload";

/// The scheme of URLs that are programs.
const SCHEME: &str = "javascript:";

/// Refuses text that holds script tags, iframes, `javascript:` URLs or event-handler attributes where the policy says so.
pub(crate) fn check(policy: ContentPolicy, field: &'static str, text: &str) -> Result<()> {
    match policy {
        ContentPolicy::Store => Ok(()),
        ContentPolicy::Reject if is_active(text) || is_active(&decoded(text)) => Err(Error::ContentRejected(field)),
        ContentPolicy::Reject => Ok(()),
    }
}

/// Each part reads the text once, whatever it holds.
fn is_active(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    has_active_element(&text) || has_handler_in_tag(&text) || has_known_handler(&text) || has_script_url(&text)
}

fn has_active_element(text: &str) -> bool {
    text.split('<').skip(1).any(|tag| {
        let tag = tag.strip_prefix('/').unwrap_or(tag);
        ELEMENTS.iter().any(|element| tag.strip_prefix(element).is_some_and(|rest| !rest.starts_with(is_of_name)))
    })
}

fn has_handler_in_tag(mut text: &str) -> bool {
    while let Some((_, tag)) = text.split_once('<') {
        let tag = tag.strip_prefix('/').unwrap_or(tag);
        if !tag.starts_with(|first: char| first.is_ascii_alphabetic()) {
            text = tag;
            continue;
        }
        let mut attributes = tag.trim_start_matches(|character| !is_gap(character) && character != '>');
        loop {
            attributes = attributes.trim_start_matches(is_gap);
            if attributes.is_empty() || attributes.starts_with('>') {
                break;
            }
            let (name, value, rest) = attribute(attributes);
            let event = name.strip_prefix("on").unwrap_or_default();
            if value.is_some() && event.starts_with(|first: char| first.is_ascii_alphabetic()) {
                return true;
            }
            attributes = rest;
        }
        text = attributes;
    }
    false
}

/// The name of the attribute that the text begins with, its value if it has one, and what follows.
fn attribute(text: &str) -> (&str, Option<&str>, &str) {
    // A leading "=" belongs to the name.
    let ends =
        |(at, character): &(usize, char)| is_gap(*character) || *character == '>' || (*character == '=' && *at > 0);
    let end = text.char_indices().find(ends).map_or(text.len(), |(at, _)| at);
    let (name, rest) = text.split_at(end);
    let Some(value) = rest.trim_start().strip_prefix('=') else { return (name, None, rest) };
    let value = value.trim_start();
    for quote in ['"', '\''] {
        if let Some(quoted) = value.strip_prefix(quote) {
            let (value, rest) = quoted.split_once(quote).unwrap_or((quoted, ""));
            return (name, Some(value), rest);
        }
    }
    let end = value.find(|character: char| character.is_whitespace() || character == '>').unwrap_or(value.len());
    (name, Some(&value[..end]), &value[end..])
}

fn has_known_handler(text: &str) -> bool {
    text.match_indices("on").any(|(at, _)| {
        // `window.onload = …` is a program's text, not an attribute.
        if text[..at].ends_with(|before: char| is_of_name(before) || before == '.') {
            return false;
        }
        let (event, rest) = split_while(&text[at + "on".len()..], is_of_name);
        rest.trim_start().starts_with('=') && EVENTS.split(' ').any(|known| known == event)
    })
}

/// Whether a text holds the scheme where a link begins: before something that is not prose, or where a value or target
/// stands. "JavaScript: the language" is neither.
fn has_script_url(text: &str) -> bool {
    text.match_indices('j').any(|(at, _)| {
        let before = &text[..at];
        let Some(target) = after_scheme(&text[at..]) else { return false };
        if before.ends_with(|before: char| is_of_name(before) || matches!(before, '+' | '.')) {
            return false;
        }
        let opened = before.trim_end().trim_end_matches(['"', '\'', '`', '<']).trim_end();
        let is_value = opened.ends_with(['=']) || opened.ends_with("](") || opened.ends_with("url(");
        is_value || before.ends_with('<') || target.starts_with(|next: char| !next.is_whitespace())
    })
}

/// What follows the scheme; tabs, line breaks and other controls within it count for nothing.
fn after_scheme(text: &str) -> Option<&str> {
    SCHEME.chars().try_fold(text, |rest, letter| rest.trim_start_matches(char::is_control).strip_prefix(letter))
}

/// What may stand between the attributes of a tag.
fn is_gap(character: char) -> bool {
    character.is_whitespace() || character.is_control() || character == '/'
}

fn is_of_name(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '-' | '_')
}

/// The text with its character references decoded, once; a final `;` may be missing, as browsers have it.
fn decoded(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut pieces = text.split('&');
    decoded.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        match reference(piece) {
            Some((character, rest)) => {
                decoded.push(character);
                decoded.push_str(rest.strip_prefix(';').unwrap_or(rest));
            }
            None => {
                decoded.push('&');
                decoded.push_str(piece);
            }
        }
    }
    decoded
}

/// The character that the reference at the beginning of the text stands for, and what follows.
fn reference(text: &str) -> Option<(char, &str)> {
    let Some(number) = text.strip_prefix('#') else {
        let (name, rest) = split_while(text, |character| character.is_ascii_alphanumeric());
        return named(name).map(|character| (character, rest));
    };
    let (radix, number) = match number.strip_prefix(['x', 'X']) {
        Some(number) => (16, number),
        None => (10, number),
    };
    let (digits, rest) = split_while(number, |character| character.is_digit(radix));
    Some((char::from_u32(u32::from_str_radix(digits, radix).ok()?)?, rest))
}

fn split_while(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|character| !belongs(character)).unwrap_or(text.len()))
}

/// The named references that stand for characters of markup.
fn named(name: &str) -> Option<char> {
    Some(match name {
        "amp" => '&',
        "apos" => '\'',
        "colon" => ':',
        "equals" => '=',
        "gt" => '>',
        "lpar" => '(',
        "lt" => '<',
        "nbsp" => '\u{a0}',
        "NewLine" => '\n',
        "quot" => '"',
        "sol" => '/',
        "Tab" => '\t',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_rejected(text: &str) -> bool {
        matches!(check(ContentPolicy::Reject, "content", text), Err(Error::ContentRejected("content")))
    }

    #[test]
    fn rejects_what_a_page_would_run() {
        for text in [
            "<script>alert(1)</script>",
            "<SCRIPT SRC=//x.example>",
            "</script >",
            "a <script",
            "<script/x>",
            "<script\n>",
            "<a title=\"<script>\">",
            "&lt;script&gt;alert(1)",
            "&#60;script&#62;",
            "&#x3C;script>",
            "<iframe src=x>",
            "<iFrame\t>",
            "[x](javascript:alert(1))",
            "[x](<javascript: alert(1)>)",
            "JavaScript:alert(1)",
            "<a href=javascript:alert(1)>",
            "<a href=\" javascript: alert(1)\">",
            "<a href='java\tscript:alert(1)'>",
            "<a href='java\nscript\n:alert(1)'>",
            "<a href='&#106;avascript:alert(1)'>",
            "<a href='javascript&colon;alert(1)'>",
            "<a href='java&Tab;script&#0000058alert(1)'>",
            "url(javascript: alert(1))",
            "<img src=x onerror=alert(1)>",
            "<img src=x ONERROR = alert(1)>",
            "<img src=x\nonerror\n=alert(1)>",
            "<img src=\"x\"onerror=alert(1)>",
            "<svg/onload=alert(1)>",
            "<x onanything=1>",
            "<x a=b onanything='1'>",
            "<x a=\">\" onanything=1>",
            "<img title=&quot; src=x onerror=alert(1)>",
            "\" onmouseover=\"alert(1)",
            "x' autofocus onfocus =alert(1)",
        ] {
            assert!(is_rejected(text), "{text}");
        }
    }

    #[test]
    fn leaves_harmless_text_alone() {
        for text in [
            "",
            "a < b",
            "a<b and c>d",
            "online=3",
            "once = twice; onset=4",
            "<scripture> is not a script",
            "a manuscript <description>",
            "if x < script.length { }",
            "I like JavaScript: it is everywhere",
            "JavaScript:\nThe Good Parts",
            "\"JavaScript: The Good Parts\" by Crockford",
            "myjavascript:thing",
            "window.onload = start",
            "<b>bold</b> and <a href=\"https://example.org/?online=1\">a link</a>",
            "<a title=\"the onset = 4\">x</a>",
            "<p>onions = 3</p>",
            "R&D &amp; AT&T &copy; &#xFFFFFFFF; &#;",
            "日本語 < 中文",
            "1 <2, on = off",
        ] {
            assert!(!is_rejected(text), "{text}");
        }
    }

    #[test]
    fn stores_everything_under_store() {
        assert!(check(ContentPolicy::Store, "content", "<script>alert(1)</script>").is_ok());
    }

    #[test]
    fn reads_hostile_text_in_one_pass() {
        for text in ["<a ", "<a b=\"", "j\n", "on", "&", "<", "onclick "] {
            // What takes a quadratic number of steps would take minutes.
            assert!(!is_rejected(&text.repeat(262_144 / text.len())), "{text}");
        }
    }
}
