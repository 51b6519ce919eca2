//! The poll loop after a panic of its own: whatever it was at may be half done, so it begins anew with nothing in hand.

use std::sync::mpsc::Receiver;
use std::time::Instant;

use super::Command;
use super::poll::PollLoop;
use crate::guard::Panicked;
use crate::kafka::SourceError;
use crate::status::ConsumerState;

impl PollLoop {
    /// Ends all that it held and joins the group again, within the restart budget. `None` where the thread is over: it was
    /// told to drain, or there is no hope, which was raised.
    pub(super) fn anew(
        mut self,
        panicked: &Panicked,
        commands: &Receiver<Command>,
    ) -> Result<Option<Self>, SourceError> {
        let pause = self.parts.care.panicked(panicked);
        let after = pause.unwrap_or_default();
        // A drain is over by this, without a last commit: what the panic left of the intake is not to be trusted.
        let (back, then) = self.fail_order(&panicked.to_string(), Instant::now() + after);
        if pause.is_none() {
            self.let_go().parts.board.set_state(ConsumerState::Failed);
            return Ok(None);
        }
        self.outside(back, then, commands)
    }
}
