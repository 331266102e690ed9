//! What is sent: lengths, or a file of prompts.

use phasegate_runtime::config::{EndpointType, InputConfig, InputFile, InputFormat};

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
    Ok(InputConfig {
        isl: from.isl.or(section.isl).unwrap_or(DEFAULT_ISL),
        isl_stddev: from.isl_stddev.or(section.isl_stddev).unwrap_or_default(),
        osl,
        osl_stddev,
        ignore_eos,
        file: path
            .map(|path| InputFile { path, format: format.map_or(InputFormat::Jsonl, Into::into) }),
    })
}
