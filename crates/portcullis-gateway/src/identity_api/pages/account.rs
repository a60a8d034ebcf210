//! One's own account: who one is, another password, one's sessions.

use std::borrow::Cow;

use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use maud::{Markup, html};
use portcullis_core::{Principal, Secret, Timestamp};
use portcullis_identity::{Account, IdentityError, Origin, Renewed, SessionInfo};

use super::form;
use super::{Trouble, hidden, password, see_other};
use crate::identity_api::Api;
use crate::identity_api::caller::agent;
use crate::identity_api::login::end_former;

/// `GET /auth/account`
pub(in crate::identity_api) async fn show(
    api: &Api,
    headers: &HeaderMap,
    query: &str,
    principal: Option<&Principal>,
) -> Response {
    let Some(principal) = principal else { return see_other("/auth/login?next=/auth/account") };
    let done = match query {
        "done=password" => Some("The password is changed. Other devices have to sign in again."),
        "done=session" => Some("That session has ended."),
        _ => None,
    };
    page(api, headers, principal, done, None).await
}

async fn page(
    api: &Api,
    headers: &HeaderMap,
    principal: &Principal,
    done: Option<&str>,
    trouble: Option<Trouble>,
) -> Response {
    let read = async {
        let account = api.identity.account(principal.subject()).await?;
        Ok::<_, IdentityError>((account, api.identity.sessions(principal.subject()).await?))
    };
    let (account, sessions) = match read.await {
        Ok(read) => read,
        Err(IdentityError::NoAccount) => return see_other("/auth/login"),
        Err(error) => {
            let trouble = Trouble::from(error);
            return api.pages.page(trouble.status, "Your account", &trouble.shown());
        }
    };
    let status = trouble.as_ref().map_or(StatusCode::OK, |trouble| trouble.status);
    let present = principal.parts().session.as_deref();
    let held = api.form_token(principal);
    api.pages.with_form(api, headers, status, "Your account", |token| {
        html! {
            @if let Some(words) = done { p.done role="status" { (words) } }
            @if let Some(trouble) = &trouble { (trouble.shown()) }
            (described(&account))
            h2 { "Password" }
            form method="post" action="/auth/change-password" {
                (hidden("csrf", token)) (of_session(held.as_ref()))
                // For password managers, which must know whose password it is.
                input type="text" name="username" autocomplete="username" value=(account.email) hidden;
                (password("currentPassword", "Present password", "current-password", trouble.as_ref()))
                (password("newPassword", "New password", "new-password", trouble.as_ref()))
                button { "Change the password" }
            }
            h2 { "Where you are signed in" }
            (list(&sessions, present, &html! { (hidden("csrf", token)) (of_session(held.as_ref())) }))
            div.row {
                form method="post" action="/auth/logout" {
                    (hidden("csrf", token))
                    button.quiet { "Sign out" }
                }
                form method="post" action="/auth/logout-all" {
                    (hidden("csrf", token)) (of_session(held.as_ref()))
                    button.quiet { "Sign out everywhere" }
                }
            }
        }
    })
}

/// The token of the session that the page is for, which the gate asks for.
fn of_session(token: Option<&(Box<str>, String)>) -> Markup {
    html! { @if let Some((field, token)) = token { (hidden(field, token)) } }
}

fn described(account: &Account) -> Markup {
    html! {
        dl {
            @if let Some(name) = &account.name { dt { "Name" } dd { (name) } }
            dt { "E-mail" } dd { (account.email) }
            dt { "Role" } dd { (account.role) }
            dt { "Plan" } dd { (account.plan) }
        }
    }
}

fn list(sessions: &[SessionInfo], present: Option<&str>, tokens: &Markup) -> Markup {
    html! {
        ul.sessions {
            @for session in sessions {
                li {
                    p { (session.agent.as_deref().map_or("A program without a name".into(), program)) }
                    p.hint {
                        @if present == Some(&session.id) { "This one. " }
                        "Since " (minute(session.created_at))
                        @if let Some(client) = &session.client { ", from " (client) }
                    }
                    @if present != Some(&session.id) {
                        form method="post" action={ "/auth/sessions/" (session.id) "/end" } {
                            (tokens)
                            button.quiet aria-label={ "Sign out the session since " (minute(session.created_at)) } {
                                "Sign out"
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `POST /auth/change-password` by a form.
pub(in crate::identity_api) async fn change_password(
    api: &Api,
    headers: &HeaderMap,
    body: &[u8],
    principal: &Principal,
    origin: Origin,
) -> Response {
    let (form, own) = form::own(api, headers, body);
    if let Err(trouble) = own {
        return page(api, headers, principal, None, Some(trouble)).await;
    }
    let secret = |name: &str| Secret::new(form.get(name).to_owned());
    let (present, new) = (secret("currentPassword"), secret("newPassword"));
    let agent = agent(headers);
    let (agent, device) = (agent.as_deref(), api.device(headers));
    match api.identity.change_password(principal, &present, &new, agent, device, origin).await {
        Ok(renewed) => {
            let mut response = see_other("/auth/account?done=password");
            let device = match renewed {
                Renewed::Session(session) => {
                    api.set_session(&mut response, &session);
                    session.device
                }
                Renewed::Tokens(tokens) => {
                    api.set_cookies(&mut response, &tokens);
                    tokens.device
                }
            };
            api.set_device(&mut response, headers, device.as_ref());
            response
        }
        Err(error) => page(api, headers, principal, None, Some(Trouble::from(error))).await,
    }
}

/// `POST /auth/sessions/{id}/end`, which only a form needs: it cannot send a DELETE.
pub(in crate::identity_api) async fn end_session(
    api: &Api,
    headers: &HeaderMap,
    body: &[u8],
    principal: &Principal,
    session: &str,
    origin: Origin,
) -> Response {
    let (_, own) = form::own(api, headers, body);
    if let Err(trouble) = own {
        return page(api, headers, principal, None, Some(trouble)).await;
    }
    match api.identity.end_own_session(principal.subject(), session, origin).await {
        // One that has ended already is what was wanted.
        Ok(()) | Err(IdentityError::NoSession) => see_other("/auth/account?done=session"),
        Err(error) => page(api, headers, principal, None, Some(Trouble::from(error))).await,
    }
}

/// `POST /auth/logout` by a form.
pub(in crate::identity_api) async fn sign_out(api: &Api, headers: &HeaderMap, body: &[u8], origin: Origin) -> Response {
    let (_, own) = form::own(api, headers, body);
    let ended = match own {
        Ok(()) => end_former(api, headers, origin).await.map_err(Trouble::from),
        Err(trouble) => Err(trouble),
    };
    out(api, ended)
}

/// `POST /auth/logout-all` by a form.
pub(in crate::identity_api) async fn sign_out_everywhere(
    api: &Api,
    headers: &HeaderMap,
    body: &[u8],
    principal: &Principal,
    origin: Origin,
) -> Response {
    let (_, own) = form::own(api, headers, body);
    let ended = match own {
        Ok(()) => api.identity.logout_all(principal.subject(), origin).await.map_err(Trouble::from),
        Err(trouble) => Err(trouble),
    };
    out(api, ended)
}

fn out(api: &Api, ended: Result<(), Trouble>) -> Response {
    match ended {
        Ok(()) => {
            let mut response = see_other("/auth/login?done=signed-out");
            api.clear_cookies(&mut response);
            response
        }
        Err(trouble) => {
            let body = html! {
                (trouble.shown())
                p.more { a href="/auth/account" { "Back to your account" } }
            };
            api.pages.page(trouble.status, "Sign out", &body)
        }
    }
}

/// A time as a person reads it, such as `2026-11-21 11:54 UTC`.
fn minute(at: Timestamp) -> String {
    let text = at.to_rfc3339();
    format!("{} UTC", text.get(..16).unwrap_or(&text).replace('T', " "))
}

/// A browser by the name that people know it by; any other program by what it calls itself.
fn program(agent: &str) -> Cow<'_, str> {
    // In this order: most of them call themselves by the names of those below, too.
    let browsers = [
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("CriOS/", "Chrome"),
        ("FxiOS/", "Firefox"),
        ("Safari/", "Safari"),
    ];
    let systems = [
        ("Android", "Android"),
        ("iPhone", "an iPhone"),
        ("iPad", "an iPad"),
        ("Windows", "Windows"),
        ("Mac OS X", "a Mac"),
        ("CrOS", "ChromeOS"),
        ("Linux", "Linux"),
    ];
    let one_of =
        |names: &[(&str, &'static str)]| names.iter().find(|(sign, _)| agent.contains(sign)).map(|found| found.1);
    match (one_of(&browsers), one_of(&systems)) {
        (Some(browser), Some(system)) if agent.starts_with("Mozilla/") => format!("{browser} on {system}").into(),
        _ => agent.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_has_a_name_and_other_programs_their_own() {
        let engine = "AppleWebKit/537.36 (KHTML, like Gecko)";
        for (agent, name) in [
            (&*format!("Mozilla/5.0 (X11; Linux x86_64) {engine} Chrome/148.0.0.0 Safari/537.36"), "Chrome on Linux"),
            (
                &format!("Mozilla/5.0 (Windows NT 10.0) {engine} Chrome/148.0 Safari/537.36 Edg/148.0"),
                "Edge on Windows",
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:150.0) Gecko/20100101 Firefox/150.0",
                "Firefox on a Mac",
            ),
            ("Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) Version/19.0 Safari/604.1", "Safari on an iPhone"),
            ("curl/8.14.1", "curl/8.14.1"),
            ("Chrome/1 Linux <b>", "Chrome/1 Linux <b>"),
            ("", ""),
        ] {
            assert_eq!(program(agent), name);
        }
    }
}
