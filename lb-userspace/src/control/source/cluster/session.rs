//! The session: a client of the API server, with credentials that are read again when they are refused.
//!
//! Goes in: the service account of the Pod, or a kubeconfig. Comes out: a [`Client`]. The token of a service account is read again
//! by the client itself, at least once a minute; a 401 makes a new client, which reads everything again: the kubeconfig, the token,
//! client certificates. Does not retry: whoever asks does, so that every failure is counted.

use crate::config;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::ConfigExt;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tower::{BoxError, ServiceBuilder};

/// How long a connection to the API server may take to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// How long a connection is silent before its other end is asked whether it is there; how often then, and how many times
/// in vain.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_AGAIN: Duration = Duration::from_secs(5);
const KEEPALIVES_MAX: u32 = 3;

/// The shortest time between two readings of the credentials. All watches are refused at once.
const RENEW: Duration = Duration::from_secs(1);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Not in a Pod, or in one without a service account.
    #[error(
        "the service account of the Pod cannot be read: run in a Pod with automountServiceAccountToken, \
         or name a --kubeconfig"
    )]
    NotInCluster(#[source] kube::config::InClusterError),
    /// The kubeconfig says nothing that can be used.
    #[error("--kubeconfig {path} cannot be used")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: kube::config::KubeconfigError,
    },
    /// Credentials that do not make a client.
    #[error("the credentials for {address} cannot be used")]
    Credentials {
        /// The API server.
        address: String,
        /// What is wrong with them.
        source: kube::Error,
    },
    /// The thread that talks to the API server did not start.
    #[error("the thread for the API server cannot be started")]
    Thread(#[source] std::io::Error),
}

/// A client that can be replaced.
pub struct Session {
    settings: config::Cluster,
    address: String,
    client: RefCell<(u64, Client)>,
    renewed: Cell<Instant>,
}

impl Session {
    /// Reads the credentials. Does not talk to the API server yet. To be called where the client is to run.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn open(settings: &config::Cluster) -> Result<Self, SessionError> {
        let (address, client) = connect(settings).await?;
        let renewed = Cell::new(Instant::now());
        Ok(Self { settings: settings.clone(), address, client: RefCell::new((0, client)), renewed })
    }

    /// The API server, as `https://10.0.0.1:443`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The client, with the number of its credentials.
    #[must_use]
    pub fn client(&self) -> (u64, Client) {
        self.client.borrow().clone()
    }

    /// Reads the credentials again, when those of this number were refused and nobody has done it since.
    ///
    /// # Errors
    /// [`SessionError`]; the client stays as it was.
    pub async fn renew(&self, refused: u64) -> Result<(), SessionError> {
        if self.client.borrow().0 != refused || self.renewed.get().elapsed() < RENEW {
            return Ok(());
        }
        self.renewed.set(Instant::now());
        let (_, client) = connect(&self.settings).await?;
        *self.client.borrow_mut() = (refused + 1, client);
        tracing::info!("the credentials for the API server were read again");
        Ok(())
    }
}

async fn connect(settings: &config::Cluster) -> Result<(String, Client), SessionError> {
    let mut config = match &settings.kubeconfig {
        None => Config::incluster().map_err(SessionError::NotInCluster)?,
        Some(path) => {
            let fault = |source| SessionError::Kubeconfig { path: path.clone(), source };
            let file = Kubeconfig::read_from(path).map_err(fault)?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(fault)?
        }
    };
    config.default_retry = false;
    let address = config.cluster_url.to_string().trim_end_matches('/').to_owned();
    let fault = |source| SessionError::Credentials { address: address.clone(), source };
    let client = client(config).map_err(fault)?;
    Ok((address, client))
}

/// As [`Client::try_from`] makes it, but for keep-alives: a connection whose other end is gone without a word, as behind a
/// balancer that forgot it, is found in half a minute, and not when the watch on it should have ended.
fn client(config: Config) -> kube::Result<Client> {
    if config.proxy_url.is_some() {
        return Client::try_from(config);
    }
    if CryptoProvider::get_default().is_none() {
        // It fails only when somebody else was faster.
        drop(aws_lc_rs::default_provider().install_default());
    }
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT));
    connector.set_keepalive(Some(KEEPALIVE));
    connector.set_keepalive_interval(Some(KEEPALIVE_AGAIN));
    connector.set_keepalive_retries(Some(KEEPALIVES_MAX));
    let connector = config.rustls_https_connector_with_connector(connector)?;
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(legacy::Client::builder(TokioExecutor::new()).build(connector));
    Ok(Client::new(service, config.default_namespace))
}
