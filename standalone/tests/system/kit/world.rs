//! Both services on one broker, for the tests of a module together.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

use super::{Broker, Program, Raw, Start, embedded_broker};

/// The two services on a broker of the test's process, shared by the tests that run at the same time and stopped by
/// the last of them.
pub(crate) struct World {
    pub(crate) program: Program,
    pub(crate) kafka: Raw,
    _broker: Arc<Broker>,
}

impl World {
    pub(crate) fn start(adjust: impl FnOnce(Start) -> Start) -> Self {
        let broker = embedded_broker();
        let program = adjust(Start::both().on(&broker)).start().ready();
        Self { program, kafka: Raw::new(&broker.bootstrap()), _broker: broker }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Whatever the tests did to it: it still drains and leaves without a complaint.
        if !thread::panicking() {
            assert!(self.program.stop().success(), "{}", self.program.output());
        }
    }
}

/// Where the tests of a module find their world.
pub(crate) struct Shared(Mutex<Weak<World>>);

impl Shared {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Weak::new()))
    }

    /// The world that is running, or a new one.
    pub(crate) fn world(&self) -> Arc<World> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.upgrade().unwrap_or_else(|| {
            let world = Arc::new(World::start(|start| start));
            *known = Arc::downgrade(&world);
            world
        })
    }
}
