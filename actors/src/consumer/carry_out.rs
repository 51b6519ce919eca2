//! How is each effect of the member carried out?

use std::time::Instant;

use super::status::summary;
use super::thread::ConsumerThread;
use crate::catch_panic::{catch_panic, dropped};
use crate::journal::{
    Change, CommitFailed, Committed, ConsumerRestarted, DrainTimedOut, GivenUp, LogWentBack, MembershipConfirmed,
    MembershipDoubted, NotesRead, NotesRefused, NotesTaken, PartitionsPaused, ProgressUnread, Rebalanced,
    RecordsSkipped, StaleAnswers, StallOver, Stalled,
};
use crate::kafka::SourceError;
use crate::status::ActorState;
use crate::supervisor::random;
use delivery::member::Failure;
use delivery::member::effect::{Effect, Told};
use delivery::member::hold::PauseCause;
use delivery::partition::{PartitionOffset, TopicPartition};

impl ConsumerThread {
    /// Carries out what the member has this thread do.
    pub(super) fn carry_out(&mut self) -> Result<(), SourceError> {
        while let Some(effect) = self.member.poll_effect() {
            match effect {
                Effect::Tell(told) => self.tell(told),
                Effect::Status => self.changed = true,
                Effect::Report(id, ended) => {
                    if let Some(at) = self.orders.iter().position(|(known, _)| *known == id) {
                        let (_, report) = self.orders.swap_remove(at);
                        match ended {
                            Ok(result) => report.done(result),
                            Err(why) => report.failed(&why),
                        }
                    }
                }
                Effect::Note { number, offsets } => self.note(number, &offsets),
                Effect::CloseClient => self.close_client(),
                Effect::OpenClient => self.open_client(),
                Effect::End(end) => self.ended = Some(end),
                effect => self.with_client(effect)?,
            }
        }
        if std::mem::take(&mut self.changed) && self.ended.is_none() {
            self.write_status(None);
        }
        Ok(())
    }

    /// What only a client can do.
    fn with_client(&mut self, effect: Effect) -> Result<(), SourceError> {
        let Some(source) = &mut self.source else { return Ok(()) };
        match effect {
            Effect::Accept { partitions, committed_within, noted_within } => {
                self.row = None;
                let journal = &self.parts.journal;
                let partition = "all that were assigned";
                let committed = source.committed(&partitions, committed_within);
                let committed = committed.map_err(|error| journal.write(ProgressUnread { partition, error: &error }));
                let noted = self.notes.as_ref().map_or_else(|| Ok(Vec::new()), |at| at.read(&partitions, noted_within));
                let noted = noted.map_err(|error| journal.write(ProgressUnread { partition, error: &error }));
                self.member.go_on_from(committed.unwrap_or_default(), noted.unwrap_or_default());
                source.accept(&partitions)?;
            }
            Effect::Release { partitions, .. } => {
                self.row = None;
                source.release(&partitions)?;
            }
            Effect::Commit { number, offsets } => {
                if let Err(error) = source.commit(number, &offsets) {
                    self.parts.journal.write(CommitFailed { partition: "all", error: &error });
                    self.member.commit_not_sent(number);
                }
            }
            Effect::Pause { cause, partitions } => {
                let names: Vec<TopicPartition> = partitions.iter().map(|(at, _)| at.clone()).collect();
                source.pause(&names)?;
                for (at, end) in &partitions {
                    // What is in the stash would be in the way of others.
                    if let Some(offset) = end.filter(|_| source.forget(at)) {
                        source.seek(&at.topic, at.partition, offset)?;
                    }
                }
                self.journal_pause(true, cause, &names);
            }
            Effect::Resume { cause, partitions } => {
                source.resume(&partitions)?;
                self.journal_pause(false, cause, &partitions);
            }
            Effect::Seek(at, offset) => source.seek(&at.topic, at.partition, offset)?,
            Effect::LeaveGroup => source.leave(),
            _ => {}
        }
        Ok(())
    }

    fn note(&mut self, number: u64, offsets: &[PartitionOffset]) {
        let Some(notes) = &mut self.notes else { return };
        if let Err(error) = notes.write(number, offsets) {
            self.parts.journal.write(NotesRefused { error: &error, again: true });
            self.member.note_not_sent(number);
        }
    }

    /// The old member leaves before a new one joins: under one instance id they would push each other out.
    fn close_client(&mut self) {
        let _ = self.source.take().map(dropped);
        (self.row, self.reachable) = (None, None);
        self.batch = self.parts.pool.batch();
    }

    fn open_client(&mut self) {
        let failure = match catch_panic(|| self.parts.open_source()) {
            Ok(Ok(source)) => {
                self.source = Some(source);
                self.parts.reporter.made(self.member.is_over_budget(), true);
                return self.member.opened(Instant::now());
            }
            Ok(Err(error)) => error.failure(),
            Err(panicked) => {
                self.panicked_at.clone_from(&panicked.place);
                Failure::Panic(panicked.to_string())
            }
        };
        self.member.failed(&failure, Instant::now(), random());
    }

    fn tell(&mut self, told: Told) {
        let journal = &self.parts.journal;
        match told {
            Told::Assigned(partitions) => self.journal_rebalance(Change::Assigned, &partitions),
            Told::Revoked(partitions) => self.journal_rebalance(Change::Revoked, &partitions),
            Told::Lost(partitions) => self.journal_rebalance(Change::Lost, &partitions),
            Told::DrainTimedOut(unsettled) => journal.write(DrainTimedOut { unsettled }),
            Told::Skipped(count) => journal.write(RecordsSkipped { count }),
            Told::LogsWentBack(count) => journal.write(LogWentBack { count }),
            Told::StaleAnswers(count) => journal.write(StaleAnswers { count }),
            Told::GivenUp(count) => journal.write(GivenUp { count }),
            Told::Doubted(gap) => journal.write(MembershipDoubted { gap }),
            Told::Confirmed => journal.write(MembershipConfirmed),
            Told::ProgressUnread(at, error) => {
                journal.write(ProgressUnread { partition: &at.to_string(), error: &error });
            }
            Told::NotesRead(partitions) => journal.write(NotesRead { partitions }),
            Told::Committed(partitions) => journal.write(Committed { partitions }),
            Told::Noted(partitions) => journal.write(NotesTaken { partitions }),
            Told::Failed { cause, attempt, verdict } => {
                let place = self.panicked_at.take();
                journal.write(ConsumerRestarted { error: &cause, attempt });
                match verdict {
                    Some(verdict) => self.parts.reporter.failed(verdict, &cause, place),
                    None => self.parts.reporter.vitals().failed(cause, place),
                }
            }
            Told::Recovered => self.parts.reporter.recovered(),
            Told::StoppedByOperator => {
                // Of the actor and of its thread it is seen that an operator stopped them.
                self.parts.reporter.stopped();
                self.parts.actor.set_state(ActorState::StoppedByOperator);
            }
            Told::StartedByOperator => self.parts.actor.set_state(ActorState::Running),
            Told::Stalled { partition: at, stall, known } => {
                let (key, handler) = (stall.key.as_deref(), self.handler_of(&at.topic));
                journal.write(Stalled {
                    topic: &at.topic,
                    partition: at.partition,
                    offset: stall.offset,
                    key,
                    handler,
                    why: stall.why,
                    still: stall.still,
                    known,
                });
            }
            Told::StallOver { partition: at, offset, known } => {
                journal.write(StallOver { topic: &at.topic, partition: at.partition, offset, known });
            }
        }
    }

    fn journal_rebalance(&self, change: Change, partitions: &[TopicPartition]) {
        let owned = self.member.owned();
        self.parts.journal.write(Rebalanced { change, partitions: &summary(partitions), owned });
    }

    fn journal_pause(&self, paused: bool, cause: PauseCause, partitions: &[TopicPartition]) {
        let cause = cause.as_str();
        self.parts.journal.write(PartitionsPaused { paused, cause, partitions: &summary(partitions) });
    }
}
