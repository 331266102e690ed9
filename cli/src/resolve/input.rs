//! What is sent: lengths, or a file of prompts.

use std::path::PathBuf;
use std::sync::Arc;

use phasegate_runtime::config::{
    EndpointType, InputConfig, InputFile, InputFormat, ScheduleConfig,
};
use phasegate_runtime::load::dataset::Dataset;
use phasegate_runtime::load::prompts::{Tokenizer, TokenizerError};

use super::{DEFAULT_ISL, DEFAULT_OSL, wrong};
use crate::args::RunArgs;
use crate::config::FileConfig;
use crate::exit::Usage;

pub(super) fn input(
    args: &RunArgs,
    file: &FileConfig,
    kind: EndpointType,
) -> Result<InputConfig, Usage> {
    let (from, section) = (&args.input, &file.input);
    let path = from.input_file.clone().or_else(|| section.file.clone());
    let format = from.dataset_type.or(section.format);
    if path.is_none() && format.is_some() {
        let by_flag = from.dataset_type.is_some();
        let problem = "is a format without a file of prompts; give the file too, or remove it";
        return Err(wrong(by_flag, "dataset-type", file, "input.format", problem));
    }
    if let Some(path) = &path
        && !path.is_file()
    {
        let problem = format!("{} is not a file that can be read; give one", path.display());
        return Err(wrong(from.input_file.is_some(), "input-file", file, "input.file", &problem));
    }
    let osl = from.osl.or(section.osl);
    let osl_flag = from.osl.is_some();
    let no_tokens = !kind.produces_tokens();
    if no_tokens && osl.is_some_and(|o| o.0.is_some()) {
        let problem = format!("{} has no output tokens; remove it", kind.word());
        return Err(wrong(osl_flag, "osl", file, "input.osl", &problem));
    }
    let osl = match osl {
        Some(given) => given.0,
        // A file's prompts may say their own.
        None if no_tokens || path.is_some() => None,
        None => Some(DEFAULT_OSL),
    };
    let osl_stddev = from.osl_stddev.or(section.osl_stddev).unwrap_or_default();
    let ignore_eos = from.ignore_eos || section.ignore_eos.unwrap_or_default();
    if osl.is_none() && osl_stddev > 0.0 {
        let problem = "there is no output length that it could spread; give osl, or remove it";
        let by_flag = from.osl_stddev.is_some();
        return Err(wrong(by_flag, "osl-stddev", file, "input.osl_stddev", problem));
    }
    let format = format.map_or(InputFormat::Jsonl, Into::into);
    let mut input = InputConfig {
        isl_stddev: from.isl_stddev.or(section.isl_stddev).unwrap_or_default(),
        osl_stddev,
        ignore_eos,
        repeat_prompts: from.repeat_prompts || section.repeat_prompts.unwrap_or_default(),
        think_time: from.think_time.or(section.think_time).unwrap_or_default(),
        tokenizer: tokenizer(args, file)?,
        schedule: schedule(args, file)?,
        file: path.map(|path| InputFile { path, format }),
        ..InputConfig::synthetic(from.isl.or(section.isl).unwrap_or(DEFAULT_ISL), osl)
    };
    (input.prefix_count, input.prefix_length) = prefixes(args, file, input.file.is_some())?;
    let think_flag = from.think_time.is_some();
    if (think_flag || section.think_time.is_some())
        && input.file.as_ref().is_none_or(|f| f.format != InputFormat::Conversation)
    {
        let problem = "only conversations have turns to think between; give \
                       --dataset-type conversation, or remove it";
        return Err(wrong(think_flag, "think-time", file, "input.think_time", problem));
    }
    if let Some(from_file) = &input.file {
        let data = Dataset::load(from_file, kind, &input).map_err(|e| Usage::new(e.to_string()))?;
        input.dataset = Some(Arc::new(data));
    }
    Ok(input)
}

/// The number of shared prefixes and their length: both, or neither.
fn prefixes(args: &RunArgs, file: &FileConfig, from_file: bool) -> Result<(u32, u32), Usage> {
    let (from, section) = (&args.input, &file.input);
    let count = from.prefix_count.or(section.prefix_count);
    let length = from.prefix_length.or(section.prefix_length);
    let count_flag = from.prefix_count.is_some();
    let at = |problem| wrong(count_flag, "prefix-count", file, "input.prefix_count", problem);
    match (count.filter(|n| *n > 0), length) {
        (None, None) => Ok((0, 0)),
        (Some(_), Some(_)) if from_file => {
            Err(at("the prompts of a file have no made-up prefixes; remove it, or the file"))
        }
        (Some(count), Some(length)) => Ok((count, length)),
        (Some(_), None) => Err(at("has no length; give --prefix-length (input.prefix_length) too")),
        (None, Some(_)) if count.is_some() => Ok((0, 0)),
        (None, Some(_)) => {
            let by_flag = from.prefix_length.is_some();
            let problem =
                "is the length of no prefix; give --prefix-count (input.prefix_count) too";
            Err(wrong(by_flag, "prefix-length", file, "input.prefix_length", problem))
        }
    }
}

/// How the file's timestamps become a schedule, if a phase wants one.
fn schedule(args: &RunArgs, file: &FileConfig) -> Result<Option<ScheduleConfig>, Usage> {
    let (from, section) = (&args.input, &file.input);
    let wanted =
        args.load.fixed_schedule || file.phases.iter().flatten().any(|phase| phase.fixed_schedule);
    let settings = [
        ("schedule-speed", "speed", from.schedule_speed, section.schedule_speed),
        ("schedule-start", "start", from.schedule_start, section.schedule_start),
        ("schedule-end", "end", from.schedule_end, section.schedule_end),
    ];
    if !wanted {
        let given = settings.iter().find(|(.., flag, key)| flag.or(*key).is_some());
        let Some((flag, key, by_flag, _)) = given else { return Ok(None) };
        let key = format!("input.schedule_{key}");
        let problem = "no phase has a fixed schedule; give --fixed-schedule (fixed_schedule: true \
                       of a phase), or remove it";
        return Err(wrong(by_flag.is_some(), flag, file, &key, problem));
    }
    if from.input_file.is_none() && section.file.is_none() {
        let problem = "there is no file with timestamps; give --input-file, or remove it";
        let key = (file.phases.iter().flatten()).position(|phase| phase.fixed_schedule);
        let key = format!("phases[{}].fixed_schedule", key.unwrap_or_default());
        return Err(wrong(args.load.fixed_schedule, "fixed-schedule", file, &key, problem));
    }
    let [speed, start_ms, end_ms] = settings.map(|(.., flag, key)| flag.or(key));
    Ok(Some(ScheduleConfig { speed: speed.unwrap_or(1.0), start_ms, end_ms }))
}

/// The tokenizer, if one is given and can be used: what is wrong with it is said
/// before anything is sent.
fn tokenizer(args: &RunArgs, file: &FileConfig) -> Result<Option<PathBuf>, Usage> {
    let by_flag = args.input.tokenizer.is_some();
    let Some(path) = args.input.tokenizer.clone().or_else(|| file.input.tokenizer.clone()) else {
        return Ok(None);
    };
    let wrong =
        |e: TokenizerError| wrong(by_flag, "tokenizer", file, "input.tokenizer", &e.to_string());
    Tokenizer::load(&path).map_err(wrong)?;
    Ok(Some(path))
}
