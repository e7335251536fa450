//! Words to numbers: a Hugging Face tokenizer trained on the instructions of the training data.
//!
//! Lower case, split at white space and punctuation, one token a word, `[BOS]` in front. Robot instructions are
//! few words in many combinations, so whole words beat word pieces: each word gets all of its examples. A word never
//! seen becomes `[UNK]`. The file is an ordinary `tokenizer.json`, and any other one with the same three special
//! tokens can take its place.

use std::collections::BTreeSet;

use tokenizers::models::TrainerWrapper;
use tokenizers::models::wordlevel::{WordLevel, WordLevelTrainer};
use tokenizers::normalizers::utils::Lowercase;
use tokenizers::pre_tokenizers::whitespace::Whitespace;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Tokenizer as HuggingFaceTokenizer};

use crate::error::{Error, Result};

const PADDING: &str = "[PAD]";
const UNKNOWN: &str = "[UNK]";
const BEGIN: &str = "[BOS]";

/// Turns instructions into token ids.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: HuggingFaceTokenizer,
    padding: u32,
}

impl PartialEq for Tokenizer {
    fn eq(&self, other: &Self) -> bool {
        matches!((self.to_json(), other.to_json()), (Ok(ours), Ok(theirs)) if ours == theirs)
    }
}

/// Token ids of several instructions, padded on the right to one length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenBatch {
    /// Tokens an instruction, padding included.
    pub tokens: usize,
    /// Ids, `[batch, tokens]`.
    pub ids: Vec<i64>,
    /// Whether a token is padding, `[batch, tokens]`.
    pub is_pad: Vec<bool>,
}

impl Tokenizer {
    /// Learns the words of these instructions. Their order and number do not matter.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] when there is no word at all.
    pub fn train<'a>(instructions: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let context = "training on the instructions";
        let sentences: BTreeSet<&str> = instructions.into_iter().collect();
        let model = WordLevel::builder()
            .unk_token(UNKNOWN.to_owned())
            .build()
            .map_err(|error| wrap(context, error))?;
        let mut inner = HuggingFaceTokenizer::new(model);
        inner
            .with_normalizer(Some(Lowercase))
            .map_err(|error| wrap(context, error))?
            .with_pre_tokenizer(Some(Whitespace {}));
        let special = [PADDING, UNKNOWN, BEGIN].map(|token| AddedToken::from(token, true));
        let trainer = WordLevelTrainer::builder()
            .show_progress(false)
            .special_tokens(special.to_vec())
            .build()
            .map_err(|error| wrap(context, error))?;
        inner
            .train(
                &mut TrainerWrapper::WordLevelTrainer(trainer),
                sentences.into_iter(),
            )
            .map_err(|error| wrap(context, error))?;
        let begin = inner.token_to_id(BEGIN).unwrap_or_default();
        let template = TemplateProcessing::builder()
            .try_single(format!("{BEGIN} $A"))
            .map_err(|error| wrap(context, error))?
            .special_tokens(vec![(BEGIN, begin)])
            .build()
            .map_err(|error| wrap(context, error))?;
        inner.with_post_processor(Some(template));
        let trained = Self::new(inner)?;
        if trained.vocabulary() <= special.len() {
            return Err(wrap(context, "expected at least one word, found none"));
        }
        Ok(trained)
    }

    /// Reads the text of a `tokenizer.json`.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] when it is no tokenizer, or one without `[PAD]` or with gaps in its ids.
    pub fn from_json(text: &str) -> Result<Self> {
        let inner = HuggingFaceTokenizer::from_bytes(text.as_bytes())
            .map_err(|error| wrap("reading tokenizer.json", error))?;
        Self::new(inner)
    }

    /// The text of a `tokenizer.json`.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] when the library cannot write it.
    pub fn to_json(&self) -> Result<String> {
        self.inner
            .to_string(true)
            .map_err(|error| wrap("writing tokenizer.json", error))
    }

    /// Number of ids, special tokens included.
    #[must_use]
    pub fn vocabulary(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Ids of one instruction, `[BOS]` first. An empty instruction is `[BOS]` alone.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] when the library refuses the text.
    pub fn encode(&self, instruction: &str) -> Result<Vec<u32>> {
        let encoding = self
            .inner
            .encode(instruction, true)
            .map_err(|error| wrap(instruction, error))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The words of these ids, special tokens left out.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] when the library refuses the ids.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.inner
            .decode(ids, true)
            .map_err(|error| wrap("decoding", error))
    }

    /// Ids of several instructions, padded to the longest; what lies past `max_tokens` is cut off.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] when the library refuses a text.
    pub fn encode_batch(&self, instructions: &[&str], max_tokens: usize) -> Result<TokenBatch> {
        let mut rows = Vec::with_capacity(instructions.len());
        for instruction in instructions {
            let mut ids = self.encode(instruction)?;
            ids.truncate(max_tokens);
            rows.push(ids);
        }
        let tokens = rows.iter().map(Vec::len).max().unwrap_or(0).max(1);
        let mut batch = TokenBatch {
            tokens,
            ids: Vec::with_capacity(rows.len() * tokens),
            is_pad: Vec::with_capacity(rows.len() * tokens),
        };
        for row in rows {
            for position in 0..tokens {
                let id = row.get(position).copied();
                batch.ids.push(i64::from(id.unwrap_or(self.padding)));
                batch.is_pad.push(id.is_none());
            }
        }
        Ok(batch)
    }

    fn new(inner: HuggingFaceTokenizer) -> Result<Self> {
        let padding = inner.token_to_id(PADDING).ok_or_else(|| {
            wrap(
                "looking for special tokens",
                format!("expected {PADDING} in the vocabulary, found none"),
            )
        })?;
        let vocabulary = inner.get_vocab(true);
        let most = vocabulary.iter().max_by_key(|(_, id)| **id);
        if let Some((word, id)) = most.filter(|(_, id)| **id as usize >= vocabulary.len()) {
            let most = vocabulary.len() - 1;
            let found =
                format!("expected ids from 0 to {most}, one a word, found {id} for `{word}`");
            return Err(wrap("reading the vocabulary", found));
        }
        Ok(Self { inner, padding })
    }
}

fn wrap(context: &str, error: impl ToString) -> Error {
    Error::Tokenizer {
        context: context.to_owned(),
        message: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSTRUCTIONS: [&str; 3] = [
        "Push the red circle to the blue square",
        "touch the blue circle.",
        "push the red circle to the blue square",
    ];

    fn tokenizer() -> Tokenizer {
        Tokenizer::train(INSTRUCTIONS).unwrap()
    }

    #[test]
    fn words_survive_there_and_back() {
        let ids = tokenizer().encode("touch the RED square").unwrap();
        assert_eq!(ids.len(), 5);
        assert_eq!(tokenizer().decode(&ids).unwrap(), "touch the red square");
    }

    #[test]
    fn an_unknown_word_has_a_token_of_its_own() {
        let tokenizer = tokenizer();
        let (known, unknown) = (
            tokenizer.encode("push the circle").unwrap(),
            tokenizer.encode("push the zeppelin").unwrap(),
        );
        assert_eq!(known[..3], unknown[..3]);
        assert_eq!(unknown[3], 1);
    }

    #[test]
    fn batches_are_padded_and_cut() {
        let batch = tokenizer()
            .encode_batch(&["touch the circle", "", "push the red circle to"], 5)
            .unwrap();
        assert_eq!((batch.tokens, batch.ids.len()), (5, 15));
        assert_eq!(batch.is_pad[..5], [false, false, false, false, true]);
        assert_eq!(batch.ids[5..10], [2, 0, 0, 0, 0]);
        assert!(batch.is_pad[10..].iter().all(|pad| !pad));
    }

    #[test]
    fn the_file_gives_the_same_tokenizer() {
        let tokenizer = tokenizer();
        let text = tokenizer.to_json().unwrap();
        let again = Tokenizer::from_json(&text).unwrap();
        assert_eq!(again.vocabulary(), tokenizer.vocabulary());
        for instruction in INSTRUCTIONS {
            assert_eq!(
                again.encode(instruction).unwrap(),
                tokenizer.encode(instruction).unwrap()
            );
        }
        assert_eq!(again.to_json().unwrap(), text);
    }

    #[test]
    fn order_does_not_matter_and_words_are_needed() {
        let reversed = Tokenizer::train(INSTRUCTIONS.into_iter().rev()).unwrap();
        assert_eq!(reversed.to_json().unwrap(), tokenizer().to_json().unwrap());
        assert!(Tokenizer::train([""]).is_err());
        assert!(Tokenizer::from_json("{}").is_err());
        let gap = tokenizer().to_json().unwrap();
        let gap = gap.replace("\"touch\": 11", "\"touch\": 500");
        let said = Tokenizer::from_json(&gap).unwrap_err().to_string();
        assert!(said.contains("found 500 for `touch`"), "{said}");
    }
}
