//! The network that most tests run in: a client, the load balancer and the pods, each in a namespace of its own.
//!
//! ```text
//! client 10.1.0.2, fd01::2 ── 10.1.0.1, fd01::1 balancer 10.2.0.1, fd02::1 ── pods 10.2.0.10 … .59, fd02::10 … ::59
//! ```
//!
//! The addresses are the same in every lab, so that manifests can be plain files.

use crate::netns::{Namespace, join};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// IPv4 address of the load balancer towards the client.
pub const BALANCER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 1));

/// IPv6 address of the load balancer towards the client.
pub const BALANCER_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 1));

/// Plain HTTP of the load balancer.
pub const HTTP: SocketAddr = SocketAddr::new(BALANCER, 80);

/// HTTPS of the load balancer.
pub const HTTPS: SocketAddr = SocketAddr::new(BALANCER, 443);

/// Last byte of the addresses that pods have.
const PODS: std::ops::RangeInclusive<u8> = 10..=59;

/// The three namespaces. Dropped with everything in them.
#[derive(Debug)]
pub struct Lab {
    /// Where requests come from. Shared, because the threads of a load outlive a borrow.
    pub client: Arc<Namespace>,
    /// Where the agent runs.
    pub balancer: Namespace,
    /// Where backends run.
    pub pods: Namespace,
}

impl Lab {
    /// Makes the network.
    #[must_use]
    pub fn new() -> Self {
        Self::build().unwrap_or_else(|error| panic!("the test network could not be made: {error:#}"))
    }

    fn build() -> anyhow::Result<Self> {
        let lab =
            Self { client: Arc::new(Namespace::new("c")?), balancer: Namespace::new("b")?, pods: Namespace::new("p")? };
        join(
            (&lab.client, "eth0", &["10.1.0.2/24", "fd01::2/64"]),
            (&lab.balancer, "clients", &["10.1.0.1/24", "fd01::1/64"]),
        )?;
        let addresses: Vec<String> = PODS.flat_map(|n| [format!("10.2.0.{n}/24"), format!("fd02::{n}/64")]).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        join((&lab.balancer, "pods", &["10.2.0.1/24", "fd02::1/64"]), (&lab.pods, "eth0", &addresses))?;
        lab.client.ip("route add default via 10.1.0.1\nroute add default via fd01::1")?;
        lab.pods.ip("route add default via 10.2.0.1\nroute add default via fd02::1")?;
        lab.balancer.sysctl("ipv4/ip_forward", "1")?;
        lab.balancer.sysctl("ipv6/conf/all/forwarding", "1")?;
        Ok(lab)
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

/// IPv4 address and port of a pod by the last byte of its address.
#[must_use]
pub fn pod(number: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([10, 2, 0, number], port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Backends, pattern};
    use crate::client::{Connection, get};
    use crate::echo::fnv1a;
    use crate::manifest::identity;
    use std::time::{Duration, Instant};

    #[test]
    fn the_client_reaches_an_echo_backend_through_the_balancer() {
        let lab = Lab::new();
        let address = pod(10, 8080);
        let backends = Backends::start(&lab.pods, vec![(address, identity("cart", address))]);
        let mut connection = Connection::plain(&lab.client, address).expect("connect");
        let response = connection
            .request("POST", "shop.test", "/a?b=c", &[("X-One", "1"), ("X-One", "2")], b"hello")
            .expect("echo");
        assert_eq!(response.status, 200);
        for name in ["content-length", "content-type", "date", "server"] {
            assert!(response.header(name).is_some(), "{name} is missing: {response:?}");
        }
        let echo = response.echo();
        assert_eq!((echo.method.as_str(), echo.path.as_str(), echo.host.as_str()), ("POST", "/a?b=c", "shop.test"));
        assert_eq!((echo.proto.as_str(), echo.identity.pod.as_str()), ("HTTP/1.1", "cart-10"));
        assert_eq!(echo.headers["x-one"], ["1", "2"]);
        assert_eq!((echo.body_bytes, echo.body_fnv1a), (5, fnv1a(b"hello")));

        assert_eq!(connection.get("h", "/status/503").expect("status").status, 503);
        assert_eq!(connection.get("h", "/bytes/100000").expect("bytes").body, pattern(100_000));
        assert_eq!(connection.get("h", "/slow-body").expect("chunks").body.len(), 10_000);
        let before = Instant::now();
        assert_eq!(connection.get("h", "/delay/100").expect("delay").status, 200);
        assert!(before.elapsed() >= Duration::from_millis(100));
        assert_eq!(connection.get("h", "/close").expect("close").header("connection"), Some("close"));
        connection.expect_close().expect("closed as announced");
        assert_eq!(backends.requests(), 6);
        drop(backends);
        assert!(lab.client.connect(address).is_err(), "a dropped backend no longer listens");
        let v6 = SocketAddr::new("fd02::10".parse().expect("address"), 8080);
        let _backends = Backends::start(&lab.pods, vec![(v6, identity("cart", v6))]);
        assert_eq!(get(&lab.client, v6, "h", "/").echo().identity.service, "cart");
    }
}
