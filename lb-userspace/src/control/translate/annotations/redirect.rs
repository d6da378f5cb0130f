//! `permanent-redirect`, `temporal-redirect` and their codes: every request is sent elsewhere. The temporal one wins.

use super::reader::Reader;
use super::value::{self, Invalid};
use super::{Draft, Family};
use lb_core::filter::redirect::Redirect;
use std::ops::RangeInclusive;

pub(super) const FAMILY: Family = Family {
    keys: &["permanent-redirect", "permanent-redirect-code", "temporal-redirect", "temporal-redirect-code"],
    read,
};

fn read(reader: &Reader<'_, '_>, draft: &mut Draft) {
    let one = |name: &'static str, code: &str, default: u16, codes: RangeInclusive<u32>| {
        let status = reader.read(code, |text| status(text, &codes)).unwrap_or(default);
        reader.read(name, |text| {
            let remedy = "Write a URL that begins with http:// or https://.";
            Redirect::parse(name, text, status).map_err(|error| Invalid::new(error.to_string(), remedy))
        })
    };
    let temporal = one("temporal-redirect", "temporal-redirect-code", 302, 300..=307);
    let permanent = one("permanent-redirect", "permanent-redirect-code", 301, 300..=308);
    draft.redirect = temporal.or(permanent);
}

/// ingress-nginx takes any code from 300 on; 304 and 305 and 306 make no redirect, and are refused here.
fn status(text: &str, codes: &RangeInclusive<u32>) -> Result<u16, Invalid> {
    let known = value::whole(text).filter(|code| codes.contains(code) && !(304..=306).contains(code));
    known.and_then(|code| u16::try_from(code).ok()).ok_or_else(|| {
        let (first, last) = (codes.start(), codes.end());
        Invalid::new(format!("{text:?} is no redirecting status from {first} to {last}"), "Write 301, 302, 303 or 307.")
    })
}

#[cfg(test)]
mod tests {
    use super::super::trial::trial_nginx;
    use lb_core::filter::Filter;

    fn check(annotations: &[(&str, &str)], want: &str) {
        let (settings, problems) = trial_nginx(annotations);
        let redirect = settings.filters.iter().find(|f| matches!(f, Filter::Redirect(_)));
        let shown = redirect.map_or_else(String::new, |f| {
            format!("{} {}", f.name(), serde_json::to_value(f).expect("shown")["redirect"])
        });
        assert_eq!(format!("{shown} {}", problems.join(" ")).trim(), want, "{annotations:?}");
    }

    #[test]
    fn redirects() {
        let to = "https://a.com/";
        check(&[("permanent-redirect", to)], r#"permanent-redirect {"status":301,"to":"https://a.com/"}"#);
        check(
            &[("permanent-redirect", to), ("permanent-redirect-code", "308")],
            r#"permanent-redirect {"status":308,"to":"https://a.com/"}"#,
        );
        check(&[("temporal-redirect", to)], r#"temporal-redirect {"status":302,"to":"https://a.com/"}"#);
        check(
            &[("temporal-redirect", to), ("temporal-redirect-code", "307"), ("permanent-redirect", "https://b.com/")],
            r#"temporal-redirect {"status":307,"to":"https://a.com/"}"#,
        );
        check(
            &[("temporal-redirect", to), ("temporal-redirect-code", "308")],
            r#"temporal-redirect {"status":302,"to":"https://a.com/"} InvalidAnnotation"#,
        );
        check(&[("permanent-redirect", "/elsewhere")], "InvalidAnnotation");
        check(&[("permanent-redirect", "https://a.com/$nothing")], "InvalidAnnotation");
        check(&[("permanent-redirect-code", "200")], "InvalidAnnotation");
        check(&[("permanent-redirect-code", "308")], "");
    }
}
