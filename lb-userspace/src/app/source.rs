//! The source of the configuration, as it was asked for, joined with the state that takes it.

use super::state::State;
use super::turns::Teller;
use crate::config::{Config, Source};
use crate::control::{self, ClusterWatch, Translated, Watch};
use crate::telemetry::Feeds;
use std::sync::Arc;

/// A source that is watched until this is dropped.
pub enum Watched {
    /// A directory.
    #[allow(dead_code, reason = "it is held")]
    Directory(Watch),
    /// A cluster.
    #[allow(dead_code, reason = "it is held")]
    Cluster(ClusterWatch),
}

/// Tell how the source stands, when it can be out of reach.
pub fn feeds(source: &Source) -> Option<Arc<Feeds>> {
    matches!(source, Source::Cluster(_)).then(Arc::default)
}

/// Watches the source. The state takes every configuration, and the first one is told.
pub fn watch(config: &Config, state: &Arc<State>, teller: Teller) -> anyhow::Result<Watched> {
    let (state, feeds) = (state.clone(), state.feeds());
    let mut first = Some(teller);
    let sink = move |translated: Translated| {
        state.take(translated);
        if let Some(teller) = first.take() {
            teller.configured();
        }
    };
    Ok(match &config.source {
        Source::Directory(path) => Watched::Directory(control::watch_directory(path, &config.objects, sink)?),
        Source::Cluster(cluster) => {
            Watched::Cluster(control::watch_cluster(cluster, &config.objects, feeds.unwrap_or_default(), sink)?)
        }
    })
}
