//! Many objects at once: Ingresses with their Services and EndpointSlices.
//!
//! Goes in: how many. Comes out: that many in the storage, with a version each, as if they had been created one after
//! the other. Does not do: Secrets, or traffic that goes anywhere: the addresses are made up unless they are given.

use super::birth::stamp;
use super::clock;
use super::resource::{Resource, named};
use super::store::Store;
use serde_json::{Value, json};

/// How many, and what they are called.
#[derive(Clone, Debug)]
pub struct Bulk {
    /// Ingresses; each has a host of its own (`bulk-N.test`), a path `/`, a Service and an EndpointSlice.
    pub ingresses: usize,
    /// Endpoints, spread evenly over the Services.
    pub endpoints: usize,
    /// Of the Ingresses.
    pub class: String,
    /// Where they are. It is made when it is missing.
    pub namespace: String,
    /// Addresses of the endpoints, taken in turn; empty for made-up ones in 10.0.0.0/8.
    pub addresses: Vec<String>,
    /// Port of the endpoints.
    pub port: u16,
}

impl Default for Bulk {
    fn default() -> Self {
        let (class, namespace) = ("sluice".to_owned(), "bulk".to_owned());
        Self { ingresses: 10_000, endpoints: 50_000, class, namespace, addresses: Vec::new(), port: 8080 }
    }
}

impl Bulk {
    /// Puts them into the storage.
    pub(super) fn load(&self, store: &mut Store, skew_s: i64) {
        let (ingress, service, slice) = (named("Ingress"), named("Service"), named("EndpointSlice"));
        let stamp_of = clock::rfc3339(clock::now_s(skew_s));
        let mut put = |resource: &'static Resource, name: &str, mut value: Value| {
            value["metadata"]["name"] = json!(name);
            value["metadata"]["namespace"] = json!(self.namespace);
            value["metadata"]["creationTimestamp"] = json!(stamp_of);
            stamp(resource, &mut value, skew_s);
            store.put(resource, (self.namespace.clone(), name.to_owned()), value, Vec::new());
        };
        // Copies of one are several times cheaper than making each anew, in a build without optimisation.
        let (ingress_like, service_like) = (self.ingress("x"), self.service());
        for number in 0..self.ingresses {
            let name = format!("bulk-{number}");
            let (mut new_ingress, mut new_service) = (ingress_like.clone(), service_like.clone());
            let address = json!(format!("10.96.{}.{}", number / 256 % 256, number % 256));
            new_service["spec"]["clusterIPs"][0] = address.clone();
            new_service["spec"]["clusterIP"] = address;
            let rule = &mut new_ingress["spec"]["rules"][0];
            rule["host"] = json!(format!("{name}.test"));
            rule["http"]["paths"][0]["backend"]["service"]["name"] = json!(name);
            put(service, &name, new_service);
            put(slice, &format!("{name}-0"), self.slice(number, &name));
            put(ingress, &name, new_ingress);
        }
    }

    fn ingress(&self, name: &str) -> Value {
        let backend = json!({"service": {"name": name, "port": {"number": 80}}});
        let path = json!({"path": "/", "pathType": "Prefix", "backend": backend});
        json!({
            "metadata": {},
            "spec": {
                "ingressClassName": self.class,
                "rules": [{"host": format!("{name}.test"), "http": {"paths": [path]}}],
            },
            "status": {"loadBalancer": {}},
        })
    }

    fn service(&self) -> Value {
        let address = "10.96.0.0";
        json!({
            "metadata": {},
            "spec": {
                "type": "ClusterIP", "clusterIP": address, "clusterIPs": [address], "sessionAffinity": "None",
                "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "internalTrafficPolicy": "Cluster",
                "ports": [{"name": "http", "port": 80, "targetPort": self.port, "protocol": "TCP"}],
            },
            "status": {"loadBalancer": {}},
        })
    }

    fn slice(&self, number: usize, service: &str) -> Value {
        // The first services have one more when it does not come out even.
        let (each, more) = (self.endpoints / self.ingresses.max(1), self.endpoints % self.ingresses.max(1));
        let first = number * each + number.min(more);
        let endpoints: Vec<Value> = (first..first + each + usize::from(number < more))
            .map(|endpoint| {
                let address = match self.addresses.get(endpoint % self.addresses.len().max(1)) {
                    Some(address) => address.clone(),
                    None => format!("10.{}.{}.{}", endpoint >> 16 & 255, endpoint >> 8 & 255, endpoint & 255),
                };
                json!({"addresses": [address], "conditions": {"ready": true, "serving": true, "terminating": false}})
            })
            .collect();
        json!({
            "metadata": {"labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": [{"name": "http", "port": self.port, "protocol": "TCP"}],
        })
    }
}
