//! NVIDIA GPUs through NVML, on a thread of its own: NVML blocks, and its device
//! handles borrow the library.
//! API: <https://docs.nvidia.com/deploy/nvml-api/>.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::thread;

use nvml_wrapper::enum_wrappers::device::{Clock as ClockDomain, TemperatureSensor};
use nvml_wrapper::enums::device::SampleValue;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::{Device, Nvml};
use phasegate_core::message::{CollectError, CollectErrorKind};
use phasegate_core::reading::{GpuSample, ReadingBody};
use tokio::sync::{mpsc, oneshot};

use super::{Source, Taken};
use crate::clock::Clock;

/// The library that the NVIDIA driver installs.
const SYSTEM_LIBRARY: &str = "libnvidia-ml.so.1";

/// `NVML_FI_DEV_POWER_INSTANT`: milliwatts at this moment. What
/// `nvmlDeviceGetPowerUsage` gives is averaged over a second on Ampere and later.
const POWER_INSTANT: FieldId = FieldId(186);

/// `NVML_ERROR_GPU_NOT_FOUND`, which the wrapper has no name for.
const GPU_NOT_FOUND: u32 = 28;

/// Readings that may wait for the one under way.
const WAITING: usize = 8;

const MIB: f64 = 1_048_576.0;

/// Every NVIDIA GPU of this machine. Readings that overlap are taken one after
/// the other.
#[derive(Debug)]
pub struct NvmlSource {
    requests: mpsc::Sender<oneshot::Sender<Taken>>,
    gpus: Vec<Gpu>,
    clock: Clock,
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
        thread::Builder::new()
            .name("nvml".to_owned())
            .spawn(move || serve(lib, clock, &opened, inbox))
            .map_err(|error| format!("cannot start the NVML thread: {error}"))?;
        let gpus = opening
            .recv()
            .map_err(|_| "NVML ended its thread while it was loaded".to_owned())??;
        Ok(Self { requests, gpus, clock })
    }

    /// The GPUs, by index.
    #[must_use]
    pub fn gpus(&self) -> &[Gpu] {
        &self.gpus
    }

    fn gone(&self) -> Taken {
        let now = self.clock.now();
        let error = CollectError::new(CollectErrorKind::Lost, "the NVML thread has ended");
        Taken { start: now, first_byte: None, end: now, malformed: None, body: Err(error) }
    }
}

impl Source for NvmlSource {
    fn name(&self) -> &str {
        "nvml"
    }

    fn read(&self) -> Pin<Box<dyn Future<Output = Taken> + Send + '_>> {
        Box::pin(async {
            let (answer, answered) = oneshot::channel();
            if self.requests.send(answer).await.is_err() {
                return self.gone();
            }
            answered.await.unwrap_or_else(|_| self.gone())
        })
    }
}

/// The thread: opens NVML, says what it found, then takes a reading per request
/// until the source is dropped.
fn serve(
    lib: Option<PathBuf>,
    clock: Clock,
    opened: &std::sync::mpsc::SyncSender<Result<Vec<Gpu>, String>>,
    mut inbox: mpsc::Receiver<oneshot::Sender<Taken>>,
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
    if opened.send(Ok(gpus)).is_err() {
        return;
    }
    let mut reader = Reader { devices, warned: BTreeSet::new() };
    while let Some(answer) = inbox.blocking_recv() {
        // Abandoned while it waited: the driver is asked for those who listen.
        if answer.is_closed() {
            continue;
        }
        let start = clock.now();
        let body = reader.read().map(ReadingBody::Gpus);
        // It fails if the reading was abandoned in the meantime.
        let end = clock.now();
        let _ = answer.send(Taken { start, first_byte: None, end, malformed: None, body });
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

struct Reader<'nvml> {
    devices: Vec<(Gpu, Device<'nvml>)>,
    /// The GPUs and fields whose failure has been logged.
    warned: BTreeSet<(u32, &'static str)>,
}

impl Reader<'_> {
    /// One sample of every GPU.
    fn read(&mut self) -> Result<Vec<GpuSample>, CollectError> {
        let Self { devices, warned } = self;
        devices.iter().map(|(gpu, device)| sample(gpu, device, warned)).collect()
    }
}

/// How much a field's failure matters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// Energy is computed from it: without it the reading is none.
    Decisive,
    /// The reading is good without it.
    Beside,
}

fn sample(
    gpu: &Gpu,
    device: &Device<'_>,
    warned: &mut BTreeSet<(u32, &'static str)>,
) -> Result<GpuSample, CollectError> {
    let mut fields = Fields { gpu, warned };
    use Weight::{Beside, Decisive};
    // The energy counter first, so that it is as near to the reading's start as
    // can be.
    let energy_mj = fields.get("energy", Decisive, device.total_energy_consumption())?;
    let power_mw = match fields.get("instantaneous power", Beside, instant_power(device))? {
        Some(power) => Some(power),
        None => fields.get("power", Decisive, device.power_usage())?.map(u64::from),
    };
    let utilization = fields.get("utilisation", Beside, device.utilization_rates())?;
    let memory = fields.get("memory", Beside, device.memory_info())?;
    let temperature =
        fields.get("temperature", Beside, device.temperature(TemperatureSensor::Gpu))?;
    let sm_clock = fields.get("SM clock", Beside, device.clock_info(ClockDomain::SM))?;
    let memory_clock =
        fields.get("memory clock", Beside, device.clock_info(ClockDomain::Memory))?;
    Ok(GpuSample {
        uuid: gpu.uuid.clone(),
        index: Some(gpu.index),
        name: gpu.name.clone(),
        energy_mj,
        power_mw,
        utilization_pct: utilization.map(|rates| f64::from(rates.gpu)),
        memory_used_mib: memory.as_ref().map(|memory| memory.used as f64 / MIB),
        memory_total_mib: memory.as_ref().map(|memory| memory.total as f64 / MIB),
        temperature_c: temperature.map(f64::from),
        sm_clock_mhz: sm_clock.map(f64::from),
        memory_clock_mhz: memory_clock.map(f64::from),
    })
}

fn instant_power(device: &Device<'_>) -> Result<u64, NvmlError> {
    let sample = device.field_values_for(&[POWER_INSTANT])?.pop().ok_or(NvmlError::NoData)??;
    match sample.value? {
        SampleValue::U32(milliwatts) => Ok(milliwatts.into()),
        SampleValue::U64(milliwatts) => Ok(milliwatts),
        SampleValue::I64(_) | SampleValue::F64(_) => Err(NvmlError::NoData),
    }
}

struct Fields<'a> {
    gpu: &'a Gpu,
    warned: &'a mut BTreeSet<(u32, &'static str)>,
}

impl Fields<'_> {
    /// A field's value; `None` where the GPU or its driver lacks the field, or
    /// where it failed and the reading is good without it.
    fn get<T>(
        &mut self,
        field: &'static str,
        weight: Weight,
        value: Result<T, NvmlError>,
    ) -> Result<Option<T>, CollectError> {
        let error = match value {
            Ok(value) => return Ok(Some(value)),
            Err(error) => error,
        };
        let Gpu { index, uuid, .. } = self.gpu;
        if is_lost(&error) {
            let message = format!("GPU {index} ({uuid}) is lost: {}", describe(&error));
            return Err(CollectError::new(CollectErrorKind::Lost, message));
        }
        if is_lacking(&error) {
            return Ok(None);
        }
        let message = format!("cannot read {field} of GPU {index} ({uuid}): {}", describe(&error));
        match weight {
            Weight::Decisive => Err(CollectError::new(CollectErrorKind::Other, message)),
            Weight::Beside => {
                if self.warned.insert((*index, field)) {
                    tracing::warn!("{message}; it is left out");
                }
                Ok(None)
            }
        }
    }
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
