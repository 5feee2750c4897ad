//! Words for messages.

use std::fmt::Display;

/// The candidate that `word` is most likely a misspelling of.
pub(crate) fn nearest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    // Long words are no misspelling of anything here, and comparing them is quadratic.
    if word.len() > 80 {
        return None;
    }
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '_', ' '], "");
    let word = plain(word);
    candidates
        .into_iter()
        .map(|candidate| {
            let other = plain(candidate);
            let mut score = strsim::normalized_damerau_levenshtein(&word, &other);
            // A plural beats another word one letter away; an abbreviation is the next best guess.
            if word.len() >= 3
                && other.len() >= 3
                && (other.starts_with(&word) || word.starts_with(&other))
            {
                let near = word.len().abs_diff(other.len()) <= 1;
                score = score.max(if near { 0.95 } else { 0.7 });
            }
            (score, candidate)
        })
        .filter(|(score, _)| *score >= 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// "did you mean", or what there is.
pub(crate) fn suggest<'c>(
    word: &str,
    what: &str,
    candidates: impl IntoIterator<Item = &'c str> + Clone,
) -> String {
    if let Some(near) = nearest(word, candidates.clone()) {
        return format!("did you mean `{near}`?");
    }
    let all: Vec<_> = candidates.into_iter().take(13).collect();
    match all.len() {
        0 => format!("there is no {what} yet"),
        1..=12 => format!("known: {}", list(&all)),
        _ => format!("check the spelling of the {what}"),
    }
}

/// `a`, `b` and so on, in backquotes.
pub(crate) fn list<T: Display>(words: impl IntoIterator<Item = T>) -> String {
    words.into_iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspellings_find_their_word_and_strangers_do_not() {
        let keys = ["subnet", "pools", "router", "lease", "interface"];
        for (word, key) in [
            ("subent", Some("subnet")),
            ("pool", Some("pools")),
            ("Router", Some("router")),
            ("leese", Some("lease")),
            ("banana", None),
            ("domain", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, keys), key, "{word}");
        }
    }
}
