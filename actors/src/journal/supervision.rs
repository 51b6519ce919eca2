//! Actors that fail and come back.

use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge};
use tracing::{error, info};

use super::Entry;

/// An actor failed; what is made in its place has fresh state.
pub struct ActorFailed<'a> {
    /// Its path.
    pub actor: &'a str,
    /// What happened, and where.
    pub cause: &'a str,
    /// Until it is restarted.
    pub pause: Duration,
}

impl Entry for ActorFailed<'_> {
    fn write(&self, service: &Arc<str>) {
        let Self { actor, cause, pause } = self;
        error!(%service, actor, cause, ?pause, "actor failed, restarting with fresh state");
        failed(service, actor);
    }
}

/// An actor failed beyond its restart budget, or while it was probed.
pub struct ActorOverBudget<'a> {
    /// Its path.
    pub actor: &'a str,
    /// What happened, and where.
    pub cause: &'a str,
    /// Until it is tried.
    pub pause: Duration,
}

impl Entry for ActorOverBudget<'_> {
    fn write(&self, service: &Arc<str>) {
        let Self { actor, cause, pause } = self;
        error!(
            %service, actor, cause, ?pause,
            "actor over its restart budget: what feeds it waits, then it is tried with one thing at a time"
        );
        failed(service, actor);
    }
}

/// An actor that was over its restart budget works again.
pub struct ActorRecovered<'a> {
    /// Its path.
    pub actor: &'a str,
}

impl Entry for ActorRecovered<'_> {
    fn write(&self, service: &Arc<str>) {
        info!(%service, actor = self.actor, "actor recovered");
    }
}

/// A handler's breaker opened: its topic is paused, and one event at a time is tried.
pub struct BreakerOpened<'a> {
    /// The handler.
    pub handler: &'a str,
    /// Why.
    pub cause: &'a str,
    /// Until the first event is tried.
    pub probe_in: Duration,
}

impl Entry for BreakerOpened<'_> {
    fn write(&self, service: &Arc<str>) {
        let Self { handler, cause, probe_in } = self;
        error!(
            %service, handler, cause, ?probe_in,
            "breaker open: no attempt counts, its topic is paused, and one event at a time is tried until one is handled"
        );
        breaker(service, handler, true);
    }
}

/// A handler's breaker closed: an event was handled.
pub struct BreakerClosed<'a> {
    /// The handler.
    pub handler: &'a str,
}

impl Entry for BreakerClosed<'_> {
    fn write(&self, service: &Arc<str>) {
        info!(%service, handler = self.handler, "breaker closed");
        breaker(service, self.handler, false);
    }
}

fn breaker(service: &Arc<str>, handler: &str, open: bool) {
    gauge!("breaker_open", "service" => service.clone(), "handler" => handler.to_owned())
        .set(f64::from(u8::from(open)));
}

/// An arbiter's thread does not turn: something on it blocks.
pub struct ArbiterStuck<'a> {
    /// Which.
    pub arbiter: &'a str,
    /// For how long.
    pub still: Duration,
    /// Arbiters that do not turn now.
    pub known: usize,
}

impl Entry for ArbiterStuck<'_> {
    fn write(&self, service: &Arc<str>) {
        let Self { arbiter, still, known } = self;
        error!(%service, arbiter, ?still, "arbiter does not turn: something blocks its thread");
        stuck(service, *known);
    }
}

/// An arbiter that did not turn does again.
pub struct ArbiterTurns<'a> {
    /// Which.
    pub arbiter: &'a str,
    /// Arbiters that do not turn now.
    pub known: usize,
}

impl Entry for ArbiterTurns<'_> {
    fn write(&self, service: &Arc<str>) {
        let Self { arbiter, known } = self;
        info!(%service, arbiter, "arbiter turns again");
        stuck(service, *known);
    }
}

#[allow(clippy::cast_precision_loss)] // a gauge is an f64; arbiters are few
fn stuck(service: &Arc<str>, known: usize) {
    gauge!("arbiters_stuck", "service" => service.clone()).set(known as f64);
}

fn failed(service: &Arc<str>, actor: &str) {
    counter!("actor_failures_total", "service" => service.clone(), "actor" => actor.to_owned()).increment(1);
}
