//! The tour: what the demo prints, and the commands in it as a list, so that a test runs exactly what a person copies.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::Accounts;
use crate::admin::OperatorToken;

/// The password of the account that the tour registers. It is no secret: the account lives on the reader's machine.
const GUEST_PASSWORD: &str = "Tour-of-the-house-1";

/// Ends the output of a `curl` with the status code.
const STATUS: &str = r"-w ' [%{http_code}]\n'";

/// What the tour leads through.
#[derive(Clone, Debug)]
pub struct Tour {
    /// The gateway's URL, without a slash at the end.
    pub gateway: String,
    /// The admin listener's URL.
    pub admin: String,
    /// The sample API's URL.
    pub upstream: String,
    /// Where the state is kept.
    pub state_dir: PathBuf,
    /// The three accounts.
    pub accounts: Accounts,
    /// The operator's token.
    pub token: OperatorToken,
}

/// One stop of the tour.
#[derive(Clone, Debug)]
pub struct Step {
    /// What it shows, in a few words.
    pub title: &'static str,
    /// Lines for a POSIX shell with `curl`, `sed`, `grep` and the like. Later steps use the variables of earlier ones.
    pub commands: String,
    /// What the output must contain, in this order.
    pub expect: &'static [&'static str],
}

impl Tour {
    /// All that the demo prints when it is ready.
    #[must_use]
    pub fn banner(&self) -> String {
        let mut text = format!(
            "Portcullis stands.\n\n  \
             gateway     {}\n  \
             sample API  {}  (behind the gateway; ask it directly to compare)\n  \
             admin       {}  (mail catcher, metrics)\n  \
             state       {}  (remove it to begin anew)\n\n\
             Admin token (for {}/login or as a bearer token):\n  {}\n\nAccounts:\n",
            self.gateway,
            self.upstream,
            self.admin,
            self.state_dir.display(),
            self.admin,
            self.token.expose()
        );
        for account in self.accounts.iter() {
            let _ = writeln!(text, "  {:<8} {:<20} {}", account.role, account.email, account.password.expose());
        }
        text.push_str("\nA tour, to be copied into another terminal from top to bottom:\n");
        for (number, step) in (1..).zip(self.steps()) {
            let _ = write!(text, "\n# {number}. {}\n{}\n", step.title, step.commands);
        }
        text.push_str("\nCtrl-C stops the demo. What happens is logged below.\n");
        text
    }

    /// The steps in the order in which they work.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        let (gateway, admin, token) = (&self.gateway, &self.admin, self.token.expose());
        let json = "-H 'Content-Type: application/json'";
        let bearer = "-H \"Authorization: Bearer $ACCESS\"";
        let boss = self.accounts.admin();
        vec![
            Step {
                title: "Knock without a token",
                commands: format!("curl -s {STATUS} {gateway}/projects"),
                expect: &["Authentication required", "[401]"],
            },
            Step {
                title: "Register",
                commands: format!(
                    "EMAIL=\"guest-$(date +%s)@example.com\"\n\
                     curl -s {STATUS} {gateway}/auth/register {json} \
                     -d \"{{\\\"email\\\":\\\"$EMAIL\\\",\\\"password\\\":\\\"{GUEST_PASSWORD}\\\"}}\""
                ),
                expect: &["[202]"],
            },
            Step {
                title: "Read the mail that was caught, here or in a browser on the admin page",
                commands: format!(
                    "MAIL=$(curl -s -H 'Authorization: Bearer {token}' \"{admin}/mail.json?to=$EMAIL\")\n\
                     printf '%s\\n' \"$MAIL\""
                ),
                expect: &["\"subject\":", "token="],
            },
            Step {
                title: "Verify the address with the token in the link",
                commands: format!(
                    "CODE=$(printf '%s' \"$MAIL\" | grep -o 'token=[0-9A-Za-z_-]*' | head -n 1 | cut -d= -f2)\n\
                     curl -s {STATUS} {gateway}/auth/verify {json} -d \"{{\\\"token\\\":\\\"$CODE\\\"}}\""
                ),
                expect: &["[20"],
            },
            Step {
                title: "Log in",
                commands: format!(
                    "LOGIN=$(curl -s {gateway}/auth/login {json} -d \"{{\\\"email\\\":\\\"$EMAIL\\\",\
                     \\\"password\\\":\\\"{GUEST_PASSWORD}\\\",\\\"delivery\\\":\\\"body\\\"}}\")\n\
                     printf '%s\\n' \"$LOGIN\"\n{}\n{}",
                    member("ACCESS", "LOGIN", "accessToken"),
                    member("REFRESH", "LOGIN", "refreshToken")
                ),
                expect: &["\"accessToken\":", "\"tokenType\":"],
            },
            Step {
                title: "Call the API, which is told who you are and never sees your token",
                commands: format!(
                    "curl -s {STATUS} {gateway}/projects {bearer}\ncurl -s {STATUS} {gateway}/whoami {bearer}"
                ),
                expect: &["Apollo", "[200]", "\"role\":\"viewer\"", "\"saw_authorization\":false", "[200]"],
            },
            Step {
                title: "A viewer may not write",
                commands: format!(
                    "curl -s {STATUS} {gateway}/projects {bearer} {json} -d '{{\"name\":\"Dragonfly\"}}'"
                ),
                expect: &["Insufficient permissions", "[403]"],
            },
            Step {
                title: "An admin may",
                commands: format!(
                    "BOSS=$(curl -s {gateway}/auth/login {json} \
                     -d '{{\"email\":\"{}\",\"password\":\"{}\",\"delivery\":\"body\"}}')\n{}\n\
                     curl -s {STATUS} {gateway}/projects -H \"Authorization: Bearer $BOSS\" {json} \
                     -d '{{\"name\":\"Dragonfly\"}}'\n\
                     curl -s {STATUS} {gateway}/analytics -H \"Authorization: Bearer $BOSS\"",
                    boss.email,
                    boss.password.expose(),
                    member("BOSS", "BOSS", "accessToken"),
                ),
                expect: &["Dragonfly", "[201]", "\"projects\":", "[200]"],
            },
            Step {
                title: "Refresh: the refresh token is spent and a new pair comes",
                commands: format!(
                    "curl -s {STATUS} {gateway}/auth/refresh {json} -d \"{{\\\"refreshToken\\\":\\\"$REFRESH\\\"}}\""
                ),
                expect: &["\"accessToken\":", "\"refreshToken\":", "[200]"],
            },
            Step {
                title: "Be limited: 100 requests a minute without a login, then 429 until the minute has passed",
                commands: format!(
                    "curl -s -o /dev/null -w '%{{http_code}}\\n' \"{gateway}/public/status?n=[1-110]\" | sort | uniq -c\n\
                     curl -si {gateway}/public/status | grep -iE '^HTTP|^retry-after|ratelimit|error'"
                ),
                expect: &[" 200\n", " 429\n", "429", "Rate limit exceeded"],
            },
            Step {
                title: "See what was counted",
                commands: format!("curl -s {admin}/metrics | grep '^portcullis_refusals_total' | grep -v ' 0$'"),
                expect: &["reason=\"rate_limited\""],
            },
        ]
    }

    /// The steps as one script for `sh`. Before each step it prints a line `## NUMBER`, by which a test tells their
    /// outputs apart, and waits as long as given between steps, as a person does.
    #[must_use]
    pub fn script(&self, pause_secs: u32) -> String {
        let mut script = String::new();
        for (number, step) in (1..).zip(self.steps()) {
            let pause = if pause_secs > 0 && number > 1 { format!("sleep {pause_secs}\n") } else { String::new() };
            let _ = write!(script, "{pause}echo '## {number}'\n{}\n", step.commands);
        }
        script
    }

    /// Holds the output of [`Tour::script`] against what each step promises; the error says which step fell short.
    ///
    /// # Errors
    /// The number and title of the first step whose output lacks something, what it lacks, and the output.
    pub fn check(&self, output: &str) -> Result<(), String> {
        let mut rest = output;
        for (number, step) in (1..).zip(self.steps()) {
            let (_, after) = rest
                .split_once(&format!("## {number}\n"))
                .ok_or_else(|| format!("step {number} ({}) was never reached:\n{output}", step.title))?;
            rest = after;
            let own = after.split_once(&format!("## {}\n", number + 1)).map_or(after, |(own, _)| own);
            let mut left = own;
            for expected in step.expect {
                let (_, after) = left.split_once(expected).ok_or_else(|| {
                    format!("step {number} ({}) should print `{expected}` but printed:\n{own}", step.title)
                })?;
                left = after;
            }
        }
        Ok(())
    }
}

/// A shell line that sets `variable` to a text member of the JSON in `source`.
fn member(variable: &str, source: &str, name: &str) -> String {
    format!(r#"{variable}=$(printf '%s' "${source}" | sed 's/.*"{name}": *"\([^"]*\)".*/\1/')"#)
}

#[cfg(test)]
mod tests;
