//! Compiled path expressions by their text: each is compiled once, however many paths have it, and however often
//! everything is translated anew. Most translations follow a change of one object; compiling is what would cost most.
//!
//! Goes in: the text of a path. Comes out: the shared expression, or why there is none. What nobody asks for or
//! holds any more is let go by [`Compiled::sweep`].

use lb_core::model::{Expression, InvalidPath};
use std::collections::HashMap;
use std::sync::Arc;

/// The expressions that are known.
#[derive(Debug, Default)]
pub struct Compiled {
    known: HashMap<Arc<str>, Known>,
    /// Which translation is under way.
    round: u64,
    compilations: u64,
}

#[derive(Debug)]
struct Known {
    outcome: Result<Arc<Expression>, InvalidPath>,
    /// The last translation that asked.
    round: u64,
}

impl Compiled {
    /// The expression of a text.
    ///
    /// # Errors
    /// As [`Expression::compile`]; a text that is no expression is not tried again either.
    pub fn get(&mut self, text: &str) -> Result<Arc<Expression>, InvalidPath> {
        let round = self.round;
        if let Some(known) = self.known.get_mut(text) {
            known.round = round;
            return known.outcome.clone();
        }
        self.compilations += 1;
        let outcome = Expression::compile(text).map(Arc::new);
        self.known.insert(text.into(), Known { outcome: outcome.clone(), round });
        outcome
    }

    /// Ends a translation: lets go of what it did not ask for and nobody else holds.
    pub fn sweep(&mut self) {
        let round = self.round;
        let held = |known: &Known| known.outcome.as_ref().is_ok_and(|expression| Arc::strong_count(expression) > 1);
        self.known.retain(|_, known| known.round == round || held(known));
        self.round += 1;
    }

    /// How many expressions were compiled so far.
    #[must_use]
    pub fn compilations(&self) -> u64 {
        self.compilations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_is_compiled_once_while_it_is_used() {
        let mut compiled = Compiled::default();
        for _ in 0..3 {
            assert!(compiled.get("/a(.*)").is_ok() && compiled.get("/(").is_err());
            compiled.sweep();
        }
        assert_eq!(compiled.compilations(), 2);
        compiled.sweep();
        assert!(compiled.get("/a(.*)").is_ok());
        assert_eq!((compiled.compilations(), compiled.known.len()), (3, 1));
    }
}
