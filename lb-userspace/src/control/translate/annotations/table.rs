//! The table of every `nginx.ingress.kubernetes.io/` annotation, in the order of its use in public charts, and what
//! becomes of it here. A refused one says what happens instead. Does not read values beyond those that change nothing.

use Meaning::{Canary, Protects, Refused, Snippet, Supported};

/// What becomes of an annotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// It works.
    Supported,
    /// It does nothing; the Ingress is served without it.
    Refused {
        /// The value that asks for what is done anyway.
        default: Option<&'static str>,
        /// What happens instead.
        instead: &'static str,
    },
    /// It keeps somebody out, and cannot be honoured: the Ingress is closed.
    Protects {
        /// The value that keeps nobody out.
        off: Option<&'static str>,
    },
    /// Text for nginx: refused, and the Ingress is closed if the text looks like protection.
    Snippet,
    /// The Ingress stands beside another one for a part of the requests, and would take them all alone.
    Canary,
}

/// The canonical name and the meaning of an annotation (without prefix); `None` when nobody knows it.
#[must_use]
pub fn meaning(name: &str) -> Option<(&'static str, &'static Meaning)> {
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| *name);
    TABLE.iter().find(|(known, _)| *known == name).map(|(known, meaning)| (*known, meaning))
}

/// Every annotation by its canonical name, in the order of their use.
pub fn all() -> impl Iterator<Item = (&'static str, &'static Meaning)> {
    TABLE.iter().map(|(name, meaning)| (*name, meaning))
}

/// Other names of an annotation.
pub fn aliases(name: &str) -> impl Iterator<Item = &'static str> {
    ALIASES.iter().filter(move |(_, canonical)| *canonical == name).map(|(alias, _)| *alias)
}

/// Whether an annotation is one that ingress-nginx had once, or that people write although it never had it.
#[must_use]
pub fn is_obsolete(name: &str) -> bool {
    OBSOLETE.contains(&name) || OBSOLETE_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Other names.
const ALIASES: &[(&str, &str)] =
    &[("whitelist-source-range", "allowlist-source-range"), ("limit-whitelist", "limit-allowlist")];

const OBSOLETE: &[&str] = &[
    "secure-backends",
    "session-cookie-hash",
    "add-base-url",
    "enable-opentracing",
    "enable-websockets",
    "websocket-services",
    "ssl-verify",
    "large-client-header-buffers",
    "proxy-set-headers",
    "use-forwarded-headers",
];

const OBSOLETE_PREFIXES: &[&str] = &["global-rate-limit", "influxdb-"];

const AFFINITY: &str = "no cookie is set, and requests go round robin to the endpoints";
const BALANCING: &str = "requests go round robin to the endpoints";
const CANARIES: &str = "it says how a canary is chosen, and there are none";
const CORS: &str = "no CORS header is added";
const ERRORS: &str = "errors of backends are passed on";
const FASTCGI: &str = "backends are spoken to in HTTP";
const GLOBAL_AUTH: &str = "there is no authentication for all Ingresses";
const HEADERS: &str = "headers are those that the agent sends";
const LOGS: &str = "logs and traces are those of the agent";
const MIRROR: &str = "requests are not copied";
const NAMES: &str = "the other names are not served";
const RATES: &str = "rates and connections are not limited";
const REDIRECTS: &str = "no such redirect is made";
const RETRIES: &str = "failed requests are not tried again as it says";
const SIZES: &str = "sizes and buffers are those of the agent";
const TLS: &str = "TLS settings are those of the agent";

const TABLE: &[(&str, Meaning)] = &[
    ("proxy-body-size", Supported),
    ("rewrite-target", Supported),
    ("backend-protocol", Supported),
    ("ssl-redirect", Supported),
    ("use-regex", Supported),
    ("configuration-snippet", Snippet),
    ("proxy-read-timeout", Supported),
    ("force-ssl-redirect", Supported),
    ("proxy-send-timeout", Supported),
    ("proxy-buffer-size", Refused { default: None, instead: SIZES }),
    ("proxy-connect-timeout", Supported),
    ("allowlist-source-range", Supported),
    ("auth-type", Protects { off: None }),
    ("auth-secret", Protects { off: None }),
    ("auth-realm", Protects { off: None }),
    ("auth-url", Protects { off: None }),
    ("auth-signin", Protects { off: None }),
    ("auth-response-headers", Protects { off: None }),
    ("affinity", Refused { default: None, instead: AFFINITY }),
    ("session-cookie-name", Refused { default: None, instead: AFFINITY }),
    ("session-cookie-max-age", Refused { default: None, instead: AFFINITY }),
    ("session-cookie-expires", Refused { default: None, instead: AFFINITY }),
    ("affinity-mode", Refused { default: None, instead: AFFINITY }),
    ("enable-cors", Refused { default: Some("false"), instead: CORS }),
    ("cors-allow-origin", Refused { default: None, instead: CORS }),
    ("cors-allow-methods", Refused { default: None, instead: CORS }),
    ("cors-allow-headers", Refused { default: None, instead: CORS }),
    ("cors-allow-credentials", Refused { default: None, instead: CORS }),
    ("ssl-passthrough", Supported),
    ("proxy-buffering", Refused { default: Some("off"), instead: SIZES }),
    ("proxy-request-buffering", Refused { default: Some("off"), instead: SIZES }),
    ("upstream-vhost", Refused { default: None, instead: HEADERS }),
    ("service-upstream", Refused { default: Some("false"), instead: BALANCING }),
    ("permanent-redirect", Supported),
    ("server-snippet", Snippet),
    ("canary", Canary),
    ("canary-weight", Refused { default: None, instead: CANARIES }),
    ("canary-by-header", Refused { default: None, instead: CANARIES }),
    ("limit-rps", Refused { default: Some("0"), instead: RATES }),
    ("auth-tls-secret", Supported),
    ("auth-tls-verify-client", Supported),
    ("temporal-redirect", Supported),
    ("from-to-www-redirect", Refused { default: Some("false"), instead: REDIRECTS }),
    ("app-root", Refused { default: None, instead: REDIRECTS }),
    ("custom-http-errors", Refused { default: None, instead: ERRORS }),
    ("default-backend", Refused { default: None, instead: ERRORS }),
    ("upstream-hash-by", Supported),
    ("proxy-next-upstream", Supported),
    ("proxy-next-upstream-tries", Supported),
    ("x-forwarded-prefix", Refused { default: None, instead: HEADERS }),
    ("client-body-buffer-size", Refused { default: None, instead: SIZES }),
    ("limit-connections", Refused { default: Some("0"), instead: RATES }),
    ("limit-rpm", Refused { default: Some("0"), instead: RATES }),
    ("limit-burst-multiplier", Refused { default: None, instead: RATES }),
    ("canary-by-header-value", Refused { default: None, instead: CANARIES }),
    ("canary-by-cookie", Refused { default: None, instead: CANARIES }),
    ("canary-weight-total", Refused { default: None, instead: CANARIES }),
    ("canary-by-header-pattern", Refused { default: None, instead: CANARIES }),
    ("session-cookie-path", Refused { default: None, instead: AFFINITY }),
    ("session-cookie-samesite", Refused { default: None, instead: AFFINITY }),
    ("session-cookie-secure", Refused { default: None, instead: AFFINITY }),
    ("session-cookie-domain", Refused { default: None, instead: AFFINITY }),
    ("cors-max-age", Refused { default: None, instead: CORS }),
    ("cors-expose-headers", Refused { default: None, instead: CORS }),
    ("auth-secret-type", Protects { off: None }),
    ("auth-method", Protects { off: None }),
    ("auth-snippet", Protects { off: None }),
    ("enable-global-auth", Refused { default: Some("true"), instead: GLOBAL_AUTH }),
    ("proxy-ssl-verify", Supported),
    ("proxy-ssl-secret", Supported),
    ("proxy-ssl-name", Supported),
    ("proxy-ssl-server-name", Supported),
    ("permanent-redirect-code", Supported),
    ("temporal-redirect-code", Supported),
    ("load-balance", Supported),
    ("denylist-source-range", Protects { off: None }),
    ("auth-tls-verify-depth", Protects { off: Some("1") }),
    ("auth-tls-pass-certificate-to-upstream", Protects { off: Some("false") }),
    ("proxy-buffers-number", Refused { default: None, instead: SIZES }),
    ("limit-allowlist", Refused { default: None, instead: RATES }),
    ("enable-access-log", Refused { default: Some("true"), instead: LOGS }),
    ("server-alias", Refused { default: None, instead: NAMES }),
    ("custom-headers", Refused { default: None, instead: HEADERS }),
    ("mirror-target", Refused { default: None, instead: MIRROR }),
    ("proxy-http-version", Refused { default: Some("1.1"), instead: HEADERS }),
    ("proxy-next-upstream-timeout", Refused { default: None, instead: RETRIES }),
    ("enable-opentelemetry", Refused { default: Some("false"), instead: LOGS }),
    ("auth-cache-key", Protects { off: None }),
    ("auth-cache-duration", Protects { off: None }),
    ("auth-request-redirect", Protects { off: None }),
    ("auth-signin-redirect-param", Protects { off: None }),
    ("auth-proxy-set-headers", Protects { off: None }),
    ("auth-always-set-cookie", Protects { off: None }),
    ("proxy-max-temp-file-size", Refused { default: None, instead: SIZES }),
    ("proxy-cookie-path", Refused { default: Some("off"), instead: HEADERS }),
    ("proxy-cookie-domain", Refused { default: Some("off"), instead: HEADERS }),
    ("proxy-redirect-from", Refused { default: Some("off"), instead: HEADERS }),
    ("proxy-redirect-to", Refused { default: Some("off"), instead: HEADERS }),
    ("satisfy", Protects { off: Some("all") }),
    ("auth-tls-match-cn", Protects { off: None }),
    ("auth-tls-error-page", Protects { off: None }),
    ("affinity-canary-behavior", Refused { default: None, instead: AFFINITY }),
    ("session-cookie-change-on-failure", Refused { default: Some("false"), instead: AFFINITY }),
    ("session-cookie-conditional-samesite-none", Refused { default: Some("false"), instead: AFFINITY }),
    ("preserve-trailing-slash", Supported),
    ("ssl-ciphers", Refused { default: None, instead: TLS }),
    ("ssl-prefer-server-ciphers", Refused { default: None, instead: TLS }),
    ("connection-proxy-header", Refused { default: None, instead: HEADERS }),
    ("mirror-host", Refused { default: None, instead: MIRROR }),
    ("mirror-request-body", Refused { default: None, instead: MIRROR }),
    ("opentelemetry-trust-incoming-span", Refused { default: None, instead: LOGS }),
    ("opentelemetry-operation-name", Refused { default: None, instead: LOGS }),
    ("upstream-hash-by-subset", Refused { default: Some("false"), instead: BALANCING }),
    ("upstream-hash-by-subset-size", Refused { default: None, instead: BALANCING }),
    ("limit-rate", Refused { default: Some("0"), instead: RATES }),
    ("limit-rate-after", Refused { default: Some("0"), instead: RATES }),
    ("auth-keepalive", Protects { off: None }),
    ("auth-keepalive-requests", Protects { off: None }),
    ("auth-keepalive-timeout", Protects { off: None }),
    ("auth-keepalive-share-vars", Protects { off: None }),
    ("enable-modsecurity", Protects { off: Some("false") }),
    ("enable-owasp-core-rules", Protects { off: Some("false") }),
    ("modsecurity-snippet", Protects { off: None }),
    ("modsecurity-transaction-id", Refused { default: None, instead: LOGS }),
    ("proxy-ssl-verify-depth", Refused { default: Some("1"), instead: TLS }),
    ("proxy-ssl-ciphers", Refused { default: None, instead: TLS }),
    ("proxy-ssl-protocols", Refused { default: None, instead: TLS }),
    ("disable-proxy-intercept-errors", Refused { default: Some("false"), instead: ERRORS }),
    ("proxy-busy-buffers-size", Refused { default: None, instead: SIZES }),
    ("enable-rewrite-log", Refused { default: Some("false"), instead: LOGS }),
    ("relative-redirects", Refused { default: Some("false"), instead: REDIRECTS }),
    ("use-port-in-redirects", Refused { default: Some("false"), instead: REDIRECTS }),
    ("stream-snippet", Snippet),
    ("fastcgi-index", Refused { default: None, instead: FASTCGI }),
    ("fastcgi-params-configmap", Refused { default: None, instead: FASTCGI }),
    ("http2-push-preload", Refused { default: Some("false"), instead: HEADERS }),
];

#[cfg(test)]
mod tests {
    use super::super::{FAMILIES, SLUICE};
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_annotation_once() {
        let names: HashSet<&str> = TABLE.iter().map(|(name, _)| *name).collect();
        assert_eq!((names.len(), TABLE.len()), (136, 136));
        assert!(!names.iter().any(|name| is_obsolete(name)));
        assert!(ALIASES.iter().all(|(alias, name)| !names.contains(alias) && names.contains(name)));
        let supported: HashSet<&str> = TABLE.iter().filter(|(_, m)| *m == Supported).map(|(name, _)| *name).collect();
        let read: HashSet<&str> =
            FAMILIES.iter().flat_map(|f| f.keys).filter(|k| !k.starts_with(SLUICE)).copied().collect();
        assert_eq!(supported, read, "what is supported is what some family reads");
        assert_eq!(supported.len(), 26);
    }

    #[test]
    fn whatever_keeps_somebody_out_closes() {
        for name in ["auth-url", "auth-type", "denylist-source-range", "auth-tls-match-cn"] {
            let meaning = meaning(name).map(|(_, meaning)| meaning);
            assert_eq!(meaning, Some(&Protects { off: None }), "{name}");
        }
    }
}
