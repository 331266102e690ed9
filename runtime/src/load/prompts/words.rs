//! The words of synthetic prompts.

/// Common English words, each one token (with the space before it) in the usual
/// byte-pair vocabularies; 256 of them, so that a random byte is a word. Fixed
/// for ever: a change would change what every seed sends.
#[rustfmt::skip]
pub(crate) const WORDS: [&str; 256] = [
    "ability", "action", "activity", "age", "agency", "air", "amount", "analysis", "animal",
    "answer", "area", "arm", "art", "article", "artist", "author", "baby", "back", "bank", "bed",
    "benefit", "bill", "blood", "board", "body", "book", "box", "boy", "brother", "call", "car",
    "career", "case", "center", "chance", "change", "child", "choice", "church", "city", "class",
    "college", "color", "company", "concern", "control", "cost", "country", "couple", "course",
    "court", "culture", "cup", "data", "day", "deal", "decade", "degree", "doctor", "dog", "door",
    "east", "economy", "effect", "effort", "end", "energy", "event", "eye", "face", "fact",
    "factor", "family", "father", "feeling", "field", "figure", "film", "fire", "floor", "foot",
    "force", "form", "friend", "fund", "future", "game", "girl", "glass", "goal", "ground",
    "group", "growth", "guy", "hair", "hand", "head", "health", "heart", "history", "home",
    "hour", "house", "husband", "idea", "image", "issue", "job", "kind", "land", "law", "lawyer",
    "leader", "letter", "level", "life", "light", "line", "list", "loss", "lot", "love", "man",
    "market", "matter", "media", "meeting", "member", "message", "mind", "minute", "moment",
    "money", "month", "morning", "mother", "movie", "music", "name", "nation", "nature", "need",
    "news", "night", "north", "number", "office", "officer", "oil", "order", "page", "paper",
    "parent", "part", "party", "people", "period", "person", "phone", "picture", "piece", "place",
    "plan", "plant", "player", "point", "police", "policy", "power", "price", "problem",
    "product", "program", "project", "quality", "race", "rate", "reason", "record", "region",
    "report", "rest", "result", "right", "risk", "road", "role", "room", "rule", "scene",
    "school", "season", "section", "sense", "series", "service", "show", "side", "sign", "sister",
    "site", "size", "skill", "society", "son", "sound", "source", "south", "space", "sport",
    "staff", "stage", "star", "state", "step", "stock", "store", "story", "street", "student",
    "study", "subject", "success", "summer", "system", "table", "tax", "teacher", "team", "term",
    "test", "thing", "thought", "time", "top", "town", "trade", "tree", "type", "use", "value",
    "view", "voice", "wall", "water", "way", "week", "west", "whole", "wife", "window", "woman",
    "word", "work", "world", "year",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_sorted_distinct_and_plain() {
        assert!(WORDS.is_sorted_by(|a, b| a < b));
        assert!(WORDS.iter().all(|w| w.bytes().all(|b| b.is_ascii_lowercase()) && !w.is_empty()));
    }
}
