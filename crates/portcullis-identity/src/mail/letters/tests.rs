use super::*;

fn ann() -> Email {
    Email::parse("ann@example.com").unwrap()
}

fn told(files: &[(&str, &str)]) -> Vec<String> {
    let files = files.iter().map(|(name, text)| (*name, text.as_bytes()));
    Letters::read(files).map(drop).unwrap_err().iter().map(ToString::to_string).collect()
}

const URL: &str = "https://api.example.com";

#[test]
fn a10_an_operators_words_stand_in_for_ours() {
    let letters = Letters::read([
        ("verify.subject", "Willkommen im Tor\n".as_bytes()),
        ("verify.txt", "Hallo\r\n\r\n{{link}}\r\n{{hours}} Stunden ab {{registered}}, {{public_url}}\r\n".as_bytes()),
        ("verify.html", "<p><a href='{{link}}'>Los</a>\n".as_bytes()),
    ])
    .unwrap();
    let mail = letters.verify(ann(), URL, "T0k", Timestamp::EPOCH, Timestamp::from_secs(60));
    let link = "https://api.example.com/auth/verify?token=T0k";
    assert_eq!(
        (&*mail.subject, mail.kind, mail.at),
        ("Willkommen im Tor", LetterKind::Verify, Timestamp::from_secs(60))
    );
    let registered = Timestamp::EPOCH;
    assert_eq!(mail.text, format!("Hallo\n\n{link}\n24 Stunden ab {registered}, {URL}\n"));
    assert_eq!(mail.html, format!("<p><a href='{link}'>Los</a>\n"));
    let other = letters.already_registered(ann(), URL, Timestamp::EPOCH);
    assert_eq!(&*other.subject, "You already have an account", "what has no file stays ours");
}

#[test]
fn a10_a_subject_can_be_changed_alone() {
    let letters = Letters::read([("already-registered.subject", b"Known".as_slice())]).unwrap();
    let mail = letters.already_registered(ann(), URL, Timestamp::EPOCH);
    assert!(&*mail.subject == "Known" && mail.text.contains("You already have an account"));
}

#[test]
fn a10_a_public_url_with_markup_in_it_is_text_in_an_operators_letter() {
    let files = [("already-registered.txt", "{{public_url}}"), ("already-registered.html", "<b>{{public_url}}</b>")];
    let letters = Letters::read(files.map(|(name, text)| (name, text.as_bytes()))).unwrap();
    let mail = letters.already_registered(ann(), "https://x/\"><img>&'", Timestamp::EPOCH);
    assert_eq!(mail.html, "<b>https://x/&quot;&gt;&lt;img&gt;&amp;&#39;</b>");
    assert_eq!(mail.text, "https://x/\"><img>&'");
}

#[test]
fn a10_everything_that_is_wrong_with_the_files_is_told_with_file_and_line() {
    let told = told(&[
        ("verify.txt", "Hi\n{{lnik}}\n{{link\n"),
        ("verify.html", "<p>no way on</p>"),
        ("verify.subject", "Confirm {{link}}"),
        ("already-registered.txt", "{{link}}"),
        ("verfy.html", "x"),
    ]);
    assert_eq!(
        told,
        [
            "verify.txt:2: \"{{lnik}}\" is no placeholder of this letter",
            "verify.txt:3: \"{{\" is not closed in this line",
            "verify.html has no {{link}}, so nobody could follow it",
            "verify.subject:1: a subject has no placeholders",
            "already-registered.txt:1: \"{{link}}\" is no placeholder of this letter",
            "verfy.html belongs to no letter",
            "already-registered.txt is there without already-registered.html; a mail has both",
        ]
    );
}

#[test]
fn a10_a_subject_cannot_begin_another_header() {
    for subject in
        ["Hi\r\nBcc: eve@example.com", "Hi\nBcc: eve@example.com", "Hi\rx", "Hi\0", "Hi\u{2028}x", "Hi\u{1b}[31m"]
    {
        assert_eq!(
            told(&[("verify.subject", subject)]),
            ["verify.subject:1: a subject is one line without control characters"],
            "{subject:?}"
        );
    }
    assert_eq!(told(&[("verify.subject", " \n")]), ["verify.subject is empty"]);
    assert_eq!(told(&[("verify.subject", &"x".repeat(151))]), ["verify.subject is longer than 150 characters"]);
}

#[test]
fn a_file_that_cannot_be_a_letter_is_refused() {
    let errors = Letters::read([("verify.subject", [0xff, 0xfe].as_slice())]).unwrap_err();
    assert_eq!(errors[0].to_string(), "verify.subject is not UTF-8 text");
    let text = format!("{{{{link}}}}{}", "x".repeat(LARGEST));
    assert_eq!(told(&[("verify.txt", &text), ("verify.html", "{{link}}")]), ["verify.txt is larger than 32 KiB"]);
    assert_eq!(
        told(&[("verify.txt", "{{link}}\n\0"), ("verify.html", "{{link}}")]),
        ["verify.txt:2: there is a control character here"]
    );
}

#[test]
fn notes_and_what_editors_leave_behind_are_no_letters() {
    for name in ["verify.txt", "verfy.html", "x.subject"] {
        assert!(Letters::takes(name), "{name}");
    }
    for name in ["README.md", "verify.txt~", ".verify.txt.swp", ".verify.txt", ".txt", "txt", "verify.txt.bak", ""] {
        assert!(!Letters::takes(name), "{name}");
    }
}

/// Every letter that there is, as it goes out.
fn every(letters: &Letters, url: &str) -> [Mail; 8] {
    let at = Timestamp::from_secs(60);
    [
        letters.verify(ann(), url, "T0k", at, at),
        letters.already_registered(ann(), url, at),
        letters.reset(ann(), url, "T0k", at),
        letters.password_changed(ann(), url, at),
        letters.confirm_email(ann(), url, "T0k", at),
        letters.email_changing(ann(), url, at),
        letters.email_changed(ann(), url, at),
        letters.account_deleted(ann(), url, at),
    ]
}

#[test]
fn a10_every_letter_can_be_in_an_operators_words_with_all_that_ours_says() {
    let mut files = Vec::new();
    for kind in LetterKind::ALL {
        let places: String = fields(kind).0.iter().map(|field| format!("[{{{{{}}}}}]", field.as_str())).collect();
        files.push((file(kind, Part::Text), places.clone()));
        files.push((file(kind, Part::Html), places));
        files.push((file(kind, Part::Subject), format!("Own {}", kind.as_str())));
    }
    let letters = Letters::read(files.iter().map(|(name, text)| (name.as_str(), text.as_bytes()))).unwrap();
    for (kind, mail) in LetterKind::ALL.into_iter().zip(every(&letters, URL)) {
        assert_eq!((mail.kind, &*mail.subject), (kind, &*format!("Own {}", kind.as_str())));
        assert!(!mail.text.contains("[]") && mail.text.contains(&format!("[{URL}")), "{kind:?}: {}", mail.text);
    }
}

#[test]
fn a7_links_lead_to_the_configured_url_and_letters_hold_no_markup_but_ours() {
    let hostile = "https://x/\"><img src=//evil>";
    let ours = Letters::default();
    for (mail, other) in every(&ours, URL).into_iter().zip(every(&ours, hostile)) {
        let path = match mail.kind {
            LetterKind::Verify => "verify",
            LetterKind::Reset => "reset-password",
            LetterKind::ConfirmEmail => "confirm-email",
            _ => {
                assert!(!mail.text.contains("token=") && !mail.html.contains("<a "), "{}", mail.text);
                assert!(!other.html.contains("<img"), "{}", other.html);
                continue;
            }
        };
        let link = format!("{URL}/auth/{path}?token=T0k");
        assert!(mail.text.lines().any(|line| line == link), "{}", mail.text);
        assert!(mail.html.contains(&format!("<a href=\"{link}\">")), "{}", mail.html);
        assert!(!other.html.contains("<img"), "{}", other.html);
    }
}
