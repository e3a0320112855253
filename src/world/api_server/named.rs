//! Which parts of an object a CEL rule names. Only they are handed over to it: a status is large, and most of its rules
//! look at one field.

use std::collections::BTreeMap;

/// Parts of an object.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// All of it.
    whole: bool,
    fields: BTreeMap<String, Self>,
}

impl Named {
    /// All of it.
    pub const WHOLE: Self = Self { whole: true, fields: BTreeMap::new() };

    /// The parts of a field that are named; `None`: none is.
    pub fn below(&self, field: &str) -> Option<&Self> {
        static WHOLE: Named = Named::WHOLE;
        if self.whole { Some(&WHOLE) } else { self.fields.get(field) }
    }

    /// Adds what an expression names of `self` and `oldSelf`.
    pub fn read(&mut self, expression: &str) {
        let text = expression.as_bytes();
        let mut at = 0;
        while at < text.len() {
            match text[at] {
                quote @ (b'"' | b'\'') => at = behind_literal(text, at, quote),
                byte if is_word(byte) => {
                    let end = word_end(text, at);
                    let selected = at > 0 && text[at - 1] == b'.';
                    at = match &expression[at..end] {
                        "self" | "oldSelf" if !selected => self.follow(expression, end),
                        _ => end,
                    };
                }
                _ => at += 1,
            }
        }
    }

    /// Follows `.a.b` from `at` on, as far as these are fields and not calls; all of the last one is named.
    fn follow(&mut self, expression: &str, mut at: usize) -> usize {
        let text = expression.as_bytes();
        let mut named = self;
        while text.get(at) == Some(&b'.') {
            let end = word_end(text, at + 1);
            if end == at + 1 || text.get(end) == Some(&b'(') {
                break;
            }
            named = named.fields.entry(expression[at + 1..end].to_owned()).or_default();
            at = end;
        }
        named.whole = true;
        at
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn word_end(text: &[u8], from: usize) -> usize {
    text[from..].iter().position(|byte| !is_word(*byte)).map_or(text.len(), |length| from + length)
}

/// Where the text after a literal goes on that begins at `at`.
fn behind_literal(text: &[u8], at: usize, quote: u8) -> usize {
    let raw = at > 0 && matches!(text[at - 1], b'r' | b'R');
    let triple = [quote; 3];
    let mark: &[u8] = if text[at..].starts_with(&triple) { &triple } else { &triple[..1] };
    let mut at = at + mark.len();
    while at < text.len() && !text[at..].starts_with(mark) {
        at += if text[at] == b'\\' && !raw { 2 } else { 1 };
    }
    at + mark.len()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn paths(named: &Named, prefix: &str, found: &mut Vec<String>) {
        if named.whole {
            found.push(prefix.to_owned());
        }
        for (name, below) in &named.fields {
            paths(below, &format!("{prefix}.{name}"), found);
        }
    }

    #[rstest]
    #[case("self.a <= self.b.c", &[".a", ".b.c"])]
    #[case("has(self.a) && !has(self.b)", &[".a", ".b"])]
    #[case("self.steps.all(s, s.weight > 0)", &[".steps"])]
    #[case("self.a.size() == 1", &[".a"])]
    #[case("size(self.a[0].b)", &[".a"])]
    #[case("self == oldSelf", &[""])]
    #[case("self.all(k, k.matches('x'))", &[""])]
    #[case("self.?a.orValue(1) == 1", &[""])]
    #[case("!has(oldSelf.epoch) || self.epoch >= oldSelf.epoch", &[".epoch"])]
    #[case("self.a == 'self.b' || self.c == \"it's self.d\"", &[".a", ".c"])]
    #[case(r#"self.a.matches(r"""^\'self.b""") && x.self.c"#, &[".a"])]
    #[case("self.__namespace__ == ''", &[".__namespace__"])]
    #[case("true", &[])]
    fn a_rule_names(#[case] rule: &str, #[case] expected: &[&str]) {
        let mut named = Named::default();
        named.read(rule);
        let mut found = vec![];
        paths(&named, "", &mut found);
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_named_as_a_whole_has_all_its_fields() {
        let mut named = Named::default();
        named.read("self.a.b == self.c");
        assert!(named.below("a").is_some_and(|a| a.below("b").is_some() && a.below("x").is_none()));
        assert!(
            named.below("c").is_some_and(|c| c.below("anything").is_some_and(|x| x.below("more").is_some()))
        );
        assert!(named.below("d").is_none());
    }
}
