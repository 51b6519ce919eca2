//! A process that is started, frozen, thawed and killed as an operator, a container or a power cut would do it.

use std::io;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Between two looks at whether it has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A child of ours. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        Ok(Self { child: command.spawn()? })
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        // Not reaped yet, so the id is still its own.
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Waits for its end; `None` when it has not ended by then.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn ended(&mut self, within: Duration) -> io::Result<Option<ExitStatus>> {
        let until = Instant::now() + within;
        loop {
            let status = self.child.try_wait()?;
            if status.is_some() || Instant::now() >= until {
                return Ok(status);
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
