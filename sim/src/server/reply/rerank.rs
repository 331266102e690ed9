//! Rankings, as Jina, Cohere and vLLM answer them: the best document first.

use phasegate_core::seed::{Seed, open01};
use serde_json::{Value, json};

use super::Reply;
use crate::server::config::ServerConfig;
use crate::server::request::Request;

impl Reply {
    /// The answer to a request to rerank: a score for each document, seeded by
    /// it and the query.
    pub(crate) fn ranking(&self, request: &Request, config: &ServerConfig) -> Vec<u8> {
        let seed = Seed::root(config.seed).child("ranking");
        let mut inputs = request.inputs.iter();
        let query = inputs.next().map_or("", String::as_str);
        let mut scored: Vec<(f64, usize, &String)> = inputs
            .enumerate()
            .map(|(index, document)| {
                let score = open01(&mut seed.child(query).child(document).rng());
                (score, index, document)
            })
            .collect();
        scored.sort_by(|(a, ..), (b, ..)| b.total_cmp(a));
        let results: Vec<Value> = scored
            .into_iter()
            .map(|(score, index, text)| {
                json!({"index": index, "document": {"text": text}, "relevance_score": score})
            })
            .collect();
        let mut answer = json!({"id": self.id, "model": self.model, "results": results});
        if !self.faults.no_usage {
            let tokens = self.prompt_tokens;
            answer["usage"] = json!({"prompt_tokens": tokens, "total_tokens": tokens});
        }
        self.written(&answer)
    }
}
