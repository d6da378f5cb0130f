//! A translation of changes comes to what a translation of everything comes to, whatever happened before.

use super::super::super::names::answer::Answer;
use super::super::super::source::manifest;
use super::super::translate;
use super::*;
use lb_core::model::route::Target;
use lb_core::model::{HostPattern, Route};
use lb_core::route::Match;
use proptest::prelude::*;
use std::fmt::Write as _;
use std::sync::OnceLock;

/// 2026-06-01; a month later one of the certificates has expired.
const NOW_S: i64 = 1_780_272_000;
const LATER_S: i64 = NOW_S + 60 * 86_400;

const HOSTS: [&str; 6] = ["", "a.test", "b.test", "*.test", "c.b.test", "x..y"];
const NAMES: [&str; 4] = ["a.test", "z.test", "c.b.test", "other"];
const PATHS: [&str; 4] = ["/", "/a", "/a/b", "/zz"];

/// What happens to a store.
#[derive(Debug, Clone)]
enum Event {
    /// A file has these documents now.
    File(u8, Vec<String>),
    /// An API says that an object is so.
    Api(String),
    /// An API says that an object is no more.
    Gone(Kind, String),
    /// A name is resolved to so many addresses, or cannot be.
    Answer(&'static str, u8),
    /// Time passes, or turns out not to have passed.
    Time(bool),
}

fn objects() -> config::Objects {
    config::Objects {
        without_class: true,
        node: Some("n0".to_owned()),
        external_names: Some(config::ExternalNames::default()),
        ..config::Objects::default()
    }
}

fn happen(store: &mut Store, now_s: &mut i64, event: &Event) {
    let read = |name: &str, text: &str| manifest::read(&name.into(), text.as_bytes()).entries;
    match event {
        Event::File(number, documents) => {
            let name = format!("{number}.yaml");
            store.replace_file(&name.as_str().into(), read(&name, &documents.join("\n---\n")));
        }
        Event::Api(document) => read("api", document).into_iter().for_each(|(object, _)| store.upsert(object)),
        Event::Gone(kind, name) => store.remove(&ObjectRef::new(*kind, "default", name.as_str())),
        Event::Answer(name, count) => {
            let found =
                (0..*count).map(|i| std::net::IpAddr::from([if i == 1 { 127 } else { 192 }, 0, 2, i])).collect();
            let answer = match count {
                0 => Answer::failed(None, "no such name".to_owned(), NOW_S),
                _ => Answer::of(found, &[]),
            };
            store.resolved(name, answer);
        }
        Event::Time(later) => *now_s = if *later { LATER_S } else { NOW_S },
    }
}

/// Everything about a state that does not depend on how it came about.
fn shown(snapshot: &Snapshot, problems: &[Problem]) -> String {
    let mut text = String::new();
    let mut routes: Vec<&Route> = snapshot.routes.iter().map(|(_, route)| route).collect();
    // Stable: those of one host stay in their order.
    routes.sort_by_key(|route| route.host.clone());
    for route in routes {
        let _ = writeln!(text, "{}", described(snapshot, route));
    }
    let found = NAMES.iter().flat_map(|name| PATHS.iter().map(move |path| (name, path)));
    for (name, path) in found {
        let what = match snapshot.routes.find(name, path) {
            Match::Rule(id, route) | Match::Default(id, route) => {
                assert_eq!(snapshot.routes.get(id).map(|found| &found.origin), Some(&route.origin));
                format!("{} {}", route.host, route.origin)
            }
            Match::NoPath(host) => format!("no path of {host}"),
            Match::NoHost => "no host".to_owned(),
        };
        let _ = writeln!(text, "{name}{path}: {what}");
    }
    let mut services: Vec<String> = snapshot.services.iter().map(|service| format!("{service:?}")).collect();
    services.sort();
    let _ = writeln!(text, "{} routes, {services:#?}", snapshot.routes.len());
    for (host, certificate) in snapshot.certificates.entries() {
        let _ = writeln!(text, "{host}: {}", certificate.fingerprint);
    }
    for host in HOSTS.iter().filter_map(|host| HostPattern::parse(host).ok()) {
        let _ = writeln!(text, "{host} asks {:?}", snapshot.client_auth.get(&host));
    }
    for name in NAMES {
        let passed = snapshot.passthrough.find(name).and_then(|id| snapshot.routes.get(id));
        let _ = writeln!(text, "{name} passes: {:?}", passed.map(|route| described(snapshot, route)));
    }
    let _ = writeln!(text, "{problems:#?}");
    text
}

fn described(snapshot: &Snapshot, route: &Route) -> String {
    let target = match &route.target {
        Target::Service(id) => snapshot.service(*id).map_or("nothing".to_owned(), |service| service.key.to_string()),
        Target::Unavailable(why) => why.to_string(),
    };
    let Route { host, path, origin, filters, upstream, upstream_in_clear, policy, steering, class, upgrade, .. } =
        route;
    format!(
        "{host} {path} {origin} {target} {filters:?} {upstream:?} {upstream_in_clear:?} {policy:?} {steering:?} \
         {class:?} {upgrade:?}"
    )
}

/// Certificate and key, in base64: one for a month, and one for long.
fn pair(long: bool) -> (String, String) {
    static PAIRS: OnceLock<[(String, String); 2]> = OnceLock::new();
    let make = |last_year, last_month| {
        let names = vec!["a.test".to_owned(), "*.b.test".to_owned()];
        let mut parameters = rcgen::CertificateParams::new(names).expect("valid names");
        parameters.not_before = rcgen::date_time_ymd(2026, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(last_year, last_month, 1);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        let encode = |text: String| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
        (encode(certificate.pem()), encode(key.serialize_pem()))
    };
    PAIRS.get_or_init(|| [make(2026, 7), make(2126, 1)])[usize::from(long)].clone()
}

fn secret(number: u8, kind: u8) -> String {
    let (certificate, key) = pair(kind == 1);
    let key = if kind == 2 { "eA==".to_owned() } else { key };
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: t{number}}}\ntype: kubernetes.io/tls\n\
         data: {{tls.crt: {certificate}, tls.key: {key}, ca.crt: {certificate}}}\n"
    )
}

fn class(number: u8, kind: u8) -> String {
    let controller = if kind == 0 { "example.com/other".to_owned() } else { objects().controller_class };
    let annotations = match kind {
        1 => "{sluice.dev/mode: nginx}",
        2 => "{ingressclass.kubernetes.io/is-default-class: \"true\"}",
        _ => "{}",
    };
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {{name: c{number}, annotations: {annotations}}}\n\
         spec: {{controller: {controller}}}\n"
    )
}

fn service(number: u8, port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: s{number}}}\nspec: {{ports: [{{name: web, port: {port}}}]}}\n"
    )
}

fn slice(number: u8, of: u8, address: &str) -> String {
    slice_of(&format!("e{number}"), of, "{name: web, port: 8080}", &format!("{{addresses: [\"{address}\"]}}"))
}

fn slice_of(name: &str, of: u8, ports: &str, endpoints: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {name}\n  labels: {{kubernetes.io/service-name: s{of}}}\n\
         addressType: IPv4\nports: [{ports}]\nendpoints: [{endpoints}]\n"
    )
}

fn node(number: u8, zone: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Node\nmetadata: {{name: n{number}, labels: {{topology.kubernetes.io/zone: {zone}}}}}\n"
    )
}

fn some_endpoint() -> impl Strategy<Value = String> {
    let address = prop::sample::select(vec!["10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1", "0.0.0.0", "x"]);
    let conditions = prop::sample::select(vec![
        "",
        "",
        ", conditions: {ready: true}",
        ", conditions: {ready: false}",
        ", conditions: {ready: false, serving: true, terminating: true}",
    ]);
    let place =
        prop::sample::select(vec!["", ", zone: z0", ", zone: z1, nodeName: n0", ", hints: {forZones: [{name: z0}]}"]);
    (address, conditions, place)
        .prop_map(|(address, conditions, place)| format!("{{addresses: [\"{address}\"]{conditions}{place}}}"))
}

fn some_slice() -> impl Strategy<Value = String> {
    let ports = prop::sample::select(vec![
        "{name: web, port: 8080}",
        "{name: web, port: 8080}",
        "{name: web, port: 8080}, {name: alt, port: 8081}",
        "{name: alt, port: 8081}",
        "{name: web, port: 70000}",
        "",
    ]);
    (0..5u8, 0..4u8, ports, prop::collection::vec(some_endpoint(), 0..3))
        .prop_map(|(number, of, ports, endpoints)| slice_of(&format!("e{number}"), of, ports, &endpoints.join(", ")))
}

fn some_legacy() -> impl Strategy<Value = String> {
    let address = prop::sample::select(vec!["10.0.0.7", "0.0.0.0"]);
    (0..3u8, address).prop_map(|(number, address)| {
        format!(
            "apiVersion: v1\nkind: Endpoints\nmetadata: {{name: s{number}}}\n\
             subsets: [{{addresses: [{{ip: {address}}}], ports: [{{name: web, port: 8080}}]}}]\n"
        )
    })
}

fn some_service() -> impl Strategy<Value = String> {
    let spec = prop::sample::select(vec![
        "ports: [{name: web, port: 80}]",
        "ports: [{name: web, port: 80}]",
        "ports: [{name: web, port: 80}, {name: alt, port: 81}]",
        "ports: [{name: alt, port: 80}]",
        "ports: [{name: web, port: 81}]",
        "trafficDistribution: PreferSameZone, ports: [{name: web, port: 80}]",
        "trafficDistribution: PreferSameNode, ports: [{name: web, port: 80}]",
        "type: ExternalName, externalName: a.example",
        "type: ExternalName, externalName: b.example, ports: [{name: web, port: 80}]",
        "type: ExternalName, externalName: 192.0.2.1",
    ]);
    (0..4u8, spec).prop_map(|(number, spec)| {
        format!("apiVersion: v1\nkind: Service\nmetadata: {{name: s{number}}}\nspec: {{{spec}}}\n")
    })
}

fn some_annotations() -> impl Strategy<Value = String> {
    let nginx = |text: &str| format!("nginx.ingress.kubernetes.io/{text}");
    let one = prop_oneof![
        6 => Just(String::new()),
        1 => Just(nginx("use-regex: \"true\"")),
        1 => Just(nginx("rewrite-target: /r")),
        1 => Just(nginx("rewrite-target: /$3")),
        1 => Just(nginx("ssl-redirect: \"false\"")),
        1 => Just(nginx("allowlist-source-range: 10.0.0.0/8")),
        1 => Just(nginx("backend-protocol: HTTPS")),
        1 => Just(nginx("canary: \"true\"")),
        1 => Just(nginx("auth-url: http://x")),
        1 => Just(nginx("no-such: x")),
    ];
    let rare = prop_oneof![
        20 => Just(String::new()),
        1 => Just("sluice.dev/steering: connection".to_owned()),
        1 => Just(nginx("ssl-passthrough: \"true\"")),
        1 => Just(nginx("auth-tls-secret: default/t0")),
        1 => Just(nginx("proxy-ssl-secret: default/t1")),
    ];
    (one, rare).prop_map(|(one, rare)| {
        let all: Vec<String> = [one, rare].into_iter().filter(|text| !text.is_empty()).collect();
        format!("{{{}}}", all.join(", "))
    })
}

fn some_backend() -> impl Strategy<Value = String> {
    let port =
        prop_oneof![6 => Just("number: 80"), 2 => Just("name: web"), 1 => Just("number: 81"), 1 => Just("number: 0")];
    (0..4u8, port).prop_map(|(number, port)| format!("{{service: {{name: s{number}, port: {{{port}}}}}}}"))
}

fn some_rule() -> impl Strategy<Value = String> {
    let path = prop::sample::select(vec!["/", "/", "/a", "/a/", "/a(.*)", "x", ""]);
    let kind = prop::sample::select(vec!["Prefix", "Prefix", "Exact", "ImplementationSpecific", "y"]);
    let path = (path, kind, some_backend())
        .prop_map(|(path, kind, backend)| format!("{{path: \"{path}\", pathType: {kind}, backend: {backend}}}"));
    (prop::sample::select(HOSTS.to_vec()), prop::collection::vec(path, 0..3)).prop_map(|(host, paths)| {
        let http = if paths.is_empty() { String::new() } else { format!(", http: {{paths: [{}]}}", paths.join(", ")) };
        format!("{{host: \"{host}\"{http}}}")
    })
}

fn some_tls() -> impl Strategy<Value = String> {
    let hosts = prop_oneof![
        Just(""),
        Just(", hosts: [a.test]"),
        Just(", hosts: [a.test, c.b.test]"),
        Just(", hosts: [\"*.test\"]"),
        Just(", hosts: [other.example]"),
    ];
    let some = (0..3u8, hosts).prop_map(|(number, hosts)| format!("tls: [{{secretName: t{number}{hosts}}}], "));
    prop_oneof![3 => Just(String::new()), 1 => some]
}

fn some_ingress() -> impl Strategy<Value = String> {
    let created = prop_oneof![
        2 => Just(""),
        1 => Just(", creationTimestamp: \"2024-01-01T00:00:00Z\""),
        1 => Just(", creationTimestamp: \"2025-01-01T00:00:00Z\""),
    ];
    let class = prop_oneof![
        6 => Just(""),
        1 => Just("ingressClassName: c0, "),
        2 => Just("ingressClassName: c1, "),
    ];
    let default = prop_oneof![
        8 => Just(String::new()),
        1 => some_backend().prop_map(|backend| format!("defaultBackend: {backend}, ")),
    ];
    let rules = prop::collection::vec(some_rule(), 0..3);
    (0..6u8, created, class, some_annotations(), some_tls(), default, rules).prop_map(
        |(number, created, class, annotations, tls, default, rules)| {
            format!(
                "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: i{number}{created}, annotations: {annotations}}}\n\
                 spec: {{{class}{tls}{default}rules: [{}]}}\n",
                rules.join(", ")
            )
        },
    )
}

fn some_document() -> impl Strategy<Value = String> {
    prop_oneof![
        24 => some_ingress(),
        6 => some_service(),
        16 => some_slice(),
        2 => some_legacy(),
        2 => (0..2u8, prop::sample::select(vec!["z0", "z1"])).prop_map(|(number, zone)| node(number, zone)),
        2 => (0..3u8, 0..3u8).prop_map(|(number, kind)| secret(number, kind)),
        1 => (0..2u8, 0..3u8).prop_map(|(number, kind)| class(number, kind)),
    ]
}

fn some_event() -> impl Strategy<Value = Event> {
    let gone = prop_oneof![
        4 => (0..6u8).prop_map(|number| Event::Gone(Kind::Ingress, format!("i{number}"))),
        2 => (0..5u8).prop_map(|number| Event::Gone(Kind::EndpointSlice, format!("e{number}"))),
        1 => (0..4u8).prop_map(|number| Event::Gone(Kind::Service, format!("s{number}"))),
        1 => (0..3u8).prop_map(|number| Event::Gone(Kind::Endpoints, format!("s{number}"))),
        1 => (0..3u8).prop_map(|number| Event::Gone(Kind::Secret, format!("t{number}"))),
    ];
    prop_oneof![
        8 => some_document().prop_map(Event::Api),
        3 => (0..3u8, prop::collection::vec(some_document(), 0..3)).prop_map(|(file, all)| Event::File(file, all)),
        3 => gone,
        1 => (prop::sample::select(vec!["a.example", "b.example"]), 0..4u8).prop_map(|(name, count)| Event::Answer(name, count)),
        1 => any::<bool>().prop_map(Event::Time),
    ]
}

/// What is mostly there, so that Ingresses lead somewhere.
fn start() -> Store {
    let mut store = Store::default();
    let mut documents = vec![secret(0, 1), secret(1, 0), class(0, 0), class(1, 1), node(0, "z0")];
    documents.extend((0..2).flat_map(|number| [service(number, 80), slice(number, number, "10.0.0.1")]));
    documents.into_iter().for_each(|document| happen(&mut store, &mut 0, &Event::Api(document)));
    store
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn history_does_not_matter(moves in prop::collection::vec(prop::collection::vec(some_event(), 1..3), 1..24)) {
        let (mut store, mut now_s, mut translator) = (start(), NOW_S, Translator::default());
        for events in moves {
            events.iter().for_each(|event| happen(&mut store, &mut now_s, event));
            let (snapshot, problems) = translator.translate(&store, &objects(), now_s);
            let (fresh, fresh_problems) = translate(&store, &objects(), now_s);
            prop_assert_eq!(shown(&snapshot, &problems), shown(&fresh, &fresh_problems));
        }
    }
}

/// An Ingress of one rule.
fn plain(number: u8, host: &str, path: &str, of: u8, more: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: i{number}{more}}}\nspec: {{rules: [{{host: \"{host}\", \
         http: {{paths: [{{path: {path}, pathType: Prefix, backend: {{service: {{name: s{of}, port: {{number: 80}}}}}}}}]}}}}]}}\n"
    )
}

/// Whether the changes alone are looked at after an event.
fn is_looked_at_alone(document: String) -> bool {
    let (mut store, mut translator) = (start(), Translator::default());
    for (number, host) in [(0, "a.test"), (1, "b.test"), (2, "*.test"), (3, "b.test")] {
        happen(&mut store, &mut 0, &Event::Api(plain(number, host, &format!("/{number}"), number % 2, "")));
    }
    let (before, _) = translator.translate(&store, &objects(), NOW_S);
    happen(&mut store, &mut 0, &Event::Api(document));
    let Some((after, problems)) = translator.update(&store, &objects(), NOW_S) else { return false };
    let (fresh, fresh_problems) = translate(&store, &objects(), NOW_S);
    assert_eq!(shown(&after, &problems), shown(&fresh, &fresh_problems));
    assert!(before.routes.len() == 4 && Arc::ptr_eq(&before.certificates, &after.certificates));
    true
}

#[test]
fn what_is_looked_at_alone() {
    for (document, want) in [
        (plain(0, "a.test", "/other", 0, ""), true),
        (plain(0, "b.test", "/other", 0, ""), true),
        (plain(5, "new.test", "/", 0, ""), true),
        (plain(5, "", "/", 2, ""), true),
        (plain(0, "a.test", "/", 0, ", annotations: {nginx.ingress.kubernetes.io/use-regex: \"true\"}"), true),
        (plain(0, "a.test", "/", 0, ", annotations: {sluice.dev/steering: connection}"), false),
        (plain(0, "a.test", "/", 0, ", annotations: {nginx.ingress.kubernetes.io/ssl-passthrough: \"true\"}"), false),
        (service(0, 80).replace("spec: {", "spec: {trafficDistribution: PreferSameZone, "), true),
        (service(2, 80), true),
        (service(0, 81), false),
        (slice(0, 0, "10.0.0.2"), true),
        (slice(0, 0, "0.0.0.0"), true),
        (slice(0, 1, "10.0.0.2"), true),
        (slice(7, 0, "10.0.0.2"), true),
        (slice(7, 9, "0.0.0.0"), true),
        (node(0, "z0").replace("labels: {", "labels: {a: b, "), true),
        (node(1, "z1"), true),
        (node(0, "z1"), false),
        (class(0, 1), false),
        (secret(0, 2), true),
    ] {
        assert_eq!(is_looked_at_alone(document.clone()), want, "{document}");
    }
}

/// An Ingress that names what does not exist yet, an owner who steers whole connections, and one whose TLS passes through.
#[test]
fn what_others_asked_for_disturbs_nobody() {
    let (mut store, mut translator) = (start(), Translator::default());
    let steered = ", annotations: {sluice.dev/steering: connection}";
    let passed = ", annotations: {nginx.ingress.kubernetes.io/ssl-passthrough: \"true\"}";
    for document in [
        plain(0, "a.test", "/", 0, steered),
        plain(1, "b.test", "/", 1, ""),
        plain(2, "z.test", "/", 3, ""),
        plain(3, "p.example", "/", 1, passed),
    ] {
        happen(&mut store, &mut 0, &Event::Api(document));
    }
    let _ = translator.translate(&store, &objects(), NOW_S);
    for (document, want) in [
        (slice(0, 0, "10.0.0.2"), true),
        (slice(0, 0, "0.0.0.0"), false),
        (slice(1, 1, "10.0.0.2"), true),
        (plain(1, "b.test", "/new", 1, ""), true),
        (plain(1, "b.test", "/new", 0, ""), false),
        (plain(1, "b.test", "/new", 1, ""), false),
        (service(3, 80), true),
        (slice(3, 3, "10.0.0.3"), true),
    ] {
        happen(&mut store, &mut 0, &Event::Api(document.clone()));
        let alone = translator.update(&store, &objects(), NOW_S);
        assert_eq!(alone.is_some(), want, "{document}");
        let (after, problems) = alone.unwrap_or_else(|| translator.all(&store, &objects(), NOW_S));
        let (fresh, fresh_problems) = translate(&store, &objects(), NOW_S);
        assert_eq!(shown(&after, &problems), shown(&fresh, &fresh_problems), "{document}");
    }
}

#[test]
fn services_that_nothing_has_to_do_with_are_shared() {
    let (mut store, mut translator) = (start(), Translator::default());
    (0..2).for_each(|of| happen(&mut store, &mut 0, &Event::Api(plain(of, &format!("h{of}.test"), "/", of, ""))));
    let (before, _) = translator.translate(&store, &objects(), NOW_S);
    happen(&mut store, &mut 0, &Event::Api(slice(9, 1, "10.0.0.9")));
    let (after, _) = translator.translate(&store, &objects(), NOW_S);
    let shared: Vec<bool> = before.services.iter().zip(&after.services).map(|(a, b)| Arc::ptr_eq(a, b)).collect();
    assert_eq!(shared, [true, false]);
    assert_eq!(after.services[1].endpoints.len(), 2);
}

#[test]
fn hosts_that_nothing_has_to_do_with_are_shared() {
    let (mut store, mut translator) = (start(), Translator::default());
    for number in 0..3 {
        happen(&mut store, &mut 0, &Event::Api(plain(number, &format!("h{number}.test"), "/", 0, "")));
    }
    let (before, _) = translator.translate(&store, &objects(), NOW_S);
    happen(&mut store, &mut 0, &Event::Api(plain(1, "h1.test", "/new", 0, "")));
    let (after, _) = translator.translate(&store, &objects(), NOW_S);
    let place = |snapshot: &Snapshot, name: &str| match snapshot.routes.find(name, "/new") {
        Match::Rule(_, route) => std::ptr::from_ref(route),
        other => panic!("{other:?}"),
    };
    assert_eq!(place(&before, "h0.test"), place(&after, "h0.test"));
    assert_ne!(place(&before, "h1.test"), place(&after, "h1.test"));
}
