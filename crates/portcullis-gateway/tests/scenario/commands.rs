//! The operator's commands beside a running gate: accounts, their import and the signing keys.

use std::process::Output;
use std::time::Duration;

use crate::projects;
use crate::support::{PASSWORD, eventually, jose_header};

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a11_users_are_created_and_listed_without_their_passwords() {
    let (_origin, gateway) = projects();
    gateway.create_user("first@example.com", "admin");
    let listed = gateway.command(&["users", "list"]);
    assert!(listed.status.success(), "{}", text(&listed));
    assert!(text(&listed).contains("first@example.com") && text(&listed).contains("admin"), "{}", text(&listed));
    assert!(!text(&listed).contains("$argon2"), "{}", text(&listed));

    let file = gateway.directory().join("password");
    let create = |email: &str, role: &str, password: &str| {
        std::fs::write(&file, password).unwrap();
        let file = file.display().to_string();
        gateway.command(&["users", "create", "--email", email, "--role", role, "--password-file", &file])
    };
    for (email, role, password) in [
        ("first@example.com", "viewer", PASSWORD),
        ("FIRST@example.com", "viewer", PASSWORD),
        ("not an address", "viewer", PASSWORD),
        ("weak@example.com", "viewer", "weak"),
        ("role@example.com", "no such role", PASSWORD),
        ("role@example.com", "emperor", PASSWORD),
    ] {
        let output = create(email, role, password);
        assert!(role == "viewer" || text(&output).contains("the roles are admin, editor, viewer"), "{}", text(&output));
        assert!(output.status.code().is_some_and(|code| code != 0), "{email} {role}: {}", text(&output));
        assert!(!text(&output).contains("panicked"), "{}", text(&output));
    }
    // A file is often written with a line end.
    let output = create("line@example.com", "viewer", &format!("{PASSWORD}\n"));
    assert!(output.status.success(), "{}", text(&output));
    gateway.login("line@example.com");
}

#[test]
fn t7_what_an_operator_changes_ends_the_tokens_of_an_account_within_a_second() {
    let (_origin, gateway) = projects();
    gateway.create_user("mia@example.com", "viewer");
    let changes: [&[&str]; 5] = [
        &["role", "mia@example.com", "editor"],
        &["plan", "mia@example.com", "paid"],
        &["revoke", "mia@example.com"],
        &["disable", "mia@example.com"],
        &["delete", "mia@example.com", "--yes"],
    ];
    for change in changes {
        let (token, _) = gateway.login("mia@example.com");
        gateway.client().get("/projects").bearer(&token).send().expect(200);
        let done = gateway.command(&[&["users"], change].concat());
        assert!(done.status.success(), "{change:?}: {}", text(&done));
        eventually("the token has ended", Duration::from_secs(1), || {
            (gateway.client().get("/projects").bearer(&token).send().status == 401).then_some(())
        });
        if change[0] == "disable" {
            assert!(text(&gateway.command(&["users", "show", "mia@example.com"])).contains("disabled since"));
            assert!(gateway.command(&["users", "enable", "mia@example.com"]).status.success());
        }
    }
    let gone = gateway.command(&["users", "show", "mia@example.com"]);
    assert_eq!(gone.status.code(), Some(1), "{}", text(&gone));
    let unknown = gateway.command(&["users", "role", "viewer@example.com", "emperor"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", text(&unknown));
    assert!(text(&unknown).contains("the roles are admin, editor, viewer"), "{}", text(&unknown));
}

#[test]
fn a11_a_long_list_of_users_is_shown_whole() {
    let (_origin, gateway) = projects();
    let file = gateway.directory().join("users.csv");
    let rows: String = (0..450).map(|number| format!("user{number}@example.com,true\n")).collect();
    std::fs::write(&file, format!("email,verified\n{rows}")).unwrap();
    let imported = gateway.command(&["users", "import", file.to_str().unwrap()]);
    assert!(imported.status.success(), "{}", text(&imported));
    let listed = gateway.command(&["users", "list"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(listed.lines().count(), 451, "a line for each, and one of titles");
    assert!((0..450).all(|number| listed.contains(&format!(" user{number}@example.com"))));
}

#[test]
fn t3_keys_are_listed_and_rotated() {
    let (_origin, gateway) = projects();
    let token = gateway.token("viewer");
    let kid = jose_header(&token)["kid"].as_str().unwrap().to_owned();
    let listed = gateway.command(&["keys", "list"]);
    assert!(listed.status.success() && text(&listed).contains(&kid), "{}", text(&listed));
    let rotated = gateway.command(&["keys", "rotate"]);
    assert!(rotated.status.success(), "{}", text(&rotated));
    let listed = text(&gateway.command(&["keys", "list"]));
    assert!(listed.contains(&kid), "the retired key is still there: {listed}");
    assert!(!listed.contains("PRIVATE"), "{listed}");
}
