//! What `/metrics` and `/gpu/metrics` show: vLLM's names (V1 engine,
//! `vllm/v1/metrics/loggers.py`) and those of NVIDIA's dcgm-exporter.

use super::counters::Counters;
use super::exposition::Exposition;
use super::gpu::GpuReading;
use super::shared::{Process, Shared};
use super::truth::Finish;

/// Tokens that the simulated KV cache holds.
const KV_CACHE_TOKENS: f64 = 500_000.0;
/// Memory of a simulated GPU, and what the model itself takes, in MiB.
const MEMORY_MIB: u64 = 81_559;
const MODEL_MIB: u64 = 40_000;
/// Memory of a cached token, in KiB (an 8-billion-parameter model's, in 16 bit).
const TOKEN_KIB: u64 = 128;

/// The body of `/metrics`.
pub(crate) fn server(shared: &Shared, process: Process) -> String {
    let scrapes = shared.scrapes();
    shared.with(process, |engine| {
        let model = shared.config.model.as_str();
        let mut text = Exposition::default();
        let began_at = shared.began(process, engine.published().began_at).as_secs_f64();
        python(&mut text, scrapes, engine.now().as_secs_f64(), began_at);
        let (running, waiting) = (engine.running(), engine.waiting());
        let usage = (engine.resident_tokens() as f64 / KV_CACHE_TOKENS).min(1.0);
        let labels = [("engine", "0"), ("model_name", model)];
        text.family(
            "vllm:num_requests_running",
            "gauge",
            "Number of requests in model execution batches.",
        )
        .float(&labels, f64::from(running))
        .family("vllm:num_requests_waiting", "gauge", "Number of requests waiting to be processed.")
        .float(&labels, waiting as f64)
        .family("vllm:kv_cache_usage_perc", "gauge", "KV-cache usage. 1 means 100 percent usage.")
        .float(&labels, usage);
        counters(&mut text, engine.published(), model);
        created(&mut text, began_at, model);
        text.finish()
    })
}

/// Families that move without any load, as those of a Python server do: each
/// scrape costs processor time and collects garbage.
fn python(text: &mut Exposition, scrapes: u64, uptime: f64, began_at: f64) {
    text.family("python_gc_objects_collected_total", "counter", "Objects collected during gc");
    for (generation, per_scrape) in [("0", 40), ("1", 5), ("2", 1)] {
        text.float(&[("generation", generation)], (scrapes * per_scrape) as f64);
    }
    let cpu = uptime * 0.02 + scrapes as f64 * 0.001;
    text.family("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.")
        .float(&[], 1_073_741_824.0 + scrapes as f64 * 4096.0)
        .family(
            "process_start_time_seconds",
            "gauge",
            "Start time of the process since unix epoch in seconds.",
        )
        .float(&[], began_at)
        .family(
            "process_cpu_seconds_total",
            "counter",
            "Total user and system CPU time spent in seconds.",
        )
        .float(&[], cpu);
}

fn counters(text: &mut Exposition, counters: &Counters, model: &str) {
    let labels = [("engine", "0"), ("model_name", model)];
    let plain: [(&str, &str, u64); 5] = [
        (
            "vllm:prefix_cache_queries_total",
            "Prefix cache queries, in tokens.",
            counters.cache_queries,
        ),
        ("vllm:prefix_cache_hits_total", "Prefix cache hits, in tokens.", counters.cache_hits),
        ("vllm:num_preemptions_total", "Cumulative number of preemption from the engine.", 0),
        ("vllm:prompt_tokens_total", "Number of prefill tokens processed.", counters.prompt_tokens),
        (
            "vllm:generation_tokens_total",
            "Number of generation tokens processed.",
            counters.generation_tokens,
        ),
    ];
    for (name, help, value) in plain {
        text.family(name, "counter", help).float(&labels, value as f64);
    }
    text.family(
        "vllm:request_success_total",
        "counter",
        "Count of successfully processed requests.",
    );
    for (reason, count) in Finish::ALL.iter().zip(counters.success) {
        let labels = [("engine", "0"), ("finished_reason", reason.name()), ("model_name", model)];
        text.float(&labels, count as f64);
    }
    let histograms = [
        ("time_to_first_token_seconds", "time to first token", &counters.ttft),
        ("inter_token_latency_seconds", "inter-token latency", &counters.inter_token),
        (
            "request_time_per_output_token_seconds",
            "time per output token of a request",
            &counters.per_output_token,
        ),
        ("e2e_request_latency_seconds", "e2e request latency", &counters.e2e),
        ("request_queue_time_seconds", "time spent in WAITING phase", &counters.queue),
        ("request_inference_time_seconds", "time spent in RUNNING phase", &counters.inference),
        ("request_prefill_time_seconds", "time spent in PREFILL phase", &counters.prefill),
        ("request_decode_time_seconds", "time spent in DECODE phase", &counters.decode),
    ];
    for (name, what, histogram) in histograms {
        let help = format!("Histogram of {what} in seconds.");
        text.family(&format!("vllm:{name}"), "histogram", &help).histogram(&labels, histogram);
    }
    let tokens = [
        ("request_prompt_tokens", "prefill tokens processed", &counters.request_prompt_tokens),
        (
            "request_generation_tokens",
            "generation tokens processed",
            &counters.request_generation_tokens,
        ),
        (
            "request_params_max_tokens",
            "the max_tokens request parameter",
            &counters.request_max_tokens,
        ),
    ];
    for (name, what, histogram) in tokens {
        let help = format!("Histogram of {what}.");
        text.family(&format!("vllm:{name}"), "histogram", &help).histogram(&labels, histogram);
    }
    text.family("http_requests_total", "counter", "Total number of requests by method and status.");
    for ((handler, method, class), count) in &counters.http {
        let status = format!("{class}xx");
        let labels = [("handler", *handler), ("method", *method), ("status", status.as_str())];
        text.float(&labels, *count as f64);
    }
}

/// When a few of the series began, as Python's client says it in this format.
fn created(text: &mut Exposition, began_at: f64, model: &str) {
    let labels = [("engine", "0"), ("model_name", model)];
    for name in ["prompt_tokens", "generation_tokens", "e2e_request_latency_seconds"] {
        let help = format!("When vllm:{name} was created.");
        text.family(&format!("vllm:{name}_created"), "gauge", &help).float(&labels, began_at);
    }
}

/// The body of `/gpu/metrics`: the GPUs of all processes.
pub(crate) fn gpus(shared: &Shared) -> String {
    let mut gpus = Vec::new();
    let mut resident = 0;
    for process in shared.processes() {
        let (own, tokens) = shared.with(process, |e| (e.gpus(), e.exported_tokens()));
        let first = gpus.len();
        gpus.extend(own.into_iter().map(|gpu| GpuReading { index: first + gpu.index, ..gpu }));
        resident += tokens;
    }
    let cached = (resident * TOKEN_KIB / 1024).min(MEMORY_MIB - MODEL_MIB);
    let used = MODEL_MIB + cached;
    let free = MEMORY_MIB - used;
    type Show = fn(&GpuReading) -> String;
    let families: [(&str, &str, &str, Show); 7] = [
        ("SM_CLOCK", "gauge", "SM clock frequency (in MHz).", |gpu| gpu.sm_clock_mhz.to_string()),
        ("MEM_CLOCK", "gauge", "Memory clock frequency (in MHz).", |gpu| {
            gpu.memory_clock_mhz.to_string()
        }),
        ("GPU_TEMP", "gauge", "GPU temperature (in C).", |gpu| gpu.temperature_c.to_string()),
        ("POWER_USAGE", "gauge", "Power draw (in W).", |gpu| format!("{:.6}", gpu.power_w)),
        (
            "TOTAL_ENERGY_CONSUMPTION",
            "counter",
            "Total energy consumption since boot (in mJ).",
            |gpu| gpu.energy_mj.to_string(),
        ),
        ("GPU_UTIL", "gauge", "GPU utilization (in %).", |gpu| gpu.utilization_pct.to_string()),
        ("XID_ERRORS", "gauge", "Value of the last XID error encountered.", |_| "0".to_owned()),
    ];
    let mut text = Exposition::default();
    for (name, kind, help, show) in families {
        text.family(&format!("DCGM_FI_DEV_{name}"), kind, help);
        for gpu in &gpus {
            device(&mut text, gpu, &show(gpu));
        }
    }
    for (name, help, mib) in [
        ("FB_FREE", "Framebuffer memory free (in MiB).", free),
        ("FB_USED", "Framebuffer memory used (in MiB).", used),
    ] {
        text.family(&format!("DCGM_FI_DEV_{name}"), "gauge", help);
        for gpu in &gpus {
            device(&mut text, gpu, &mib.to_string());
        }
    }
    text.finish()
}

fn device(text: &mut Exposition, gpu: &GpuReading, value: &str) {
    let index = gpu.index.to_string();
    let bus = format!("00000000:{:02X}:00.0", gpu.index + 1);
    let device = format!("nvidia{}", gpu.index);
    let labels = [
        ("gpu", index.as_str()),
        ("UUID", gpu.uuid.as_str()),
        ("pci_bus_id", bus.as_str()),
        ("device", device.as_str()),
        ("modelName", gpu.name.as_str()),
        ("Hostname", "phasegate-sim"),
    ];
    text.sample(&labels, value);
}
