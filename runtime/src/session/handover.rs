//! Where finished requests go.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use phasegate_core::conductor::ConductorInput;
use phasegate_core::ledger::LedgerInput;
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::export::records::RecordWriter;
use crate::load::{Completions, Finished};

/// Hands a finished request to everybody who wants it: the credit to the
/// conductor first, since the next request may wait for it.
pub struct Handover {
    /// The conductor's local queue, once there is one.
    pub conductor: Arc<OnceLock<mpsc::Sender<ConductorInput>>>,
    /// The ledger's local queue.
    pub ledger: mpsc::Sender<LedgerInput>,
    /// The artifact, if there is one.
    pub records: Option<RecordWriter>,
}

impl Completions for Handover {
    fn complete(&self, finished: Finished) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let returned = ConductorInput::Returned(finished.record.credit_return());
        // Hardly ever is there no room; only then is there something to wait for.
        let kept = self.conductor.get().and_then(|conductor| refused(conductor, returned));
        if let Some(records) = &self.records {
            records.write(&finished);
        }
        let record = LedgerInput::Record(finished.record);
        if kept.is_none() {
            return match refused(&self.ledger, record) {
                None => Box::pin(std::future::ready(())),
                Some(record) => Box::pin(self.wait_for_room(None, record)),
            };
        }
        Box::pin(self.wait_for_room(kept, record))
    }
}

impl Handover {
    /// Hands in what there was no room for, the credit first.
    async fn wait_for_room(&self, returned: Option<ConductorInput>, record: LedgerInput) {
        if let (Some(conductor), Some(returned)) = (self.conductor.get(), returned) {
            let _ = conductor.send(returned).await;
        }
        let _ = self.ledger.send(record).await;
    }
}

/// What found no room in `queue`. Nothing, where its reader is gone.
fn refused<T>(queue: &mpsc::Sender<T>, input: T) -> Option<T> {
    match queue.try_send(input) {
        Ok(()) | Err(TrySendError::Closed(_)) => None,
        Err(TrySendError::Full(input)) => Some(input),
    }
}
