//! A large cluster: 10,000 Ingresses with 50,000 endpoints.

use super::{Stage, site};
use lb_tests::apiserver::Bulk;
use std::time::{Duration, Instant};

/// What the whole process may hold, bytes.
const RESIDENT_BYTES_MAX: u64 = 150 << 20;

#[test]
fn a_large_cluster_fits() {
    let stage = Stage::new();
    stage.api.load(&Bulk::default());
    stage.api.put(&site("site.test", "one"));
    for streams in [true, false] {
        stage.api.faults().refuse_streaming_lists(!streams);
        let started = Instant::now();
        let agent = stage.start();
        let ready = started.elapsed();
        assert_eq!(agent.json(&["status"])["routes"], 10_001, "it is never ready before everything was read");
        let first = agent.resident_bytes();
        stage.api.edit("Ingress", "default", "site-test", |ingress| {
            ingress["metadata"]["labels"] = serde_json::json!({"x": "y"})
        });
        let changed = Instant::now();
        stage.api.put(&site("another.test", "two"));
        agent.wait_until("a change is served", |_| stage.who("another.test").is_ok());
        let change = changed.elapsed();
        // Everything is read again, beside what is there.
        stage.api.faults().expire_watches();
        let relists = "sluice_source_relists_total{kind=\"Ingress\"}";
        agent.wait_until("it is read again", |agent| stage.metric(agent, relists) >= 1.0);
        std::thread::sleep(Duration::from_secs(2));
        let again = agent.resident_bytes();
        eprintln!(
            "streams {streams}: ready after {ready:?}, {first} bytes; a change {change:?}; after a relist {again} bytes"
        );
        assert!(first.max(again) <= RESIDENT_BYTES_MAX, "{first} and {again} bytes");
        stage.api.delete("Ingress", "default", "another-test");
        agent.stop();
    }
}
