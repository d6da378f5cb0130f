//! A file as the rules see it, and what a rule found in one.

use std::fmt;

/// A text file of the repository.
#[derive(Debug, Clone)]
pub struct Source {
    /// Path from the root of the repository.
    pub path: String,
    /// Content.
    pub text: String,
}

/// Something to mend.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Path from the root of the repository.
    pub path: String,
    /// Line from 1.
    pub line: usize,
    /// What is wrong.
    pub rule: String,
    /// What to do.
    pub remedy: String,
}

impl Source {
    /// Lines outside unit tests, with their number. Tests come last in a file, so they reach to its end.
    pub fn body(&self) -> impl Iterator<Item = (usize, &str)> {
        let whole = self.is_test();
        self.text
            .lines()
            .take_while(move |line| !whole && !line.starts_with("#[cfg(test)]"))
            .enumerate()
            .map(|(i, line)| (i + 1, line))
    }

    /// [`Self::body`] with comments cut off. A `//` inside a string literal cuts too, which can only hide a finding.
    pub fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.body().map(|(number, line)| (number, line.split("//").next().unwrap_or_default()))
    }

    /// The whole file is tests: an integration test or a `tests` module of its own.
    pub fn is_test(&self) -> bool {
        self.path.starts_with("tests/it/") || self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    /// A finding in this file.
    pub fn finding(&self, line: usize, rule: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, rule: rule.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.path, self.line, self.rule, self.remedy)
    }
}

/// Whether `word` stands in `text` with no letter, digit or underscore beside it; where.
pub fn find_word(text: &str, word: &str) -> Option<usize> {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).map(|(at, _)| at).find(|at| {
        let before = text[..*at].chars().next_back().is_some_and(part);
        let after = text[at + word.len()..].chars().next().is_some_and(part);
        !before && !after
    })
}

/// Makes a source and asserts what a rule finds in it: the lines, and a part of each rule's text.
#[cfg(test)]
pub fn expect(path: &str, text: &str, check: impl Fn(&Source) -> Vec<Finding>, want: &[(usize, &str)]) {
    let source = Source { path: path.to_owned(), text: text.to_owned() };
    let found = check(&source);
    assert_eq!(found.len(), want.len(), "{path}:\n{text}\nfound {found:?}\nwant {want:?}");
    for (finding, (line, rule)) in found.iter().zip(want) {
        assert_eq!(finding.line, *line, "{finding}");
        assert!(finding.rule.contains(rule), "{finding} is not about {rule:?}");
        assert!(!finding.remedy.is_empty(), "{finding}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_whole() {
        assert_eq!(find_word("a cat sat", "cat"), Some(2));
        assert_eq!(find_word("concat cat_ category", "cat"), None);
        assert_eq!(find_word("concat, cat", "cat"), Some(8));
    }
}
