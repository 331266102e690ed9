//! "Did you mean …?"

/// The one of `known` that `word` was most likely meant to be, if any is near.
#[must_use]
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = |s: &str| s.to_ascii_lowercase().replace('-', "_");
    let word = plain(word);
    let near = word.chars().count() / 3 + 1;
    let ranked = known.iter().map(|k| (distance(&word, &plain(k)), *k));
    ranked.filter(|(d, _)| *d <= near).min_by_key(|(d, _)| *d).map(|(_, k)| k)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(&b) {
            let here = (diagonal + usize::from(x != *y)).min(*cell + 1).min(left + 1);
            diagonal = *cell;
            *cell = here;
            left = here;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "ab"), 2);
        assert_eq!(distance("ab", ""), 2);
        assert_eq!(distance("same", "same"), 0);
    }

    #[test]
    fn only_what_is_near_is_suggested() {
        let known = ["concurrency", "request_rate", "requests", "name"];
        assert_eq!(nearest("concurency", &known), Some("concurrency"));
        assert_eq!(nearest("request-rate", &known), Some("request_rate"));
        assert_eq!(nearest("colour", &known), None);
    }
}
