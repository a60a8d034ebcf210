//! Hashes that other libraries made: Python's bcrypt, argon2-cffi and hashlib; the spellings of Django, passlib and
//! Werkzeug were verified by those.

use super::stored::{HashRefused, StoredHash, refused};

const PLAIN: &str = "Tr0ub4dor & 3";
const UNICODE: &str = "Zo\u{eb} \u{440}\u{443}\u{441} 42";

/// A password and a hash of it.
fn foreign() -> Vec<(String, &'static str)> {
    let (long, seventy_two) = ("long ".repeat(30), "x".repeat(72));
    FOREIGN
        .iter()
        .map(|(password, hash)| {
            let password = match *password {
                "long" => long.clone(),
                "72" => seventy_two.clone(),
                other => other.to_owned(),
            };
            (password, *hash)
        })
        .collect()
}

#[rustfmt::skip]
const FOREIGN: &[(&str, &str)] = &[
    (PLAIN, "$2a$05$Z47eEhioIO8WLxeFpR7Yku2ulMPN6k5jUN6iEwWV3RKOanyaSsi4G"),
    (PLAIN, "$2b$05$dZx7BDmwLHGosEw0SMN0feH7sOLLGMyMUnjBrFydK0t5jzApLk1KK"),
    (PLAIN, "$2y$05$bHeUM3DM1dxhpUpzGpxSAOUXyz.K4Hcjadry0/rMBPBAj7d9I.WwG"),
    (UNICODE, "$2b$04$3OYCG3SgMQU2Z0yaWDoN/OREtfKfNE9QbF7pfIL74ZIHr0mGSzCbK"),
    ("72", "$2b$04$d84UNYeTSfP.9ijLLR5houaP6V3W6DnTCUxoYjs/iXgR4UnFgTb8."),
    (PLAIN, "bcrypt$$2b$04$9MQDU5gA8vnKp1ab12TRoenMrr3aZe.T/xcnWgZ0r.tc/EQghN3qO"),
    ("long", "bcrypt_sha256$$2b$04$H838bNt1T54CTGVBUlnvhuDQbqNJ99r1W8zicXSlR9JpQjQ65n/oS"),
    ("long", "$bcrypt-sha256$v=2,t=2b,r=4$2dToAsSWy8ZKEDe1Em3/QO$FcoAJyvuImFaIMuaHUuB9QQ1Im16af."),
    ("long", "$bcrypt-sha256$2b,4$9FI0p7Bcqge5s/K9ST4vne$3M5AnXp3j7ew6Kx7nGHp1ZrERKWWZV6"),
    (PLAIN, "$argon2i$v=19$m=64,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$1c5dOwlKDq9rCSVJDVDJmHJWMS8e0RWus5D3mUUTO18"),
    (PLAIN, "$argon2d$v=19$m=64,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$4OR0D0Ao4uiydOXvwjw0IShlUAH8gtpsOUDPstBVn9M"),
    (PLAIN, "$argon2id$v=19$m=64,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$4+/nfCig7o6EfMU3DiDDNIOAm0pTmQMgxBKPaDJbC9Y"),
    (PLAIN, "$argon2id$v=19$m=256,t=3,p=4$c2FsdHNhbHQ$PrUXI9N3SwQC5aPc1/+exb3/EXioQMm9"),
    (PLAIN, "$argon2i$v=16$m=64,t=2,p=1$c2FsdHNhbHRzYWx0$mi2iAM3/6HrhUQ3nZgVVg2pstbLdlVKzbMz6SHS2v/8"),
    (PLAIN, "$argon2i$m=64,t=2,p=1$c2FsdHNhbHRzYWx0$mi2iAM3/6HrhUQ3nZgVVg2pstbLdlVKzbMz6SHS2v/8"),
    (UNICODE, "argon2$argon2id$v=19$m=64,t=2,p=2$c2FsdHNhbHRzYWx0$wBBngbwA2Dy7uUSwnq3Eog"),
    (PLAIN, "$scrypt$ln=8,r=8,p=1$c29tZXNhbHQ$zvGDnk89CGV/dReupuCLI52GaHDTleF/TuUK3G5EViY"),
    (PLAIN, "$scrypt$n=256,r=8,p=2$c29tZXNhbHQ$QiteMtGCjZ7GbCHPHrlPX6CR2FtX9EeCXZe81o0YnoKvvYSJo1JVL03jAZeiyu/vLyR1r5G1VlKe286yo10xDQ"),
    (UNICODE, "scrypt$256$djangosalt$8$1$374yfUkmgs0vLPfgTNtkD6NraLDMRFLOIerIoMZWSh1VJlsZD2OvZFX8VBv9EJ/nbn3oHszJMUSktS2HDnxhoA=="),
    (PLAIN, "scrypt:256:8:1$werkzeug$0a59334c925b6c3585a69aa0ef153dad170844cd17d45981ea15216db1e7e2a9e8bdc803a2d848680fc2876af6216e8635519304aed690e6087b2ab6ccdbe645"),
    (PLAIN, "$pbkdf2$1000$8PHy8/T19vf4.fr7/P3./w$KCpUxqH89WBZkWK0/iWtv6R6bDs"),
    (PLAIN, "$pbkdf2-sha256$1000$8PHy8/T19vf4.fr7/P3./w$NtLAa.b625fO0h3Sm2nfRgwk5jfsLqYdWQghB87qHLA"),
    (PLAIN, "$pbkdf2-sha512$1000$8PHy8/T19vf4.fr7/P3./w$s400nxUussewMD5vD5aPyYa2.ptcIcORaDFDuNJHSksqwnUjRfTx1NBFXpcmsg.NiEjvORB8w9mwpVD1LwucTw"),
    (PLAIN, "$pbkdf2-sha256$i=1200,l=32$cGhjc2FsdHBoY3NhbHQ$B3xCLPSL/cSLDQ3glWmNVLVvFxH020t/SSuRWX4kiVk"),
    (PLAIN, "$pbkdf2-sha512$i=1200$cGhjc2FsdHBoY3NhbHQ$Gm0QzlZQ5bN9mmHnvVTE+iW2wdlPmb8b7b1TWTSV66f+NrZ7Ys4DCxNh8w2SFYGlapW6TlZSGrUGAbTD18homkMYFVb5em/eTTSgHuN5LXE"),
    (UNICODE, "pbkdf2_sha256$1500$djangosalt$JkrgEivTJXbrUkKmWs97PwE7l3HZOHSv7dPHl4PbVJI="),
    (PLAIN, "pbkdf2_sha1$1500$djangosalt$umzHMI3bVDLJepCuhskIy/flnP4="),
    (PLAIN, "pbkdf2:sha256:1000$werkzeug$e814305f23c0678cf2ffb694845a40178a6726356cdb6d5a1e5e33929b895ca9"),
    (PLAIN, "pbkdf2:sha512:1000$werkzeug$2a5d7f6b2f5f774e9fb6109e2d35d06632549263d7a2cbd42a41dc3e05fc6a008b992c39cceb3942bc1bf07c5fddb5ee06b9e790d93f613a37b4f522edbc622c"),
];

#[test]
fn a3_hashes_of_other_systems_are_verified() {
    for (password, text) in foreign() {
        let stored = StoredHash::parse(text).unwrap_or_else(|refused| panic!("{text}: {refused}"));
        assert!(stored.matches(password.as_bytes()).unwrap(), "{text}");
        for wrong in ["", "x", &format!("{password} "), &password[1..], &password.to_uppercase()] {
            assert!(!stored.matches(wrong.as_bytes()).unwrap(), "{text} with {wrong:?}");
        }
        assert!(!stored.clone().of_nobody().matches(password.as_bytes()).unwrap(), "{text}");
        for own in [super::PasswordHash::Argon2id, super::PasswordHash::Bcrypt] {
            assert!(!stored.is_as_configured(own), "{text} costs less than ours");
        }
    }
}

#[test]
fn a3_a_password_that_bcrypt_would_cut_is_no_password_of_an_imported_hash() {
    // Other libraries made this of 72 times "x" and would let in every longer one.
    let (_, text) = foreign().into_iter().find(|(password, _)| password.len() == 72).unwrap();
    let stored = StoredHash::parse(text).unwrap();
    assert!(stored.matches("x".repeat(72).as_bytes()).unwrap());
    assert!(!stored.matches("x".repeat(73).as_bytes()).unwrap());
    assert!(!stored.matches(("x".repeat(72) + "\0").as_bytes()).unwrap());
    let (_, text) = foreign().into_iter().find(|(_, text)| text.starts_with("$2b$05$")).unwrap();
    let stored = StoredHash::parse(text).unwrap();
    assert!(!stored.matches(format!("{PLAIN}\0more").as_bytes()).unwrap());
}

#[test]
fn a3_every_damaged_hash_is_refused_and_none_panics() {
    for (_, text) in FOREIGN {
        // A hash that is cut may be a shorter one of PBKDF2 or Argon2; below 16 bytes of output it is none.
        let last = text.rfind('$').unwrap();
        for end in 0..last + 20 {
            assert!(StoredHash::parse(&text[..end]).is_err(), "{}", &text[..end]);
        }
        for extra in ["$", "$x", "\n", " ", "\0", "\u{e9}"] {
            assert!(StoredHash::parse(&format!("{text}{extra}")).is_err(), "{text}{extra:?}");
        }
        for (index, _) in text.char_indices() {
            for with in ["$", "", "?", ",", "99999999999", "-1"] {
                let changed = format!("{}{with}{}", &text[..index], &text[index + 1..]);
                // It may still be one by chance, but not one that takes long.
                drop(StoredHash::parse(&changed));
            }
        }
    }
}

#[test]
fn a3_no_imported_hash_may_cost_gigabytes_or_minutes() {
    const SALT_AND_HASH: &str = "c29tZXNhbHQ$zvGDnk89CGV/dReupuCLI52GaHDTleF/TuUK3G5EViY";
    let digits = "9MQDU5gA8vnKp1ab12TRoenMrr3aZe.T/xcnWgZ0r.tc/EQghN3qO";
    let long_key = "A".repeat(4 * 171);
    for (text, bound) in [
        (format!("$2b$15${digits}"), "14"),
        (format!("$2b$31${digits}"), "14"),
        (format!("$argon2id$v=19$m=8388608,t=1,p=1${SALT_AND_HASH}"), "256 MiB"),
        (format!("$argon2id$v=19$m=262144,t=5,p=1${SALT_AND_HASH}"), "1 GiB"),
        (format!("$argon2id$v=19$m=64,t=4294967295,p=1${SALT_AND_HASH}"), "1 GiB"),
        (format!("$argon2id$v=19$m=65536,t=1,p=17${SALT_AND_HASH}"), "16 lanes"),
        (format!("$scrypt$ln=19,r=8,p=1${SALT_AND_HASH}"), "256 MiB"),
        (format!("$scrypt$ln=63,r=4294967295,p=1${SALT_AND_HASH}"), "256 MiB"),
        (format!("$scrypt$ln=64,r=8,p=1${SALT_AND_HASH}"), "256 MiB"),
        (format!("$scrypt$ln=16,r=8,p=9${SALT_AND_HASH}"), "512 MiB"),
        (format!("$scrypt$n=2147483648,r=8,p=1${SALT_AND_HASH}"), "256 MiB"),
        (format!("$pbkdf2-sha256$2000001${SALT_AND_HASH}"), "2,000,000"),
        (format!("$pbkdf2-sha512$i=300000$c29tZXNhbHQ${long_key}"), "2,000,000"),
    ] {
        let HashRefused::TooCostly(told) = refused(&text) else { panic!("{text}") };
        assert!(told.contains(bound), "{text}: {told}");
    }
    // What the frameworks set by default is within the bounds.
    for text in [
        format!("$2y$14${digits}"),
        format!("$argon2id$v=19$m=65536,t=3,p=4${SALT_AND_HASH}"),
        format!("$argon2id$v=19$m=262144,t=3,p=1${SALT_AND_HASH}"),
        format!("$scrypt$ln=17,r=8,p=1${SALT_AND_HASH}"),
        "scrypt$16384$djangosalt$8$5$zvGDnk89CGV/dReupuCLI52GaHDTleF/TuUK3G5EViY=".to_owned(),
        format!("$scrypt$n=16384,r=16,p=1${SALT_AND_HASH}"),
        format!("$pbkdf2-sha256$1500000${SALT_AND_HASH}"),
    ] {
        assert!(StoredHash::parse(&text).is_ok(), "{text}");
    }
}

#[test]
fn a3_a_hash_that_chance_could_match_is_refused() {
    for text in [
        "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHQ$AAAAAAAA",
        "$scrypt$ln=8,r=8,p=1$c29tZXNhbHQ$AAAAAAAA",
        "$pbkdf2-sha256$1000$c29tZXNhbHQ$AA",
        "$2x$05$9MQDU5gA8vnKp1ab12TRoenMrr3aZe.T/xcnWgZ0r.tc/EQghN3qO",
        "$2$05$9MQDU5gA8vnKp1ab12TRoenMrr3aZe.T/xcnWgZ0r.tc/EQghN3qO",
    ] {
        assert!(matches!(refused(text), HashRefused::TooWeak(_)), "{text}");
    }
}
