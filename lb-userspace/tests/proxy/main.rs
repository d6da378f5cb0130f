//! The proxy over real sockets: it is started in process with a Snapshot made by hand and tiny backends on threads.
//!
//! One binary, so that it links once; a file for each subject, [`rig`] for what they share, and [`double`] in place of the kernel.

mod annotations;
mod balance;
mod client_auth;
mod double;
mod drain;
mod endpoints;
mod framing;
mod h2;
mod hsts;
mod limits;
mod malformed;
mod misdirected;
mod parked;
mod passthrough;
mod proxy_protocol;
mod rig;
mod routing;
mod session;
mod splice;
mod splice_time;
mod tls;
mod upgrade;
mod upstream_tls;
