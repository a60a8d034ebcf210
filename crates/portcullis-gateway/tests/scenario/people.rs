//! What pages owe people: passwords that nobody reads over a shoulder and that a manager may fill in, and a way out.

use crate::projects;

/// The tags of a page that begin so.
fn tags<'a>(page: &'a str, begin: &str) -> Vec<&'a str> {
    page.split('<').filter(|tag| tag.starts_with(begin)).map(|tag| tag.split('>').next().unwrap()).collect()
}

#[test]
fn v6_passwords_are_masked_and_may_be_pasted_or_filled_in_by_a_manager() {
    let (_origin, gateway) = projects();
    let link = format!("/auth/reset-password?token={}", "a".repeat(64));
    for (path, kind) in
        [("/auth/login", "current-password"), ("/auth/register", "new-password"), (&link, "new-password")]
    {
        let page = gateway.client().get(path).header("Accept", "text/html").send().expect(200).text();
        let inputs = tags(&page, "input");
        let mut passwords = inputs.iter().filter(|input| input.contains("password\""));
        let password = passwords.next().unwrap_or_else(|| panic!("no password on {path}: {page}"));
        assert!(password.contains("type=\"password\""), "{password}");
        assert!(password.contains(&format!("autocomplete=\"{kind}\"")), "{password}");
        assert!(inputs.iter().all(|input| !input.contains("autocomplete=\"off\"")), "{inputs:?}");
        // Nothing can keep a paste away where no script runs.
        assert!(tags(&page, "script").is_empty() && !page.contains("onpaste"), "{page}");
    }
}

#[test]
fn v7_the_page_behind_the_login_shows_the_way_out() {
    let (_origin, gateway) = projects();
    let access = gateway.token("viewer");
    let page = gateway.client().get("/auth/account").bearer(&access).header("Accept", "text/html").send().expect(200);
    let page = page.text();
    assert!(tags(&page, "form").iter().any(|form| form.contains("action=\"/auth/logout\"")), "{page}");
}
