//! What we write into the API: by one leader, nothing twice, within the bound, and nothing of what is not ours.

use lb_core::Problem;
use lb_core::model::ObjectRef;
use lb_core::problem::Severity;
use lb_tests::apiserver::{ApiServer, Call};
use lb_tests::kubectl::Kubectl;
use lb_userspace::config::{self, Objects, Report};
use lb_userspace::control::object::Object;
use lb_userspace::control::report::{Reporter, Settings, State, Subject};
use lb_userspace::control::store::Store;
use lb_userspace::control::translate::Translator;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The class that is ours, another one, and the namespace that the agents are in.
const CLASS: &str = "apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: sluice}
spec: {controller: sluice.dev/ingress}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: other}
spec: {controller: other.example/ingress}
---
apiVersion: v1
kind: Namespace
metadata: {name: lb}
";

/// An agent without a data path: it watches the stand-in's storage, translates, and reports.
struct Agent {
    reporter: Option<Reporter>,
    store: Store,
    translator: Translator,
    objects: Objects,
    versions: BTreeMap<ObjectRef, String>,
    more: Vec<Problem>,
}

impl Agent {
    async fn start(server: &ApiServer, name: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let objects = Objects { node: Some(name.to_owned()), ..Objects::default() };
        let report = Report {
            addresses: vec!["203.0.113.1".to_owned(), "lb.example".to_owned()],
            pod: Some(name.to_owned()),
            namespace: Some("lb".to_owned()),
            ..Report::default()
        };
        let mut settings = Settings::new(report, &objects);
        // As in production, ten times as fast.
        (settings.timing.lease_ms, settings.timing.renew_ms, settings.timing.retry_ms) = (1_500, 1_000, 200);
        settings.times.settle_ms = 100;
        settings.times.resolved_ms = 200;
        change(&mut settings);
        let client = client(server, name).await;
        let (store, translator, versions, more) = Default::default();
        let reporter = Some(Reporter::start(client, settings));
        Self { reporter, store, translator, objects, versions, more }
    }

    fn reporter(&self) -> &Reporter {
        self.reporter.as_ref().expect("it runs")
    }

    fn leads(&self) -> bool {
        self.reporter.as_ref().is_some_and(|reporter| reporter.counters().leader)
    }

    /// Takes what the stand-in has now, and tells of it.
    fn look(&mut self, server: &ApiServer) {
        if self.reporter.is_none() {
            return;
        }
        let mut there = BTreeSet::new();
        for kind in ["Ingress", "IngressClass", "Service", "EndpointSlice", "Node"] {
            for value in server.list(kind, "") {
                let version = value["metadata"]["resourceVersion"].as_str().expect("it has a version").to_owned();
                let object = object(kind, value);
                let key = object.key();
                if self.versions.insert(key.clone(), version.clone()).as_ref() != Some(&version) {
                    self.store.upsert(object);
                }
                there.insert(key);
            }
        }
        let gone: Vec<ObjectRef> = self.versions.keys().filter(|key| !there.contains(key)).cloned().collect();
        for key in gone {
            self.versions.remove(&key);
            self.store.remove(&key);
        }
        self.tell();
    }

    fn tell(&mut self) {
        let (_, mut problems) = self.translator.translate(&self.store, &self.objects, 0);
        problems.extend(self.more.iter().cloned());
        let served = self.translator.served(&self.store);
        self.reporter().tell(State { store: &self.store, served, problems: &problems, ready: true });
    }

    /// Ends without a word, as a process that is killed.
    fn kill(&mut self) {
        drop(self.reporter.take());
    }

    async fn leave(&mut self, seconds: u64) {
        self.reporter.take().expect("it runs").leave(Duration::from_secs(seconds)).await;
    }
}

async fn client(server: &ApiServer, name: &str) -> kube::Client {
    let path = server.kubeconfig(&server.token(name, &["kubeadm:cluster-admins"]));
    let kubeconfig = kube::config::Kubeconfig::read_from(path).expect("a kubeconfig");
    let options = kube::config::KubeConfigOptions::default();
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.expect("it can be used");
    config.default_retry = false;
    kube::Client::try_from(config).expect("a client")
}

fn object(kind: &str, value: Value) -> Object {
    fn read<T: DeserializeOwned>(value: Value) -> Arc<T> {
        Arc::new(serde_json::from_value(value).expect("an object of its kind"))
    }
    match kind {
        "Ingress" => Object::Ingress(read(value)),
        "IngressClass" => Object::IngressClass(read(value)),
        "Service" => Object::Service(read(value)),
        "EndpointSlice" => Object::EndpointSlice(read(value)),
        _ => Object::Node(read(value)),
    }
}

fn ingress(name: &str, class: &str, service: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
         ingressClassName: {class}\n  rules:\n  - host: {name}.example\n    http:\n      paths:\n      - path: /\n        \
         pathType: Prefix\n        backend: {{service: {{name: {service}, port: {{number: 80}}}}}}\n---\n"
    )
}

fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{clusterIP: 10.96.0.9, \
         ports: [{{port: 80}}]}}\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}-1, \
         namespace: shop, labels: {{kubernetes.io/service-name: {name}}}}}\naddressType: IPv4\nports: [{{port: 8080}}]\n\
         endpoints: [{{addresses: [10.0.0.1]}}]\n---\n"
    )
}

/// The agents' own Service, with these of them ready.
fn agents(ready: &[&str]) -> String {
    let endpoint = |name: &&str| {
        format!(
            "{{addresses: [10.1.0.1], nodeName: {name}, targetRef: {{kind: Pod, name: {name}}}, conditions: {{ready: true}}}}"
        )
    };
    let endpoints: Vec<String> = ready.iter().map(endpoint).collect();
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: agents-1, namespace: lb, labels: \
         {{kubernetes.io/service-name: agents}}}}\naddressType: IPv4\nports: []\nendpoints: [{}]\n",
        endpoints.join(", ")
    )
}

fn status(server: &ApiServer, name: &str) -> Value {
    let ingress = server.get("Ingress", "shop", name).expect("it is there");
    ingress["status"]["loadBalancer"]["ingress"].clone()
}

fn ours() -> Value {
    json!([{"ip": "203.0.113.1"}, {"hostname": "lb.example"}])
}

/// Writes of a user to a resource, as roles call it.
fn writes(server: &ApiServer, user: &str, resource: &str) -> Vec<Call> {
    server.calls().into_iter().filter(|c| c.user == user && c.resource == resource && c.is_write()).collect()
}

/// Events of `events.k8s.io` on an object.
fn events(server: &ApiServer, name: &str) -> Vec<Value> {
    let mut events = server.list("events.events.k8s.io", "shop");
    events.retain(|event| event["regarding"]["name"] == name);
    events
}

async fn until(server: &ApiServer, agents: &mut [&mut Agent], what: &str, done: impl Fn(&[&mut Agent]) -> bool) {
    let began = Instant::now();
    loop {
        agents.iter_mut().for_each(|agent| agent.look(server));
        if done(agents) {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "not within 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn pass(server: &ApiServer, agents: &mut [&mut Agent], ms: u64) {
    let began = Instant::now();
    until(server, agents, "time passes", |_| began.elapsed() > Duration::from_millis(ms)).await;
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(test);
}

#[test]
fn only_the_leader_writes_and_the_next_one_has_nothing_to_change() {
    run(async {
        let server = ApiServer::start();
        server.put(CLASS);
        server.put(&service("web"));
        let names: Vec<String> = (0..20).map(|n| format!("i{n}")).collect();
        names.iter().for_each(|name| server.put(&ingress(name, "sluice", "web")));
        server.put(&ingress("foreign", "other", "absent"));
        server.edit("Ingress", "shop", "foreign", |value| {
            value["status"] = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.99"}]}});
        });
        server.put(&ingress("lost", "no-such-class", "web"));
        server.forget_calls();
        let mut one = Agent::start(&server, "one", |_| {}).await;
        until(&server, &mut [&mut one], "one leads", |agents| agents[0].leads()).await;
        let mut two = Agent::start(&server, "two", |_| {}).await;
        let all = |server: &ApiServer| names.iter().all(|name| status(server, name) == ours());
        until(&server, &mut [&mut one, &mut two], "all statuses", |_| all(&server)).await;
        pass(&server, &mut [&mut one, &mut two], 1_000).await;
        assert_eq!(writes(&server, "one", "ingresses/status").len(), 20, "each once");
        assert!(one.leads() && !two.leads());
        assert!(!server.writes().contains_key("two"), "{:?}", server.writes());

        one.kill();
        let killed = Instant::now();
        until(&server, &mut [&mut two], "two leads", |agents| agents[0].leads()).await;
        assert!(killed.elapsed() >= Duration::from_millis(500), "not before the Lease is over");
        pass(&server, &mut [&mut two], 500).await;
        assert!(all(&server) && writes(&server, "two", "ingresses/status").is_empty(), "nothing to change");
        server.put(&ingress("late", "sluice", "web"));
        until(&server, &mut [&mut two], "a new status", |_| status(&server, "late") == ours()).await;

        // Of what is not ours nothing is touched and nothing is told.
        assert_eq!(status(&server, "foreign"), json!([{"ip": "192.0.2.99"}]));
        assert_eq!(status(&server, "lost"), Value::Null);
        assert!(events(&server, "foreign").is_empty() && events(&server, "lost").is_empty());
        // It goes to another class, and what was exactly ours goes away.
        server.edit("Ingress", "shop", "i0", |value| value["spec"]["ingressClassName"] = json!("other"));
        server.edit("Ingress", "shop", "i1", |value| {
            value["spec"]["ingressClassName"] = json!("other");
            value["status"]["loadBalancer"]["ingress"] = json!([{"ip": "192.0.2.7"}]);
        });
        until(&server, &mut [&mut two], "taken back", |_| status(&server, "i0") == Value::Null).await;
        pass(&server, &mut [&mut two], 300).await;
        assert_eq!(status(&server, "i1"), json!([{"ip": "192.0.2.7"}]));
        let counters = two.reporter().counters();
        assert_eq!((counters.done(Subject::Status), counters.statuses_waiting), (2, 0), "{counters:?}");
    });
}

#[test]
fn the_last_one_takes_statuses_back_and_the_lease_is_free_at_once() {
    run(async {
        let server = ApiServer::start();
        server.put(CLASS);
        server.put(&service("web"));
        server.put(&(ingress("a", "sluice", "web") + &ingress("b", "sluice", "web")));
        server.put(&agents(&["one", "two"]));
        let with = |settings: &mut Settings| {
            settings.report.agents = Some(config::NamespacedName { namespace: "lb".into(), name: "agents".into() });
            // So that nobody leads because time is over.
            settings.timing.lease_ms = 60_000;
        };
        let mut one = Agent::start(&server, "one", with).await;
        until(&server, &mut [&mut one], "one leads", |agents| agents[0].leads()).await;
        let mut two = Agent::start(&server, "two", with).await;
        let is = |want: Value| ["a", "b"].iter().all(|name| status(&server, name) == want);
        until(&server, &mut [&mut one, &mut two], "statuses", |_| is(ours())).await;

        let left = Instant::now();
        one.leave(5).await;
        until(&server, &mut [&mut two], "two leads", |agents| agents[0].leads()).await;
        assert!(left.elapsed() < Duration::from_secs(3), "{:?}", left.elapsed());
        assert!(is(ours()), "another one is there");
        server.put(&agents(&["two"]));
        two.look(&server);
        server.forget_calls();
        two.leave(5).await;
        assert!(is(Value::Null), "{}", status(&server, "a"));
        assert_eq!(writes(&server, "two", "ingresses/status").len(), 2);
        let lease = server.get("Lease", "lb", "sluice-leader").expect("it is there");
        assert_eq!(lease["spec"]["holderIdentity"], "", "{lease}");
    });
}

#[test]
fn statuses_are_kept_when_that_is_wanted() {
    run(async {
        let server = ApiServer::start();
        server.put(CLASS);
        server.put(&service("web"));
        server.put(&ingress("a", "sluice", "web"));
        server.put(&agents(&["one"]));
        let mut one = Agent::start(&server, "one", |settings| {
            settings.report.agents = Some(config::NamespacedName { namespace: "lb".into(), name: "agents".into() });
            settings.report.keep_on_shutdown = true;
        })
        .await;
        until(&server, &mut [&mut one], "a status", |_| status(&server, "a") == ours()).await;
        one.leave(5).await;
        assert_eq!(status(&server, "a"), ours());
    });
}

#[test]
fn events_are_shown_once_counted_and_resolved() {
    run(async {
        let server = ApiServer::start();
        server.put(CLASS);
        server.put(&ingress("a", "sluice", "web"));
        let with = |settings: &mut Settings| settings.times.repeat_ms = 500;
        let mut one = Agent::start(&server, "one", with).await;
        let both = |server: &ApiServer| !events(server, "a").is_empty() && status(server, "a") == ours();
        until(&server, &mut [&mut one], "an Event", |_| both(&server)).await;
        let event = events(&server, "a").remove(0);
        let ingress_uid = server.get("Ingress", "shop", "a").expect("there")["metadata"]["uid"].clone();
        assert_eq!((&event["type"], &event["reason"]), (&json!("Warning"), &json!("ServiceMissing")), "{event}");
        assert_eq!((&event["regarding"]["uid"], &event["reportingInstance"]), (&ingress_uid, &json!("one")));
        let note = event["note"].as_str().expect("a note");
        assert!(note.starts_with("spec.rules[0].http.paths[0].backend") && note.contains("Remedy: "), "{note}");
        // What an owner sees.
        let kubectl = Kubectl::new(&server.kubeconfig(server.admin_token()));
        let described = kubectl.ok(&["-n", "shop", "describe", "ingress", "a"]);
        for word in ["Warning", "ServiceMissing", "sluice.dev/ingress", "203.0.113.1", "Remedy: "] {
            assert!(described.contains(word), "{word} in {described}");
        }
        let count = |server: &ApiServer| events(server, "a")[0]["series"]["count"].as_i64().unwrap_or(1);
        until(&server, &mut [&mut one], "a series", |_| count(&server) >= 3).await;

        // The next leader means the same Event.
        one.kill();
        let (mut two, before) = (Agent::start(&server, "two", with).await, count(&server));
        until(&server, &mut [&mut two], "counted on", |_| count(&server) > before).await;
        assert_eq!(events(&server, "a").len(), 1, "{:?}", events(&server, "a"));

        server.put(&service("web"));
        let resolved = |server: &ApiServer| events(server, "a").iter().any(|event| event["reason"] == "Resolved");
        until(&server, &mut [&mut two], "the good word", |_| resolved(&server)).await;
        let last = count(&server);
        pass(&server, &mut [&mut two], 1_000).await;
        assert_eq!((count(&server), events(&server, "a").len()), (last, 2), "what is over is not counted");

        // A deleted object is not written about any more, and a namespace that ends stops nobody.
        server.put(&ingress("b", "sluice", "absent"));
        until(&server, &mut [&mut two], "another Event", |_| !events(&server, "b").is_empty()).await;
        server.delete("Ingress", "shop", "b");
        pass(&server, &mut [&mut two], 300).await;
        let writes = two.reporter().counters().tried(Subject::Event);
        pass(&server, &mut [&mut two], 1_200).await;
        assert_eq!(two.reporter().counters().tried(Subject::Event), writes);
    });
}

#[test]
fn an_api_that_asks_for_patience_gets_it() {
    run(async {
        let server = ApiServer::start();
        server.put(CLASS);
        server.put(&service("web"));
        server.put(&ingress("a", "sluice", "web"));
        server.faults().refuse_next_of("patch", "ingresses", 2, 429);
        let mut one = Agent::start(&server, "one", |_| {}).await;
        let began = Instant::now();
        until(&server, &mut [&mut one], "a status", |_| status(&server, "a") == ours()).await;
        assert!(began.elapsed() >= Duration::from_millis(2_000), "Retry-After: 1, twice: {:?}", began.elapsed());
        assert_eq!(writes(&server, "one", "ingresses/status").len(), 3);
        // Errors of all kinds, and none for ever.
        for code in [500, 503, 504] {
            server.faults().refuse_next_of("patch", "ingresses", 1, code);
            let name = format!("i{code}");
            server.put(&ingress(&name, "sluice", "web"));
            until(&server, &mut [&mut one], "a status", |_| status(&server, &name) == ours()).await;
        }
        // A leader that cannot renew ends, and writes nothing more until it can.
        server.faults().refuse_next_of("patch", "leases", 1_000_000, 503);
        until(&server, &mut [&mut one], "leads no more", |agents| !agents[0].leads()).await;
        server.put(&ingress("later", "sluice", "web"));
        pass(&server, &mut [&mut one], 500).await;
        assert_eq!(status(&server, "later"), Value::Null);
    });
}

#[test]
fn an_api_that_is_away_is_waited_for() {
    run(async {
        let server = ApiServer::start();
        server.put(CLASS);
        server.put(&service("web"));
        server.put(&ingress("a", "sluice", "web"));
        let mut one = Agent::start(&server, "one", |_| {}).await;
        until(&server, &mut [&mut one], "a status", |_| status(&server, "a") == ours()).await;
        for hangs in [true, false] {
            if hangs {
                server.faults().hang(true)
            } else {
                server.faults().go_away(true)
            }
            let name = if hangs { "hung" } else { "gone" };
            server.put(&ingress(name, "sluice", "web"));
            until(&server, &mut [&mut one], "leads no more", |agents| !agents[0].leads()).await;
            if hangs {
                server.faults().hang(false)
            } else {
                server.faults().go_away(false)
            }
            until(&server, &mut [&mut one], "a status", |_| status(&server, name) == ours()).await;
        }
    });
}

#[test]
fn a_thousand_problems_that_flap_stay_within_the_bound() {
    run(async {
        let server = ApiServer::start();
        server.put(CLASS);
        server.put(&service("web"));
        server.put(&(0..100).map(|n| ingress(&format!("i{n}"), "sluice", "web")).collect::<String>());
        let mut one = Agent::start(&server, "one", |settings| {
            (settings.report.writes_per_s, settings.report.writes_burst) = (40, 30);
            settings.times.again_ms = 200;
        })
        .await;
        let began = Instant::now();
        let problem = |n: usize, round: usize| Problem {
            severity: Severity::Fault,
            object: ObjectRef::new(lb_core::model::Kind::Ingress, "shop", format!("i{}", n % 100)),
            place: None,
            field: format!("spec.rules[{}]", n / 100),
            reason: "InvalidHost",
            message: format!("It is wrong in its own way {}.", round % 2),
            remedy: "Mend it.".to_owned(),
        };
        for round in 0..40 {
            one.more = if round % 4 == 3 { Vec::new() } else { (0..1_000).map(|n| problem(n, round / 4)).collect() };
            pass(&server, &mut [&mut one], 100).await;
        }
        let seconds = began.elapsed().as_secs_f64();
        let (statuses, told) =
            (writes(&server, "one", "ingresses/status").len(), writes(&server, "one", "events").len());
        let bound = 30.0 + 40.0 * seconds;
        let counters = one.reporter().counters();
        assert!((statuses + told) as f64 <= bound, "{statuses} and {told} in {seconds} s: {counters:?}");
        assert!(statuses == 100 && told as f64 > bound / 4.0, "{statuses} and {told}: {counters:?}");
        assert!(writes(&server, "one", "leases").len() as f64 <= 3.0 + 5.0 * seconds);
    });
}
