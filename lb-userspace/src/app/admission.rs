//! The validating webhook, joined: `admin` serves it, `control` answers.
//!
//! Goes in: a [`Config`]. Comes out: a server, and the reviews that it hands to whoever owns the store.

use crate::admin::webhook::{self, Review, Unanswered};
use crate::config::Config;
use crate::control::admission::queue::{self, Desk, Reviews};
use bytes::Bytes;

impl Review for Desk {
    async fn review(&self, body: Bytes) -> Result<Bytes, Unanswered> {
        Desk::review(self, body).await.map_err(|why| match why {
            queue::Unanswered::Busy => Unanswered::Busy,
            queue::Unanswered::NotReady => Unanswered::NotReady,
            queue::Unanswered::Invalid(why) => Unanswered::Invalid(why.to_string()),
        })
    }
}

/// Serves it, where it is wanted.
pub fn start(config: &Config) -> anyhow::Result<Option<Reviews>> {
    let Some(settings) = &config.admission else { return Ok(None) };
    let (desk, reviews) = queue::queue(&config.objects);
    let address = webhook::start(settings, desk)?;
    tracing::info!(%address, "admission is served");
    Ok(Some(reviews))
}
