//! What was said in each session so far, as JSON messages.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use phasegate_core::record::Credit;

/// The histories of sessions that are not over. One that is cut off by the end
/// of its phase stays until the run ends: they are no more than the phase had
/// slots.
#[derive(Debug, Default)]
pub(super) struct Histories(Mutex<BTreeMap<(u16, u32), String>>);

impl Histories {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(u16, u32), String>> {
        // The map is whole after every operation on it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds `messages` (JSON, without brackets) to the session of `credit`: all
    /// that was said, as a JSON list.
    pub(super) fn say(&self, credit: &Credit, messages: &str) -> String {
        let key = (credit.id.phase, credit.item.session);
        let mut all = self.lock();
        if credit.item.turn == 0 {
            all.remove(&key);
        }
        let mut said = all.remove(&key).unwrap_or_default();
        if !said.is_empty() {
            said.push(',');
        }
        said.push_str(messages);
        let list = format!("[{said}]");
        if !credit.item.last {
            all.insert(key, said);
        }
        list
    }

    /// The server said `answer`; `None` if it did not answer: the session is
    /// over.
    pub(super) fn answered(&self, credit: &Credit, answer: Option<String>) {
        let key = (credit.id.phase, credit.item.session);
        let mut all = self.lock();
        match (answer, all.get_mut(&key)) {
            (Some(answer), Some(said)) => {
                let message = serde_json::json!({"role": "assistant", "content": answer});
                said.push(',');
                said.push_str(&message.to_string());
            }
            (Some(_), None) => {}
            (None, _) => {
                all.remove(&key);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }
}
