//! A stand-in for kube-apiserver, over HTTPS, in the test's own process.
//!
//! Goes in: objects, by the handle or by any client of the Kubernetes API (`kube`, `kubectl`). Comes out: what the real
//! server would answer, or the faults a test asked for; and a record of every call. Written from the API's
//! documentation (kubernetes.io/docs/reference/using-api/api-concepts), not from what our client happens to do. Does not
//! do: controllers (nobody makes EndpointSlices or pods), schemas, conversion between versions, CRDs.
//!
//! Each port has one thread. Roles and bindings in its storage decide what a token may do; the token of
//! [`ApiServer::admin_token`] may do everything.

mod access;
mod admission;
mod answer;
mod ask;
mod birth;
mod bulk;
mod call;
mod clock;
pub mod command;
mod content;
mod credential;
mod discovery;
mod event;
mod failure;
mod fault;
mod list;
mod managers;
mod manifest;
mod object;
mod patch;
mod path;
mod protobuf;
mod resource;
mod review;
mod rules;
mod selector;
mod server;
mod shared;
mod store;
mod table;
mod view;
mod watching;
mod webhook;
mod write;

pub use access::User;
pub use bulk::Bulk;
pub use call::Call;
pub use fault::Faults;

use crate::netns::Namespace;
use crate::scratch::Scratch;
use access::ADMINS;
use credential::Credential;
use manifest::{key, shown};
use resource::named;
use rustls::ServerConfig;
use serde_json::{Value, json};
use shared::Shared;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::oneshot;

/// Namespaces that every cluster has.
const NAMESPACES: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];

/// A running server, stopped when dropped.
#[derive(Debug)]
pub struct ApiServer {
    shared: Arc<Shared>,
    credential: Credential,
    address: SocketAddr,
    files: Scratch,
    file_number: AtomicUsize,
    admin_token: String,
    listeners: Vec<Listener>,
}

/// A thread that serves a port until the sender is dropped.
#[derive(Debug)]
struct Listener {
    stop: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl ApiServer {
    /// Starts one on a free port of 127.0.0.1. It answers when this returns.
    #[must_use]
    pub fn start() -> Self {
        Self::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// Starts one on an address inside a namespace.
    #[must_use]
    pub fn start_in(namespace: &Namespace, address: SocketAddr) -> Self {
        // The server's thread is made inside, so it stays inside, also when it binds again.
        namespace.run(|| Self::start_at(address))
    }

    /// Starts one on an address.
    ///
    /// # Panics
    /// When it cannot be bound.
    #[must_use]
    pub fn start_at(address: SocketAddr) -> Self {
        let listener = bind(address);
        let address = listener.local_addr().expect("a bound socket has an address");
        let (shared, credential) = (Arc::new(Shared::new()), Credential::new(address.ip()));
        let admin_token = shared.tokens().issue(User::new("admin", &[ADMINS]));
        let listeners = vec![Listener::start(listener, Some(credential.config.clone()), shared.clone())];
        let (files, file_number) = (Scratch::new(), AtomicUsize::new(0));
        let server = Self { shared, credential, address, files, file_number, admin_token, listeners };
        for namespace in NAMESPACES {
            manifest::ensure_namespace(&server.shared, namespace);
        }
        server
    }

    /// Serves the same in the clear on another address, for a test's own tools: everyone there is the administrator, and
    /// faults do not concern it. Answers the address.
    ///
    /// # Panics
    /// When it cannot be bound.
    pub fn serve_plain(&mut self, address: SocketAddr) -> SocketAddr {
        let listener = bind(address);
        let address = listener.local_addr().expect("a bound socket has an address");
        self.listeners.push(Listener::start(listener, None, self.shared.clone()));
        address
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `https://ADDRESS:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The certificate authority.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.credential.authority
    }

    /// May do everything.
    #[must_use]
    pub fn admin_token(&self) -> &str {
        &self.admin_token
    }

    /// A token for a user in some groups; what it may do is up to the bindings.
    #[must_use]
    pub fn token(&self, user: &str, groups: &[&str]) -> String {
        self.shared.tokens().issue(User::new(user, groups))
    }

    /// A token for a service account, which is made when it is missing.
    #[must_use]
    pub fn service_account(&self, namespace: &str, name: &str) -> String {
        let account = named("ServiceAccount");
        if self.shared.store().get(account, &key(account, namespace, name)).is_none() {
            self.put_value(&json!({
                "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": namespace, "name": name},
            }));
        }
        self.shared.tokens().issue(User::service_account(namespace, name))
    }

    /// Makes a token invalid (401), or every token but those of administrators.
    pub fn expire_tokens(&self, token: Option<&str>) {
        self.shared.tokens().expire(token);
    }

    /// Writes a kubeconfig for a token.
    #[must_use]
    pub fn kubeconfig(&self, token: &str) -> PathBuf {
        let name = format!("kubeconfig-{}", self.file_number.fetch_add(1, Ordering::Relaxed));
        self.files.write(&name, self.credential.kubeconfig(self.address, token));
        self.files.path().join(name)
    }

    /// Writes what a pod finds in `/var/run/secrets/kubernetes.io/serviceaccount`: `token`, `ca.crt` and `namespace`.
    ///
    /// # Panics
    /// When the temporary directory cannot be written to.
    #[must_use]
    pub fn service_account_dir(&self, token: &str, namespace: &str) -> PathBuf {
        let path = self.files.path().join(format!("account-{}", self.file_number.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir(&path).expect("a directory in our own can be made");
        for (name, content) in [("token", token), ("ca.crt", self.ca_pem()), ("namespace", namespace)] {
            std::fs::write(path.join(name), content).expect("a file in our own directory can be written");
        }
        path
    }

    /// Creates or replaces objects, from YAML with one or more documents. Missing namespaces are made; nothing is
    /// validated, `status` is taken as it is, webhooks and roles are not asked.
    ///
    /// # Panics
    /// As [`Self::try_put`] fails.
    pub fn put(&self, yaml: &str) {
        self.try_put(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"));
    }

    /// As [`Self::put`]; answers how many objects there were.
    ///
    /// # Errors
    /// In words, for what is no YAML, or a kind that the server does not have.
    pub fn try_put(&self, yaml: &str) -> Result<usize, String> {
        let mut objects = 0;
        for document in manifest::documents(yaml) {
            for value in manifest::objects(&document)? {
                manifest::put(&self.shared, &value)?;
                objects += 1;
            }
        }
        self.shared.announce();
        Ok(objects)
    }

    /// As [`Self::put`] for one object; answers it as stored.
    ///
    /// # Panics
    /// For a kind that the server does not have.
    pub fn put_value(&self, value: &Value) -> Value {
        let stored = manifest::put(&self.shared, value).unwrap_or_else(|error| panic!("{error}"));
        self.shared.announce();
        stored
    }

    /// One object, if it is there; with `apiVersion` and `kind`. The kind is `ingresses`, `Ingress`, `ing`, …
    #[must_use]
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let resource = named(kind);
        let found = self.shared.store().get(resource, &key(resource, namespace, name));
        found.map(|object| shown(resource, &object))
    }

    /// The objects of a kind in a namespace; in all when it is empty.
    #[must_use]
    pub fn list(&self, kind: &str, namespace: &str) -> Vec<Value> {
        let resource = named(kind);
        self.shared.store().all(resource, namespace).map(|(_, object)| shown(resource, object)).collect()
    }

    /// Changes an object in place and stores it; answers whether it was there.
    pub fn edit(&self, kind: &str, namespace: &str, name: &str, change: impl FnOnce(&mut Value)) -> bool {
        let Some(mut value) = self.get(kind, namespace, name) else { return false };
        change(&mut value);
        self.put_value(&value);
        true
    }

    /// Removes an object at once, with finalizers or without; answers whether it was there.
    pub fn delete(&self, kind: &str, namespace: &str, name: &str) -> bool {
        let resource = named(kind);
        let old = self.shared.store().get(resource, &key(resource, namespace, name));
        let Some(old) = old else { return false };
        let key = key(resource, namespace, name);
        let draft = write::Draft { resource, key, old: Some(old), new: None, managers: Vec::new() };
        let gone = write::commit(&mut self.shared.store(), &draft, false).is_some();
        self.shared.announce();
        gone
    }

    /// Puts many objects.
    pub fn load(&self, bulk: &Bulk) {
        manifest::ensure_namespace(&self.shared, &bulk.namespace);
        bulk.load(&mut self.shared.store(), self.shared.faults.skew_s());
        self.shared.announce();
    }

    /// What it does wrong.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// The version of the last change.
    #[must_use]
    pub fn resource_version(&self) -> u64 {
        self.shared.store().version()
    }

    /// Forgets the history: older versions get 410 from now on. Running watches that are up to date go on.
    pub fn compact(&self) {
        self.shared.store().compact();
    }

    /// Calls of all users, in order; the last 100,000.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.shared.calls().last.iter().cloned().collect()
    }

    /// Forgets the calls, and the counts of writes.
    pub fn forget_calls(&self) {
        *self.shared.calls() = call::Calls::default();
    }

    /// Writes (create, update, patch, delete) of each user, refused ones too.
    #[must_use]
    pub fn writes(&self) -> BTreeMap<String, u64> {
        self.shared.calls().writes.clone()
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        for Listener { stop, thread } in self.listeners.drain(..) {
            drop(stop);
            if thread.join().is_err() {
                eprintln!("a thread of the API server panicked");
            }
        }
    }
}

impl Listener {
    fn start(socket: TcpListener, config: Option<Arc<ServerConfig>>, shared: Arc<Shared>) -> Self {
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            server::serve(socket, config, shared, stopped).expect("the API server has what it needs to run");
        });
        Self { stop, thread }
    }
}

fn bind(address: SocketAddr) -> TcpListener {
    TcpListener::bind(address).unwrap_or_else(|error| panic!("the API server cannot bind {address}: {error}"))
}
