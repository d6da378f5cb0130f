//! Annotations: what the owner of an Ingress asks for beside its rules.
//!
//! Goes in: the annotations of one Ingress, and the Secrets that they name. Comes out: [`Settings`]. One file a family
//! of annotations; [`FAMILIES`] lists them. An invalid value voids its annotation, never the Ingress. An annotation that
//! keeps somebody out, and that cannot be honoured, closes the Ingress.

mod balance;
mod body_size;
mod client_auth;
mod passthrough;
mod protocol;
mod proxy_protocol;
mod reader;
mod redirect;
mod retry;
mod rewrite;
mod secret;
mod snippet;
mod source_range;
mod ssl_redirect;
mod steering;
pub mod table;
mod timeout;
#[cfg(test)]
mod trial;
mod upstream_tls;
mod value;

use super::super::store::Store;
use super::report::Report;
use super::shared::Shared;
use lb_core::filter::Filter;
use lb_core::filter::redirect::Redirect;
use lb_core::filter::rewrite_target::RewriteTarget;
use lb_core::filter::source_range::SourceRange;
use lb_core::filter::ssl_redirect::SslRedirect;
use lb_core::model::upstream::Protocol;
use lb_core::model::{ClientAuth, ObjectRef, Policy, ProxyProtocol, Steering, Upstream, UpstreamTls};
use reader::Reader;
pub use secret::named as named_secrets;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The prefix of ingress-nginx.
pub const NGINX: &str = "nginx.ingress.kubernetes.io/";

/// Our own prefix.
pub const SLUICE: &str = "sluice.dev/";

/// Annotations that are read together.
struct Family {
    /// Those of ingress-nginx without prefix, ours with it.
    keys: &'static [&'static str],
    /// Reads those that are given. Called only when one is.
    read: fn(&Reader<'_, '_>, &mut Draft),
}

/// All that is supported, in the order in which it is read: later ones may look at what earlier ones understood.
const FAMILIES: &[Family] = &[
    source_range::FAMILY,
    redirect::FAMILY,
    ssl_redirect::FAMILY,
    rewrite::FAMILY,
    body_size::FAMILY,
    timeout::FAMILY,
    retry::FAMILY,
    balance::FAMILY,
    protocol::FAMILY,
    upstream_tls::FAMILY,
    proxy_protocol::FAMILY,
    client_auth::FAMILY,
    passthrough::FAMILY,
    steering::FAMILY,
];

/// The annotations of ours that an Ingress may have.
pub fn own() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().flat_map(|family| family.keys).copied().filter(|key| key.starts_with(SLUICE))
}

/// What the annotations of an Ingress ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What is done to requests of hosts with a certificate.
    pub filters: Arc<[Filter]>,
    /// The same without what needs one.
    pub filters_uncertified: Arc<[Filter]>,
    /// Which paths are expressions.
    pub expressions: Expressions,
    /// `use-regex` is on.
    pub use_regex: bool,
    /// How its endpoints are spoken to.
    pub upstream: Arc<Upstream>,
    /// The same for clients that came in the clear, where that is not the same.
    pub upstream_in_clear: Option<Arc<Upstream>>,
    /// Limits, balancing, retries.
    pub policy: Arc<Policy>,
    /// What its hosts ask of their clients.
    pub client_auth: Option<Arc<ClientAuth>>,
    /// TLS of its hosts goes to their backends as it is, by the word of this annotation.
    pub passthrough: Option<&'static str>,
    /// What it says of whole connections.
    pub steering: Steering,
    /// Its paths answer 503, for this reason.
    pub closed: Option<Arc<str>>,
    /// It is not served at all: what it stands for needs another Ingress beside it.
    pub withdrawn: bool,
}

/// Which paths of an Ingress are expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expressions {
    /// None.
    None,
    /// All but those of type Exact: `use-regex`.
    AllButExact,
    /// All: `rewrite-target`.
    All,
}

impl Settings {
    /// The rewriting, if there is one.
    #[must_use]
    pub fn rewrite(&self) -> Option<&RewriteTarget> {
        self.filters.iter().find_map(|f| if let Filter::RewriteTarget(rewrite) = f { Some(rewrite) } else { None })
    }
}

/// Settings in the making.
#[derive(Debug, Clone, Default)]
struct Draft {
    source_range: Option<SourceRange>,
    redirect: Option<Redirect>,
    ssl_redirect: Option<SslRedirect>,
    rewrite_target: Option<RewriteTarget>,
    use_regex: bool,
    protocol: Protocol,
    tls: Option<UpstreamTls>,
    /// TLS to endpoints is for clients that came through TLS.
    tls_as_client: bool,
    proxy_protocol: Option<ProxyProtocol>,
    policy: Policy,
    client_auth: Option<ClientAuth>,
    passthrough: Option<&'static str>,
    steering: Steering,
}

/// Whether any annotation is one that is read. Ingresses without one have the same settings.
#[must_use]
pub fn matter(annotations: Option<&BTreeMap<String, String>>) -> bool {
    annotations.is_some_and(|all| all.keys().any(|key| key.starts_with(NGINX) || key.starts_with(SLUICE)))
}

/// Reads the annotations of an Ingress. `defaults` is what holds where they say nothing.
pub fn read(
    object: &ObjectRef,
    annotations: Option<&BTreeMap<String, String>>,
    store: &Store,
    defaults: &Policy,
    shared: &mut Shared,
    report: &mut Report<'_>,
) -> Settings {
    let reader = Reader::of(object, annotations, store, report);
    let ssl_redirect = Some(SslRedirect { force: false, preserve_trailing_slash: false });
    let mut draft = Draft { ssl_redirect, policy: defaults.clone(), ..Draft::default() };
    for family in FAMILIES {
        if family.keys.iter().any(|key| reader.has(key)) {
            (family.read)(&reader, &mut draft);
        }
    }
    let (closed, withdrawn) = reader.finish();
    draft.finish(closed, withdrawn, shared)
}

impl Draft {
    fn finish(self, closed: Option<Arc<str>>, withdrawn: bool, shared: &mut Shared) -> Settings {
        let expressions = match (&self.rewrite_target, self.use_regex) {
            (Some(_), _) => Expressions::All,
            (None, true) => Expressions::AllButExact,
            (None, false) => Expressions::None,
        };
        let upstream =
            Upstream { protocol: self.protocol, tls: self.tls.map(Arc::new), proxy_protocol: self.proxy_protocol };
        let in_clear = self.tls_as_client.then(|| Upstream { tls: None, ..upstream.clone() });
        let filters = [
            self.source_range.map(Filter::SourceRange),
            self.redirect.map(Filter::Redirect),
            self.ssl_redirect.map(Filter::SslRedirect),
            self.rewrite_target.map(Filter::RewriteTarget),
        ];
        let filters: Vec<Filter> = filters.into_iter().flatten().collect();
        let needs_certificate = |f: &Filter| matches!(f, Filter::SslRedirect(SslRedirect { force: false, .. }));
        let uncertified: Vec<Filter> = filters.iter().filter(|f| !needs_certificate(f)).cloned().collect();
        Settings {
            filters: shared.filters(filters),
            filters_uncertified: shared.filters(uncertified),
            expressions,
            use_regex: self.use_regex,
            upstream: shared.upstream(upstream),
            upstream_in_clear: in_clear.map(|upstream| shared.upstream(upstream)),
            policy: shared.policy(self.policy),
            client_auth: self.client_auth.map(|auth| shared.client_auth(auth)),
            passthrough: self.passthrough,
            steering: self.steering,
            closed,
            withdrawn,
        }
    }
}
