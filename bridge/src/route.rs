//! The routes of the contract: path templates of `google.api.http`, and which of them a path means.

use std::{borrow::Cow, collections::BTreeMap, fmt, str::FromStr};

use http::Method;
use percent_encoding::percent_decode_str;

/// A path template such as `/api/v1/conversations/{conversation_id}/messages/{message_id}:stop`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Template {
    segments: Vec<Segment>,
}

/// A segment, in the order in which segments are tried: what says more comes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Literal(String),
    /// A variable between two literals, of which one at least is not empty. The longer ones come first.
    Mixed {
        rank: usize,
        prefix: String,
        variable: String,
        suffix: String,
    },
    Variable(String),
}

/// Why a template cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("path template `{template}`: {fault}")]
pub(crate) struct TemplateError {
    template: String,
    fault: &'static str,
}

/// The values of a template's variables, by the field that each names.
pub(crate) type Captures<'a> = Vec<(&'a str, String)>;

impl Template {
    /// The names of the variables, in order.
    pub(crate) fn variables(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Literal(_) => None,
            Segment::Mixed { variable, .. } | Segment::Variable(variable) => Some(variable.as_str()),
        })
    }

    /// What the variables stand for in `path`; `None` where it is not this template's.
    fn captures<'a>(&'a self, path: &[&str]) -> Option<Captures<'a>> {
        if path.len() != self.segments.len() {
            return None;
        }
        let mut captures = Vec::new();
        for (segment, text) in self.segments.iter().zip(path) {
            if let Some((name, value)) = segment.capture(text)? {
                captures.push((name, percent_decode_str(value).decode_utf8().ok()?.into_owned()));
            }
        }
        Some(captures)
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let Some((prefix, rest)) = text.split_once('{') else {
            return if text.contains('}') { Err("`}` without `{`") } else { Ok(Self::Literal(text.to_owned())) };
        };
        let (variable, suffix) = rest.split_once('}').ok_or("`{` without `}`")?;
        if suffix.contains(['{', '}']) {
            return Err("a segment has one variable at most");
        }
        if variable.is_empty() || variable.contains(['=', '*', '{']) {
            return Err("a variable is a field's path, without a pattern");
        }
        let (prefix, variable, suffix) = (prefix.to_owned(), variable.to_owned(), suffix.to_owned());
        Ok(if prefix.is_empty() && suffix.is_empty() {
            Self::Variable(variable)
        } else {
            Self::Mixed { rank: usize::MAX - prefix.len() - suffix.len(), prefix, variable, suffix }
        })
    }

    /// `None`: the text is not this segment's. `Some(None)`: it is, and binds nothing.
    fn capture<'a, 'p>(&'a self, text: &'p str) -> Option<Option<(&'a str, &'p str)>> {
        let (variable, value) = match self {
            Self::Literal(literal) => return (decoded(text) == literal.as_str()).then_some(None),
            Self::Mixed { prefix, variable, suffix, .. } => {
                (variable, text.strip_prefix(prefix.as_str())?.strip_suffix(suffix.as_str())?)
            }
            Self::Variable(variable) => (variable, text),
        };
        // A colon begins a verb: a value that holds one is written with %3A.
        (!value.is_empty() && !value.contains(':')).then_some(Some((variable.as_str(), value)))
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(template: &str) -> Result<Self, TemplateError> {
        let fail = |fault| TemplateError { template: template.to_owned(), fault };
        let path = template.strip_prefix('/').ok_or_else(|| fail("does not begin with `/`"))?;
        let segments = path.split('/').map(Segment::parse).collect::<Result<_, _>>().map_err(fail)?;
        Ok(Self { segments })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.segments.iter().try_for_each(|segment| match segment {
            Segment::Literal(text) => write!(f, "/{text}"),
            Segment::Mixed { prefix, variable, suffix, .. } => write!(f, "/{prefix}{{{variable}}}{suffix}"),
            Segment::Variable(variable) => write!(f, "/{{{variable}}}"),
        })
    }
}

/// Finds what a request means among templates, each with a target per method.
#[derive(Debug)]
pub(crate) struct Router<T> {
    routes: BTreeMap<Template, Vec<(Method, T)>>,
}

/// What a request means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a, T> {
    /// This target, with these values.
    Route(&'a T, Captures<'a>),
    /// Nothing by this method, but something by those.
    OtherMethods(Vec<&'a Method>),
    /// Nothing.
    Nothing,
}

impl<T> Router<T> {
    pub(crate) fn new() -> Self {
        Self { routes: BTreeMap::new() }
    }

    /// Adds a route. Of two routes of one template and method the first one counts.
    pub(crate) fn insert(&mut self, method: Method, template: Template, target: T) {
        self.routes.entry(template).or_default().push((method, target));
    }

    /// All routes, by template.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Template, &Method, &T)> {
        self.routes
            .iter()
            .flat_map(|(template, targets)| targets.iter().map(move |(method, target)| (template, method, target)))
    }

    /// The route of `method` and `path`, which is still percent-encoded. Templates are tried from the one that says most.
    pub(crate) fn find(&self, method: &Method, path: &str) -> Found<'_, T> {
        let Some(path) = path.strip_prefix('/') else { return Found::Nothing };
        let segments = path.split('/').collect::<Vec<_>>();
        let mut others = Vec::new();
        for (template, targets) in &self.routes {
            let Some(captures) = template.captures(&segments) else { continue };
            match targets.iter().find(|(candidate, _)| candidate == method) {
                Some((_, target)) => return Found::Route(target, captures),
                None => {
                    let new = targets.iter().map(|(other, _)| other).filter(|other| !others.contains(other));
                    others.extend(new.collect::<Vec<_>>());
                }
            }
        }
        if others.is_empty() { Found::Nothing } else { Found::OtherMethods(others) }
    }
}

/// A literal may be percent-encoded too.
fn decoded(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: [(Method, &str); 10] = [
        (Method::GET, "/api/v1/users/{user_id}"),
        (Method::GET, "/api/v1/users/me"),
        (Method::PATCH, "/api/v1/users/me"),
        (Method::GET, "/api/v1/conversations/{conversation_id}"),
        (Method::GET, "/api/v1/conversations/{conversation_id}:export"),
        (Method::POST, "/api/v1/conversations/{conversation_id}:read"),
        (Method::GET, "/api/v1/conversations/{conversation_id}/messages/{message_id}"),
        (Method::POST, "/api/v1/conversations/{conversation_id}/messages/{message_id}:stop"),
        (Method::GET, "/api/v1/messages:search"),
        (Method::GET, "/.well-known/jwks.json"),
    ];

    type Values = &'static [(&'static str, &'static str)];

    fn router() -> Router<&'static str> {
        let mut router = Router::new();
        for (method, template) in ROUTES {
            router.insert(method, template.parse().unwrap(), template);
        }
        router
    }

    #[test]
    fn a_path_means_the_template_that_says_most() {
        let router = router();
        let table: [(Method, &str, &str, Values); 11] = [
            (Method::GET, "/api/v1/users/me", "/api/v1/users/me", &[]),
            (Method::GET, "/api/v1/users/%6De", "/api/v1/users/me", &[]),
            (Method::GET, "/api/v1/users/7", "/api/v1/users/{user_id}", &[("user_id", "7")]),
            (Method::GET, "/api/v1/users/a%2Fb%20%C3%A9", "/api/v1/users/{user_id}", &[("user_id", "a/b é")]),
            (Method::GET, "/api/v1/users/a%3Ab", "/api/v1/users/{user_id}", &[("user_id", "a:b")]),
            (
                Method::GET,
                "/api/v1/conversations/c",
                "/api/v1/conversations/{conversation_id}",
                &[("conversation_id", "c")],
            ),
            (
                Method::GET,
                "/api/v1/conversations/c:export",
                "/api/v1/conversations/{conversation_id}:export",
                &[("conversation_id", "c")],
            ),
            (
                Method::POST,
                "/api/v1/conversations/c:read",
                "/api/v1/conversations/{conversation_id}:read",
                &[("conversation_id", "c")],
            ),
            (
                Method::POST,
                "/api/v1/conversations/c/messages/m:stop",
                "/api/v1/conversations/{conversation_id}/messages/{message_id}:stop",
                &[("conversation_id", "c"), ("message_id", "m")],
            ),
            (Method::GET, "/api/v1/messages:search", "/api/v1/messages:search", &[]),
            (Method::GET, "/.well-known/jwks.json", "/.well-known/jwks.json", &[]),
        ];
        for (method, path, template, values) in table {
            let values = values.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
            assert_eq!(router.find(&method, path), Found::Route(&template, values), "{method} {path}");
        }
    }

    #[test]
    fn a_path_of_no_template_means_nothing() {
        let router = router();
        for path in [
            "",
            "/",
            "*",
            "/api/v1/users",
            "/api/v1/users/",
            "/api/v1/users/7/",
            "/api/v1/users/%FF",
            "/api/v1/users/7:x",
        ] {
            assert_eq!(router.find(&Method::GET, path), Found::Nothing, "{path}");
        }
    }

    #[test]
    fn a_known_path_tells_which_methods_it_has() {
        let router = router();
        let me = router.find(&Method::PUT, "/api/v1/users/me");
        assert_eq!(me, Found::OtherMethods(vec![&Method::GET, &Method::PATCH]));
        let export = router.find(&Method::POST, "/api/v1/conversations/c:export");
        assert_eq!(export, Found::OtherMethods(vec![&Method::GET]));
    }

    #[test]
    fn templates_are_written_as_they_were_read() {
        for (_, template) in ROUTES {
            assert_eq!(template.parse::<Template>().unwrap().to_string(), template);
        }
        let stop = ROUTES[7].1.parse::<Template>().unwrap();
        assert_eq!(stop.variables().collect::<Vec<_>>(), ["conversation_id", "message_id"]);
    }

    #[test]
    fn patterns_beyond_simple_variables_are_refused() {
        for bad in ["users/{id}", "/{name=users/*}", "/{id", "/id}", "/{}", "/{a}{b}", "/{a}:x{b}"] {
            assert!(bad.parse::<Template>().is_err(), "{bad}");
        }
    }
}
