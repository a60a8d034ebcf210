//! Bringing users along, and what an operator does with them afterwards.

use std::io;

use portcullis_core::ports::Standing;
use portcullis_identity::{
    AccountChange, AccountName, IdentityError, ImportError, ImportFormat, ImportOptions, ImportSummary, ImportWatcher,
    NotImported, Origin, RoleNames,
};

use crate::house::*;

/// bcrypt of `Correct-Horse-42`, made by Python.
const BCRYPT: &str = "$2b$06$zwv334N2olNqydu/dWCyResrE3nSORz8fBm93KseksJyTXaLxsoky";

#[derive(Debug)]
struct Roles;

impl RoleNames for Roles {
    fn knows(&self, role: &str) -> bool {
        ["viewer", "editor", "admin"].contains(&role)
    }
}

#[derive(Default)]
struct Told(Vec<(u64, Option<String>, String)>);

impl ImportWatcher for Told {
    fn not_imported(&mut self, row: NotImported<'_>) -> io::Result<()> {
        self.0.push((row.line, row.email.map(str::to_owned), row.reason.to_string()));
        Ok(())
    }

    fn progress(&mut self, _: &ImportSummary) {}
}

impl Told {
    fn has(&self, line: u64, reason: &str) {
        assert!(self.0.iter().any(|(at, _, why)| *at == line && why.contains(reason)), "{line} {reason}: {:?}", self.0);
    }
}

const JSON: ImportOptions<'static> = ImportOptions {
    format: ImportFormat::JsonLines,
    dry_run: false,
    assume_verified: true,
    ignore: &[],
    roles: &Roles,
};
const CSV: ImportOptions<'static> = ImportOptions { format: ImportFormat::Csv, ..JSON };

impl House {
    async fn import(&self, text: &[u8], options: &ImportOptions<'_>) -> (ImportSummary, Told) {
        let mut told = Told::default();
        // A small buffer, so that rows lie across its ends.
        let mut input = io::BufReader::with_capacity(7, text);
        let summary = self.identity.import(&mut input, options, &mut told, Origin::default()).await.unwrap();
        (summary, told)
    }

    async fn header(&self, text: &str, options: &ImportOptions<'_>) -> String {
        let done = self.identity.import(&mut text.as_bytes(), options, &mut Told::default(), Origin::default()).await;
        let Err(ImportError::Header(told)) = done else { panic!("{done:?}") };
        told
    }
}

#[tokio::test]
async fn a3_imported_users_log_in_with_their_passwords() {
    let json = format!(
        "\u{feff}{{\"id\":4711,\"email\":\"Ann@Example.com\",\"name\":\"Ann Lee\",\"role\":\"admin\",\"plan\":\"pro\",\
         \"verified\":true,\"password_hash\":\"{BCRYPT}\",\"created_at\":\"2024-02-29T12:30:00Z\"}}\r\n\n\
         {{\"email\":\"bob@example.com\",\"name\":null,\"disabled\":true,\"password_hash\":\"{BCRYPT}\"}}"
    );
    let csv = format!(
        "\u{feff}\"email\",\"name\",id,role,plan,verified,disabled,password_hash,created_at\r\n\
         Ann@Example.com,\"Ann Lee\",4711,admin,pro,t,,{BCRYPT},2024-02-29 12:30:00\r\n\
         bob@example.com,,,,,1,yes,\"{BCRYPT}\",\r\n"
    );
    for (text, options) in [(json, JSON), (csv, CSV)] {
        let house = House::new().await;
        let (summary, told) = house.import(text.as_bytes(), &options).await;
        assert_eq!((summary.imported, summary.skipped, summary.refused), (2, 0, 0), "{:?}", told.0);
        assert_eq!(summary.bytes, u64::try_from(text.len()).unwrap());
        assert_eq!(summary.by_role.into_iter().collect::<Vec<_>>(), [("admin".into(), 1), ("viewer".into(), 1)]);
        let tokens = house.login("ann@example.com", PASSWORD).await.unwrap();
        let principal = house.principal(&tokens);
        assert_eq!((&*principal.parts().subject, principal.parts().plan.as_deref()), ("4711", Some("pro")));
        assert!(principal.has_role("admin"));
        let ann = house.identity.account("4711").await.unwrap();
        assert_eq!((ann.name.as_deref(), ann.created_at.as_secs()), (Some("Ann Lee"), 1_709_209_800));
        assert!(matches!(house.login("bob@example.com", PASSWORD).await, Err(IdentityError::Disabled)));
        assert_eq!(house.audit().await.iter().filter(|action| *action == "account_imported").count(), 2);
    }
}

#[tokio::test]
async fn an_import_is_resumed_and_changes_nothing_that_is_there() {
    let house = House::new().await;
    house.create("ann@example.com").await;
    // Django writes such a mark for an account without a password.
    let text: String = ["ann", "bob", "cid"]
        .map(|who| format!("{{\"email\":\"{who}@example.com\",\"password_hash\":\"!Qm2n8kZ4\"}}\n"))
        .concat();
    let dry = ImportOptions { dry_run: true, ..JSON };
    for _ in 0..2 {
        let (summary, _) = house.import(text.as_bytes(), &dry).await;
        assert_eq!((summary.imported, summary.skipped, summary.without_password), (2, 1, 2));
        assert_eq!(house.count("SELECT count(*) FROM account").await, 1, "a dry run writes nothing");
    }
    let (summary, told) = house.import(text.as_bytes(), &JSON).await;
    assert_eq!((summary.imported, summary.skipped, summary.refused), (2, 1, 0));
    told.has(1, "exists already");
    let (summary, _) = house.import(text.as_bytes(), &JSON).await;
    assert_eq!((summary.imported, summary.skipped, summary.refused), (0, 3, 0));
    house.login("ann@example.com", PASSWORD).await.unwrap();
    // Without a password nobody logs in, whatever they type.
    for password in ["!", "!Qm2n8kZ4", "", PASSWORD] {
        assert!(matches!(house.login("bob@example.com", password).await, Err(IdentityError::InvalidCredentials)));
    }
}

#[tokio::test]
async fn hostile_rows_are_refused_alone_and_told_with_their_line() {
    let house = House::new().await;
    let mut text = Vec::new();
    for line in [
        &b"{\"email\":\"one@example.com\"}"[..],
        b"{\"email\":\"two\xff@example.com\"}",
        b"{\"email\":\"nul@example.com\",\"name\":\"a\\u0000b\"}",
        b"{\"email\":\"ONE@example.com\"}",
        b"{\"email\":\"role@example.com\",\"role\":\"superuser\"}",
        b"{\"email\":\"column@example.com\",\"passwrod_hash\":\"x\"}",
        b"not json",
        b"{\"email\":\"x@example.com\",\"email\":\"y@example.com\"}",
        b"{\"email\":\"hash@example.com\",\"password_hash\":\"plain-text-secret\"}",
        b"{\"email\":\"cost@example.com\",\"password_hash\":\"$2b$31$9MQDU5gA8vnKp1ab12TRoenMrr3aZe.T/xcnWgZ0r.tc/EQghN3qO\"}",
        b"{\"email\":\"never@example.com\",\"verified\":false}",
        b"{\"email\":\"evil@example.com\\r\\nBcc: all@example.com\"}",
        b"{\"email\":[\"list@example.com\"]}",
        b"{\"name\":\"nobody\"}",
        b"[]",
        b"{\"email\":\"later@example.com\",\"created_at\":\"2100-01-01T00:00:00Z\"}",
        b"{\"id\":\"../../x\",\"email\":\"id@example.com\"}",
        b"{\"id\":7,\"email\":\"seven@example.com\"}",
        b"{\"id\":\"7\",\"email\":\"again@example.com\"}",
    ] {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    text.extend_from_slice(b"{\"email\":\"long@example.com\",\"name\":\"");
    text.resize(text.len() + (1 << 20), b'x');
    text.extend_from_slice(b"\"}\n{\"email\":\"last@example.com\"}");
    let (summary, told) = house.import(&text, &JSON).await;
    assert_eq!((summary.imported, summary.skipped, summary.refused), (3, 0, 18), "{:?}", told.0);
    for (line, reason) in [
        (2, "not UTF-8"),
        (3, "NUL"),
        (4, "the same email is already on line 1"),
        (5, "no role \"superuser\""),
        (6, "no column \"passwrod_hash\""),
        (7, "not one JSON object"),
        (8, "there twice"),
        (9, "not known"),
        (10, "costs too much"),
        (11, "never confirmed"),
        (12, "Must be an e-mail address"),
        (13, "Must be a text"),
        (14, "email is missing"),
        (15, "not one JSON object"),
        (16, "in the future"),
        (17, "id: Must be"),
        (19, "the same id is already on line 18"),
        (20, "longer than"),
    ] {
        told.has(line, reason);
    }
    assert!(told.0.iter().all(|(_, _, reason)| !reason.contains("plain-text-secret")));
    assert_eq!(house.count("SELECT count(*) FROM account WHERE email = 'last@example.com'").await, 1);
}

#[tokio::test]
async fn hostile_csv_never_shifts_a_column() {
    let house = House::new().await;
    let text = format!(
        "email,name,note\n\
         one@example.com,\"Lee, \"\"Ann\"\"\",\"two\nlines\"\n\
         two@example.com,short\n\
         three@example.com,a,b,c\n\
         four@example.com,a\"b,\n\
         five@example.com,\"a\"b,\n\
         six@example.com,\"two\nlines\",\n\
         \n\
         seven@example.com,Seven,\r\n\
         eight@example.com,\"{}\n\
         nine@example.com,Nine,\"\"\n\
         ten@example.com,\"open",
        "x".repeat(70_000)
    );
    let ignore = ["note".to_owned()];
    let options = ImportOptions { ignore: &ignore, ..CSV };
    let (summary, told) = house.import(text.as_bytes(), &options).await;
    assert_eq!((summary.imported, summary.refused), (3, 7), "{:?}", told.0);
    for (line, reason) in [
        (4, "2 fields, the header 3"),
        (5, "4 fields, the header 3"),
        (6, "a quote stands in a bare field"),
        (7, "text follows a closing quote"),
        (8, "Must not contain control characters"),
        (12, "longer than"),
        (14, "never closed"),
    ] {
        told.has(line, reason);
    }
    let names = house.raw().await.texts("SELECT name FROM account ORDER BY name").await;
    assert_eq!(names, ["Lee, \"Ann\"", "Nine", "Seven"]);

    let strict = ImportOptions { assume_verified: false, ..CSV };
    assert!(house.header("email,passwort\n", &CSV).await.contains("no column \"passwort\""));
    assert!(house.header("email,passwort\n", &CSV).await.contains("password_hash"));
    assert!(house.header("name\n", &CSV).await.contains("email is missing"));
    assert!(house.header("email,email\n", &CSV).await.contains("there twice"));
    assert!(house.header("", &CSV).await.contains("there is none"));
    assert!(house.header("email,role\n", &strict).await.contains("--assume-verified"));
}

#[tokio::test]
async fn a_row_that_does_not_say_that_its_address_was_confirmed_is_refused() {
    let house = House::new().await;
    let strict = ImportOptions { assume_verified: false, ..JSON };
    let (summary, told) = house.import(b"{\"email\":\"ann@example.com\"}", &strict).await;
    assert_eq!(summary.refused, 1);
    told.has(1, "--assume-verified");
}

#[tokio::test]
async fn what_was_exported_can_be_imported_elsewhere() {
    let house = House::new().await;
    let text = format!(
        "{{\"email\":\"ann@example.com\",\"name\":\"Ann \\\"A\\\" Lee\",\"password_hash\":\"{BCRYPT}\"}}\n{{\"email\":\"bob@example.com\",\"disabled\":true}}"
    );
    house.import(text.as_bytes(), &JSON).await;
    house.create("cid@example.com").await;
    let (mut bare, mut whole) = (Vec::new(), Vec::new());
    assert_eq!(house.identity.export(false, &mut bare, Origin::default()).await.unwrap(), 3);
    house.identity.export(true, &mut whole, Origin::default()).await.unwrap();
    let bare = String::from_utf8(bare).unwrap();
    assert!(!bare.contains("password_hash") && !bare.contains("$2b$"), "{bare}");
    assert_eq!(house.audit().await.iter().filter(|action| *action == "accounts_exported").count(), 2);

    let other = House::new().await;
    let strict = ImportOptions { assume_verified: false, ..JSON };
    let (summary, told) = other.import(&whole, &strict).await;
    assert_eq!((summary.imported, summary.without_password), (3, 1), "{:?}", told.0);
    other.login("ann@example.com", PASSWORD).await.unwrap();
    other.login("cid@example.com", PASSWORD).await.unwrap();
    let mut again = Vec::new();
    other.identity.export(false, &mut again, Origin::default()).await.unwrap();
    assert_eq!(String::from_utf8(again).unwrap(), bare);
}

#[tokio::test]
async fn more_rows_than_a_batch_are_all_imported() {
    let house = House::new().await;
    let text: String = (0..1001).map(|n| format!("{{\"email\":\"user{n}@example.com\"}}\n")).collect();
    let (summary, _) = house.import(text.as_bytes(), &JSON).await;
    assert_eq!(summary.imported, 1001);
    assert_eq!(house.count("SELECT count(*) FROM account").await, 1001);
    let mut export = Vec::new();
    assert_eq!(house.identity.export(false, &mut export, Origin::default()).await.unwrap(), 1001);
}

#[tokio::test]
async fn t7_a_change_of_role_or_plan_a_revocation_and_a_deletion_end_every_token() {
    for (change, action) in [
        (AccountChange::Role("admin".into()), "role_changed"),
        (AccountChange::Plan("pro".into()), "plan_changed"),
        (AccountChange::Revoke, "sessions_revoked"),
        (AccountChange::Delete, "account_deleted"),
    ] {
        let house = House::new().await;
        house.create("ann@example.com").await;
        let tokens = house.login("ann@example.com", PASSWORD).await.unwrap();
        assert_eq!(house.identity.account_details(AccountName::Email("ann@example.com")).await.unwrap().sessions, 1);
        house
            .identity
            .change_account(AccountName::Email("ANN@example.com"), change.clone(), Origin::default())
            .await
            .unwrap();
        assert_eq!(house.standing(&tokens), Standing::Revoked, "{action}");
        assert!(matches!(house.refresh(&tokens).await, Err(IdentityError::InvalidRefresh)), "{action}");
        assert_eq!(house.audit().await.last().unwrap(), action);
        let details = house.identity.account_details(AccountName::Email("ann@example.com")).await;
        if change == AccountChange::Delete {
            assert!(matches!(details, Err(IdentityError::NoAccount)));
            assert!(house.login("ann@example.com", PASSWORD).await.is_err());
            continue;
        }
        let details = details.unwrap();
        assert_eq!((details.sessions, details.hash), (0, "argon2"));
        let again = house.login("ann@example.com", PASSWORD).await.unwrap();
        assert_eq!(house.standing(&again), Standing::Good);
        let principal = house.principal(&again);
        assert!(action != "role_changed" || principal.has_role("admin"));
        assert!(action != "plan_changed" || principal.parts().plan.as_deref() == Some("pro"));
    }
    let house = House::new().await;
    let missing = house
        .identity
        .change_account(AccountName::Email("nobody@example.com"), AccountChange::Revoke, Origin::default())
        .await;
    assert!(matches!(missing, Err(IdentityError::NoAccount)));
    let odd = AccountChange::Role("a b".into());
    let odd = house.identity.change_account(AccountName::Email("nobody@example.com"), odd, Origin::default()).await;
    assert!(matches!(odd, Err(IdentityError::Invalid(_))));
}
