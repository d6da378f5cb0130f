//! The source of the configuration, as it was asked for, joined with the state that takes it.

use super::admission;
use super::state::State;
use super::turns::Teller;
use crate::config::{Config, Source};
use crate::control::{self, ClusterWatch, Translated, Watch};
use crate::telemetry::Feeds;
use std::sync::Arc;
use std::time::Duration;

/// A source that is watched until this is dropped.
pub enum Watched {
    /// A directory.
    Directory(Watch),
    /// A cluster.
    Cluster(ClusterWatch),
}

/// How long leaving the API may take: the last agent takes its statuses back, and gives the Lease back.
const LEAVE_MAX: Duration = Duration::from_secs(5);

impl Watched {
    /// Stops watching, after the API was told.
    pub fn leave(self) {
        match self {
            Self::Directory(watch) => drop(watch),
            Self::Cluster(watch) => watch.leave(LEAVE_MAX),
        }
    }
}

/// Tell how the source stands, when it can be out of reach.
pub fn feeds(source: &Source) -> Option<Arc<Feeds>> {
    matches!(source, Source::Cluster(_)).then(Arc::default)
}

/// Watches the source. The state takes every configuration, and the first one is told.
pub fn watch(config: &Config, state: &Arc<State>, teller: Teller) -> anyhow::Result<Watched> {
    let (state, feeds, reports) = (state.clone(), state.feeds(), state.teller());
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
            let (feeds, reports) = (feeds.unwrap_or_default(), reports);
            let (asked, objects, report) = (admission::start(config)?, &config.objects, &config.report);
            Watched::Cluster(control::watch_cluster(cluster, objects, report, feeds, reports, asked, sink)?)
        }
    })
}
