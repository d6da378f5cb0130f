//! Properties and bounds of translation. The rules themselves are data: `tests/data/translate`.

use super::super::source::manifest;
use super::*;
use lb_core::explain::{Question, explain};
use proptest::prelude::*;

mod hostile;

const NOW_S: i64 = 1_780_272_000;

fn store(documents: &[String]) -> Store {
    let mut store = Store::default();
    for (index, document) in documents.iter().enumerate() {
        let file: Arc<str> = format!("{index:05}.yaml").into();
        let read = manifest::read(&file, document.as_bytes());
        // As an API does, so that the place does not tell the order.
        read.entries.into_iter().for_each(|(object, _)| store.upsert(object));
    }
    store
}

fn service(name: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: 80}}]}}\n")
}

fn slice(service: &str, address: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {service}-1\n  labels: {{kubernetes.io/service-name: {service}}}\n\
         addressType: IPv4\nports: [{{port: 8080}}]\nendpoints: [{{addresses: [\"{address}\"]}}]\n"
    )
}

fn ingress(name: &str, host: &str, paths: &[(String, &str, &str)]) -> String {
    let mut text = format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}}}\nspec:\n  rules:\n  - host: \"{host}\"\n    http:\n      paths:\n"
    );
    for (path, kind, service) in paths {
        let backend = format!("{{service: {{name: {service}, port: {{number: 80}}}}}}");
        text.push_str(&format!("      - {{path: \"{path}\", pathType: {kind}, backend: {backend}}}\n"));
    }
    text
}

fn served_by(snapshot: &Snapshot, authority: &str, target: &str) -> Option<String> {
    explain(snapshot, Question { secure: false, authority, target, client: None }).ingress
}

#[test]
fn two_thousand_ingresses() {
    let mut documents = vec![service("a"), slice("a", "10.0.0.1")];
    for i in 0..2_000 {
        documents.push(ingress(&format!("i{i}"), &format!("h{i}.com"), &[("/".to_owned(), "Prefix", "a")]));
    }
    let (snapshot, problems) = translate(&store(&documents), &config::Objects::default(), NOW_S);
    assert_eq!((snapshot.routes.len(), snapshot.services.len(), problems.len()), (2_000, 1, 0));
    assert_eq!(served_by(&snapshot, "h1234.com", "/x").as_deref(), Some("default/i1234"));
    assert_eq!(served_by(&snapshot, "h2000.com", "/x"), None);
}

#[test]
fn sixty_five_thousand_paths_and_bounded_problems() {
    let path = |i: usize| (format!("/p{i}"), if i.is_multiple_of(2) { "Exact" } else { "Prefix" }, "a");
    let good = ingress("good", "a.com", &(0..65_000).map(path).collect::<Vec<_>>());
    let bad = ingress("bad", "b.com", &vec![("x".to_owned(), "Exact", "a"); 1_000]);
    let store = store(&[service("a"), slice("a", "10.0.0.1"), good, bad]);
    assert_eq!(store.ingresses().count(), 2);
    let (snapshot, problems) = translate(&store, &config::Objects::default(), NOW_S);
    assert_eq!(snapshot.routes.len(), 65_000);
    assert_eq!(problems.len(), report::PROBLEMS_PER_OBJECT_MAX + 1);
    assert!(problems.iter().any(|p| p.reason == reason::MORE_PROBLEMS && p.message.starts_with("900 more")));
    assert_eq!(served_by(&snapshot, "a.com", "/p64999/x").as_deref(), Some("default/good"));
}

#[test]
fn path_expressions_are_bounded() {
    let path = |i: usize| (format!("/p{i}/(.*)"), "Prefix", "a");
    let document = ingress("a", "a.com", &(0..rule::EXPRESSIONS_PER_INGRESS_MAX + 1).map(path).collect::<Vec<_>>());
    let annotations = "metadata: {name: a, annotations: {nginx.ingress.kubernetes.io/rewrite-target: /$1}}";
    let document = document.replace("metadata: {name: a}", annotations);
    let store = store(&[service("a"), slice("a", "10.0.0.1"), document]);
    let (snapshot, problems) = translate(&store, &config::Objects::default(), NOW_S);
    assert_eq!(snapshot.routes.len(), rule::EXPRESSIONS_PER_INGRESS_MAX);
    let reasons: Vec<&str> = problems.iter().map(|p| p.reason).collect();
    assert_eq!(reasons, [reason::TOO_MANY_EXPRESSIONS]);
}

#[test]
fn expressions_are_compiled_once_for_all_translations() {
    let documents = |extra: &str| {
        let annotated = |name: &str| {
            let text = ingress(
                name,
                &format!("{name}.com"),
                &[("/x(.*)".to_owned(), "Prefix", "a"), (format!("/{name}(.*)"), "Prefix", "a")],
            );
            let annotations =
                format!("metadata: {{name: {name}, annotations: {{nginx.ingress.kubernetes.io/use-regex: \"true\"}}}}");
            text.replace(&format!("metadata: {{name: {name}}}"), &annotations)
        };
        vec![service("a"), slice("a", "10.0.0.1"), annotated("i1"), annotated("i2"), annotated(extra)]
    };
    let (objects, mut translator) = (config::Objects::default(), Translator::default());
    let mut compilations = |extra: &str| {
        let (snapshot, problems) = translator.translate(&store(&documents(extra)), &objects, NOW_S);
        assert_eq!((snapshot.routes.len(), problems.len()), (6, 0));
        translator.compilations()
    };
    assert_eq!(compilations("i3"), 4, "one for each text: the common one, and one for each Ingress");
    assert_eq!(compilations("i3"), 4, "nothing changed");
    assert_eq!(compilations("i4"), 5, "one Ingress changed");
    assert_eq!(compilations("i3"), 6, "what nobody used was let go");
}

#[test]
fn equal_settings_are_one_value() {
    let annotated = |name: &str, annotations: &str| {
        let paths = [("/x".to_owned(), "Prefix", "a"), ("/y".to_owned(), "Prefix", "a")];
        let text = ingress(name, &format!("{name}.com"), &paths);
        text.replace(&format!("{{name: {name}}}"), &format!("{{name: {name}, annotations: {{{annotations}}}}}"))
    };
    let limit = "nginx.ingress.kubernetes.io/proxy-body-size: 8m, nginx.ingress.kubernetes.io/backend-protocol: HTTPS";
    let documents = [annotated("i1", limit), annotated("i2", limit), annotated("i3", "a: b"), annotated("i4", "")];
    let (snapshot, _) = translate(&store(&documents), &config::Objects::default(), NOW_S);
    let routes: Vec<_> = snapshot.routes.iter().map(|(_, route)| route).collect();
    assert_eq!(routes.len(), 8);
    for half in routes.chunks(4) {
        for route in half {
            assert!(Arc::ptr_eq(&route.policy, &half[0].policy) && Arc::ptr_eq(&route.upstream, &half[0].upstream));
            assert!(Arc::ptr_eq(&route.filters, &half[0].filters));
        }
    }
    assert!(!Arc::ptr_eq(&routes[0].policy, &routes[7].policy));
}

/// As many rules as fit into one object, and another Ingress that names the same hosts: what is done for each is bounded.
#[test]
fn fifteen_thousand_hosts_whose_tls_passes_through() {
    let rules: String = (0..15_000).fold(String::new(), |rules, i| {
        rules
            + &format!(
                "  - {{host: h{i}.com, http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: a, port: {{number: 80}}}}}}}}]}}}}\n"
            )
    });
    let document = |name: &str, annotations: &str| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}, annotations: {{{annotations}}}}}\nspec:\n  rules:\n{rules}"
        )
    };
    let passes = "nginx.ingress.kubernetes.io/ssl-passthrough: \"true\", sluice.dev/steering: connection";
    let documents = [service("a"), slice("a", "10.0.0.1"), document("a", passes), document("b", "")];
    let (snapshot, problems) = translate(&store(&documents), &config::Objects::default(), NOW_S);
    assert_eq!(snapshot.passthrough.entries().len(), 15_000);
    let told = |reason| problems.iter().filter(|p| p.reason == reason).count();
    assert_eq!((told(reason::PASSED_BY), told(reason::STEERING_REFUSED)), (report::PROBLEMS_PER_OBJECT_MAX, 0));
    assert!(snapshot.routes.iter().all(|(_, route)| route.class.is_spliced()));
}

#[test]
fn a_megabyte_of_annotation() {
    let mut document = ingress("a", "a.com", &[("/".to_owned(), "Prefix", "a")]);
    let long = "x".repeat(1_000_000);
    let annotations =
        format!("metadata: {{name: a, annotations: {{nginx.ingress.kubernetes.io/rewrite-target: {long}}}}}");
    document = document.replace("metadata: {name: a}", &annotations);
    let (snapshot, problems) = translate(&store(&[document]), &config::Objects::default(), NOW_S);
    assert_eq!(snapshot.routes.len(), 1);
    assert!(problems.iter().any(|p| p.reason == reason::INVALID_ANNOTATION));
    assert!(problems.iter().all(|p| p.message.len() < 1_000), "messages stay readable");
}

/// A state in words that do not depend on how objects came in.
fn shown(snapshot: &Snapshot, problems: &[Problem]) -> String {
    let routes: Vec<String> = snapshot
        .routes
        .iter()
        .map(|(_, r)| format!("{} {} {:?} {:?} {} {:?}", r.host, r.path, r.target, r.filters, r.origin, r.class))
        .collect();
    let passed = snapshot.passthrough.entries();
    format!("{routes:#?}\n{:#?}\n{passed:#?}\n{problems:#?}", snapshot.services)
}

fn some_text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("a".to_owned()),
        Just("b".to_owned()),
        Just("*.a.com".to_owned()),
        Just("a.com".to_owned()),
        Just("/".to_owned()),
        Just("connection".to_owned()),
        Just("/(".to_owned()),
        Just("/a(.*)".to_owned()),
        Just("true".to_owned()),
        Just("10.0.0.1".to_owned()),
        "[ -~]{0,12}",
        "\\PC{0,6}",
    ]
}

fn some_documents() -> impl Strategy<Value = Vec<String>> {
    let quoted = || some_text().prop_map(|text| serde_json::to_string(&text).expect("text is JSON"));
    let keys = prop_oneof![
        Just("nginx.ingress.kubernetes.io/rewrite-target"),
        Just("nginx.ingress.kubernetes.io/use-regex"),
        Just("nginx.ingress.kubernetes.io/auth-url"),
        Just("nginx.ingress.kubernetes.io/canary"),
        Just("nginx.ingress.kubernetes.io/ssl-passthrough"),
        Just("sluice.dev/steering"),
        Just("kubernetes.io/ingress.class"),
        Just("sluice.dev/x"),
    ];
    let kinds = prop_oneof![Just("Exact"), Just("Prefix"), Just("ImplementationSpecific"), Just("x")];
    let ingress = (0..4u8, quoted(), quoted(), kinds, keys, quoted(), -1i32..90_000, any::<bool>()).prop_map(
        |(name, host, path, kind, key, value, port, default)| {
            let backend = format!("{{\"service\":{{\"name\":\"s{}\",\"port\":{{\"number\":{port}}}}}}}", name % 2);
            let default = if default { format!("\"defaultBackend\":{backend},") } else { String::new() };
            format!(
                "{{\"apiVersion\":\"networking.k8s.io/v1\",\"kind\":\"Ingress\",\"metadata\":{{\"name\":\"i{name}\",\
                 \"annotations\":{{\"{key}\":{value}}}}},\"spec\":{{{default}\"tls\":[{{\"hosts\":[{host}],\"secretName\":\"s\"}}],\
                 \"rules\":[{{\"host\":{host},\"http\":{{\"paths\":[{{\"path\":{path},\"pathType\":\"{kind}\",\"backend\":{backend}}}]}}}}]}}}}"
            )
        },
    );
    let services = (0..2u8).prop_map(|n| service(&format!("s{n}")));
    let slices = (0..2u8, prop_oneof![Just("10.0.0.1"), Just("::1"), Just("0.0.0.0"), Just("x")])
        .prop_map(|(n, address)| slice(&format!("s{n}"), address));
    prop::collection::vec(prop_oneof![4 => ingress, 1 => services, 1 => slices], 0..12)
}

/// Documents of different objects, in two orders: of two documents with one name, an API keeps the later one.
fn some_orders() -> impl Strategy<Value = (Vec<String>, Vec<String>)> {
    let unique = some_documents().prop_map(|documents| {
        let mut names = std::collections::HashSet::new();
        let key =
            |text: &String| manifest::read(&"a.yaml".into(), text.as_bytes()).entries.first().map(|(o, _)| o.key());
        documents.into_iter().filter(|text| key(text).is_some_and(|key| names.insert(key))).collect::<Vec<_>>()
    });
    unique.prop_flat_map(|documents| (Just(documents.clone()), Just(documents).prop_shuffle()))
}

proptest! {
    #[test]
    fn nothing_panics_and_order_does_not_matter((documents, shuffled) in some_orders()) {
        let objects = config::Objects::default();
        let of = |documents: &[String]| {
            let (snapshot, problems) = translate(&store(documents), &objects, NOW_S);
            shown(&snapshot, &problems)
        };
        prop_assert_eq!(of(&documents), of(&shuffled));
    }

    #[test]
    fn any_text_is_read_without_panic(text in "\\PC{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = manifest::read(&"a.yaml".into(), text.as_bytes());
        let _ = manifest::read(&"a.yaml".into(), &bytes);
        let _ = manifest::read(&"a.json".into(), text.as_bytes());
    }
}
