//! `ssl-redirect`, `force-ssl-redirect` and `preserve-trailing-slash`: plain HTTP is sent to HTTPS.

use super::reader::Reader;
use super::{Draft, Family, value};
use lb_core::filter::ssl_redirect::SslRedirect;

pub(super) const FAMILY: Family =
    Family { keys: &["ssl-redirect", "force-ssl-redirect", "preserve-trailing-slash"], read };

fn read(reader: &Reader<'_, '_>, draft: &mut Draft) {
    let wanted = reader.read("ssl-redirect", value::boolean).unwrap_or(true);
    let force = reader.read("force-ssl-redirect", value::boolean).unwrap_or(false);
    let preserve_trailing_slash = reader.read("preserve-trailing-slash", value::boolean).unwrap_or(false);
    draft.ssl_redirect = (wanted || force).then_some(SslRedirect { force, preserve_trailing_slash });
}

#[cfg(test)]
mod tests {
    use super::super::trial::trial_nginx;
    use lb_core::filter::Filter;

    #[test]
    fn redirects() {
        let check = |annotations: &[(&str, &str)], want: Option<(bool, bool)>, problems_want: usize| {
            let (settings, problems) = trial_nginx(annotations);
            let got = settings.filters.iter().find_map(|f| match f {
                Filter::SslRedirect(redirect) => Some((redirect.force, redirect.preserve_trailing_slash)),
                _ => None,
            });
            assert_eq!((got, problems.len()), (want, problems_want), "{annotations:?}");
            let forced = settings.filters_uncertified.iter().any(|f| matches!(f, Filter::SslRedirect(_)));
            assert_eq!(forced, want.is_some_and(|(force, _)| force), "{annotations:?} without a certificate");
        };
        check(&[], Some((false, false)), 0);
        check(&[("ssl-redirect", "false")], None, 0);
        check(&[("ssl-redirect", "false"), ("force-ssl-redirect", "true")], Some((true, false)), 0);
        check(&[("preserve-trailing-slash", "true")], Some((false, true)), 0);
        check(&[("ssl-redirect", "no")], Some((false, false)), 1);
    }
}
