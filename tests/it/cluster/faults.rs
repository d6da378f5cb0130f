//! Everything that an API server does to those who watch it. Traffic goes on through all of it.

use super::{Stage, site};
use lb_tests::agent::Agent;
use lb_tests::lab::HTTP;
use serde_json::json;
use std::time::{Duration, Instant};

const RELISTS: &str = "sluice_source_relists_total{kind=\"Ingress\"}";

fn errors(stage: &Stage, agent: &Agent, kind: &str, reason: &str) -> f64 {
    stage.metric(agent, &format!("sluice_source_errors_total{{kind=\"{kind}\",reason=\"{reason}\"}}"))
}

/// A change is served; what was there before is served all the time.
fn changes(stage: &Stage, agent: &Agent, host: &str) {
    stage.api.put(&site(host, "two"));
    agent.wait_until(&format!("{host} is served"), |_| {
        stage.expect("site.test", Ok("one"));
        stage.who(host).is_ok()
    });
}

fn started() -> (Stage, Agent) {
    let stage = Stage::new();
    stage.api.put(&site("site.test", "one"));
    let agent = stage.start();
    (stage, agent)
}

#[test]
fn watches_that_break_go_on_where_they_were() {
    let (stage, agent) = started();
    stage.api.faults().disconnect_watches();
    changes(&stage, &agent, "a.test");
    assert_eq!(stage.metric(&agent, RELISTS), 0.0);
    // Every watch breaks at its second event, and every event comes twice.
    stage.api.faults().watch_events_max(Some(2));
    stage.api.faults().duplicate_events(true);
    for host in ["b.test", "c.test", "d.test", "e.test"] {
        changes(&stage, &agent, host);
    }
    stage.api.faults().watch_events_max(None);
    stage.api.faults().delay_events("services", Duration::from_millis(300));
    stage.api.put(&lb_tests::manifest::service("late", 80, &[lb_tests::lab::pod(11, 8080)]));
    stage.api.put(&site("late.test", "late"));
    stage.wait(&agent, "late.test", Ok("two"));
    stage.expect("site.test", Ok("one"));
}

#[test]
fn a_version_that_is_too_old_is_read_again() {
    let (stage, agent) = started();
    stage.api.faults().expire_watches();
    agent.wait_until("everything was read again", |agent| {
        stage.expect("site.test", Ok("one"));
        stage.metric(agent, RELISTS) >= 1.0
    });
    changes(&stage, &agent, "a.test");
    assert!(errors(&stage, &agent, "Ingress", "gone") >= 1.0);

    // What happened while nothing was heard, and is not in the history any more.
    stage.api.faults().go_away(true);
    agent.wait_until("it is away", |agent| errors(&stage, agent, "Ingress", "broken") >= 1.0);
    stage.api.delete("Ingress", "default", "a-test");
    stage.api.put(&site("b.test", "two"));
    stage.api.compact();
    stage.api.faults().go_away(false);
    agent.wait_until("the missed change is served", |_| {
        stage.expect("site.test", Ok("one"));
        stage.who("b.test").is_ok()
    });
    stage.wait(&agent, "a.test", Err(404));
}

#[test]
fn a_server_that_is_gone_for_a_while() {
    let (stage, agent) = started();
    stage.api.faults().go_away(true);
    let gone = Instant::now();
    agent.wait_until("the age grows", |agent| agent.json(&["status"])["contact"]["age_s"].as_u64() >= Some(3));
    assert!(gone.elapsed() >= Duration::from_secs(2));
    stage.expect("site.test", Ok("one"));
    assert_eq!(stage.ready(&agent), Some(200), "it serves, so it is ready");
    assert!(stage.metric(&agent, "sluice_source_age_seconds{kind=\"Ingress\"}") >= 3.0);
    assert_eq!(stage.metric(&agent, "sluice_source_watches_open{kind=\"Ingress\"}"), 0.0);
    let text = String::from_utf8(agent.sluice(&["status"]).stdout).expect("text");
    assert!(text.contains("s ago") && text.contains("cannot be talked to"), "{text}");
    stage.api.faults().go_away(false);
    changes(&stage, &agent, "a.test");
    agent.wait_until("no failure is left", |agent| agent.json(&["status"])["contact"]["failure"].is_null());
    agent.stop();
}

#[test]
fn a_server_that_is_not_there_at_the_start() {
    let stage = Stage::new();
    stage.api.put(&site("site.test", "one"));
    stage.api.faults().go_away(true);
    let mut agent = stage.spawn();
    agent.wait_until("it says that it waits", |agent| {
        stage.ready(agent) == Some(503) && agent.log().contains("does not work")
    });
    let status = agent.json(&["status"]);
    assert!(status["contact"]["age_s"].is_null() && status["readiness"] == "starting", "{status}");
    assert_eq!(status["contact"]["waits_for"].as_array().map(Vec::len), Some(5), "{status}");
    assert!(stage.lab.client.connect(HTTP).is_err(), "nobody is let in before there is an answer");
    stage.api.faults().go_away(false);
    agent.wait_ready(&stage.lab.balancer);
    stage.expect("site.test", Ok("one"));
    agent.stop();
    // And one that is ended while it waits.
    stage.api.faults().go_away(true);
    let agent = stage.spawn();
    agent.wait_until("it waits", |agent| agent.log().contains("does not work"));
    agent.stop();
}

#[test]
fn never_ready_before_complete() {
    for streams in [true, false] {
        let stage = Stage::new();
        for n in 0..20 {
            stage.api.put(&site(&format!("s{n}.test"), "one"));
        }
        stage.api.faults().refuse_streaming_lists(!streams);
        stage.api.faults().slow_lists(Duration::from_millis(1_500));
        let started = Instant::now();
        let mut agent = stage.spawn();
        agent.wait_until("it answers", |agent| stage.ready(agent).is_some());
        while started.elapsed() < Duration::from_millis(1_000) {
            assert_eq!(stage.ready(&agent), Some(503));
            assert!(stage.lab.client.connect(HTTP).is_err());
        }
        agent.wait_ready(&stage.lab.balancer);
        for n in 0..20 {
            stage.expect(&format!("s{n}.test"), Ok("one"));
        }
        let unsupported = errors(&stage, &agent, "Ingress", "unsupported");
        assert_eq!(unsupported >= 1.0, !streams, "{unsupported}");
    }
}

#[test]
fn refusals_are_waited_out() {
    let stage = Stage::new();
    stage.api.put(&site("site.test", "one"));
    for (resource, code) in [("ingresses", 500), ("services", 503), ("secrets", 429), ("endpointslices", 504)] {
        stage.api.faults().refuse_next_of("", resource, 2, code);
    }
    let agent = stage.start();
    stage.expect("site.test", Ok("one"));
    assert_eq!(errors(&stage, &agent, "Ingress", "refused"), 2.0);
    assert_eq!(errors(&stage, &agent, "Service", "throttled"), 2.0);
    assert_eq!(errors(&stage, &agent, "Secret", "throttled"), 2.0);
    for code in [429, 500, 503] {
        stage.api.faults().refuse_next_of("", "ingresses", 2, code);
        stage.api.faults().disconnect_watches();
        changes(&stage, &agent, &format!("after{code}.test"));
    }
}

#[test]
fn credentials_that_expire_are_read_again() {
    let (stage, agent) = started();
    stage.api.expire_tokens(Some(&stage.token));
    stage.api.faults().disconnect_watches();
    agent.wait_until("it is refused", |agent| errors(&stage, agent, "Ingress", "unauthorized") >= 1.0);
    stage.expect("site.test", Ok("one"));
    assert_eq!(stage.ready(&agent), Some(200));
    let failure = agent.json(&["status"])["contact"]["failure"].to_string();
    assert!(failure.contains("401"), "{failure}");
    let fresh = stage.api.kubeconfig(&stage.api.service_account("sluice-system", "sluice"));
    std::fs::rename(fresh, &stage.kubeconfig).expect("both are in one directory");
    changes(&stage, &agent, "a.test");
    assert!(agent.log().contains("read again"));
}

#[test]
fn an_object_that_cannot_be_read_harms_nobody() {
    let stage = Stage::new();
    stage.api.put(&site("site.test", "one"));
    stage.api.put(&site("bad.test", "two"));
    let worse = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "worse",
        "namespace": "default"}, "spec": {"ingressClassName": "sluice", "rules": [{"host": {"newer": "form"}}]}});
    stage.api.put_value(&worse);
    let agent = stage.start();
    stage.expect("site.test", Ok("one"));
    stage.api.edit("Ingress", "default", "bad-test", |object| object["spec"]["rules"] = json!("none"));
    agent.wait_until("it is told", |agent| agent.json(&["problems"]).to_string().contains("bad-test"));
    stage.expect("bad.test", Ok("two"));
    let problems = agent.json(&["problems"]);
    let fields: Vec<&str> = problems.as_array().into_iter().flatten().filter_map(|p| p["field"].as_str()).collect();
    assert!(fields.contains(&"spec.rules[0].host") && fields.contains(&"spec.rules"), "{problems}");
    assert_eq!(errors(&stage, &agent, "Ingress", "unreadable"), 2.0);
    changes(&stage, &agent, "a.test");
    stage.api.put(&site("bad.test", "three"));
    stage.wait(&agent, "bad.test", Ok("three"));
}
