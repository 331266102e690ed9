//! The table: family by family.
//!
//! Sources: vLLM `vllm/v1/metrics/loggers.py` and `stats.py`; SGLang
//! `python/sglang/srt/metrics/collector.py`; TGI `router/src/server.rs` and
//! `docs/source/reference/metrics.md`; Triton `docs/user_guide/metrics.md` and the
//! TensorRT-LLM backend's `custom_metrics_reporter.cc`; Dynamo
//! `lib/llm/src/http/service/metrics.rs` and `prometheus_names.rs`; llama.cpp
//! `tools/server/README.md`; LMDeploy `lmdeploy/metrics/loggers.py`.
//!
//! Where a source leaves a doubt, a family moves and is not exact: an exact one
//! that is wrong would leave every boundary unsettled.

use super::{Engine, Over, Part, Role, Rule, Unit};

/// A counter of finished requests.
const REQUESTS: Role = Role::Counts(&[(Part::Value, Unit::Requests)]);
/// A histogram with one observation a finished request.
const PER_REQUEST: Role = Role::Counts(&[(Part::Count, Unit::Requests)]);
/// A counter of prompt tokens.
const PROMPT: Role = Role::Counts(&[(Part::Value, Unit::PromptTokens)]);
/// A histogram of the prompt tokens of finished requests.
const PROMPT_LENGTHS: Role =
    Role::Counts(&[(Part::Count, Unit::Requests), (Part::Sum, Unit::PromptTokens)]);
/// A histogram of prompt tokens that leaves out requests without a token.
const PROMPT_SUM: Role = Role::Counts(&[(Part::Sum, Unit::PromptTokens)]);
/// A counter of output tokens.
const OUTPUT: Role = Role::Counts(&[(Part::Value, Unit::OutputTokens)]);
/// A histogram of the output tokens of finished requests.
const OUTPUT_LENGTHS: Role =
    Role::Counts(&[(Part::Count, Unit::Requests), (Part::Sum, Unit::OutputTokens)]);
const MOVES: Role = Role::Moves;
const BUSY: Role = Role::Busy;

/// A request that did not finish may be counted.
const MAYBE: bool = true;
/// Only finished requests are counted.
const NEVER: bool = false;

/// Name, with `_` for `:` and without a counter's `_total`; what it is; whether
/// unfinished requests may be counted. A name that ends in `*` stands for all
/// that begin so and have no row of their own.
type Row = (&'static str, Role, bool);

/// An engine, how its names begin, its rows.
pub(super) struct Engineered {
    pub(super) engine: Engine,
    pub(super) prefixes: &'static [&'static str],
    pub(super) rows: &'static [Row],
}

pub(super) const TABLE: [Engineered; 7] = [
    Engineered { engine: Engine::Vllm, prefixes: &["vllm_"], rows: VLLM },
    Engineered { engine: Engine::Sglang, prefixes: &["sglang_"], rows: SGLANG },
    Engineered { engine: Engine::Tgi, prefixes: &["tgi_"], rows: TGI },
    Engineered {
        engine: Engine::Triton,
        prefixes: &["nv_inference_", "nv_trt_llm_", "nv_cache_", "nv_llm_", "trtllm_"],
        rows: TRITON,
    },
    Engineered { engine: Engine::Dynamo, prefixes: &["dynamo_"], rows: DYNAMO },
    Engineered { engine: Engine::LlamaCpp, prefixes: &["llamacpp_"], rows: LLAMA_CPP },
    Engineered { engine: Engine::Lmdeploy, prefixes: &["lmdeploy_"], rows: LMDEPLOY },
];

/// Tokens are counted as they are processed, so those of a request that is
/// aborted are counted as far as it came; prompt tokens include cached ones, once
/// a request. `request_success` has a `finished_reason`, `abort` among them.
const VLLM: &[Row] = &[
    ("vllm_request_success", REQUESTS, MAYBE),
    ("vllm_e2e_request_latency_seconds", PER_REQUEST, MAYBE),
    ("vllm_request_queue_time_seconds", PER_REQUEST, MAYBE),
    ("vllm_request_inference_time_seconds", PER_REQUEST, MAYBE),
    ("vllm_request_prefill_time_seconds", PER_REQUEST, MAYBE),
    ("vllm_request_decode_time_seconds", PER_REQUEST, MAYBE),
    ("vllm_request_prompt_tokens", PROMPT_LENGTHS, MAYBE),
    ("vllm_request_generation_tokens", OUTPUT_LENGTHS, MAYBE),
    ("vllm_prompt_tokens", PROMPT, MAYBE),
    ("vllm_generation_tokens", OUTPUT, MAYBE),
    ("vllm_num_requests_running", BUSY, MAYBE),
    ("vllm_num_requests_waiting", BUSY, MAYBE),
    // Only requests that got a token.
    ("vllm_time_to_first_token_seconds", MOVES, MAYBE),
    // Not of requests with one token.
    ("vllm_request_time_per_output_token_seconds", MOVES, MAYBE),
    ("vllm_inter_token_latency_seconds", MOVES, MAYBE),
    ("vllm_time_per_output_token_seconds", MOVES, MAYBE),
    ("vllm_time_per_prefill_token_request_seconds", MOVES, MAYBE),
    // Only requests that set it.
    ("vllm_request_params_max_tokens", MOVES, MAYBE),
    ("vllm_request_params_n", MOVES, MAYBE),
    ("vllm_request_max_num_generation_tokens", MOVES, MAYBE),
    ("vllm_request_prefill_kv_computed_tokens", MOVES, MAYBE),
    ("vllm_iteration_tokens", MOVES, MAYBE),
    ("vllm_num_preemptions", MOVES, MAYBE),
    // Counted again each time a waiting request is considered.
    ("vllm_prefix_cache_*", MOVES, MAYBE),
    ("vllm_gpu_prefix_cache_*", MOVES, MAYBE),
    ("vllm_external_prefix_cache_*", MOVES, MAYBE),
    ("vllm_mm_cache_*", MOVES, MAYBE),
    // Computed, cached, transferred: parts of vllm_prompt_tokens.
    ("vllm_prompt_tokens_*", MOVES, MAYBE),
    ("vllm_spec_decode_*", MOVES, MAYBE),
    ("vllm_kv_*", MOVES, MAYBE),
    ("vllm_nixl_*", MOVES, MAYBE),
    ("vllm_corrupted_requests", MOVES, MAYBE),
    ("vllm_estimated_*", MOVES, MAYBE),
];

/// Everything of a request is counted when it finishes, in one step.
/// `num_running_reqs` and `num_queue_reqs` are refreshed when a batch is logged and
/// else every 30 s, so they say nothing at a boundary and are no `Busy` gauges.
const SGLANG: &[Row] = &[
    ("sglang_num_requests", REQUESTS, MAYBE),
    ("sglang_e2e_request_latency_seconds", PER_REQUEST, MAYBE),
    ("sglang_prompt_tokens", PROMPT, MAYBE),
    ("sglang_generation_tokens", OUTPUT, MAYBE),
    // With --collect-tokens-histogram only.
    ("sglang_prompt_tokens_histogram", PROMPT_LENGTHS, MAYBE),
    ("sglang_generation_tokens_histogram", OUTPUT_LENGTHS, MAYBE),
    ("sglang_num_retractions", PER_REQUEST, MAYBE),
    ("sglang_uncached_prompt_tokens_histogram", MOVES, MAYBE),
    ("sglang_time_to_first_token_seconds", MOVES, MAYBE),
    ("sglang_inter_token_latency_seconds", MOVES, MAYBE),
    ("sglang_time_per_output_token_seconds", MOVES, MAYBE),
    ("sglang_cached_tokens", MOVES, MAYBE),
    ("sglang_realtime_tokens", MOVES, MAYBE),
    ("sglang_num_so_requests", MOVES, MAYBE),
    ("sglang_num_aborted_requests", MOVES, MAYBE),
    ("sglang_num_retracted_*", MOVES, MAYBE),
    ("sglang_queue_time_seconds", MOVES, MAYBE),
    ("sglang_per_stage_req_latency_seconds", MOVES, MAYBE),
    ("sglang_request_latency_seconds", MOVES, MAYBE),
    ("sglang_func_latency_seconds", MOVES, MAYBE),
    ("sglang_forward_*", MOVES, MAYBE),
    ("sglang_run_batch_*", MOVES, MAYBE),
    ("sglang_gpu_execution_seconds", MOVES, MAYBE),
    ("sglang_dp_cooperation_*", MOVES, MAYBE),
    ("sglang_grammar_*", MOVES, MAYBE),
    ("sglang_num_grammar_*", MOVES, MAYBE),
    ("sglang_evict*", MOVES, MAYBE),
    ("sglang_load_back_*", MOVES, MAYBE),
    ("sglang_prefetch*", MOVES, MAYBE),
    ("sglang_backup*", MOVES, MAYBE),
    ("sglang_kv_transfer_*", MOVES, MAYBE),
    ("sglang_routing_key_*", MOVES, MAYBE),
    ("sglang_eplb_*", MOVES, MAYBE),
    ("sglang_spec_*", MOVES, MAYBE),
];

/// `success` and what goes with it are counted once the answer is complete,
/// `count` and the length of the input when the request has arrived.
const TGI: &[Row] = &[
    ("tgi_request_success", REQUESTS, NEVER),
    ("tgi_request_count", REQUESTS, MAYBE),
    ("tgi_request_duration", PER_REQUEST, NEVER),
    ("tgi_request_validation_duration", PER_REQUEST, NEVER),
    ("tgi_request_queue_duration", PER_REQUEST, NEVER),
    ("tgi_request_inference_duration", PER_REQUEST, NEVER),
    ("tgi_request_mean_time_per_token_duration", PER_REQUEST, NEVER),
    ("tgi_request_generated_tokens", OUTPUT_LENGTHS, NEVER),
    ("tgi_request_input_length", PROMPT_SUM, MAYBE),
    ("tgi_queue_size", BUSY, MAYBE),
    ("tgi_batch_current_size", BUSY, MAYBE),
    ("tgi_request_max_new_tokens", MOVES, MAYBE),
    ("tgi_request_skipped_tokens", MOVES, MAYBE),
    ("tgi_request_failure", MOVES, MAYBE),
    ("tgi_batch_*", MOVES, MAYBE),
    ("tgi_prefix_cache_*", MOVES, MAYBE),
];

/// Triton counts per model: the largest single one is taken. `nv_inference_count`
/// and `_exec_count` count elements of batches and executions. Tokens are counted
/// by no family of Triton itself. The gauges of the TensorRT-LLM backend are those
/// of its last iteration and keep their value when it idles.
const TRITON: &[Row] = &[
    ("nv_inference_request_success", REQUESTS, NEVER),
    ("nv_inference_pending_request_count", BUSY, MAYBE),
    ("trtllm_request_success", REQUESTS, NEVER),
    ("nv_inference_*", MOVES, MAYBE),
    ("nv_trt_llm_*", MOVES, MAYBE),
    ("nv_llm_*", MOVES, MAYBE),
    ("nv_cache_*", MOVES, MAYBE),
    ("trtllm_*", MOVES, MAYBE),
];

/// `requests` and the duration are counted for every request that the frontend
/// took, with its status; the output tokens when its answer is dropped, cancelled
/// ones as far as they came; the input tokens with the first token.
const DYNAMO: &[Row] = &[
    ("dynamo_frontend_requests", REQUESTS, MAYBE),
    ("dynamo_frontend_request_duration_seconds", PER_REQUEST, MAYBE),
    ("dynamo_frontend_input_sequence_tokens", PROMPT_SUM, MAYBE),
    (
        "dynamo_frontend_output_sequence_tokens",
        Role::Counts(&[(Part::Sum, Unit::OutputTokens)]),
        MAYBE,
    ),
    ("dynamo_frontend_output_tokens", OUTPUT, MAYBE),
    ("dynamo_frontend_inflight_requests", BUSY, MAYBE),
    ("dynamo_frontend_queued_requests", BUSY, MAYBE),
    // Prefill and decode workers each count a request of their own.
    ("dynamo_*", MOVES, MAYBE),
];

/// No family counts requests. The prompt counter leaves out cached tokens, so it
/// is not exact.
const LLAMA_CPP: &[Row] = &[
    ("llamacpp_tokens_predicted", OUTPUT, MAYBE),
    ("llamacpp_requests_processing", BUSY, MAYBE),
    ("llamacpp_requests_deferred", BUSY, MAYBE),
    ("llamacpp_*", MOVES, MAYBE),
];

/// The counters of tokens are by iteration; the histograms by finished request
/// are the exact ones.
const LMDEPLOY: &[Row] = &[
    ("lmdeploy_request_success", REQUESTS, MAYBE),
    ("lmdeploy_e2e_request_latency_seconds", PER_REQUEST, MAYBE),
    ("lmdeploy_request_queue_time_seconds", PER_REQUEST, MAYBE),
    ("lmdeploy_request_inference_time_seconds", PER_REQUEST, MAYBE),
    ("lmdeploy_request_prefill_time_seconds", PER_REQUEST, MAYBE),
    ("lmdeploy_request_decode_time_seconds", PER_REQUEST, MAYBE),
    ("lmdeploy_request_prompt_tokens", PROMPT_LENGTHS, MAYBE),
    ("lmdeploy_request_generation_tokens", OUTPUT_LENGTHS, MAYBE),
    ("lmdeploy_num_requests_running", BUSY, MAYBE),
    ("lmdeploy_num_requests_waiting", BUSY, MAYBE),
    ("lmdeploy_num_requests_unfinished", BUSY, MAYBE),
    ("lmdeploy_num_api_requests_waiting", BUSY, MAYBE),
    ("lmdeploy_*", MOVES, MAYBE),
];

/// A name as the table has it: `_` for `:`.
fn plain(name: &str) -> impl Iterator<Item = u8> + '_ {
    name.bytes().map(|byte| if byte == b':' { b'_' } else { byte })
}

fn begins(name: &str, prefix: &str) -> bool {
    name.len() >= prefix.len() && plain(name).zip(prefix.bytes()).all(|(a, b)| a == b)
}

fn is(name: &str, row: &str) -> bool {
    let name = name.strip_suffix("_total").unwrap_or(name);
    name.len() == row.len() && begins(name, row)
}

fn engineered(name: &str) -> Option<&'static Engineered> {
    TABLE.iter().find(|engine| engine.prefixes.iter().any(|prefix| begins(name, prefix)))
}

/// The engine whose family `name` is, by how it begins.
pub(super) fn engine_of(name: &str) -> Option<Engine> {
    engineered(name).map(|engine| engine.engine)
}

/// What the table says of the family `name`, with or without a counter's
/// `_total`; `None` where it does not know it.
#[must_use]
pub fn lookup(name: &str) -> Option<Rule> {
    let Engineered { engine, rows, .. } = engineered(name)?;
    let exact = rows.iter().find(|(row, _, _)| is(name, row));
    let (_, role, unfinished) = exact.or_else(|| {
        rows.iter().find(|(row, _, _)| row.strip_suffix('*').is_some_and(|row| begins(name, row)))
    })?;
    let over = match engine {
        Engine::Triton => Over::LargestModel,
        Engine::Vllm
        | Engine::Sglang
        | Engine::Tgi
        | Engine::Dynamo
        | Engine::LlamaCpp
        | Engine::Lmdeploy => Over::Sum,
    };
    Some(Rule { engine: *engine, role: *role, unfinished: *unfinished, over })
}
