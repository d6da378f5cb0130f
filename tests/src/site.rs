//! The plainest site: host `site.test`, one Ingress, one service, one pod. For tests about something else than routing.
//!
//! Goes in: nothing. Comes out: a lab with an echo backend, and manifests that lead to it. Starts no agent.

use crate::backend::Backends;
use crate::lab::{Lab, pod};
use crate::manifest::{identity, ingress, service};
use crate::scratch::Scratch;

/// Host of the site.
pub const HOST: &str = "site.test";

/// A lab with the site in it.
#[derive(Debug)]
pub struct Site {
    /// Client, balancer and pods.
    pub lab: Lab,
    /// The manifests' directory.
    pub manifests: Scratch,
    /// The service's one pod, `pod(10, 8080)`.
    pub backends: Backends,
}

impl Site {
    /// Makes the site.
    #[must_use]
    pub fn new() -> Self {
        let (lab, manifests) = (Lab::new(), Scratch::new());
        let address = pod(10, 8080);
        manifests.write("site.yaml", ingress("site", HOST, &[("Prefix", "/", "site", 80)]));
        manifests.write("service.yaml", service("site", 80, &[address]));
        let backends = Backends::start(&lab.pods, vec![(address, identity("site", address))]);
        Self { lab, manifests, backends }
    }
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}
