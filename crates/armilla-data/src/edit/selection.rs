//! Episodes chosen by number, as people write them: `3,5-7`.

use crate::error::{Error, Result};

/// Reads numbers and ranges (ends included) of a dataset of `count` episodes; sorted, each once.
///
/// ```
/// assert_eq!(armilla_data::parse_episodes("5-7, 3,6", 9).unwrap(), [3, 5, 6, 7]);
/// ```
///
/// # Errors
///
/// When the text holds something else, or an episode that the dataset has not.
pub fn parse_episodes(text: &str, count: usize) -> Result<Vec<usize>> {
    let mut found = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<usize>().ok();
        let range = number(first).zip(number(last)).filter(|(a, b)| a <= b);
        let Some((first, last)) = range else {
            let expected = "numbers and ranges such as `3,5-7`";
            return Err(Error::invalid("episodes", expected, format!("`{part}`")));
        };
        if last >= count {
            return Err(Error::invalid(
                "episodes",
                format!("numbers below {count}"),
                last,
            ));
        }
        found.extend(first..=last);
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Sorted numbers, the way [`parse_episodes`] reads them.
pub(crate) fn write_episodes(episodes: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for &episode in episodes {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == episode => *last = episode,
            _ => ranges.push((episode, episode)),
        }
    }
    let texts = ranges.into_iter().map(|range| match range {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    });
    texts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let text = "0,3-4,7-9";
        let episodes = parse_episodes(text, 10).unwrap();
        assert_eq!(
            (episodes.len(), write_episodes(&episodes).as_str()),
            (6, text)
        );
        assert_eq!(write_episodes(&[]), "");
    }

    #[test]
    fn what_is_no_episode_is_named() {
        for (text, word) in [
            ("", "`3,5-7`"),
            ("a", "`a`"),
            ("5-3", "`5-3`"),
            ("-1", "`-1`"),
            ("2,9", "below 9"),
        ] {
            let error = parse_episodes(text, 9).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
