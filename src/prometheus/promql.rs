//! What users may write in PromQL, and how values enter it: only as quoted, escaped strings.
//!
//! A selector of a `ratio` is parsed, and our matchers are added to what was parsed. In a `query`, `$revision`,
//! `$namespace` and `$service` are replaced inside quoted strings.

use std::fmt::Write as _;

use promql_parser::{
    label::{METRIC_NAME, MatchOp, Matcher},
    parser::{self, Expr, value::ValueType},
    util::{ExprVisitor, walk_expr},
};

use super::Refused;
use crate::api::v1alpha1::Slo;

/// The longest selector of a `ratio`, in bytes; the CRD's own limit.
pub const MAX_SELECTOR: usize = 512;

/// The longest `query`, in bytes; the CRD's own limit.
pub const MAX_QUERY: usize = 2048;

/// The metric's name and plain matchers: what has raw samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    name: Option<String>,
    matchers: Vec<Matcher>,
}

/// A matcher of ours: the label is one of these values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// A label's name; must satisfy [`is_label_name`].
    pub label: String,
    /// Any text. One value is matched by `=`, several by an escaped `=~`.
    pub values: Vec<String>,
}

/// What the placeholders of a `query` stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Values<'a> {
    /// `$revision`: the candidate.
    pub revision: &'a str,
    /// `$namespace`: the model's namespace.
    pub namespace: &'a str,
    /// `$service`: the candidate's Service.
    pub service: &'a str,
}

/// Whether the PromQL of an SLO can be used with this label for the revision. The field in the answer is relative to
/// the SLO. Checked again whenever a question is asked: an object may be older than a rule.
///
/// # Errors
/// The first field that cannot be used, with what to write instead.
pub fn check(slo: &Slo, revision_label: &str) -> Result<(), Refused> {
    if let Some(ratio) = &slo.ratio {
        Selector::of_ratio("ratio.bad", &ratio.bad, revision_label)?;
        Selector::of_ratio("ratio.total", &ratio.total, revision_label)?;
    }
    if let Some(query) = &slo.query {
        // Stands for every value there will be: none of them changes how the text parses.
        fill(query, Values { revision: "r", namespace: "n", service: "s" })?;
    }
    Ok(())
}

impl Selector {
    /// A selector: a name, matchers, or both, and nothing else.
    ///
    /// # Errors
    /// A clause that says what stands there instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        match parser::parse(text).map_err(|why| format!("does not parse: {}", shortened(&why)))? {
            Expr::VectorSelector(selector) => {
                if selector.offset.is_some() || selector.at.is_some() {
                    return Err("has `offset` or `@`".to_owned());
                }
                if !selector.matchers.or_matchers.is_empty() {
                    return Err("joins matchers with `or`".to_owned());
                }
                Ok(Self { name: selector.name, matchers: selector.matchers.matchers })
            }
            Expr::MatrixSelector(_) | Expr::Subquery(_) => Err("has a range in [brackets]".to_owned()),
            Expr::Call(call) => Err(format!("calls the function {}()", call.func.name)),
            Expr::Aggregate(_) => Err("aggregates".to_owned()),
            Expr::Paren(_) => Err("has parentheses around it".to_owned()),
            Expr::Unary(_) | Expr::Binary(_) => Err("computes something".to_owned()),
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {
                Err("is a constant".to_owned())
            }
        }
    }

    /// A selector that a user wrote for a `ratio`. `field` is its name for the message.
    ///
    /// # Errors
    /// It is too long, not a plain selector, has no metric name, or matches a label that the operator adds.
    pub fn of_ratio(field: &str, text: &str, revision_label: &str) -> Result<Self, Refused> {
        let refused = |why: &str| {
            Refused::new(
                field,
                format!(
                    "{why}: write a counter's name with plain matchers, for instance feedback_total{{useful=\"no\"}}; the operator reads its raw samples and adds namespace and {revision_label}"
                ),
            )
        };
        if text.len() > MAX_SELECTOR {
            return Err(refused(&format!("is longer than {MAX_SELECTOR} bytes")));
        }
        let selector = Self::parse(text).map_err(|why| refused(&why))?;
        if selector.name.is_none() || selector.matchers.iter().any(|matcher| matcher.name == METRIC_NAME) {
            return Err(refused("does not begin with the name of a metric"));
        }
        let ours =
            |matcher: &&Matcher| [super::provider::NAMESPACE_LABEL, revision_label].contains(&&*matcher.name);
        if let Some(matcher) = selector.matchers.iter().find(ours) {
            return Err(refused(&format!("matches the label {}", matcher.name)));
        }
        Ok(selector)
    }

    /// The metric's name, where it stands before the braces.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The selector with our matchers added, as PromQL.
    #[must_use]
    pub fn pinned(&self, pins: &[Pin]) -> String {
        let plain = self.name.as_deref().filter(|name| is_metric_name(name));
        // A name in the new UTF-8 syntax is written as a matcher, which every release understands.
        let quoted_name = self.name.as_deref().filter(|_| plain.is_none());
        let name = quoted_name.map(|name| format!("{METRIC_NAME}={}", quoted(name)));
        let own = self.matchers.iter().map(|matcher| {
            let op = match matcher.op {
                MatchOp::Equal => "=",
                MatchOp::NotEqual => "!=",
                MatchOp::Re(_) => "=~",
                MatchOp::NotRe(_) => "!~",
            };
            let label =
                if is_label_name(&matcher.name) { matcher.name.clone() } else { quoted(&matcher.name) };
            format!("{label}{op}{}", quoted(&matcher.value))
        });
        let ours = pins.iter().map(|pin| match &*pin.values {
            [value] => format!("{}={}", pin.label, quoted(value)),
            values => {
                let any = values.iter().map(|value| literal(value)).collect::<Vec<_>>().join("|");
                format!("{}=~{}", pin.label, quoted(&any))
            }
        });
        let matchers: Vec<_> = name.into_iter().chain(own).chain(ours).collect();
        format!("{}{{{}}}", plain.unwrap_or_default(), matchers.join(","))
    }
}

/// Replaces the placeholders inside quoted strings and makes sure that the result parses and gives numbers.
///
/// # Errors
/// It is too long, does not parse, gives a range or a string, or holds a placeholder outside quotes or an unknown one.
pub fn fill(query: &str, values: Values<'_>) -> Result<String, Refused> {
    let refused = |why: &str| {
        Refused::new(
            "query",
            format!(
                "{why}: write PromQL that gives one number, for instance avg(model_confidence{{revision=\"$revision\"}})"
            ),
        )
    };
    if query.len() > MAX_QUERY {
        return Err(refused(&format!("is longer than {MAX_QUERY} bytes")));
    }
    let filled = substituted(query, values).map_err(refused)?;
    let expr =
        parser::parse(&filled).map_err(|why| refused(&format!("does not parse: {}", shortened(&why))))?;
    match expr.value_type() {
        ValueType::Vector | ValueType::Scalar => {}
        ValueType::Matrix => return Err(refused("gives a range of samples, not one number")),
        ValueType::String => return Err(refused("gives a string, not a number")),
    }
    // What was filled in may itself look like a placeholder, so what the user wrote is looked at.
    if let Ok(written) = parser::parse(query) {
        walk_expr(&mut Placeholders, &written).map_err(|name| {
            refused(&format!(
                "has the unknown placeholder ${name} (known are $revision, $namespace and $service)"
            ))
        })?;
    }
    Ok(filled)
}

/// Replaces placeholders inside quoted strings. Everything else is left as it is.
fn substituted(query: &str, values: Values<'_>) -> Result<String, &'static str> {
    let known =
        [("$revision", values.revision), ("$namespace", values.namespace), ("$service", values.service)];
    let mut out = String::with_capacity(query.len() + 64);
    let (mut rest, mut quote) = (query, None);
    while let Some(next) = rest.chars().next() {
        let placeholder = known.iter().find(|(name, _)| rest.starts_with(name));
        let taken = match (quote, next, placeholder) {
            (Some('#'), '\n', _) => {
                quote = None;
                1
            }
            (None, '"' | '\'' | '`' | '#', _) => {
                quote = Some(next);
                1
            }
            (Some('"' | '\''), '\\', _) => 1 + rest.chars().nth(1).map_or(0, char::len_utf8),
            (Some(open), close, _) if open == close && open != '#' => {
                quote = None;
                1
            }
            (Some('`'), _, Some(_)) => {
                return Err("has a placeholder in backticks, which know no escapes; use double quotes");
            }
            (Some(open @ ('"' | '\'')), _, Some((name, value))) => {
                escape_into(&mut out, value, open);
                rest = &rest[name.len()..];
                continue;
            }
            (None, _, Some(_)) => return Err("has a placeholder outside of quotes"),
            _ => next.len_utf8(),
        };
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    Ok(out)
}

/// Finds what looks like a placeholder but is none. Only in matchers: `label_replace` has its own use for `$name`.
struct Placeholders;

impl ExprVisitor for Placeholders {
    type Error = String;

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, String> {
        let selector = match expr {
            Expr::VectorSelector(selector) => selector,
            Expr::MatrixSelector(matrix) => &matrix.vs,
            _ => return Ok(true),
        };
        let groups = selector.matchers.or_matchers.iter().flatten();
        for matcher in selector.matchers.matchers.iter().chain(groups) {
            for part in matcher.value.split('$').skip(1) {
                let word: String = part.chars().take_while(char::is_ascii_alphabetic).collect();
                let known = ["revision", "namespace", "service"].iter().any(|name| word.starts_with(name));
                if !word.is_empty() && !known {
                    return Err(word);
                }
            }
        }
        Ok(true)
    }
}

/// Whether PromQL takes this as a label's name without quotes.
#[must_use]
pub fn is_label_name(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars().all(word) && name.chars().next().is_some_and(|first| !first.is_ascii_digit())
}

fn is_metric_name(name: &str) -> bool {
    is_label_name(&name.replace(':', "_"))
}

/// A PromQL string that stands for exactly this text.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    quote_into(&mut out, text);
    out
}

/// Appends what [`quoted`] gives.
pub fn quote_into(out: &mut String, text: &str) {
    out.push('"');
    escape_into(out, text, '"');
    out.push('"');
}

/// Only the quote in use may be escaped: PromQL refuses `\'` between double quotes.
fn escape_into(out: &mut String, text: &str, quote: char) {
    // By bytes: hundreds of labels an answer are quoted, and hardly any has something to escape.
    if !text.bytes().any(|byte| matches!(byte, b'\n' | b'\\') || char::from(byte) == quote) {
        out.push_str(text);
        return;
    }
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\\' => out.push_str("\\\\"),
            _ if c == quote => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
}

/// A regular expression that matches exactly this text, in Go's syntax and in Rust's.
fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// A parser's message may quote the whole text; a condition has little room.
fn shortened(why: &str) -> String {
    let mut out = String::new();
    for c in why.chars().filter(|c| !c.is_control()).take(160) {
        let _ = out.write_char(c);
    }
    out
}

#[cfg(test)]
mod tests;
