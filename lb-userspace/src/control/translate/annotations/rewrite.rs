//! `rewrite-target` and `use-regex`: paths are expressions, and the backend sees another path.

use super::reader::Reader;
use super::value::{self, Invalid};
use super::{Draft, Family};
use lb_core::filter::rewrite_target::RewriteTarget;

pub(super) const FAMILY: Family = Family { keys: &["rewrite-target", "use-regex"], read };

fn read(reader: &Reader<'_, '_>, draft: &mut Draft) {
    draft.use_regex = reader.read("use-regex", value::boolean).unwrap_or(false);
    draft.rewrite_target = reader.read("rewrite-target", |text| {
        let remedy = "Write an absolute path, with $1 to $9 for groups.";
        RewriteTarget::parse(text).map_err(|error| Invalid::new(error.to_string(), remedy))
    });
}

#[cfg(test)]
mod tests {
    use super::super::Expressions;
    use super::super::trial::trial_nginx;

    #[test]
    fn expressions() {
        let check = |annotations: &[(&str, &str)], want: Expressions, target: Option<&str>, problems_want: usize| {
            let (settings, problems) = trial_nginx(annotations);
            let got = (settings.expressions, settings.rewrite().map(|r| r.text()), problems.len());
            assert_eq!(got, (want, target, problems_want), "{annotations:?}");
        };
        check(&[], Expressions::None, None, 0);
        check(&[("use-regex", "true")], Expressions::AllButExact, None, 0);
        check(&[("use-regex", "false"), ("rewrite-target", "/$1")], Expressions::All, Some("/$1"), 0);
        check(&[("use-regex", "1"), ("rewrite-target", "x")], Expressions::None, None, 2);
    }
}
