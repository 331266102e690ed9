//! Counts tokens here, where a tokenizer (`tokenizer.json`) is given; only in
//! builds with the feature `tokenizers`.

use std::path::{Path, PathBuf};

/// A tokenizer that cannot be used: where, what, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {problem}; {remedy}", path.display())]
pub struct TokenizerError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: String,
    /// What would be right.
    pub remedy: String,
}

impl TokenizerError {
    fn new(path: &Path, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { path: path.to_owned(), problem: problem.into(), remedy: remedy.into() }
    }
}

/// So many of the built-in words must be one token each for prompts to be made
/// of them.
const LEAST_WORDS: usize = 64;

/// A tokenizer.
#[derive(Debug)]
pub struct Tokenizer {
    path: PathBuf,
    #[cfg(feature = "tokenizers")]
    inner: tokenizers::Tokenizer,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`, or that of a folder.
    ///
    /// # Errors
    /// If it cannot be read, or this build has no tokenizers.
    #[cfg(feature = "tokenizers")]
    pub fn load(path: &Path) -> Result<Self, TokenizerError> {
        let path = if path.is_dir() { path.join("tokenizer.json") } else { path.to_owned() };
        let remedy = "give the tokenizer.json of the model";
        let wrong = |e: tokenizers::Error| TokenizerError::new(&path, e.to_string(), remedy);
        let mut inner = tokenizers::Tokenizer::from_file(&path).map_err(wrong)?;
        // A length limit of the file's would hide how long a text is.
        inner.with_truncation(None).map_err(wrong)?;
        inner.with_padding(None);
        Ok(Self { path, inner })
    }

    /// Says how to get a build that can.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(feature = "tokenizers"))]
    pub fn load(path: &Path) -> Result<Self, TokenizerError> {
        let remedy = "build one with `cargo build --release --features tokenizers`, or leave the \
                      tokenizer out (token counts then come from the server's usage)";
        Err(TokenizerError::new(path, "this build has no tokenizers", remedy))
    }

    /// The tokens of a text, without any that mark its start or end.
    ///
    /// # Errors
    /// If the tokenizer fails on it.
    #[cfg(feature = "tokenizers")]
    pub fn count(&self, text: &str) -> Result<u32, TokenizerError> {
        let encoding = self
            .inner
            .encode_fast(text, false)
            .map_err(|e| TokenizerError::new(&self.path, e.to_string(), "use another tokenizer"))?;
        Ok(u32::try_from(encoding.len()).unwrap_or(u32::MAX))
    }

    /// Never called: without the feature there is no tokenizer.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(feature = "tokenizers"))]
    pub fn count(&self, _text: &str) -> Result<u32, TokenizerError> {
        Err(TokenizerError::new(&self.path, "this build has no tokenizers", "build one that has"))
    }

    /// For each of 256 places a word that is one token inside a text, with its
    /// tokens at the start of one. Words that are more take the place of none.
    pub(super) fn words(
        &self,
        all: &[&'static str; 256],
    ) -> Result<[(&'static str, u32); 256], TokenizerError> {
        let frame = self.count("the the")?;
        let mut fit = Vec::with_capacity(all.len());
        for word in all {
            let (alone, inside) = (self.count(word)?, self.count(&format!("the {word} the"))?);
            if inside == frame + 1 && alone > 0 {
                fit.push((*word, alone));
            }
        }
        if fit.len() < LEAST_WORDS {
            let problem = format!("only {} of 256 common English words are one token", fit.len());
            let remedy = "leave the tokenizer out: prompts are then sized in words";
            return Err(TokenizerError::new(&self.path, problem, remedy));
        }
        Ok(std::array::from_fn(|place| fit[place % fit.len()]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(not(feature = "tokenizers"))]
    #[test]
    fn without_the_feature_a_tokenizer_is_one_error_that_says_how_to_build_it() {
        let error = Tokenizer::load(Path::new("t.json")).err().unwrap().to_string();
        assert!(error.starts_with("t.json: this build has no tokenizers; build one"), "{error}");
    }

    #[cfg(feature = "tokenizers")]
    mod with_one {
        use super::*;
        use crate::load::prompts::Text;
        use crate::load::prompts::words::WORDS;
        use phasegate_core::CreditId;
        use phasegate_core::seed::Seed;
        use std::io::Write;

        /// A word-level tokenizer that has the first `n` words.
        fn tokenizer(n: usize) -> tempfile::NamedTempFile {
            let mut vocab = serde_json::Map::new();
            vocab.insert("[UNK]".into(), 0.into());
            vocab.insert("the".into(), 1.into());
            for (id, word) in WORDS.iter().take(n).enumerate() {
                vocab.insert((*word).to_owned(), (id + 2).into());
            }
            let json = serde_json::json!({
                "version": "1.0", "truncation": {"direction": "Right", "max_length": 2,
                "strategy": "LongestFirst", "stride": 0}, "padding": null, "added_tokens": [],
                "normalizer": null, "pre_tokenizer": {"type": "Whitespace"},
                "post_processor": null, "decoder": null,
                "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"}
            });
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(json.to_string().as_bytes()).unwrap();
            file
        }

        #[test]
        fn prompts_have_exactly_the_wanted_number_of_tokens_whatever_the_files_limit() {
            let file = tokenizer(256);
            let tokenizer = Tokenizer::load(file.path()).unwrap();
            let text = Text::new(1, false, Some(&tokenizer)).unwrap();
            for tokens in [1_usize, 7, 300] {
                let (mut out, id) = (String::new(), CreditId { phase: 0, number: 9 });
                text.unique(&mut out, id, tokens, &mut Seed::root(0).rng());
                assert_eq!(tokenizer.count(&out).unwrap() as usize, tokens);
            }
        }

        #[test]
        fn with_fewer_words_neighbouring_prompts_still_differ() {
            let file = tokenizer(70);
            let tokenizer = Tokenizer::load(file.path()).unwrap();
            let text = Text::new(1, false, Some(&tokenizer)).unwrap();
            let begin = |number| {
                let mut out = String::new();
                let id = CreditId { phase: 0, number };
                text.unique(&mut out, id, 8, &mut Seed::root(0).rng());
                assert_eq!(tokenizer.count(&out).unwrap(), 8);
                out
            };
            let distinct: std::collections::BTreeSet<String> = (0..2_000).map(begin).collect();
            assert_eq!(distinct.len(), 2_000);
        }

        #[test]
        fn a_file_that_is_no_tokenizer_is_one_error() {
            let error = Tokenizer::load(Path::new("/nonexistent/t.json")).err().unwrap();
            assert!(error.to_string().starts_with("/nonexistent/t.json: "), "{error}");
        }
    }
}
