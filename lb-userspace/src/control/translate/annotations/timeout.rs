//! `proxy-connect-timeout`, `proxy-read-timeout`, `proxy-send-timeout`, and ours for the whole request.
//!
//! Who asks for a longer pause between two reads than a request may last in all gets that much in all, too, unless
//! `sluice.dev/request-timeout` says otherwise.

use super::reader::Reader;
use super::{Draft, Family, value};

pub(super) const FAMILY: Family =
    Family { keys: &["proxy-connect-timeout", "proxy-read-timeout", "proxy-send-timeout", TOTAL], read };

const TOTAL: &str = "sluice.dev/request-timeout";

fn read(reader: &Reader<'_, '_>, draft: &mut Draft) {
    let policy = &mut draft.policy;
    for (name, limit) in [
        ("proxy-connect-timeout", &mut policy.connect_ms_max),
        ("proxy-read-timeout", &mut policy.read_idle_ms_max),
        ("proxy-send-timeout", &mut policy.send_idle_ms_max),
    ] {
        if let Some(ms) = reader.read(name, value::seconds) {
            *limit = ms;
        }
    }
    let pause = policy.read_idle_ms_max.max(policy.send_idle_ms_max);
    policy.total_ms_max = reader.read(TOTAL, value::seconds).unwrap_or(policy.total_ms_max.max(pause));
}

#[cfg(test)]
mod tests {
    use super::super::trial::trial;

    #[test]
    fn times() {
        let check = |annotations: &[(&str, &str)], want: [u32; 4], problems_want: usize| {
            let (settings, problems) = trial(annotations);
            let p = &settings.policy;
            let got = [p.connect_ms_max, p.read_idle_ms_max, p.send_idle_ms_max, p.total_ms_max];
            assert_eq!((got, problems.len()), (want, problems_want), "{annotations:?}");
        };
        const CONNECT: &str = "nginx.ingress.kubernetes.io/proxy-connect-timeout";
        const READ: &str = "nginx.ingress.kubernetes.io/proxy-read-timeout";
        const SEND: &str = "nginx.ingress.kubernetes.io/proxy-send-timeout";
        check(&[], [5_000, 60_000, 60_000, 3_600_000], 0);
        check(&[(CONNECT, "1"), (READ, "2"), (SEND, "3")], [1_000, 2_000, 3_000, 3_600_000], 0);
        check(&[(READ, "7200")], [5_000, 7_200_000, 60_000, 7_200_000], 0);
        check(&[(READ, "7200"), (super::TOTAL, "30")], [5_000, 7_200_000, 60_000, 30_000], 0);
        check(&[(READ, "60s"), (super::TOTAL, "0")], [5_000, 60_000, 60_000, 3_600_000], 2);
    }
}
