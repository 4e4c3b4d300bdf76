//! `calculator`: arithmetic that models get wrong. A small parser of its own, bounded in length and depth, because what it
//! reads was written by somebody else's model.

use std::f64::consts;

use serde_json::json;

use super::Definition;
use crate::model::tool::Arguments;

pub(super) const NAME: &str = "calculator";

/// Bytes of an expression at most.
const MAX_LENGTH: usize = 1000;
/// How deep parentheses, signs and powers may nest.
const MAX_DEPTH: usize = 50;

pub(super) fn definition() -> Definition {
    Definition {
        name: NAME.to_owned(),
        description: "Evaluates an arithmetic expression. Knows + - * / % ^, parentheses, pi, e, and the functions sqrt, \
                      abs, exp, ln, log10, log2, sin, cos, tan, asin, acos, atan, floor, ceil, round, trunc, min, max, pow. \
                      Angles are in radians."
            .to_owned(),
        parameters: json!({
            "type": "object",
            "properties": {"expression": {"type": "string", "description": "Such as (17 + 4) * 2 ^ 3 / sqrt(2)"}},
            "required": ["expression"],
        }),
    }
}

/// The value of the expression, or what is wrong with it.
pub(super) fn call(arguments: &Arguments) -> Result<String, String> {
    let expression = arguments.get("expression").and_then(|expression| expression.as_str());
    evaluate(expression.ok_or("the argument `expression` must be a text")?)
}

fn evaluate(expression: &str) -> Result<String, String> {
    if expression.len() > MAX_LENGTH {
        return Err(format!("the expression is longer than {MAX_LENGTH} bytes"));
    }
    let mut parser = Parser { rest: expression, depth: 0 };
    let value = parser.sum()?;
    parser.skip_space();
    if !parser.rest.is_empty() {
        return Err(parser.unexpected());
    }
    if value.is_finite() { Ok(written(value)) } else { Err("the result is not a finite number".to_owned()) }
}

/// A number with the 15 digits that a double holds in every case, so that 0.1 + 0.2 is 0.3.
fn written(value: f64) -> String {
    let rounded: f64 = format!("{value:.14e}").parse().unwrap_or(value);
    let rounded = if rounded == 0.0 { 0.0 } else { rounded };
    if rounded != 0.0 && !(1e-6..1e15).contains(&rounded.abs()) { format!("{rounded:e}") } else { rounded.to_string() }
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl Parser<'_> {
    fn sum(&mut self) -> Result<f64, String> {
        let mut value = self.product()?;
        loop {
            match self.take_of(&['+', '-', '−']) {
                Some('+') => value += self.product()?,
                Some(_) => value -= self.product()?,
                None => return Ok(value),
            }
        }
    }

    fn product(&mut self) -> Result<f64, String> {
        let mut value = self.signed()?;
        loop {
            match self.take_of(&['*', '×', '·', '/', '÷', '%']) {
                Some('*' | '×' | '·') => value *= self.signed()?,
                Some('%') => value %= self.signed()?,
                Some(_) => value /= self.signed()?,
                None => return Ok(value),
            }
        }
    }

    fn signed(&mut self) -> Result<f64, String> {
        match self.take_of(&['+', '-', '−']) {
            Some('+') => self.deeper(Self::signed),
            Some(_) => Ok(-self.deeper(Self::signed)?),
            None => self.power(),
        }
    }

    /// Binds to the right, and closer than a sign: -2 ^ 2 is -4, and 2 ^ -1 is a half.
    fn power(&mut self) -> Result<f64, String> {
        let base = self.atom()?;
        match self.take_of(&['^']) {
            Some(_) => Ok(base.powf(self.deeper(Self::signed)?)),
            None => Ok(base),
        }
    }

    fn atom(&mut self) -> Result<f64, String> {
        self.skip_space();
        match self.rest.chars().next() {
            Some('(') => Ok(self.arguments()?.pop().unwrap_or_default()),
            Some(first) if first.is_ascii_digit() || first == '.' => self.number(),
            Some(first) if first.is_ascii_alphabetic() => self.named(),
            _ => Err(self.unexpected()),
        }
    }

    fn number(&mut self) -> Result<f64, String> {
        let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let mut end = digits(self.rest);
        let tail = &self.rest[end..];
        if let Some(exponent) = tail.strip_prefix(['e', 'E']) {
            let sign = usize::from(exponent.starts_with(['+', '-']));
            let length = digits(&exponent[sign..]);
            // `2e` is no exponent, and 2 is followed by what must not follow it.
            end += if length > 0 { 1 + sign + length } else { 0 };
        }
        let (number, rest) = self.rest.split_at(end);
        self.rest = rest;
        number.parse().map_err(|_| format!("{number} is not a number"))
    }

    fn named(&mut self) -> Result<f64, String> {
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        let name = name.to_ascii_lowercase();
        self.rest = rest;
        self.skip_space();
        if !self.rest.starts_with('(') {
            return match name.as_str() {
                "pi" => Ok(consts::PI),
                "tau" => Ok(consts::TAU),
                "e" => Ok(consts::E),
                _ => Err(format!("there is no constant {name}")),
            };
        }
        let arguments = self.arguments()?;
        apply(&name, &arguments)
    }

    /// One or more values in parentheses.
    fn arguments(&mut self) -> Result<Vec<f64>, String> {
        self.expect('(')?;
        let mut values = vec![self.deeper(Self::sum)?];
        while self.take_of(&[',']).is_some() {
            values.push(self.deeper(Self::sum)?);
        }
        self.expect(')')?;
        Ok(values)
    }

    fn deeper(&mut self, parse: fn(&mut Self) -> Result<f64, String>) -> Result<f64, String> {
        if self.depth >= MAX_DEPTH {
            return Err(format!("the expression nests deeper than {MAX_DEPTH} levels"));
        }
        self.depth += 1;
        let value = parse(self);
        self.depth -= 1;
        value
    }

    fn take_of(&mut self, wanted: &[char]) -> Option<char> {
        self.skip_space();
        // Some write powers as `**`.
        if wanted == ['^']
            && let Some(rest) = self.rest.strip_prefix("**")
        {
            self.rest = rest;
            return Some('^');
        }
        if self.rest.starts_with("**") {
            return None;
        }
        let found = self.rest.chars().next().filter(|c| wanted.contains(c))?;
        self.rest = &self.rest[found.len_utf8()..];
        Some(found)
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        self.take_of(&[wanted]).map(|_| ()).ok_or_else(|| format!("expected {wanted}: {}", self.unexpected()))
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn unexpected(&self) -> String {
        match self.rest.chars().next() {
            Some(found) => format!("unexpected {found:?}, {} bytes before the end", self.rest.len()),
            None => "the expression is not complete".to_owned(),
        }
    }
}

fn apply(name: &str, arguments: &[f64]) -> Result<f64, String> {
    match (name, arguments) {
        ("sqrt", [x]) => Ok(x.sqrt()),
        ("abs", [x]) => Ok(x.abs()),
        ("exp", [x]) => Ok(x.exp()),
        ("ln", [x]) => Ok(x.ln()),
        ("log10" | "log", [x]) => Ok(x.log10()),
        ("log2", [x]) => Ok(x.log2()),
        ("sin", [x]) => Ok(x.sin()),
        ("cos", [x]) => Ok(x.cos()),
        ("tan", [x]) => Ok(x.tan()),
        ("asin", [x]) => Ok(x.asin()),
        ("acos", [x]) => Ok(x.acos()),
        ("atan", [x]) => Ok(x.atan()),
        ("floor", [x]) => Ok(x.floor()),
        ("ceil", [x]) => Ok(x.ceil()),
        ("round", [x]) => Ok(x.round()),
        ("trunc", [x]) => Ok(x.trunc()),
        ("pow", [x, y]) => Ok(x.powf(*y)),
        ("min", values) => Ok(values.iter().copied().fold(f64::INFINITY, f64::min)),
        ("max", values) => Ok(values.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
        _ => Err(format!("there is no function {name} of {} values", arguments.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_have_the_values_that_people_expect() {
        for (expression, value) in [
            ("6*7", "42"),
            (" ( 17 + 4 ) * 2 ^ 3 / 4 ", "42"),
            ("0.1 + 0.2", "0.3"),
            ("2 ^ 3 ^ 2", "512"),
            ("2**10", "1024"),
            ("-2 ^ 2", "-4"),
            ("2 ^ -1", "0.5"),
            ("10 - 2 - 3", "5"),
            ("7 % 4", "3"),
            ("2 × 3 − 8 ÷ 4", "4"),
            ("max(1, min(5, 3), 2)", "3"),
            ("round(pi * 1e3)", "3142"),
            ("2e3", "2000"),
            ("sqrt(2)", "1.4142135623731"),
            ("1e300 * 10", "1e301"),
            ("0 * -1", "0"),
        ] {
            assert_eq!(evaluate(expression).unwrap(), value, "{expression}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused_in_words() {
        for (expression, told) in [
            ("", "not complete"),
            ("1 +", "not complete"),
            ("1 2", "unexpected '2'"),
            ("(1", "expected )"),
            ("1 / 0", "not a finite number"),
            ("sqrt(-1)", "not a finite number"),
            ("launch(1)", "no function launch"),
            ("x", "no constant x"),
            ("1.2.3", "1.2.3 is not a number"),
            ("2 *** 3", "unexpected"),
        ] {
            let fault = evaluate(expression).unwrap_err();
            assert!(fault.contains(told), "{expression}: {fault}");
        }
    }

    #[test]
    fn what_is_too_long_or_too_deep_is_refused() {
        assert!(evaluate(&"1+".repeat(MAX_LENGTH)).unwrap_err().contains("longer"));
        for (open, close) in [("(", ")"), ("-", ""), ("2^", ""), ("sqrt(", ")")] {
            let deep = format!("{}1{}", open.repeat(MAX_DEPTH + 1), close.repeat(MAX_DEPTH + 1));
            assert!(evaluate(&deep).unwrap_err().contains("deeper"), "{open}");
            let well = format!("{}1{}", open.repeat(MAX_DEPTH), close.repeat(MAX_DEPTH));
            assert!(!evaluate(&well).is_err_and(|fault| fault.contains("deeper")), "{open}");
        }
    }
}
