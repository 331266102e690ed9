//! Prompts from a file: read and checked at the start, used round robin by the
//! credit's number.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use phasegate_core::CreditId;
use serde_json::{Map, Value};

use super::prompts::{Content, Draws, Length, Prompt, Prompts};
use crate::config::{EndpointType, InputConfig, InputFile, InputFormat};

/// Why a file of prompts cannot be used: where, what, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {problem}; {remedy}", path.display(), line.map(|n| format!(":{n}")).unwrap_or_default())]
pub struct DatasetError {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1; `None` if it is the file as a whole.
    pub line: Option<usize>,
    /// What is wrong.
    pub problem: String,
    /// What would be right.
    pub remedy: String,
}

/// The prompts of a file.
///
/// Credit `k` of every phase gets line `k` modulo the number of lines, so that
/// two phases of one run send the same prompts: a server's prefix cache may
/// answer the second from the first.
pub struct Dataset {
    entries: Vec<Entry>,
    draws: Draws,
    osl: Option<Length>,
    ignore_eos: bool,
}

#[derive(Debug, PartialEq)]
struct Entry {
    content: Content,
    max_tokens: Option<u32>,
}

/// What is wrong with a line, and what would be right.
type Wrong = (String, &'static str);

impl Dataset {
    /// Reads and checks `file` for an endpoint of this kind. Lines without a
    /// length of their own get `input`'s.
    ///
    /// # Errors
    /// [`DatasetError`] for the first thing that is wrong.
    pub fn load(
        file: &InputFile,
        kind: EndpointType,
        input: &InputConfig,
        seed: u64,
    ) -> Result<Self, DatasetError> {
        let text = std::fs::read_to_string(&file.path)
            .map_err(|e| whole(&file.path, format!("cannot be read: {e}"), "check the path"))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let mut entries = Vec::new();
        for (index, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
            let entry = match file.format {
                InputFormat::Jsonl => jsonl(line, kind),
                InputFormat::Openai => openai(line, kind),
            };
            entries.push(entry.map_err(|(problem, remedy)| DatasetError {
                path: file.path.clone(),
                line: Some(index + 1),
                problem,
                remedy: remedy.to_owned(),
            })?);
        }
        if entries.is_empty() {
            return Err(whole(&file.path, "has no prompts".into(), "give one JSON object a line"));
        }
        let (osl, ignore_eos) = match file.format {
            InputFormat::Jsonl => {
                (input.osl.map(|mean| Length::new(mean, input.osl_stddev)), input.ignore_eos)
            }
            // A body that is passed through says itself how long it wants to be.
            InputFormat::Openai => (None, false),
        };
        Ok(Self { entries, draws: Draws::new(seed), osl, ignore_eos })
    }
}

impl Prompts for Dataset {
    fn prompt(&self, id: CreditId) -> Prompt {
        let entry = &self.entries[id.number as usize % self.entries.len()];
        let drawn = || self.osl.as_ref().map(|osl| osl.draw(&mut self.draws.of(id)));
        Prompt {
            content: entry.content.clone(),
            max_tokens: entry.max_tokens.or_else(drawn),
            ignore_eos: self.ignore_eos,
        }
    }
}

fn whole(path: &Path, problem: String, remedy: &str) -> DatasetError {
    DatasetError { path: path.to_owned(), line: None, problem, remedy: remedy.to_owned() }
}

fn object(line: &str) -> Result<Map<String, Value>, Wrong> {
    serde_json::from_str(line).map_err(|e| {
        (
            format!("is not a JSON object: {e}"),
            "give one JSON object a line, e.g. {\"prompt\": \"…\"}",
        )
    })
}

/// One line with `prompt` or `messages`. Other keys (an id, a source) are
/// allowed and ignored.
fn jsonl(line: &str, kind: EndpointType) -> Result<Entry, Wrong> {
    let object = object(line)?;
    let content = match (object.get("prompt"), object.get("messages")) {
        (Some(Value::String(text)), None) if !text.is_empty() => Content::Text(text.clone()),
        (Some(_), None) => {
            return Err(("'prompt' is not a text, or is empty".into(), "give it some text"));
        }
        (None, Some(messages)) => match kind {
            EndpointType::Chat | EndpointType::Responses | EndpointType::Messages => {
                Content::Messages(check_messages(messages)?)
            }
            EndpointType::Completions | EndpointType::Embeddings | EndpointType::Rerank => {
                let remedy = "use the chat endpoint, or give 'prompt'";
                return Err(("'messages' only go to a chat endpoint".into(), remedy));
            }
        },
        (Some(_), Some(_)) => {
            return Err(("has both 'prompt' and 'messages'".into(), "give one of them"));
        }
        (None, None) => {
            return Err(("has neither 'prompt' nor 'messages'".into(), "give one of them"));
        }
    };
    let max_tokens = match (object.get("max_tokens"), object.get("output_length")) {
        (Some(n), None) | (None, Some(n)) => Some(check_length(n)?),
        (None, None) => None,
        (Some(_), Some(_)) => {
            let problem = "has both 'max_tokens' and 'output_length'";
            return Err((problem.into(), "give one of them"));
        }
    };
    Ok(Entry { content, max_tokens })
}

/// One request body.
fn openai(line: &str, kind: EndpointType) -> Result<Entry, Wrong> {
    let object = object(line)?;
    match kind {
        EndpointType::Chat => {
            let Some(messages) = object.get("messages") else {
                let remedy = "give 'messages', or choose the endpoint that the bodies are for";
                return Err(("is no body of a chat request: 'messages' is missing".into(), remedy));
            };
            check_messages(messages)?;
        }
        EndpointType::Completions if !object.contains_key("prompt") => {
            let remedy = "give 'prompt', or choose the endpoint that the bodies are for";
            return Err(("is no body of a completion: 'prompt' is missing".into(), remedy));
        }
        EndpointType::Embeddings if !object.contains_key("input") => {
            let remedy = "give 'input', or choose the endpoint that the bodies are for";
            return Err(("is no body of an embedding: 'input' is missing".into(), remedy));
        }
        EndpointType::Responses if !object.contains_key("input") => {
            let remedy = "give 'input', or choose the endpoint that the bodies are for";
            return Err(("is no body of a response: 'input' is missing".into(), remedy));
        }
        EndpointType::Messages if !object.contains_key("messages") => {
            let remedy = "give 'messages', or choose the endpoint that the bodies are for";
            return Err(("is no body of a message: 'messages' is missing".into(), remedy));
        }
        EndpointType::Rerank
            if !(object.contains_key("query") && object.contains_key("documents")) =>
        {
            let remedy = "give both, or choose the endpoint that the bodies are for";
            let problem = "is no body to rerank: 'query' or 'documents' is missing";
            return Err((problem.into(), remedy));
        }
        EndpointType::Completions
        | EndpointType::Embeddings
        | EndpointType::Responses
        | EndpointType::Messages
        | EndpointType::Rerank => {}
    }
    Ok(Entry { content: Content::Body(Arc::new(object)), max_tokens: None })
}

fn check_messages(messages: &Value) -> Result<Arc<str>, Wrong> {
    let remedy = "give [{\"role\": \"user\", \"content\": \"…\"}]";
    let Some(list) = messages.as_array().filter(|list| !list.is_empty()) else {
        return Err(("'messages' is not a list, or is empty".into(), remedy));
    };
    match list.iter().position(|m| !m.get("role").is_some_and(Value::is_string)) {
        Some(index) => Err((format!("messages[{index}] has no 'role'"), remedy)),
        None => Ok(Arc::from(messages.to_string())),
    }
}

fn check_length(length: &Value) -> Result<u32, Wrong> {
    let length = length.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
    length.ok_or_else(|| {
        ("the output length is not a number of tokens".into(), "give a whole number above 0")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn load(
        text: &str,
        format: InputFormat,
        kind: EndpointType,
    ) -> Result<Dataset, (Option<usize>, String)> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let input = InputConfig {
            isl: 1,
            isl_stddev: 0.0,
            osl: Some(9),
            osl_stddev: 0.0,
            ignore_eos: true,
            file: None,
        };
        let file = InputFile { path: file.path().to_owned(), format };
        Dataset::load(&file, kind, &input, 0).map_err(|e| (e.line, e.problem))
    }

    fn prompt(dataset: &Dataset, number: u32) -> Prompt {
        dataset.prompt(CreditId { phase: 0, number })
    }

    #[test]
    fn lines_are_used_round_robin_by_number() {
        let text = "{\"prompt\":\"a\"}\n\n{\"prompt\":\"b\",\"output_length\":3,\"id\":7}\n";
        let data = load(text, InputFormat::Jsonl, EndpointType::Completions).ok().unwrap();
        let a =
            Prompt { content: Content::Text("a".into()), max_tokens: Some(9), ignore_eos: true };
        let b =
            Prompt { content: Content::Text("b".into()), max_tokens: Some(3), ignore_eos: true };
        let got: Vec<Prompt> = (0..3).map(|n| prompt(&data, n)).collect();
        assert_eq!(got, [a.clone(), b, a]);
    }

    #[test]
    fn an_openai_body_is_passed_through_with_its_own_length() {
        let text = "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"max_tokens\":4}";
        let data = load(text, InputFormat::Openai, EndpointType::Chat).ok().unwrap();
        let prompt = prompt(&data, 0);
        assert_eq!((prompt.max_tokens, prompt.ignore_eos), (None, false));
        assert!(matches!(prompt.content, Content::Body(body) if body["max_tokens"] == 4));
    }

    #[test]
    fn each_wrong_line_is_one_error_that_names_it() {
        let chat = EndpointType::Chat;
        let jsonl = |text: &str| load(text, InputFormat::Jsonl, chat).err();
        let at = |text: &str| jsonl(text).map(|(line, _)| line);
        assert_eq!(at("{\"prompt\":\"a\"}\nnot json"), Some(Some(2)));
        assert_eq!(at("{\"prompt\":\"\"}"), Some(Some(1)));
        assert_eq!(at("{\"prompt\":1}"), Some(Some(1)));
        assert_eq!(at("{}"), Some(Some(1)));
        assert_eq!(at("{\"prompt\":\"a\",\"messages\":[]}"), Some(Some(1)));
        assert_eq!(at("{\"messages\":[{\"content\":\"x\"}]}"), Some(Some(1)));
        assert_eq!(at("{\"prompt\":\"a\",\"max_tokens\":0}"), Some(Some(1)));
        assert_eq!(at("\n\n"), Some(None));
        let text = "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}";
        assert!(load(text, InputFormat::Jsonl, EndpointType::Embeddings).is_err());
        assert!(load("{}", InputFormat::Openai, EndpointType::Embeddings).is_err());
    }

    #[test]
    fn a_missing_file_is_one_error_with_its_path() {
        let file = InputFile { path: "/nonexistent/x.jsonl".into(), format: InputFormat::Jsonl };
        let input = InputConfig {
            isl: 1,
            isl_stddev: 0.0,
            osl: None,
            osl_stddev: 0.0,
            ignore_eos: false,
            file: None,
        };
        let error = Dataset::load(&file, EndpointType::Chat, &input, 0).err().unwrap();
        assert!(error.to_string().starts_with("/nonexistent/x.jsonl: cannot be read"), "{error}");
    }
}
