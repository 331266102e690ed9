//! Where finished requests go.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use phasegate_core::conductor::ConductorInput;
use phasegate_core::ledger::LedgerInput;
use tokio::sync::mpsc;

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
        Box::pin(async move {
            let returned = ConductorInput::Returned(finished.record.credit_return());
            if let Some(conductor) = self.conductor.get() {
                let _ = conductor.send(returned).await;
            }
            if let Some(records) = &self.records {
                records.write(&finished);
            }
            let _ = self.ledger.send(LedgerInput::Record(finished.record)).await;
        })
    }
}
