//! What does the client say, and how does the member hear of it?

use std::time::Instant;

use super::thread::ConsumerThread;
use crate::journal::{CommitFailed, NotesRefused};
use crate::kafka::{CommitAnswer, Notes, Source, SourceError, SourceEvent};
use delivery::member::{Measured, Taken};
use delivery::partition::TopicPartition;

impl ConsumerThread {
    pub(super) fn take_events(&mut self) -> Result<(), SourceError> {
        let Some(source) = &mut self.source else { return Ok(()) };
        for event in source.poll_events()? {
            let now = Instant::now();
            match event {
                SourceEvent::Assigned(partitions) => self.member.assigned(partitions, now),
                SourceEvent::Revoked { partitions, lost: true } => self.member.lost(partitions, now),
                SourceEvent::Revoked { partitions, lost: false } => self.member.revoked(&partitions, now),
                SourceEvent::Measured { reachable, waits, watermarks } => {
                    let measured = watermarks
                        .into_iter()
                        .map(|(partition, high_watermark, lag)| (partition, Measured { high_watermark, lag }));
                    self.member.measured(waits, measured);
                    self.reachable = Some((now, reachable));
                }
            }
            self.carry_out()?;
        }
        Ok(())
    }

    pub(super) fn take_commit_answers(&mut self) {
        while let Some(answers) = self.source.as_mut().and_then(Source::commit_answers) {
            for CommitAnswer { partition: at, error, .. } in &answers {
                if let Some(error) = error {
                    self.parts.journal.write(CommitFailed { partition: &at.to_string(), error });
                }
            }
            let (number, answers) = taken(answers);
            self.member.commit_answered(number, &answers, Instant::now());
        }
        while let Some(answers) = self.notes.as_mut().and_then(Notes::answers) {
            let error = answers.iter().find_map(|answer| answer.error);
            let (number, answers) = taken(answers);
            let again = self.member.note_answered(number, &answers, Instant::now());
            if let Some(error) = error {
                self.parts.journal.write(NotesRefused { error: &error, again });
            }
        }
    }
}

/// The number of a commit or a note, and what became of its partitions.
fn taken(answers: Vec<CommitAnswer>) -> (u64, Vec<(TopicPartition, Taken)>) {
    let number = answers.first().map_or(0, |answer| answer.number);
    (
        number,
        answers.into_iter().map(|answer| (answer.taken(), answer)).map(|(taken, of)| (of.partition, taken)).collect(),
    )
}
