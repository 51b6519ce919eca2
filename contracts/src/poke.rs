//! Harm on demand: with `CHAOS=true` the demo's handlers do what `data.chaos` of an event says, to show what comes of it.

use std::time::Duration;

use kafka_actors::{Event, HandlerError};
use serde_json::Value;

kafka_actors::settings! {
    /// Whether handlers obey `data.chaos`. Where they do not, it is a member like others that no contract knows.
    #[derive(Clone, Copy, Debug)]
    pub struct Chaos {
        /// `true` lets `data.chaos` of an event harm the demo's handlers; never in production
        on: bool = switch("CHAOS", false),
    }
}

/// What an event may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    /// The handler panics.
    Panic,
    /// The handler never answers.
    Hang,
    /// So many first attempts fail.
    Fail(u32),
    /// The handler takes so long first.
    Sleep(Duration),
}

impl Chaos {
    /// Does what the event says, before the handler does what it is for. Where the event says nothing, nothing happens.
    ///
    /// # Errors
    /// Transient where an attempt should fail. Permanent where the word is none of those above: a mistyped one is told.
    ///
    /// # Panics
    /// Where the event says so.
    pub async fn obey<E>(self, event: &Event<E>) -> Result<(), HandlerError> {
        // The contracts do not know the member, so that it costs nothing and changes nothing where the switch is off.
        let Some(word) = event.record().value().filter(|_| self.on).and_then(word_in) else { return Ok(()) };
        match Harm::read(&word) {
            Some(Harm::Panic) => panic!("data.chaos is \"panic\""),
            Some(Harm::Hang) => std::future::pending().await,
            Some(Harm::Fail(attempts)) if event.attempt() <= attempts => {
                Err(HandlerError::transient(format_args!("data.chaos is {word}: attempt {} fails", event.attempt())))
            }
            Some(Harm::Fail(_)) => Ok(()),
            Some(Harm::Sleep(time)) => {
                tokio::time::sleep(time).await;
                Ok(())
            }
            None => {
                let known = r#""panic", "hang", "fail:<attempts>" or "sleep:<milliseconds>""#;
                Err(HandlerError::permanent(format_args!("data.chaos is none of {known}")))
            }
        }
    }
}

fn word_in(value: &[u8]) -> Option<Value> {
    let value: Value = serde_json::from_slice(value).ok()?;
    value.pointer("/data/chaos").filter(|word| !word.is_null()).cloned()
}

impl Harm {
    fn read(word: &Value) -> Option<Self> {
        let word = word.as_str()?;
        match (word, word.split_once(':')) {
            ("panic", _) => Some(Self::Panic),
            ("hang", _) => Some(Self::Hang),
            (_, Some(("fail", attempts))) => Some(Self::Fail(attempts.parse().ok()?)),
            (_, Some(("sleep", millis))) => {
                Some(Self::Sleep(Duration::from_millis(millis.parse::<u32>().ok()?.into())))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_word_is_read_where_it_is_and_only_as_it_is_written() {
        let said = |json: &str| word_in(json.as_bytes());
        assert_eq!(said(r#"{"userId":1,"data":{"chaos":"panic"}}"#), Some(json!("panic")));
        for nothing in ["{}", "panic", r#"{"chaos":"panic"}"#, r#"{"data":"panic"}"#, r#"{"data":{"chaos":null}}"#] {
            assert_eq!(said(nothing), None, "{nothing}");
        }
        let read = |word: &str| Harm::read(&json!(word));
        assert_eq!((read("panic"), read("hang")), (Some(Harm::Panic), Some(Harm::Hang)));
        assert_eq!(read("fail:2"), Some(Harm::Fail(2)));
        assert_eq!(read("sleep:250"), Some(Harm::Sleep(Duration::from_millis(250))));
        for wrong in ["", "panik", "Panic", "panic:1", "hang:", "fail", "fail:", "fail:-1", "sleep:1.5", "sleep:1s"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(Harm::read(&json!(5)), None);
    }
}
