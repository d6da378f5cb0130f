//! `allowlist-source-range`, and its older name `whitelist-source-range`: clients of these networks alone are served.
//!
//! An entry that cannot be read is left out, which keeps more clients out; a list without any entry that can be read
//! closes the Ingress.

use super::super::super::reason;
use super::reader::Reader;
use super::{Draft, Family};
use lb_core::filter::source_range::SourceRange;

pub(super) const FAMILY: Family = Family { keys: &["allowlist-source-range"], read };

const REMEDY: &str = "Write networks as 10.0.0.0/8 or addresses, with commas between them.";

fn read(reader: &Reader<'_, '_>, draft: &mut Draft) {
    let Some(given) = reader.get("allowlist-source-range") else { return };
    let entries = given.text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let (mut networks, mut invalid) = (Vec::new(), Vec::new());
    for entry in entries {
        match SourceRange::parse(entry) {
            Some(network) => networks.push(network),
            None => invalid.push(entry),
        }
    }
    if networks.is_empty() {
        return reader.close(
            given,
            reason::INVALID_ANNOTATION,
            "allowlist-source-range names no network".to_owned(),
            REMEDY,
        );
    }
    if !invalid.is_empty() {
        let message = format!("Not a network: {}; the others of the list are served alone.", invalid.join(", "));
        reader.fault(given, reason::INVALID_ANNOTATION, message, REMEDY);
    }
    draft.source_range = Some(SourceRange::new(&networks));
}

#[cfg(test)]
mod tests {
    use super::super::trial::trial;
    use lb_core::filter::Filter;

    fn check(annotations: &[(&str, &str)], want: &str) {
        let (settings, problems) = trial(annotations);
        let range = settings.filters.iter().find(|f| matches!(f, Filter::SourceRange(_)));
        let shown = range.map_or_else(String::new, |f| serde_json::to_string(f).expect("shown"));
        let closed = if settings.closed.is_some() { " closed" } else { "" };
        assert_eq!(format!("{shown}{closed} {}", problems.join(" ")).trim(), want, "{annotations:?}");
    }

    #[test]
    fn lists() {
        let key = "nginx.ingress.kubernetes.io/allowlist-source-range";
        let old = "nginx.ingress.kubernetes.io/whitelist-source-range";
        let ten = r#"{"source-range":{"networks":["10.0.0.0/8"]}}"#;
        check(&[(key, "10.0.0.0/8")], ten);
        check(&[(old, "10.0.0.0/8")], ten);
        check(&[(key, "10.0.0.0/8"), (old, "0.0.0.0/0")], ten);
        check(&[(key, " 10.1.0.0/16 ,10.0.0.0/8,")], ten);
        check(&[(key, "10.0.0.0/8, everyone")], &format!("{ten} InvalidAnnotation"));
        check(&[(key, "everyone")], "closed InvalidAnnotation");
        check(&[(key, "")], "closed InvalidAnnotation");
        check(&[(key, "192.0.2.7, ::1")], r#"{"source-range":{"networks":["192.0.2.7/32","::1/128"]}}"#);
    }
}
