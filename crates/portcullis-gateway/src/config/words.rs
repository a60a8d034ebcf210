//! Which word was meant.

/// The word that `wrong` most probably was meant to be, if any is close.
pub(super) fn closest<'w>(wrong: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    // One slip in a short word, two in a longer one, three in a long one.
    let slips = match wrong.chars().count() {
        0..=4 => 1,
        5..=9 => 2,
        _ => 3,
    };
    let wrong = wrong.to_lowercase().replace('-', "_");
    words
        .into_iter()
        .map(|word| (distance(&wrong, &word.to_lowercase().replace('-', "_")), word))
        .filter(|(distance, _)| *distance <= slips)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// `"a", "b" or "c"`.
pub(super) fn alternatives<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    let quoted: Vec<String> = words.into_iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

/// How many letters must be inserted, left out, exchanged or swapped with their neighbour (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let exchanged = previous[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = exchanged.min(previous[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = previous;
        previous = row;
    }
    previous[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_pen_find_their_word() {
        let words = ["listen", "upstream", "upstreams", "limit", "limits", "max_head"];
        assert_eq!(closest("lisen", words), Some("listen"));
        assert_eq!(closest("upstraem", words), Some("upstream"));
        assert_eq!(closest("max-head", words), Some("max_head"));
        assert_eq!(closest("LIMIT", words), Some("limit"));
        assert_eq!(closest("elephant", words), None);
        assert_eq!(closest("", words), None);
    }

    #[test]
    fn distances_are_counted_in_single_slips() {
        assert_eq!(distance("abc", "abc"), 0);
        assert_eq!(distance("abc", "acb"), 1);
        assert_eq!(distance("abc", "ab"), 1);
        assert_eq!(distance("", "ab"), 2);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn alternatives_read_as_a_sentence() {
        assert_eq!(alternatives(["a"]), "\"a\"");
        assert_eq!(alternatives(["a", "b", "c"]), "\"a\", \"b\" or \"c\"");
    }
}
