//! Regular expressions: whether a text matches one, remembered for the whole process. The same names and durations come in
//! every world, and CEL's own `matches` compiles its expression anew each time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use kube::core::cel::cel::{
    Context, ExecutionError, FunctionContext, Program, extractors::This, functions, objects::Value as Cel,
};

/// After so many answers all are forgotten: there is always another name.
const MOST: usize = 50_000;

#[derive(Default)]
struct Answers {
    by_pattern: BTreeMap<String, BTreeMap<String, bool>>,
    count: usize,
}

static ANSWERS: Mutex<Answers> = Mutex::new(Answers { by_pattern: BTreeMap::new(), count: 0 });

/// Whether `text` matches; `None`: the pattern is no regular expression.
pub(super) fn matches(pattern: &str, text: &str) -> Option<bool> {
    let known = ANSWERS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(answer) = known.by_pattern.get(pattern).and_then(|answers| answers.get(text)) {
        return Some(*answer);
    }
    drop(known);
    // Compiling draws from its thread's randomness, and whether it is compiled here must make no difference to a world.
    let answer = thread::scope(|scope| scope.spawn(|| compiled(pattern, text)).join().unwrap_or_default())?;
    let mut known = ANSWERS.lock().unwrap_or_else(PoisonError::into_inner);
    if known.count >= MOST {
        *known = Answers::default();
    }
    known.count += 1;
    known.by_pattern.entry(pattern.to_owned()).or_default().insert(text.to_owned(), answer);
    Some(answer)
}

fn compiled(pattern: &str, text: &str) -> Option<bool> {
    let rule = format!("self.matches({})", serde_json::Value::from(pattern));
    let mut context = Context::default();
    context.add_variable_from_value("self", Cel::String(Arc::new(text.to_owned())));
    match Program::compile(&rule).ok()?.execute(&context) {
        Ok(Cel::Bool(answer)) => Some(answer),
        _ => None,
    }
}

/// CEL's `matches`, from memory where it can be.
pub(super) fn remembered(
    of: &FunctionContext,
    This(text): This<Arc<String>>,
    pattern: Arc<String>,
) -> Result<bool, ExecutionError> {
    match matches(&pattern, &text) {
        Some(answer) => Ok(answer),
        None => functions::matches(of, This(text), pattern),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_matches_or_not_also_the_second_time() {
        for _ in 0..2 {
            assert_eq!(matches("^[a-z]+$", "abc"), Some(true));
            assert_eq!(matches("^[a-z]+$", "ab1"), Some(false));
            assert_eq!(
                matches(r#"^\d"x\\$"#, r#"1"x\"#),
                Some(true),
                "quotes and backslashes are the pattern's own"
            );
            assert_eq!(matches("(", "abc"), None);
        }
    }
}
