//! How the endpoints of a route are spoken to: protocol, TLS, and whether they are told of the client in front.

use super::certificate::Certificate;
use super::origin::ObjectRef;
use serde::Serialize;
use std::fmt;
use std::sync::Arc;

/// How endpoints are spoken to. Connections are shared only between routes that say the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Upstream {
    /// What is spoken.
    pub protocol: Protocol,
    /// TLS to the endpoint; `None`: in the clear.
    pub tls: Option<Arc<UpstreamTls>>,
    /// The PROXY protocol header that goes before everything else; such connections serve one client connection only.
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// What is spoken to endpoints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: with prior knowledge in the clear (RFC 9113 section 3.3), by ALPN over TLS. What gRPC wants.
    Http2,
}

/// Version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyProtocol {
    /// Text.
    V1,
    /// Binary.
    V2,
}

/// TLS to endpoints.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize)]
pub struct UpstreamTls {
    /// Certificate authorities that the endpoint's certificate must come from; `None`: it is not verified.
    pub authorities: Option<Arc<Authorities>>,
    /// What we show when the endpoint asks who we are.
    pub certificate: Option<Arc<Certificate>>,
    /// Name that the certificate must have, and that is sent as server name; `None`: the host of the request.
    pub name: Option<Arc<str>>,
    /// Whether a server name is sent (RFC 6066 section 3).
    pub send_name: bool,
}

/// Certificate authorities, each in DER.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Authorities {
    /// The Secret they were read from.
    pub source: ObjectRef,
    /// Certificates.
    #[serde(skip)]
    pub certificates: Vec<Vec<u8>>,
}

impl fmt::Display for Upstream {
    /// `HTTP/2 over TLS (verified by Secret shop/ca, as api.shop), behind PROXY v2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.protocol {
            Protocol::Http1 => "HTTP/1.1",
            Protocol::Http2 => "HTTP/2",
        })?;
        if let Some(tls) = &self.tls {
            match &tls.authorities {
                Some(authorities) => write!(f, " over TLS (verified by {}", authorities.source)?,
                None => f.write_str(" over TLS (not verified")?,
            }
            if let Some(name) = &tls.name {
                write!(f, ", as {name}")?;
            }
            f.write_str(")")?;
        }
        match self.proxy_protocol {
            Some(ProxyProtocol::V1) => f.write_str(", behind PROXY v1"),
            Some(ProxyProtocol::V2) => f.write_str(", behind PROXY v2"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authorities({}, {})", self.source, self.certificates.len())
    }
}
