//! What the gate would answer, stage by stage.

use std::fmt::Write;
use std::sync::Arc;

use portcullis::{Answer, Gate, Policy, RouteRule, Stage, Verdict};
use portcullis_auth::{Issuer, TokenVerifier};
use portcullis_core::ports::{Blocklist, Holders, Revocations};
use portcullis_core::{Event, EventSink, Facts, RequestId, Secret, Timestamp};
use portcullis_limit::{Limiter, MemoryStore};
use portcullis_shield::csrf::Csrf;

use super::{Failure, Question};
use crate::config::Settings;

/// A gate for questions only: its limits count nobody else, and its refusals are no events.
///
/// `own` is the issuer of our own tokens where there are identity endpoints, `own_routes` are their routes, and `csrf_key` is
/// what their tokens against forgery are signed with.
///
/// # Errors
/// A [`Failure`] where the settings make no policy, which resolving them should have told.
pub fn gate_for_questions(
    settings: &Settings,
    own: Option<Issuer>,
    own_routes: Vec<RouteRule>,
    csrf_key: &Secret<Vec<u8>>,
    revocations: Arc<dyn Revocations>,
    holders: Arc<dyn Holders>,
    blocklist: Arc<dyn Blocklist>,
) -> Result<Gate, Failure> {
    let issuers = own.into_iter().chain(settings.gate.issuers.iter().cloned()).collect();
    let verifier = Arc::new(TokenVerifier::new(issuers, 1));
    let csrf = Csrf::new(settings.gate.csrf.clone(), csrf_key);
    let policy = Policy::new(settings.policy_parts(verifier, own_routes, csrf)).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Failure::Usage(errors.join("; "))
    })?;
    let limiter = Arc::new(Limiter::new(MemoryStore::with_capacity(1_000)));
    Ok(Gate::new(policy, limiter, revocations, blocklist, Arc::new(Nobody)).with_holders(holders))
}

/// Takes no note of anything.
struct Nobody;

impl EventSink for Nobody {
    fn record(&self, _: Event) {}
}

/// Asks a gate and writes down what it thought.
///
/// The gate must be one of its own, with a limiter that nothing else is counted by: the answer is that to a first request.
pub async fn explain(gate: &Gate, question: &Question, secure: bool, now: Timestamp) -> String {
    let facts = Facts {
        method: &question.method,
        target: &question.target,
        headers: &question.headers,
        peer: question.address,
        secure,
        certificate: None,
        // Nobody looks this request up: it exists here only.
        id: RequestId::from_bits(0),
        now,
    };
    let mut remarks: Vec<(Stage, String)> = Vec::new();
    let verdict = gate.decide_traced(&facts, &mut remarks).await;
    let mut text = format!("{} {}\n", question.method, question.target);
    for (stage, remark) in &remarks {
        let _ = writeln!(text, "  {:<18} {}", stage.as_str(), printable(remark));
    }
    match verdict {
        Verdict::Pass(_) => text.push_str("answer: it passes\n"),
        Verdict::Answer(answer) => {
            let _ = writeln!(text, "answer: {} to a preflight", Answer::STATUS);
            for (name, value) in
                answer.headers().iter().filter(|(name, _)| name.as_str().starts_with("access-control-"))
            {
                let _ = writeln!(text, "  {name}: {}", printable(&String::from_utf8_lossy(value.as_bytes())));
            }
        }
        Verdict::Refuse(refusal) => {
            let reason = refusal.reason();
            let _ = writeln!(text, "answer: {} \"{}\" ({})", reason.status(), reason.error(), reason.slug());
            if let Some(detail) = reason.detail() {
                let _ = writeln!(text, "  {}", printable(&detail));
            }
        }
    }
    text
}

/// Claims and headers are a stranger's words, which must not steer the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use portcullis_core::ports;

    use super::*;
    use crate::config::Source;

    fn told(request: &str, token: Option<&str>) -> String {
        let text = "upstream = \"http://127.0.0.1:3000\"\n[identity]\nenabled = false\n\
                    [[route]]\nmatch = \"GET /public/**\"\naccess = \"public\"\n\
                    [[route]]\nmatch = \"DELETE /projects/{id}\"\nroles = \"admin\"\n\
                    [[route]]\nmatch = \"GET /users/{id}\"\naccess = \"authenticated\"\n[route.owner]\npath = \"id\"\n\
                    [[route]]\nmatch = \"POST /notes\"\naccess = \"public\"\n\
                    [route.body]\nallow = [\"text\"]\n[route.response]\nallow = [\"id\"]\n";
        let settings = Source::text("f", text).load().unwrap().settings;
        let nobody = || Arc::new(ports::Nobody);
        let gate =
            gate_for_questions(&settings, None, Vec::new(), &Secret::new(vec![7; 32]), nobody(), nobody(), nobody())
                .unwrap();
        let question = Question::parse(request, token, &[], "192.0.2.1".parse().unwrap()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(explain(&gate, &question, false, Timestamp::from_secs(1_800_000_000)))
    }

    #[test]
    fn a_request_that_passes_is_told_stage_by_stage() {
        let told = told("GET /public/%73tatus", None);
        for part in ["/public/status", "192.0.2.1", "GET /public/**", "anonymous: 99 of 100 left", "answer: it passes"]
        {
            assert!(told.contains(part), "{part} in\n{told}");
        }
    }

    #[test]
    fn what_a_route_asks_of_contents_is_told() {
        let told = told("POST /notes", None);
        for part in ["of listed members", "of answers: members that are not listed", "answer: it passes"] {
            assert!(told.contains(part), "{part} in\n{told}");
        }
    }

    #[test]
    fn a_refusal_is_told_with_its_exact_words() {
        assert!(told("GET /nowhere", None).contains("answer: 404 Not Found \"Not found\" (not_found)"));
        let nobody = told("DELETE /projects/7", None);
        assert!(nobody.contains("\"Authentication required\""), "{nobody}");
        let forged = told("DELETE /projects/7", Some("e30.e30.e30"));
        assert!(forged.contains("\"Invalid or expired token\"") && !forged.contains("e30.e30"), "{forged}");
    }
}
