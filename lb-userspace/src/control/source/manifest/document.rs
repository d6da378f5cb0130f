//! Documents: a YAML stream is cut at its markers, so that each document is read, and fails, alone.
//!
//! A line that begins with `---` or `...` can be nothing but a marker, even inside a scalar (YAML 1.2.2 section 9.1.2),
//! so no parser is needed to find them.

/// A document with its position in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Document<'a> {
    /// Its text, from its `---` on, if it has one.
    pub text: &'a str,
    /// How many lines of the file are before it.
    lines_before: usize,
}

impl Document<'_> {
    /// The line in the file of a line in the document, both from 1.
    #[must_use]
    pub fn line(&self, line: u64) -> u32 {
        let line = usize::try_from(line).unwrap_or(usize::MAX).max(1);
        u32::try_from(self.lines_before.saturating_add(line)).unwrap_or(u32::MAX)
    }

    /// API version and kind as the document's lines seem to name them: keys that begin a line with a plain value each.
    /// A guess, good enough to choose what is tried first.
    #[must_use]
    pub fn named_kind(&self) -> Option<(&str, &str)> {
        let value = |key: &str| self.text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        Some((value("apiVersion:")?, value("kind:")?))
    }

    /// Whether there is nothing but markers, comments and directives.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.text.lines().map(str::trim).all(|l| l.is_empty() || l == "---" || l == "..." || l.starts_with(['#', '%']))
    }
}

/// Cuts a stream into documents. Blank ones are in it, too.
#[must_use]
pub fn split(text: &str) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let (mut start, mut lines_before, mut offset) = (0, 0, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if is_marker(line) && offset > start {
            documents.push(Document { text: &text[start..offset], lines_before });
            (start, lines_before) = (offset, number);
        }
        offset += line.len();
        if is_marker(line) && line.starts_with("...") {
            (start, lines_before) = (offset, number + 1);
        }
    }
    if start < text.len() {
        documents.push(Document { text: &text[start..], lines_before });
    }
    documents
}

fn is_marker(line: &str) -> bool {
    let rest = line.strip_prefix("---").or_else(|| line.strip_prefix("..."));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: &[(&str, u32)]) {
        let got: Vec<_> = split(text).iter().filter(|d| !d.is_blank()).map(|d| (d.text, d.line(1))).collect();
        assert_eq!(got, want, "{text:?}");
    }

    #[test]
    fn documents_with_their_lines() {
        check("", &[]);
        check("---\n", &[]);
        check("# nothing\n---\n# here\n", &[]);
        check("a: 1", &[("a: 1", 1)]);
        check("a: 1\n---\nb: 2\n", &[("a: 1\n", 1), ("---\nb: 2\n", 2)]);
        check("---\r\na: 1\r\n---\r\nb: 2\r\n", &[("---\r\na: 1\r\n", 1), ("---\r\nb: 2\r\n", 3)]);
        check("a: 1\n...\n# end\n---\nb: 2", &[("a: 1\n", 1), ("---\nb: 2", 4)]);
        check("a: |\n  ---\n ---- \n----\n", &[("a: |\n  ---\n ---- \n----\n", 1)]);
        check("--- {a: 1}\n--- # two\nb: 2", &[("--- {a: 1}\n", 1), ("--- # two\nb: 2", 2)]);
    }
}
