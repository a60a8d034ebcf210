//! Whether a password is one that everybody tries first, or that everybody who knows its owner does.
//!
//! Lists of leaked passwords hold few that are as long as ours have to be: people reach a length by putting obvious pieces
//! together. So what is asked is how much of a password is left when the obvious pieces are taken out: words of a list in
//! any dress (`P@ssw0rd`), words that belong to the owner or to this service, runs (`12345`, `aaaa`) and walks over the
//! keyboard (`qwertz`, `asdf`).

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::LazyLock;

/// Passwords and words that everybody tries first, one a line, in lower case.
static COMMON: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| include_str!("../../data/common_passwords.txt").lines().filter(|word| word.len() >= 4).collect());
/// The longest word of the list and of a context.
const LONGEST_WORD: usize = 32;
/// What may be left beside the obvious pieces and still be no secret, a year and two marks: a letter or a digit counts two,
/// a mark one.
const LEFT: usize = 10;
/// Pieces are looked for in a password of so many characters at most: nobody tries longer ones, and looking takes time.
const LOOKED_AT: usize = 256;
/// How many tries a password takes is estimated for so many characters only: fewer are refused for being few, and what is
/// longer and still guessed early repeats itself.
const ESTIMATED: RangeInclusive<usize> = 8..=40;
/// Characters that may stand for letters. The estimate tries every way to read them, twice as many with each: a password
/// with more different ones would take longer than its hash, and is looked at by the pieces alone.
const STAND_INS: &str = "4@8({[<69!1|0$5+7%2";
const MOST_STAND_INS: usize = 5;
/// A password that is found with fewer tries is common. A guesser without our limits needs seconds for so many.
const TRIES: u64 = 1_000_000;
/// So few characters over and over are no secret either.
const UNIT: usize = 4;
/// So many different words of a list, and so many where one of them belongs to the owner.
const PIECES: usize = 2;
const PIECES_OF_OWNER: usize = 3;
/// A run or a walk is no piece below this length.
const RUN: usize = 3;
const WALK: usize = 4;
const ROWS: [&str; 6] = ["qwertyuiop", "asdfghjkl", "zxcvbnm", "qwertzuiop", "yxcvbnm", "azertyuiop"];

/// Why a password is easily guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Obvious {
    /// Everybody tries it.
    Common,
    /// Whoever knows the owner or the service tries it.
    OfOwner,
}

/// The words that belong to a password's owner and to this service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PasswordContext {
    words: HashSet<String>,
}

impl PasswordContext {
    /// Takes the words of an address, a name and the public URL.
    #[must_use]
    pub fn new(public_url: &str, email: Option<&str>, name: Option<&str>) -> Self {
        let mut context = Self::default();
        let host = public_url.split("://").last().unwrap_or_default().split(['/', ':']).next().unwrap_or_default();
        context.take("portcullis");
        context.take(without_last_label(host));
        if let Some((local, domain)) = email.and_then(|email| email.split_once('@')) {
            context.take(local);
            context.take(without_last_label(domain));
        }
        context.take(name.unwrap_or_default());
        context
    }

    /// A text as a whole, without what separates its words, and word by word.
    fn take(&mut self, text: &str) {
        let text = text.to_lowercase();
        let words = text.split(|c: char| !c.is_alphanumeric());
        let joined = words.clone().collect::<String>();
        for word in words.chain([text.as_str(), joined.as_str()]) {
            if (3..=LONGEST_WORD).contains(&word.chars().count()) {
                self.words.insert(word.to_owned());
            }
        }
    }
}

/// `example` of `example.com`: the last label says nothing of anybody.
fn without_last_label(host: &str) -> &str {
    host.rsplit_once('.').map_or(host, |(front, _)| front)
}

/// Whether it is obvious.
pub(super) fn obvious(password: &str, context: &PasswordContext) -> Option<Obvious> {
    let text = Text::new(password);
    if text.repeats() {
        return Some(Obvious::Common);
    }
    if text.plain.len() > LOOKED_AT {
        return None;
    }
    let cover = text.cover(context);
    let pieces: HashSet<&[char]> = cover.pieces.iter().map(|(start, end)| &text.plain[*start..*end]).collect();
    let (most, answer) = if cover.of_owner { (PIECES_OF_OWNER, Obvious::OfOwner) } else { (PIECES, Obvious::Common) };
    let is_little = !pieces.is_empty() && cover.left <= LEFT && pieces.len() <= most;
    if is_little {
        return Some(answer);
    }
    is_among_the_first(password, &text).then_some(Obvious::Common)
}

/// Whether whoever knows the passwords, words and names that are most frequent, and how people dress them, finds it among the
/// first tries. The lists are those of zxcvbn (Wheeler, USENIX Security 2016): 30,000 passwords and 63,000 words and names.
fn is_among_the_first(password: &str, text: &Text) -> bool {
    // A mark or two at the ends are what a rule asked for.
    let bare = password.trim_matches(|c: char| !c.is_alphanumeric());
    let bare = (1..=2).contains(&(password.len() - bare.len())).then_some(bare);
    let stand_ins: HashSet<char> = text.plain.iter().copied().filter(|c| STAND_INS.contains(*c)).collect();
    ESTIMATED.contains(&text.plain.len())
        && stand_ins.len() <= MOST_STAND_INS
        && [Some(password), bare].into_iter().flatten().any(|text| zxcvbn::zxcvbn(text, &[]).guesses() < TRIES)
}

/// A password in lower case, and in the two ways in which its digits and marks may stand for letters.
struct Text {
    plain: Vec<char>,
    read: [Vec<char>; 2],
}

#[derive(Clone, Copy, Default)]
struct Step {
    /// What is left from here to the end, plus one for each piece.
    cost: usize,
    /// Where the piece that begins here ends; 0 where this character is left.
    end: usize,
    of_owner: bool,
}

struct Cover {
    pieces: Vec<(usize, usize)>,
    left: usize,
    of_owner: bool,
}

impl Text {
    fn new(password: &str) -> Self {
        // One character for each, so that all three have the same places.
        let plain: Vec<char> = password.chars().map(|c| c.to_lowercase().next().unwrap_or(c)).collect();
        let read = ['i', 'l'].map(|one| plain.iter().map(|c| letter(*c, one)).collect());
        Self { plain, read }
    }

    /// The obvious pieces that leave the least.
    fn cover(&self, context: &PasswordContext) -> Cover {
        let length = self.plain.len();
        let runs = lengths(&self.plain, |c| Some(u32::from(c)), RUN);
        let walks: Vec<Vec<usize>> = ROWS.iter().map(|row| lengths(&self.plain, |c| place(row, c), WALK)).collect();
        let mut steps = vec![Step::default(); length + 1];
        for start in (0..length).rev() {
            let mut best = Step { cost: steps[start + 1].cost + weight(self.plain[start]), end: 0, of_owner: false };
            let mut offer = |end: usize, of_owner: bool| {
                let cost = steps[end].cost + 1;
                if cost < best.cost || (cost == best.cost && of_owner) {
                    best = Step { cost, end, of_owner };
                }
            };
            for lengths in walks.iter().chain([&runs]) {
                if lengths[start] > 0 {
                    offer(start + lengths[start], false);
                }
            }
            for text in [&self.plain, &self.read[0], &self.read[1]] {
                let mut word = String::new();
                for end in start + 1..=length.min(start + LONGEST_WORD) {
                    word.push(text[end - 1]);
                    if context.words.contains(&word) {
                        offer(end, true);
                    } else if COMMON.contains(word.as_str()) {
                        offer(end, false);
                    }
                }
            }
            steps[start] = best;
        }
        let mut cover = Cover { pieces: Vec::new(), left: 0, of_owner: false };
        let mut at = 0;
        while at < length {
            let step = steps[at];
            if step.end == 0 {
                cover.left += weight(self.plain[at]);
                at += 1;
            } else {
                cover.pieces.push((at, step.end));
                cover.of_owner |= step.of_owner;
                at = step.end;
            }
        }
        cover
    }

    /// Whether it is a few characters over and over, `xyz!xyz!xyz!`.
    fn repeats(&self) -> bool {
        (1..=UNIT).any(|unit| {
            self.plain.len() >= 2 * unit && self.plain.iter().skip(unit).eq(&self.plain[..self.plain.len() - unit])
        })
    }
}

const fn weight(c: char) -> usize {
    if c.is_ascii_punctuation() || c == ' ' { 1 } else { 2 }
}

/// The letter that a digit or a mark stands for.
fn letter(c: char, one: char) -> char {
    match c {
        '0' => 'o',
        '1' | '!' | '|' => one,
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' => 't',
        other => other,
    }
}

fn place(row: &str, c: char) -> Option<u32> {
    row.find(c).and_then(|place| u32::try_from(place).ok())
}

/// For each place, how far its characters go on up, down or staying; 0 below the least.
fn lengths(text: &[char], place: impl Fn(char) -> Option<u32>, least: usize) -> Vec<usize> {
    let places: Vec<Option<i64>> = text.iter().map(|c| place(*c).map(i64::from)).collect();
    let mut longest = vec![0; text.len()];
    for by in [-1, 0, 1] {
        let mut length = 0;
        for start in (0..text.len()).rev() {
            let goes_on = match (places[start], places.get(start + 1)) {
                (Some(here), Some(Some(there))) => there - here == by,
                _ => false,
            };
            length = if goes_on { length + 1 } else { 1 };
            if length >= least && length > longest[start] {
                longest[start] = length;
            }
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(password: &str) -> Option<Obvious> {
        let context = PasswordContext::new(
            "https://login.blue-harbour.example.com:8443/",
            Some("mia.keller@ferries.org"),
            Some("Mia Keller-Brandt"),
        );
        obvious(password, &context)
    }

    #[test]
    fn a2_what_everybody_tries_at_our_length_is_common() {
        let mut wrong = Vec::new();
        for password in [
            "password",
            "Password123",
            "P@ssw0rd2024!",
            "Qwertyuiop1",
            "Iloveyou2024",
            "!!Sunshine99",
            "passwordpassword",
            "PasswordPasswordPassword1",
            "DragonMonkey12",
            "123456789012345",
            "0987654321Ab",
            "qwertyuiopasdfghjkl",
            "Qwertzuiop2024",
            "aaaaaaaaaaaaaaaaa",
            "Aaaaaaaaaa1",
            "abcdefghijklmnop",
            "xyz!xyz!xyz!xyz!",
            "1q2w3e4r5tABC",
        ] {
            wrong.extend((judge(password) != Some(Obvious::Common)).then_some(password));
        }
        assert_eq!(wrong, [""; 0]);
    }

    #[test]
    fn a2_what_names_the_owner_or_the_service_is_refused() {
        let mut wrong = Vec::new();
        for password in [
            "MiaKeller2024",
            "mia.keller@2024",
            "Keller-Brandt-1",
            "M1aK3ller!!",
            "BlueHarbour1!",
            "blue-harbour-blue-harbour",
            "Ferries2024",
            "Portcullis-123",
            "PasswordKeller1",
        ] {
            wrong.extend((judge(password) != Some(Obvious::OfOwner)).then_some(password));
        }
        assert_eq!(wrong, [""; 0]);
    }

    #[test]
    fn a2_a_good_password_may_hold_a_word_of_the_list_or_of_its_owner() {
        let mut wrong = Vec::new();
        for password in [
            "correct horse battery staple",
            "Correct-Horse-42",
            "Str0ngEnough",
            "my keller has nine dark stairs",
            "T7#kq9!vLm2x",
            "summer rain on a tin roof",
            "пароль от старого сарая",
            "#%^&*(_+a$~?>)",
            ">?)(*&^%$#~=+_",
            "Zo\u{eb}-42-Zo\u{eb}",
            "",
        ] {
            wrong.extend(judge(password).is_some().then_some(password));
        }
        assert_eq!(wrong, [""; 0]);
    }

    #[test]
    fn a2_a_password_too_long_to_be_looked_at_only_must_not_repeat_itself() {
        assert_eq!(judge(&("aB3$".repeat(1000) + "x")), None);
        assert_eq!(judge(&"aB3$".repeat(1000)), Some(Obvious::Common));
    }

    #[test]
    fn a2_a_frequent_word_with_what_everybody_adds_is_common() {
        let mut wrong = Vec::new();
        for word in [
            "Elephant",
            "Chocolate",
            "Liverpool",
            "Charlie",
            "Manchester",
            "Computer",
            "Michigan",
            "Starwars",
            "Butterfly",
            "Basketball",
            "Samantha",
            "Barcelona",
            "Scorpion",
            "Mercedes",
            "Einstein",
            "Minecraft",
            "Patricia",
            "Jonathan",
            "Washington",
            "Playstation",
            "Firebird",
            "Submarine",
            "Snowboard",
            "Marlboro",
        ] {
            for added in ["1234", "123!", "2024", "1!", "99"] {
                let password = format!("{word}{added}");
                let long_enough = password.len() >= 10;
                wrong.extend((long_enough && judge(&password) != Some(Obvious::Common)).then_some(password));
            }
        }
        assert_eq!(wrong, [""; 0]);
    }

    #[test]
    fn a2_no_password_takes_longer_to_estimate_than_to_hash() {
        for password in ["4@8({[<69!1|0$5+7%2zi!l|4@8({[<69!1|0$5", "4@10$ztlaso4@10$ztlaso4@10$ztlaso4@10$zt"] {
            let begun = std::time::Instant::now();
            judge(password);
            // Some 20 ms without optimisation, and more than a minute where every way to read it is tried.
            assert!(begun.elapsed().as_secs() < 5, "{password}: {:?}", begun.elapsed());
        }
    }
}
