//! Reads the bodies of requests.
//!
//! Token counts follow one rule, so that a client can know them: a prompt has
//! as many tokens as it has words between white space, over all messages or
//! inputs; a prompt given as token ids has as many as it has ids.

use phasegate_core::seed::Seed;
use rand_core::Rng;
use serde::Deserialize;

use super::config::ServerConfig;
use super::error::ApiError;
use super::truth::Finish;

/// Which API is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Api {
    Chat,
    Completions,
    Embeddings,
    Responses,
    Messages,
    Rerank,
}

impl Api {
    /// The API at a path.
    pub(crate) fn at(path: &str) -> Option<(Self, &'static str)> {
        let all = [
            (Self::Chat, "/v1/chat/completions"),
            (Self::Completions, "/v1/completions"),
            (Self::Embeddings, "/v1/embeddings"),
            (Self::Responses, "/v1/responses"),
            (Self::Messages, "/v1/messages"),
            (Self::Rerank, "/v1/rerank"),
        ];
        all.into_iter().find(|(_, known)| *known == path)
    }

    /// Whether its answers are generated, token by token.
    pub(crate) fn generates(self) -> bool {
        match self {
            Self::Chat | Self::Completions | Self::Responses | Self::Messages => true,
            Self::Embeddings | Self::Rerank => false,
        }
    }
}

/// How an embedding is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Encoding {
    #[default]
    Float,
    Base64,
}

/// A request that can be computed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub(crate) api: Api,
    pub(crate) prompt: String,
    pub(crate) prompt_tokens: u32,
    /// The inputs of an embedding request, each with its own answer; to rerank,
    /// the query and then the documents.
    pub(crate) inputs: Vec<String>,
    pub(crate) max_tokens: Option<u32>,
    pub(crate) output_tokens: u32,
    pub(crate) finish: Finish,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    pub(crate) encoding: Encoding,
}

#[derive(Debug, Deserialize)]
struct Fields {
    model: Option<String>,
    messages: Option<Vec<Message>>,
    prompt: Option<Prompt>,
    input: Option<Input>,
    query: Option<String>,
    documents: Option<Vec<Document>>,
    max_tokens: Option<u32>,
    max_output_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
    min_tokens: Option<u32>,
    ignore_eos: Option<bool>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    n: Option<u32>,
    encoding_format: Option<Encoding>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Message {
    content: Option<Content>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "message content must be a string or a list of parts")]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
struct Part {
    text: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a prompt must be a string, a list of strings, or token ids")]
enum Prompt {
    Text(String),
    Texts(Vec<String>),
    Ids(Vec<u32>),
    IdLists(Vec<Vec<u32>>),
}

/// The input of an embedding, or of a response, which may be a conversation.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "an input must be a string, a list of strings or messages, or token ids"
)]
enum Input {
    Prompt(Prompt),
    Messages(Vec<Message>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a document must be a string or an object with a text")]
enum Document {
    Text(String),
    Object { text: String },
}

impl Document {
    fn text(self) -> String {
        match self {
            Self::Text(text) | Self::Object { text } => text,
        }
    }
}

impl Prompt {
    fn texts(self) -> Vec<String> {
        let words =
            |ids: Vec<u32>| ids.iter().map(u32::to_string).collect::<Vec<String>>().join(" ");
        match self {
            Self::Text(text) => vec![text],
            Self::Texts(texts) => texts,
            Self::Ids(ids) => vec![words(ids)],
            Self::IdLists(lists) => lists.into_iter().map(words).collect(),
        }
    }
}

impl Message {
    fn text(&self) -> String {
        match &self.content {
            None => String::new(),
            Some(Content::Text(text)) => text.clone(),
            Some(Content::Parts(parts)) => {
                let texts: Vec<&str> =
                    parts.iter().filter_map(|part| part.text.as_deref()).collect();
                texts.join("\n")
            }
        }
    }
}

/// A body that could not be turned into a request, with its prompt if it had
/// one, for the books.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refused {
    pub(crate) error: ApiError,
    pub(crate) prompt: Option<String>,
}

/// Reads a request's body.
///
/// # Errors
/// What is wrong with the body, as the API answers it.
pub(crate) fn parse(api: Api, body: &[u8], config: &ServerConfig) -> Result<Request, Refused> {
    let mut fields: Fields = serde_json::from_slice(body).map_err(|error| Refused {
        error: ApiError::bad_request(format!("the request body is not valid: {error}")),
        prompt: None,
    })?;
    let joined = |messages: &[Message]| {
        vec![messages.iter().map(Message::text).collect::<Vec<String>>().join("\n")]
    };
    let inputs = match api {
        Api::Chat | Api::Messages => joined(fields.messages.as_deref().unwrap_or_default()),
        Api::Completions => fields.prompt.take().map(Prompt::texts).unwrap_or_default(),
        Api::Embeddings | Api::Responses => match fields.input.take() {
            Some(Input::Prompt(prompt)) => prompt.texts(),
            Some(Input::Messages(messages)) if api == Api::Responses => joined(&messages),
            Some(Input::Messages(_)) | None => Vec::new(),
        },
        Api::Rerank => {
            let documents = fields.documents.take().unwrap_or_default();
            fields
                .query
                .take()
                .into_iter()
                .chain(documents.into_iter().map(Document::text))
                .collect()
        }
    };
    let prompt = inputs.join("\n");
    check(api, &fields, inputs, &prompt, config)
        .map_err(|error| Refused { error, prompt: Some(prompt.clone()) })
}

fn check(
    api: Api,
    fields: &Fields,
    inputs: Vec<String>,
    prompt: &str,
    config: &ServerConfig,
) -> Result<Request, ApiError> {
    let bad = |message: String| Err(ApiError::bad_request(message));
    if let Some(model) = &fields.model
        && *model != config.model
    {
        let message = format!("The model `{model}` does not exist.");
        return Err(ApiError::new(hyper::StatusCode::NOT_FOUND, message));
    }
    let words = prompt.split_whitespace().count();
    if words == 0 {
        let field = match api {
            Api::Chat | Api::Messages => "messages",
            Api::Completions => "prompt",
            Api::Embeddings | Api::Responses => "input",
            Api::Rerank => "query",
        };
        return bad(format!("`{field}` is missing or has no text"));
    }
    if api == Api::Completions && inputs.len() > 1 {
        return bad("`prompt` must be one prompt; send one request for each".to_owned());
    }
    if api == Api::Rerank && inputs.len() < 2 {
        return bad("`documents` must be a list of at least one".to_owned());
    }
    if api == Api::Messages && fields.max_tokens.is_none() {
        return bad("`max_tokens` is required".to_owned());
    }
    if fields.n.is_some_and(|n| n != 1) {
        return bad("`n` must be 1".to_owned());
    }
    let stream = fields.stream.unwrap_or(false) && api.generates();
    if fields.stream_options.is_some() && !stream {
        return bad("`stream_options` is only allowed when `stream` is true".to_owned());
    }
    let context = config.max_model_len;
    let prompt_tokens = u32::try_from(words).unwrap_or(u32::MAX);
    let least = u32::from(api.generates());
    if prompt_tokens.saturating_add(least) > context {
        return bad(format!(
            "This model's maximum context length is {context} tokens, but the prompt has {words}."
        ));
    }
    let room = context - prompt_tokens;
    let max_tokens =
        fields.max_completion_tokens.or(fields.max_output_tokens).or(fields.max_tokens);
    let (output_tokens, finish) = match api {
        Api::Embeddings | Api::Rerank => (0, Finish::Stop),
        Api::Chat | Api::Completions | Api::Responses | Api::Messages => {
            output(fields, max_tokens, room, prompt, config)?
        }
    };
    let include_usage = fields.stream_options.as_ref().and_then(|options| options.include_usage);
    Ok(Request {
        api,
        prompt: prompt.to_owned(),
        prompt_tokens,
        inputs: if api.generates() { Vec::new() } else { inputs },
        max_tokens,
        output_tokens,
        finish,
        stream,
        include_usage: include_usage.unwrap_or(false),
        encoding: fields.encoding_format.unwrap_or_default(),
    })
}

/// How many tokens are generated, and why it ends there: as many as the request
/// allows, or, if it names no limit, a length seeded by its prompt.
fn output(
    fields: &Fields,
    max_tokens: Option<u32>,
    room: u32,
    prompt: &str,
    config: &ServerConfig,
) -> Result<(u32, Finish), ApiError> {
    let min_tokens = fields.min_tokens.unwrap_or(0);
    let most = max_tokens.unwrap_or(room);
    if most == 0 {
        return Err(ApiError::bad_request("`max_tokens` must be at least 1"));
    }
    if most > room {
        return Err(ApiError::bad_request(format!(
            "`max_tokens` is {most}, but the context has room for {room} tokens after the prompt"
        )));
    }
    if min_tokens > most {
        return Err(ApiError::bad_request(format!(
            "`min_tokens` is {min_tokens}, but must be at most {most}, the most that is generated"
        )));
    }
    if max_tokens.is_some() || fields.ignore_eos.unwrap_or(false) {
        return Ok((most, Finish::Length));
    }
    let (low, high) = config.output_tokens;
    let mut rng = Seed::root(config.seed).child("length").child(prompt).rng();
    let drawn = low + u32::try_from(rng.next_u64() % (u64::from(high - low) + 1)).unwrap_or(0);
    let length = drawn.max(min_tokens);
    Ok(if length < room { (length, Finish::Stop) } else { (room, Finish::Length) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(api: Api, body: &str) -> Result<Request, ApiError> {
        let config = ServerConfig { max_model_len: 100, ..ServerConfig::default() };
        parse(api, body.as_bytes(), &config).map_err(|refused| refused.error)
    }

    #[test]
    fn prompt_tokens_are_the_words_of_all_messages() {
        let body = r#"{"messages": [{"role": "system", "content": "be  brief"},
            {"role": "user", "content": [{"type": "text", "text": "who are"},
                {"type": "image_url", "image_url": {}}, {"type": "text", "text": "you"}]},
            {"role": "assistant", "content": null}], "max_tokens": 7}"#;
        let request = read(Api::Chat, body).unwrap();
        assert_eq!((request.prompt_tokens, request.output_tokens), (5, 7));
        assert_eq!(request.finish, Finish::Length);
        let ids = read(Api::Completions, r#"{"prompt": [5, 6, 7]}"#).unwrap();
        assert_eq!(ids.prompt_tokens, 3);
        let inputs = read(Api::Embeddings, r#"{"input": ["a b", "c"]}"#).unwrap();
        assert_eq!((inputs.prompt_tokens, inputs.output_tokens, inputs.inputs.len()), (3, 0, 2));
        let ranked = r#"{"query": "a b", "documents": ["c", {"text": "d e"}]}"#;
        let ranked = read(Api::Rerank, ranked).unwrap();
        assert_eq!((ranked.prompt_tokens, ranked.output_tokens, ranked.inputs.len()), (5, 0, 3));
        for input in [r#""a b c""#, r#"[{"role": "user", "content": "a b c"}]"#] {
            let body = format!(r#"{{"input": {input}, "max_output_tokens": 7}}"#);
            let asked = read(Api::Responses, &body).unwrap();
            assert_eq!((asked.prompt_tokens, asked.output_tokens), (3, 7), "{input}");
        }
    }

    #[test]
    fn the_length_is_the_limit_or_drawn_from_the_prompt() {
        let length = |body: &str| {
            let request = read(Api::Completions, body).unwrap();
            (request.output_tokens, request.finish)
        };
        assert_eq!(
            length(r#"{"prompt": "a", "max_tokens": 9, "max_completion_tokens": 8}"#),
            (8, Finish::Length)
        );
        assert_eq!(length(r#"{"prompt": "a", "ignore_eos": true}"#), (99, Finish::Length));
        let (drawn, finish) = length(r#"{"prompt": "a"}"#);
        assert_eq!((drawn, finish), length(r#"{"prompt": "a"}"#));
        assert!((16..=99).contains(&drawn));
        let lengths = ["a", "b", "c"].map(|p| length(&format!(r#"{{"prompt": "{p}"}}"#)).0);
        assert!(lengths[0] != lengths[1] || lengths[1] != lengths[2]);
        assert_eq!(length(r#"{"prompt": "a", "min_tokens": 99}"#), (99, Finish::Length));
    }

    #[test]
    fn a_bad_body_is_answered_with_what_is_wrong() {
        for (api, body, status, says) in [
            (Api::Chat, "{", 400, "line 1"),
            (Api::Chat, r#"{"messages": []}"#, 400, "`messages`"),
            (Api::Chat, r#"{"messages": [{"content": 5}]}"#, 400, "string or a list"),
            (Api::Completions, r#"{"prompt": {}}"#, 400, "token ids"),
            (Api::Completions, r#"{"prompt": ["a", "b"]}"#, 400, "one prompt"),
            (Api::Completions, r#"{"prompt": "a", "max_tokens": 0}"#, 400, "at least 1"),
            (Api::Completions, r#"{"prompt": "a", "max_tokens": -1}"#, 400, "-1"),
            (Api::Completions, r#"{"prompt": "a", "max_tokens": 100}"#, 400, "room for 99"),
            (
                Api::Completions,
                r#"{"prompt": "a", "max_tokens": 2, "min_tokens": 3}"#,
                400,
                "at most 2",
            ),
            (Api::Completions, r#"{"prompt": "a", "n": 2}"#, 400, "`n`"),
            (Api::Completions, r#"{"prompt": "a", "stream_options": {}}"#, 400, "`stream`"),
            (Api::Embeddings, r#"{"model": "gpt", "input": "a"}"#, 404, "`gpt`"),
            (Api::Embeddings, r#"{"input": [{"content": "a"}]}"#, 400, "`input`"),
            (Api::Messages, r#"{"messages": [{"content": "a"}]}"#, 400, "`max_tokens`"),
            (Api::Rerank, r#"{"query": "a"}"#, 400, "`documents`"),
            (Api::Rerank, r#"{"documents": ["a", "b"], "query": 5}"#, 400, "string"),
        ] {
            let error = read(api, body).expect_err(body);
            assert_eq!(error.status.as_u16(), status, "{body}");
            assert!(error.message.contains(says), "{body}: {}", error.message);
        }
        let long = format!(r#"{{"prompt": "{}"}}"#, "a ".repeat(100));
        let error = read(Api::Completions, &long).expect_err("too long");
        assert!(error.message.contains("maximum context length is 100"), "{}", error.message);
    }
}
