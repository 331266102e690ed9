//! NVIDIA GPUs through NVML, on a thread of its own: NVML blocks, and its device
//! handles borrow the library.
//! API: <https://docs.nvidia.com/deploy/nvml-api/>.
//!
//! - `steps`: how long the energy counter's steps are, and when one is taken.
//! - `fields`: one sample of one GPU.
//! - `events`: what GPUs report by themselves: XID errors.

use std::ffi::OsStr;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use phasegate_core::message::{CollectError, CollectErrorKind};
use phasegate_core::reading::ReadingBody;
use tokio::sync::{mpsc, oneshot};

use super::{Source, Taken};
use crate::clock::Clock;

mod events;
mod fields;
mod steps;

use events::{Events, Kept};
use fields::Reader;

/// The library that the NVIDIA driver installs.
const SYSTEM_LIBRARY: &str = "libnvidia-ml.so.1";

/// `NVML_ERROR_GPU_NOT_FOUND`, which the wrapper has no name for.
const GPU_NOT_FOUND: u32 = 28;

/// Readings that may wait for the one under way.
const WAITING: usize = 8;

/// Every NVIDIA GPU of this machine. Readings that overlap are taken one after
/// the other.
#[derive(Debug)]
pub struct NvmlSource {
    requests: mpsc::Sender<Request>,
    found: Found,
    /// Whoever's reading is complete takes them, so that one which was abandoned
    /// takes none with it.
    kept: Arc<Kept>,
    clock: Clock,
}

/// What was found when the source was opened.
#[derive(Debug)]
struct Found {
    gpus: Vec<Gpu>,
    /// Why XID events cannot be seen, as a sentence without its point.
    unseen: Option<String>,
}

/// A reading that is asked for.
#[derive(Debug)]
struct Request {
    /// It may wait so long for the energy counters to step.
    tick_within: Duration,
    answer: oneshot::Sender<Taken>,
}

/// A GPU as it was found when the source was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// Its index on this machine.
    pub index: u32,
    /// Its UUID.
    pub uuid: String,
    /// Its model, where it says so.
    pub name: Option<String>,
}

impl NvmlSource {
    /// Loads NVML from `lib` (`None`: the system's) and finds the GPUs. Blocks
    /// while the driver initialises, which can take seconds.
    ///
    /// The source's thread ends, and shuts NVML down, when the source is dropped
    /// and the call it may be in has returned.
    ///
    /// # Errors
    /// One sentence: the library cannot be loaded, NVML cannot be initialised, or
    /// there is no GPU.
    pub fn open(lib: Option<PathBuf>, clock: Clock) -> Result<Self, String> {
        let (requests, inbox) = mpsc::channel(WAITING);
        let (opened, opening) = std::sync::mpsc::sync_channel(1);
        let kept = Arc::<Kept>::default();
        let keep = Arc::clone(&kept);
        thread::Builder::new()
            .name("nvml".to_owned())
            .spawn(move || serve(lib, clock, &keep, &opened, inbox))
            .map_err(|error| format!("cannot start the NVML thread: {error}"))?;
        let found = opening
            .recv()
            .map_err(|_| "NVML ended its thread while it was loaded".to_owned())??;
        Ok(Self { requests, found, kept, clock })
    }

    /// The GPUs, by index.
    #[must_use]
    pub fn gpus(&self) -> &[Gpu] {
        &self.found.gpus
    }

    /// Of which GPUs XID events cannot be seen, and why; `None` where they can be
    /// of all.
    #[must_use]
    pub fn xids_unseen(&self) -> Option<&str> {
        self.found.unseen.as_deref()
    }

    fn gone(&self) -> Taken {
        let now = self.clock.now();
        let error = CollectError::new(CollectErrorKind::Lost, "the NVML thread has ended");
        Taken::plain(now, now, Err(error))
    }
}

impl Source for NvmlSource {
    fn name(&self) -> &str {
        "nvml"
    }

    fn read(&self) -> Pin<Box<dyn Future<Output = Taken> + Send + '_>> {
        self.read_within(Duration::ZERO)
    }

    fn read_within(
        &self,
        tick_within: Duration,
    ) -> Pin<Box<dyn Future<Output = Taken> + Send + '_>> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let taken = match self.requests.send(Request { tick_within, answer }).await {
                Ok(()) => answered.await.unwrap_or_else(|_| self.gone()),
                Err(_) => self.gone(),
            };
            Taken { gpu_events: self.kept.take(), ..taken }
        })
    }
}

/// The thread: opens NVML, says what it found, then takes a reading per request
/// until the source is dropped.
fn serve(
    lib: Option<PathBuf>,
    clock: Clock,
    kept: &Kept,
    opened: &std::sync::mpsc::SyncSender<Result<Found, String>>,
    mut inbox: mpsc::Receiver<Request>,
) {
    let path = lib.unwrap_or_else(|| SYSTEM_LIBRARY.into());
    let shown = path.display();
    let nvml = match load(path.as_os_str()) {
        Ok(nvml) => nvml,
        Err(why) => {
            let _ = opened.send(Err(format!("cannot use NVML from {shown}: {why}")));
            return;
        }
    };
    let devices = match find(&nvml) {
        Ok(devices) => devices,
        Err(why) => {
            let _ = opened.send(Err(format!("NVML from {shown} {why}")));
            return;
        }
    };
    let gpus = devices.iter().map(|(gpu, _)| gpu.clone()).collect();
    let mut events = Events::register(&nvml, &devices, clock, kept);
    if opened.send(Ok(Found { gpus, unseen: events.unseen() })).is_err() {
        return;
    }
    // After the answer: nobody waits for it but the first reading.
    let ticks = steps::measure(&devices, &clock, || !inbox.is_closed());
    let mut reader = Reader::new(devices, ticks, clock);
    while let Some(Request { tick_within, answer }) = inbox.blocking_recv() {
        // Abandoned while it waited: the driver is asked for those who listen.
        if answer.is_closed() {
            continue;
        }
        let start = clock.now();
        let body = reader.read(tick_within, || !answer.is_closed()).map(ReadingBody::Gpus);
        // Last, so that what was before a phase's START is not seen after it; and
        // after a failure too, which an XID error may explain.
        events.look();
        // It fails if the reading was abandoned in the meantime.
        let _ = answer.send(Taken::plain(start, clock.now(), body));
    }
}

fn load(path: &OsStr) -> Result<Nvml, String> {
    Nvml::builder().lib_path(path).init().map_err(|error| {
        let remedy = match &error {
            NvmlError::LibloadingError(_) | NvmlError::FailedToLoadSymbol(_) => {
                "install the NVIDIA driver, or give --gpu-telemetry dcgm:URL or none"
            }
            NvmlError::DriverNotLoaded | NvmlError::LibRmVersionMismatch => {
                "load the driver that belongs to this library; nvidia-smi says more"
            }
            NvmlError::NoPermission | NvmlError::OperatingSystem => {
                "give this user or container access to /dev/nvidia*"
            }
            _ => "nvidia-smi says more",
        };
        format!("{}; {remedy}", describe(&error))
    })
}

/// The GPUs that this user may read.
fn find(nvml: &Nvml) -> Result<Vec<(Gpu, Device<'_>)>, String> {
    let count = nvml
        .device_count()
        .map_err(|error| format!("cannot count the GPUs: {}", describe(&error)))?;
    let mut devices = Vec::new();
    for index in 0..count {
        let failed = |error: &NvmlError| format!("cannot open GPU {index}: {}", describe(error));
        let device = match nvml.device_by_index(index) {
            Ok(device) => device,
            // The count includes GPUs that are not for this user.
            Err(error @ NvmlError::NoPermission) => {
                tracing::warn!("{}; it is left out", failed(&error));
                continue;
            }
            Err(error) => return Err(failed(&error)),
        };
        let uuid = device.uuid().map_err(|error| failed(&error))?;
        devices.push((Gpu { index, uuid, name: device.name().ok() }, device));
    }
    if devices.is_empty() {
        return Err("shows no GPU that this user may read; is one attached to this machine or \
                    container?"
            .to_owned());
    }
    Ok(devices)
}

/// The GPU is gone until it is reset, or for good.
fn is_lost(error: &NvmlError) -> bool {
    matches!(
        error,
        NvmlError::GpuLost
            | NvmlError::ResetRequired
            | NvmlError::NotFound
            | NvmlError::UnexpectedVariant(GPU_NOT_FOUND)
    )
}

/// The GPU or its driver does not have the field (a field number that a driver
/// does not know is an invalid argument).
fn is_lacking(error: &NvmlError) -> bool {
    matches!(
        error,
        NvmlError::NotSupported
            | NvmlError::NoPermission
            | NvmlError::InvalidArg
            | NvmlError::FunctionNotFound
            | NvmlError::FailedToLoadSymbol(_)
    )
}

fn describe(error: &NvmlError) -> String {
    match error {
        NvmlError::UnexpectedVariant(code) => format!("NVML returned the unknown code {code}"),
        other => super::fetch::root_cause(other),
    }
}
