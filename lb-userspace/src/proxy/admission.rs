//! Whether a request may be served on the connection that it came on: the host that it names must be the one that TLS was
//! set up for where that matters, and its client must have shown the certificate that the host asks for.
//!
//! Goes in: facts of the connection, and the host of a request. Comes out: [`Admission`], or the answer that refuses. Pure.

use super::facts::Facts;
use super::identity::{NOTHING, Shown};
use super::respond::Own;
use lb_core::Snapshot;

/// How a request is admitted.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission<'f> {
    /// Its host asks nothing of clients.
    Open,
    /// Its host asks for a certificate: what endpoints are told, as field lines.
    Known(&'f [u8]),
    /// Its host requires a certificate, and it came without TLS that ends here: it may be sent to HTTPS, not to an endpoint.
    Clear,
}

/// Judges a request for `host`, in normal form; `multiplexed`: it is a stream of HTTP/2.
///
/// # Errors
/// The answer: 421 for another connection (RFC 9110 section 15.5.20), 400 for another certificate.
pub fn admit<'f>(facts: &'f Facts, snapshot: &Snapshot, host: &str, multiplexed: bool) -> Result<Admission<'f>, Own> {
    let name = facts.tls.as_ref().and_then(|tls| tls.name.as_deref());
    // Clients put requests for all names of a certificate on one connection of HTTP/2, but hosts that share a
    // certificate need not share what is asked of clients and of TLS. A client without a server name cannot know better.
    if multiplexed && name.is_some_and(|name| name != host) {
        return Err(misdirected());
    }
    let Some(asked) = snapshot.client_auth.find(host) else { return Ok(Admission::Open) };
    let Some(tls) = &facts.tls else {
        return Ok(if asked.required { Admission::Clear } else { Admission::Known(NOTHING) });
    };
    // The host may ask something else by now, or this connection was never asked for it.
    let identity = tls.identity.as_ref().filter(|identity| name == Some(host) && identity.asked == *asked);
    match identity.map(|identity| &identity.shown) {
        None => Err(misdirected()),
        Some(Shown::Valid(lines)) => Ok(Admission::Known(lines)),
        Some(Shown::Nothing) if !asked.required => Ok(Admission::Known(NOTHING)),
        Some(Shown::Nothing) => Err(unknown("No required SSL certificate was sent")),
        Some(Shown::Invalid(why)) => Err(unknown(&format!("The SSL certificate error: {why}"))),
    }
}

impl<'f> Admission<'f> {
    /// What endpoints are told of the client.
    ///
    /// # Errors
    /// The answer, for a request that may not reach an endpoint.
    pub fn lines(&self) -> Result<&'f [u8], Own> {
        match self {
            Self::Open => Ok(&[]),
            Self::Known(lines) => Ok(lines),
            Self::Clear => Err(unknown("No required SSL certificate was sent")),
        }
    }
}

fn misdirected() -> Own {
    Own::error(421, "misdirected", "this connection was set up for another host; connect again")
}

fn unknown(why: &str) -> Own {
    Own::error(400, "client-certificate", why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::facts::{Arrival, Session};
    use crate::proxy::identity::Identity;
    use lb_core::model::{Authorities, ClientAuth, ClientAuthTable, HostPattern, Kind, ObjectRef};
    use std::sync::Arc;

    fn auth(secret: &str, required: bool) -> Arc<ClientAuth> {
        let source = ObjectRef::new(Kind::Secret, "n", secret);
        Arc::new(ClientAuth { authorities: Arc::new(Authorities { source, certificates: Vec::new() }), required })
    }

    /// `must.test` requires a certificate, `may.test` asks for one.
    fn snapshot() -> Snapshot {
        let mut client_auth = ClientAuthTable::default();
        for (host, auth) in [("must.test", auth("ca", true)), ("may.test", auth("ca", false))] {
            assert!(client_auth.insert(&HostPattern::parse(host).expect("a host"), &auth));
        }
        Snapshot { client_auth: client_auth.into(), ..Snapshot::default() }
    }

    fn facts(tls: Option<Session>) -> Facts {
        Facts::new(Arrival::new(([192, 0, 2, 1], 1).into(), ([192, 0, 2, 2], 80).into(), None), tls)
    }

    fn session(name: &str, identity: Option<(Arc<ClientAuth>, Shown)>) -> Option<Session> {
        let identity = identity.map(|(asked, shown)| Box::new(Identity { asked, shown }));
        Some(Session { name: (!name.is_empty()).then(|| name.into()), identity })
    }

    fn check(tls: Option<Session>, host: &str, multiplexed: bool, want: Result<Admission<'_>, u16>) {
        let facts = facts(tls);
        let got = admit(&facts, &snapshot(), host, multiplexed).map_err(|own| own.status);
        assert_eq!(got, want, "{host} on {:?}, multiplexed: {multiplexed}", facts.tls);
    }

    #[test]
    fn the_server_name_binds_streams_of_http2() {
        let named = |name: &str| session(name, None);
        for multiplexed in [false, true] {
            check(None, "a.test", multiplexed, Ok(Admission::Open));
            check(named("a.test"), "a.test", multiplexed, Ok(Admission::Open));
            check(named(""), "a.test", multiplexed, Ok(Admission::Open));
        }
        check(named("a.test"), "b.test", false, Ok(Admission::Open));
        check(named("a.test"), "b.test", true, Err(421));
    }

    #[test]
    fn a_certificate_counts_for_the_host_that_asked_for_it() {
        let lines = || Shown::Valid(Box::from(*b"who"));
        let (must, may) = (auth("ca", true), auth("ca", false));
        let known = |name: &str, asked: &Arc<ClientAuth>, shown| session(name, Some((asked.clone(), shown)));
        for multiplexed in [false, true] {
            let check = |tls, host, want| check(tls, host, multiplexed, want);
            check(known("must.test", &must, lines()), "must.test", Ok(Admission::Known(b"who")));
            check(known("must.test", &must, Shown::Nothing), "must.test", Err(400));
            check(known("must.test", &must, Shown::Invalid("old".to_owned())), "must.test", Err(400));
            check(known("may.test", &may, Shown::Nothing), "may.test", Ok(Admission::Known(NOTHING)));
            check(known("may.test", &may, Shown::Invalid("old".to_owned())), "may.test", Err(400));
            // Of another host, of none, and of a time when the host asked something else.
            check(known("may.test", &may, lines()), "must.test", Err(421));
            check(session("a.test", None), "must.test", Err(421));
            check(session("", None), "must.test", Err(421));
            check(session("must.test", None), "must.test", Err(421));
            check(known("must.test", &auth("other", true), lines()), "must.test", Err(421));
            check(known("must.test", &may, lines()), "must.test", Err(421));
        }
    }

    #[test]
    fn without_tls_there_is_no_certificate() {
        check(None, "must.test", false, Ok(Admission::Clear));
        check(None, "may.test", false, Ok(Admission::Known(NOTHING)));
        assert_eq!(Admission::Clear.lines().map_err(|own| own.status), Err(400));
    }
}
