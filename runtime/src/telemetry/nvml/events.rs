//! What GPUs report by themselves: XID errors and double-bit ECC errors, as NVML's
//! events. They are asked for at each reading, without waiting, so that each is
//! known to have happened between two looks.
//!
//! Every GPU has an event set of its own: a GPU that cannot be registered, or that
//! is lost, takes nobody else's events with it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::event::EventSet;
use nvml_wrapper::struct_wrappers::event::EventData;
use nvml_wrapper::{Device, Nvml};
use phasegate_core::Tick;
use phasegate_core::reading::{GpuEvent, GpuEventKind};

use super::{Gpu, describe};
use crate::clock::Clock;

/// What is asked for, of what a GPU has.
const WANTED: EventTypes = EventTypes::CRITICAL_XID_ERROR.union(EventTypes::DOUBLE_BIT_ECC_ERROR);

/// So many events of a GPU are taken at one look; the others are left to the next.
const PER_LOOK: u32 = 256;
/// So many numbers of one look are told apart; the others are counted together.
const NUMBERS: usize = 8;
/// With so many that no reading has carried away no more are asked for: the driver
/// keeps them.
const MOST_KEPT: usize = 256;

/// Events that no reading has carried away yet.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<Vec<GpuEvent>>);

impl Kept {
    /// Takes them out, in the order in which they were seen.
    pub(super) fn take(&self) -> Vec<GpuEvent> {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<GpuEvent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The events of every GPU.
pub(super) struct Events<'nvml> {
    watched: Vec<Watched<'nvml>>,
    /// GPUs that were never seen: their indices, by the reason.
    unseen: BTreeMap<String, Vec<u32>>,
    clock: Clock,
    kept: &'nvml Kept,
}

/// One GPU.
struct Watched<'nvml> {
    gpu: Gpu,
    /// `None` once it failed.
    set: Option<EventSet<'nvml>>,
    /// There was none left at this moment.
    since: Tick,
}

/// A kind of event; orders them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Xid(Option<u64>),
    DoubleBitEcc,
}

impl Kind {
    fn of(event: &EventData<'_>) -> Self {
        match &event.event_data {
            Some(XidError::Value(number)) => Self::Xid(Some(*number)),
            Some(XidError::Unknown) => Self::Xid(None),
            // Only those were asked for.
            None => Self::DoubleBitEcc,
        }
    }

    fn times(self, count: u64) -> GpuEventKind {
        match self {
            Self::Xid(number) => GpuEventKind::Xid { number, count },
            Self::DoubleBitEcc => GpuEventKind::DoubleBitEcc { count },
        }
    }
}

impl<'nvml> Events<'nvml> {
    /// Has the driver record the events of every GPU from now on. A GPU whose
    /// events cannot be seen is said to be so for the whole run.
    pub(super) fn register(
        nvml: &'nvml Nvml,
        devices: &[(Gpu, Device<'nvml>)],
        clock: Clock,
        kept: &'nvml Kept,
    ) -> Self {
        let mut events = Self { watched: Vec::new(), unseen: BTreeMap::new(), clock, kept };
        for (gpu, device) in devices {
            let since = clock.now();
            let registered = register(nvml, device).and_then(|set| {
                let mut one = Watched { gpu: gpu.clone(), set: Some(set), since };
                // A library may know how to register and not how to ask.
                one.look(&clock, kept).map(|()| one).map_err(|error| describe(&error))
            });
            match registered {
                Ok(one) => events.watched.push(one),
                Err(reason) => {
                    events.unseen.entry(reason.clone()).or_default().push(gpu.index);
                    let what = GpuEventKind::Unseen { reason };
                    let (from, to) = (Tick::ZERO, clock.now());
                    kept.lock().push(GpuEvent { uuid: gpu.uuid.clone(), from, to, what });
                }
            }
        }
        events
    }

    /// Of which GPUs nothing can be seen, and why.
    pub(super) fn unseen(&self) -> Option<String> {
        let each = self.unseen.iter().map(|(reason, indices)| {
            let gpus: Vec<_> = indices.iter().map(u32::to_string).collect();
            match self.watched.is_empty() && self.unseen.len() == 1 {
                true => format!("XID events cannot be seen: {reason}"),
                false => format!("XID events of GPU {} cannot be seen: {reason}", gpus.join(", ")),
            }
        });
        let each: Vec<_> = each.collect();
        (!each.is_empty()).then(|| each.join("; "))
    }

    /// Keeps what the GPUs have reported since the last look. Never waits.
    pub(super) fn look(&mut self) {
        if self.kept.lock().len() >= MOST_KEPT {
            return;
        }
        for one in &mut self.watched {
            let Err(error) = one.look(&self.clock, self.kept) else { continue };
            let reason = describe(&error);
            let Gpu { index, uuid, .. } = &one.gpu;
            tracing::warn!("XID events of GPU {index} ({uuid}) can no longer be seen: {reason}");
            one.set = None;
            let what = GpuEventKind::Unseen { reason };
            let (from, to) = (one.since, self.clock.now());
            self.kept.lock().push(GpuEvent { uuid: uuid.clone(), from, to, what });
        }
    }
}

impl Watched<'_> {
    /// Keeps what there is, as far as one look goes; the error that ended it.
    fn look(&mut self, clock: &Clock, kept: &Kept) -> Result<(), NvmlError> {
        let Some(set) = &self.set else { return Ok(()) };
        let mut counts: BTreeMap<Kind, u64> = BTreeMap::new();
        let (from, mut since) = (self.since, self.since);
        let mut outcome = Ok(());
        for _ in 0..PER_LOOK {
            let before = clock.now();
            match set.wait(0) {
                Ok(event) => {
                    let kind = Kind::of(&event);
                    let told = counts.contains_key(&kind) || counts.len() < NUMBERS;
                    *counts.entry(if told { kind } else { Kind::Xid(None) }).or_default() += 1;
                }
                Err(NvmlError::Timeout) => {
                    since = before;
                    break;
                }
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        self.since = since;
        let (uuid, to) = (&self.gpu.uuid, clock.now());
        kept.lock().extend(counts.into_iter().map(|(kind, count)| GpuEvent {
            uuid: uuid.clone(),
            from,
            to,
            what: kind.times(count),
        }));
        outcome
    }
}

/// Has the driver record a GPU's events; why it cannot.
#[cfg(target_os = "linux")]
fn register<'nvml>(nvml: &'nvml Nvml, device: &Device<'nvml>) -> Result<EventSet<'nvml>, String> {
    let why = |error: NvmlError| describe(&error);
    let supported = device.supported_event_types().map_err(why)?;
    if !supported.contains(EventTypes::CRITICAL_XID_ERROR) {
        return Err("this GPU or its driver does not report them".to_owned());
    }
    let set = nvml.create_event_set().map_err(why)?;
    device.register_events(supported & WANTED, set).map_err(|error| why(error.error))
}

#[cfg(not(target_os = "linux"))]
fn register<'nvml>(_: &'nvml Nvml, _: &Device<'nvml>) -> Result<EventSet<'nvml>, String> {
    Err("NVML reports them on Linux only".to_owned())
}
