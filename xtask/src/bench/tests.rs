//! Tests of what is pure: medians, ratios, goals, the output of load programs, JSON, plots, the client's parser.

use super::measure::{Better, Goal, Metric, SUBJECT, Spread, percentile, spread};
use super::peer::Kind;
use super::{added, client, echo, handoff, load, manifest, packet, process, report, scenario, svg};
use serde_json::{Map, Value, json};

fn metric(better: Better, goal: Option<Goal>, samples: &[(&str, &[f64])]) -> Metric {
    let mut metric = Metric::new("http1-keepalive", "requests", "requests/s", better, goal);
    for (name, values) in samples {
        values.iter().for_each(|value| metric.push(name, *value));
    }
    metric
}

#[test]
fn a_spread_is_the_median_and_the_extremes() {
    let check = |samples: &[f64], expected: Option<(f64, f64, f64)>| {
        let expected = expected.map(|(median, min, max)| Spread { median, min, max });
        assert_eq!(spread(samples), expected, "{samples:?}");
    };
    check(&[], None);
    check(&[7.0], Some((7.0, 7.0, 7.0)));
    check(&[9.0, 1.0], Some((5.0, 1.0, 9.0)));
    check(&[5.0, 1.0, 3.0], Some((3.0, 1.0, 5.0)));
    check(&[4.0, 1.0, 3.0, 100.0], Some((3.5, 1.0, 100.0)));
}

#[test]
fn a_percentile_is_a_value_that_was_measured() {
    let check = |sorted: &[u32], part, expected| assert_eq!(percentile(sorted, part), expected, "{sorted:?} {part}");
    let hundred: Vec<u32> = (1..=100).collect();
    check(&[], 0.5, None);
    check(&[3], 0.99, Some(3));
    check(&[1, 2], 0.5, Some(1));
    check(&[1, 2, 3], 0.5, Some(2));
    check(&hundred, 0.99, Some(99));
    check(&hundred, 1.0, Some(100));
    check(&hundred, 0.0, Some(1));
}

#[test]
fn a_ratio_is_to_the_better_peer_and_more_than_one_wins() {
    let check = |better, samples: &[(&str, &[f64])], expected: Option<f64>| {
        assert_eq!(metric(better, None, samples).ratio(), expected, "{better:?} {samples:?}");
    };
    check(Better::Higher, &[("nginx", &[100.0]), ("haproxy", &[200.0]), (SUBJECT, &[300.0])], Some(1.5));
    check(Better::Higher, &[("nginx", &[400.0]), (SUBJECT, &[300.0])], Some(0.75));
    check(Better::Lower, &[("nginx", &[100.0]), ("haproxy", &[200.0]), (SUBJECT, &[50.0])], Some(2.0));
    check(Better::Lower, &[("nginx", &[100.0]), (SUBJECT, &[200.0])], Some(0.5));
    // The bare way is no peer, and neither is hyper alone.
    check(Better::Higher, &[("hyper", &[900.0]), ("nginx", &[100.0]), (SUBJECT, &[100.0])], Some(1.0));
    check(Better::Higher, &[("direct", &[900.0]), ("nginx", &[100.0]), (SUBJECT, &[100.0])], Some(1.0));
    check(Better::Higher, &[("direct", &[900.0]), (SUBJECT, &[100.0])], None);
    check(Better::Higher, &[("nginx", &[100.0])], None);
}

#[test]
fn a_goal_is_met_or_missed_by_a_part_of_it() {
    let check = |goal, ours: f64, met, shortfall: f64| {
        let metric = metric(Better::Higher, Some(goal), &[("nginx", &[100.0]), (SUBJECT, &[ours])]);
        assert_eq!(metric.met(), Some(met), "{goal:?} {ours}");
        let missed = metric.shortfall().expect("there is a goal");
        assert!((missed - shortfall).abs() < 1e-9, "{goal:?} {ours}: {missed}");
    };
    check(Goal::Ratio(1.0), 100.0, true, 0.0);
    check(Goal::Ratio(1.0), 90.0, false, 0.1);
    check(Goal::Ratio(1.2), 60.0, false, 0.5);
    check(Goal::AtMost(20.0), 20.0, true, 0.0);
    check(Goal::AtMost(20.0), 25.0, false, 0.25);
    check(Goal::AtMost(0.0), 0.0, true, 0.0);
    check(Goal::AtMost(0.0), 3.0, false, 3.0);
}

#[test]
fn plain_routing_can_be_the_peer() {
    let samples: &[(&str, &[f64])] = &[("direct", &[200.0]), ("nginx", &[100.0]), (SUBJECT, &[180.0])];
    let both = metric(Better::Higher, Some(Goal::Ratio(1.8)), samples);
    let plain = both.beside("direct", "to plain routing", Goal::Ratio(1.0));
    assert_eq!((both.ratio(), plain.ratio()), (Some(1.8), Some(0.9)));
    assert_eq!((both.met(), plain.met()), (Some(true), Some(false)));
    assert_eq!(plain.contenders.len(), 2);
    assert_eq!((both.ceiling(), plain.ceiling()), (Some(2.0), None));
}

#[test]
fn the_most_that_it_may_be_stands_for_what_drowns_in_the_noise() {
    let check = |ours: &[f64], expected: f64| {
        let mut samples: Vec<(Kind, f64)> = ours.iter().map(|added| (Kind::Sluice, *added)).collect();
        samples.push((Kind::Nginx, 10.0));
        let found = added::above_noise(metric(Better::Lower, None, &[]), &samples).ratio().expect("both were measured");
        assert!((found - expected).abs() < 1e-3, "{ours:?}: {found}");
    };
    // Four slices, half of which lie 1 from the median: 2 × 1.4826 × 1.2533 × 1 / √4.
    let noise = 1.858_14;
    check(&[4.0, 4.0, 6.0, 6.0], 2.0);
    check(&[0.0, 0.0, 2.0, 2.0], 10.0 / (1.0 + noise));
    check(&[-3.0, -3.0, -1.0, -1.0], 10.0 / noise);
    assert!(added::uncertainty(&[1.0]).is_infinite(), "one slice says nothing");
}

#[test]
fn a_quantile_lies_within_its_bucket() {
    let buckets = vec![(10.0, 0.0), (20.0, 50.0), (40.0, 100.0), (f64::INFINITY, 100.0)];
    let check = |part, expected: f64| assert_eq!(handoff::quantile(&buckets, part).ok(), Some(expected), "{part}");
    check(0.25, 15.0);
    check(0.5, 20.0);
    check(0.75, 30.0);
    check(1.0, 40.0);
    assert_eq!(handoff::quantile(&vec![(10.0, 0.0), (f64::INFINITY, 4.0)], 0.5).ok(), Some(10.0));
    assert!(handoff::quantile(&vec![(10.0, 0.0)], 0.5).is_err());
}

#[test]
fn programs_are_read_from_descriptors() {
    let text = "pos:\t0\nprog_type:\t3\nprog_tag:\t0011\nprog_id:\t17\nrun_time_ns:\t900\nrun_cnt:\t9\n";
    assert_eq!(packet::parse(text), Some(packet::Program { id: 17, runs: 9, time_ns: 900 }));
    assert_eq!(packet::parse(&text.replace("prog_type:\t3", "prog_type:\t30")), None, "another kind of program");
    assert_eq!(packet::parse("pos:\t0\nflags:\t02\n"), None);
}

#[test]
fn a_message_is_answered_with_its_payload_in_the_clear() {
    let mut input = [&[0x82, 0xfe, 0, 128, 1, 2, 3, 4], [7; 128].as_slice(), b"rest"].concat();
    let answer = echo::take_message(&mut input).expect("it is one of ours").expect("it is whole");
    assert_eq!(answer.get(..8), Some([0x82, 126, 0, 128, 6, 5, 4, 3].as_slice()));
    assert_eq!((answer.len(), input.as_slice()), (132, b"rest".as_slice()));
    assert_eq!(echo::take_message(&mut input).expect("it is not whole"), None);
    assert!(echo::take_message(&mut vec![0; 136]).is_err());
}

const WRK: &str = "\
Running 2s test @ http://nginx.bench/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.61ms    1.87ms  26.36ms   81.03%
    Req/Sec     1.50k   157.74     1.73k    80.00%
  3000 requests in 2.02s, 451.02KB read
Requests/sec:   1500.00
Transfer/sec:    200.00KB
";

#[test]
fn the_output_of_wrk_is_read_and_its_faults_are_errors() {
    let done = load::parse_wrk(WRK).expect("it is whole");
    assert_eq!(done, load::Done { requests: 3000, seconds: 2.0, bytes: 2.0 * 200.0 * 1024.0 });
    let check = |text: String| assert!(load::parse_wrk(&text).is_err(), "{text}");
    check(WRK.replace("Requests/sec", "  Socket errors: connect 0, read 1, write 0, timeout 0\nRequests/sec"));
    check(WRK.replace("Requests/sec", "  Non-2xx or 3xx responses: 5\nRequests/sec"));
    check(WRK.replace("3000 requests", "0 requests"));
    check(WRK.replace("Requests/sec:", ""));
    check(WRK.replace("200.00KB", "200.00"));
    check(String::new());
}

const H2LOAD: &str = "\
starting benchmark...
finished in 2.15s, 930.11 req/s, 144.42KB/s
requests: 2000 total, 2000 started, 2000 done, 2000 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 2000 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 310.55KB (318000) total, 191.41KB (196000) headers (space savings 0.00%), 21.48KB (22000) data
";

#[test]
fn the_output_of_h2load_is_read_and_its_faults_are_errors() {
    let done = load::parse_h2load(H2LOAD).expect("it is whole");
    assert_eq!(done, load::Done { requests: 2000, seconds: 2.15, bytes: 22000.0 });
    let fast = load::parse_h2load(&H2LOAD.replace("2.15s", "195.5ms")).expect("milliseconds are known");
    assert!((fast.seconds - 0.1955).abs() < 1e-9);
    let check = |from: &str, to: &str| assert!(load::parse_h2load(&H2LOAD.replace(from, to)).is_err(), "{from} {to}");
    check("2000 succeeded", "1999 succeeded");
    check("2000 2xx, 0 3xx, 0 4xx", "1990 2xx, 0 3xx, 10 4xx");
    check("0 errored", "2 errored");
    check("(22000) data", "22000 data");
    check("2000 total, 2000 started, 2000 done, 2000 succeeded", "0 total, 0 started, 0 done, 0 succeeded");
    check("2.15s", "2.15");
    check("requests: ", "");
}

#[test]
fn short_bodies_are_errors() {
    let done = |bytes| load::Done { requests: 100, seconds: 1.0, bytes };
    assert!(load::ensure_bodies(&done(3600.0), 36).is_ok());
    assert!(load::ensure_bodies(&done(20_000.0), 36).is_ok(), "wrk counts heads as well");
    assert!(load::ensure_bodies(&done(3500.0), 36).is_err());
}

#[test]
fn the_cost_of_hyper_is_told_beside_ours() {
    let text = |samples: &[(&str, &[f64])]| report::to_markdown(&Map::new(), &[metric(Better::Lower, None, samples)]);
    let with = text(&[("hyper", &[20.0]), (SUBJECT, &[10.0])]);
    assert!(with.contains("Against hyper alone: 2.00"), "{with}");
    assert!(!text(&[("nginx", &[20.0]), (SUBJECT, &[10.0])]).contains("hyper alone:"));
}

#[test]
fn proc_is_read_by_its_manual() {
    assert_eq!(process::busy_ticks("cpu  10 1 20 500 30 2 3 4 99 0"), Some(36));
    assert_eq!(process::busy_ticks("cpu  10 x"), None);
    let stat = "42 (a b) c) S 1 2 3 4 5 6 7 8 9 10 110 220 0 0 20 0 1 0 100";
    assert_eq!(process::stat_ticks(stat), Some(330));
    assert_eq!(process::stat_ticks("42 (a"), None);
    let stat = "42 (a b) c) S 1 2 3 4 5 6 7 8 9 10 110 220 30 40 20 0 1 0 100";
    assert_eq!(process::children_ticks(stat), Some(70));
}

#[test]
fn the_client_reads_whole_answers_only() {
    let check = |bytes: &str, expected: Option<(u16, &str, bool)>| {
        let found = client::parse(bytes.as_bytes()).expect("it is well formed");
        let found =
            found.map(|(answer, _, close)| (answer.status, String::from_utf8_lossy(&answer.body).into_owned(), close));
        assert_eq!(found, expected.map(|(status, body, close)| (status, body.to_owned(), close)), "{bytes:?}");
    };
    check("HTTP/1.1 200 OK\r\nContent-Length: 2", None);
    check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh", None);
    check("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", Some((200, "hi", false)));
    check("HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\nrest", Some((404, "", true)));
    assert!(client::parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    assert!(client::parse(b"HTTP\r\nContent-Length: 2\r\n\r\nhi").is_err());
}

#[test]
fn json_has_the_form_that_was_promised() {
    let goal = Some(Goal::Ratio(1.0));
    let one = metric(Better::Higher, goal, &[("direct", &[9.0]), ("nginx", &[1.0, 3.0, 2.0]), (SUBJECT, &[4.0])]);
    let two = metric(Better::Lower, Some(Goal::AtMost(2.0)), &[("nginx", &[0.5]), (SUBJECT, &[1.0])]);
    let expected = json!({
        "machine": {"cores": 2},
        "results": [
            {"scenario": "http1-keepalive", "metric": "requests", "unit": "requests/s", "sluice": 4.0,
             "peers": {"direct": 9.0, "nginx": 2.0}, "ratio": 2.0, "goal": 1.0, "met": true},
            {"scenario": "http1-keepalive", "metric": "requests", "unit": "requests/s", "sluice": 1.0,
             "peers": {"nginx": 0.5}, "ratio": null, "goal": 2.0, "met": true},
        ],
    });
    let machine: Map<String, Value> = [("cores".to_owned(), json!(2))].into_iter().collect();
    assert_eq!(report::to_json(&machine, &[one, two]), expected);
}

#[test]
fn the_document_names_what_falls_short() {
    let short = metric(Better::Higher, Some(Goal::Ratio(1.0)), &[("nginx", &[100.0]), (SUBJECT, &[75.0])]);
    let text = report::to_markdown(&Map::new(), &[short]);
    assert!(text.contains("short by 25 %") && !text.contains("plain routing has"), "{text}");
    let told = |direct: f64| {
        let samples: &[(&str, &[f64])] = &[("direct", &[direct]), ("nginx", &[100.0]), (SUBJECT, &[75.0])];
        report::to_markdown(&Map::new(), &[metric(Better::Higher, Some(Goal::Ratio(1.5)), samples)])
    };
    assert!(told(110.0).contains("plain routing has 1.10, so no proxy"), "{}", told(110.0));
    assert!(!told(90.0).contains("plain routing has"), "it is no bound: {}", told(90.0));
    assert!(text.contains("![http1-keepalive: requests](benchmarks/http1-keepalive-requests.svg)"), "{text}");
}

#[test]
fn a_plot_has_a_bar_for_each_contender_and_follows_the_page() {
    let plot = svg::bars(&metric(Better::Higher, None, &[("nginx", &[1.0, 2.0]), (SUBJECT, &[4.0])]));
    assert_eq!(plot.matches("<rect").count(), 2);
    assert_eq!(plot.matches("class=\"ours\"").count(), 1);
    assert!(plot.contains("prefers-color-scheme:dark"));
    assert!(!plot.contains("NaN"));
}

#[test]
fn base64_follows_the_examples_of_its_standard() {
    // RFC 4648 section 10.
    let check = |text: &str, expected: &str| assert_eq!(manifest::base64(text.as_bytes()), expected);
    check("", "");
    check("f", "Zg==");
    check("fo", "Zm8=");
    check("foo", "Zm9v");
    check("foob", "Zm9vYg==");
    check("fooba", "Zm9vYmE=");
    check("foobar", "Zm9vYmFy");
}

#[test]
fn scenarios_have_names_of_their_own() {
    let mut names: Vec<&str> = scenario::ALL.iter().map(|scenario| scenario.name).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(names.iter().all(|name| scenario::find(name).is_some()));
}
