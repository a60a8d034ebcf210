//! The whole way of a person, without scripts.

use crate::browser::{Browser, Scripts};
use crate::support::operator::Mail;
use crate::support::process::Gateway;
use crate::support::{PASSWORD, eventually};
use crate::{at, house, sign_in, sign_in_new};

/// The link with a token in a mail.
fn link(mail: &Mail) -> String {
    let link = mail.text.split_whitespace().find(|word| word.contains("token="));
    link.unwrap_or_else(|| panic!("no link in {mail:?}")).to_owned()
}

/// The one mail to an address.
fn only(gateway: &Gateway, email: &str) -> Mail {
    gateway.operator().await_mails(email, 1).pop().unwrap()
}

fn is_signed_out(browser: &Browser, gateway: &Gateway) {
    browser.open(&at(gateway, "/auth/account"));
    browser.await_text("Sign in");
    assert!(browser.url().contains("/auth/login"), "{}", browser.url());
}

#[test]
fn a_person_without_scripts_signs_up_confirms_signs_in_changes_the_password_and_leaves() {
    let Some((browser, gateway, _origin)) = house(Scripts::Off) else { return };
    browser.open(&at(&gateway, "/auth/login"));
    browser.saying("a", "Sign up").click();
    browser.one("input[name=name]").fill("Ann");
    browser.one("input[name=email]").fill("ann@example.com");
    browser.one("input[name=password]").fill("short");
    browser.saying("button", "Sign up").click();
    browser.await_text("The password must");
    assert_eq!(browser.one("input[name=email]").property("value"), "ann@example.com", "what was typed stays");
    assert_eq!(browser.one("input[name=password]").property("value"), "", "but for the password");
    browser.one("input[name=password]").fill(PASSWORD);
    browser.saying("button", "Sign up").click();
    browser.await_text("is on its way");
    let first = only(&gateway, "ann@example.com");

    sign_in(&browser, &gateway, "ann@example.com", PASSWORD);
    browser.await_text("not confirmed yet");
    browser.saying("button", "Send the mail once more").click();
    browser.await_text("is on its way");

    let mails = gateway.operator().await_mails("ann@example.com", 2);
    let second = mails.iter().find(|mail| mail.token() != first.token()).unwrap();
    browser.open(&link(second));
    browser.saying("button", "Confirm").click();
    browser.await_text("is confirmed");
    assert!(browser.url().contains("/auth/login"), "a reload sends no form again: {}", browser.url());

    sign_in(&browser, &gateway, "ann@example.com", "Wrong-password-1");
    browser.await_text("The e-mail address or the password is wrong.");
    sign_in(&browser, &gateway, "ann@example.com", PASSWORD);
    browser.await_text("Where you are signed in");
    assert_eq!(browser.url(), at(&gateway, "/auth/account"));
    assert!(browser.text().contains("ann@example.com") && browser.text().contains("Ann"), "{}", browser.text());

    let new = "Another-Horse-42-battery";
    browser.one("input[name=currentPassword]").fill("Wrong-password-1");
    browser.one("input[name=newPassword]").fill(new);
    browser.saying("button", "Change the password").click();
    browser.await_text("The present password is wrong.");
    browser.one("input[name=currentPassword]").fill(PASSWORD);
    browser.one("input[name=newPassword]").fill(new);
    browser.saying("button", "Change the password").click();
    browser.await_text("The password is changed.");

    browser.saying("button", "Sign out").click();
    browser.await_text("You are signed out.");
    is_signed_out(&browser, &gateway);
    sign_in(&browser, &gateway, "ann@example.com", PASSWORD);
    browser.await_text("The e-mail address or the password is wrong.");
    sign_in(&browser, &gateway, "ann@example.com", new);
    browser.await_text("Where you are signed in");
}

#[test]
fn a_person_without_scripts_sets_a_forgotten_password_by_a_mailed_link() {
    let Some((browser, gateway, _origin)) = house(Scripts::Off) else { return };
    gateway.create_user("bob@example.com", "viewer");
    browser.open(&at(&gateway, "/auth/login"));
    browser.saying("a", "Forgot your password?").click();
    browser.one("input[name=email]").fill("bob@example.com");
    browser.one("button").click();
    browser.await_text("is on its way");
    let link = link(&only(&gateway, "bob@example.com"));
    browser.open(&link);
    browser.one("input[name=password]").fill("short");
    browser.one("button").click();
    browser.await_text("The password must");
    browser.one("input[name=password]").fill("Another-Horse-42-battery");
    browser.one("button").click();
    browser.await_text("The password is set.");
    sign_in(&browser, &gateway, "bob@example.com", "Another-Horse-42-battery");
    browser.await_text("Where you are signed in");

    browser.open(&link);
    browser.one("input[name=password]").fill("Third-Horse-43-battery");
    browser.one("button").click();
    browser.await_text("too old or was used already");
}

#[test]
fn a_person_confirms_another_address_by_the_button_of_a_mailed_link() {
    let Some((browser, gateway, _origin)) = house(Scripts::Off) else { return };
    let token = gateway.token("viewer");
    let body = serde_json::json!({ "email": "new@example.com", "password": PASSWORD });
    gateway.client().post("/auth/change-email").bearer(&token).json(&body).send().expect(202);
    browser.open(&link(&only(&gateway, "new@example.com")));
    browser.saying("button", "Confirm").click();
    browser.await_text("is confirmed");
    sign_in(&browser, &gateway, "new@example.com", PASSWORD);
    browser.await_text("Where you are signed in");
}

#[test]
fn a_session_ends_by_its_button_and_all_of_them_by_another() {
    let Some((browser, gateway, _origin)) = house(Scripts::Off) else { return };
    sign_in_new(&browser, &gateway, "cora@example.com");
    let body = serde_json::json!({ "email": "cora@example.com", "password": PASSWORD });
    let login = || gateway.client().post("/auth/login").header("User-Agent", "Other/1").json(&body).send().expect(200);
    let opens = |token: &str| gateway.client().get("/auth/me").bearer(token).send().status == 200;
    let other = login().json()["accessToken"].as_str().unwrap().to_owned();
    assert!(opens(&other));
    browser.open(&at(&gateway, "/auth/account"));
    assert!(browser.text().contains("Other/1"), "{}", browser.text());
    browser.one("ul button").click();
    browser.await_text("That session has ended.");
    assert!(!browser.text().contains("Other/1"), "{}", browser.text());
    eventually("the session is over", std::time::Duration::from_secs(2), || (!opens(&other)).then_some(()));

    let third = login().json()["accessToken"].as_str().unwrap().to_owned();
    browser.open(&at(&gateway, "/auth/account"));
    browser.saying("button", "Sign out everywhere").click();
    browser.await_text("You are signed out.");
    is_signed_out(&browser, &gateway);
    assert!(!opens(&third));
}

#[test]
fn a_sign_in_leads_where_it_was_asked_for_and_nowhere_else() {
    let Some((browser, gateway, _origin)) = house(Scripts::Off) else { return };
    gateway.create_user("dan@example.com", "viewer");
    for (next, leads) in [("/echo/here%3Fa=1", "/echo/here?a=1"), ("//localhost:1/x", "/auth/account")] {
        browser.open(&at(&gateway, &format!("/auth/login?next={next}")));
        browser.one("input[name=email]").fill("dan@example.com");
        browser.one("input[name=password]").fill(PASSWORD);
        browser.saying("button", "Sign in").click();
        eventually("the browser is led on", std::time::Duration::from_secs(5), || {
            (browser.url() == at(&gateway, leads)).then_some(())
        });
    }
}
