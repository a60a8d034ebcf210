//! The sample API that the demo guards: projects in memory. It believes the identity headers, as an API behind the gate
//! may, and checks nothing itself.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, COOKIE, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use http_body::Frame;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Interval;

/// Projects at once; further ones are refused.
const MAX_PROJECTS: usize = 1_000;
/// Characters of a project's name.
const MAX_NAME: usize = 100;
/// Events that come at once when somebody starts to listen; then one comes each second.
const FIRST_EVENTS: u64 = 3;

#[derive(Clone, Debug, Serialize)]
struct Project {
    id: u64,
    name: String,
    owner: String,
}

#[derive(Debug)]
struct Projects {
    next: u64,
    requests: u64,
    by_id: BTreeMap<u64, Project>,
}

type Shared = State<Arc<Mutex<Projects>>>;

/// Serves the sample API until `stop` is ready; then connections are cut, event streams included.
///
/// # Errors
/// Those of the listener.
pub async fn serve(listener: TcpListener, stop: impl Future<Output = ()>) -> io::Result<()> {
    tokio::select! {
        result = axum::serve(listener, router()) => result,
        () = stop => Ok(()),
    }
}

/// The sample API with a few projects in it.
pub fn router() -> Router {
    let seeds = [("Apollo", "demo"), ("Borealis", "demo"), ("Cassini", "demo")];
    let by_id =
        (1..).zip(seeds).map(|(id, (name, owner))| (id, Project { id, name: name.into(), owner: owner.into() }));
    let projects = Projects { next: 4, requests: 0, by_id: by_id.collect() };
    let state = Arc::new(Mutex::new(projects));
    Router::new()
        .route("/projects", get(list).post(create))
        .route("/projects/{id}", get(show).delete(remove))
        .route("/analytics", get(analytics))
        .route("/public/status", get(async || Json(json!({ "status": "ok" }))))
        .route("/events", get(events))
        .route("/whoami", get(whoami))
        .fallback(async || problem(StatusCode::NOT_FOUND, "No such resource"))
        .layer(DefaultBodyLimit::max(64 * 1_024))
        .layer(from_fn_with_state(Arc::clone(&state), count))
        .with_state(state)
}

async fn count(State(projects): Shared, request: Request, next: Next) -> Response {
    projects.lock().requests += 1;
    next.run(request).await
}

async fn list(State(projects): Shared) -> Json<Vec<Project>> {
    Json(projects.lock().by_id.values().cloned().collect())
}

#[derive(Deserialize)]
struct NewProject {
    name: String,
}

async fn create(
    State(projects): Shared,
    headers: HeaderMap,
    body: Result<Json<NewProject>, JsonRejection>,
) -> Response {
    let Ok(Json(NewProject { name })) = body else {
        return problem(StatusCode::BAD_REQUEST, "A JSON object with a name is needed");
    };
    let name = name.trim();
    if name.is_empty() || name.chars().count() > MAX_NAME {
        return problem(StatusCode::BAD_REQUEST, "A name has 1 to 100 characters");
    }
    let mut projects = projects.lock();
    if projects.by_id.len() >= MAX_PROJECTS {
        return problem(StatusCode::CONFLICT, "There are too many projects; delete one first");
    }
    let id = projects.next;
    projects.next += 1;
    let owner = text(&headers, "x-user-id").unwrap_or("nobody").to_owned();
    let project = Project { id, name: name.to_owned(), owner };
    projects.by_id.insert(id, project.clone());
    (StatusCode::CREATED, [(LOCATION, format!("/projects/{id}"))], Json(project)).into_response()
}

async fn show(State(projects): Shared, Path(id): Path<String>) -> Response {
    let found = id.parse().ok().and_then(|id: u64| projects.lock().by_id.get(&id).cloned());
    found.map_or_else(|| problem(StatusCode::NOT_FOUND, "No such project"), |project| Json(project).into_response())
}

async fn remove(State(projects): Shared, Path(id): Path<String>) -> Response {
    match id.parse().ok().and_then(|id: u64| projects.lock().by_id.remove(&id)) {
        Some(_) => StatusCode::NO_CONTENT.into_response(),
        None => problem(StatusCode::NOT_FOUND, "No such project"),
    }
}

async fn analytics(State(projects): Shared) -> Json<Value> {
    let projects = projects.lock();
    Json(json!({ "projects": projects.by_id.len(), "requests": projects.requests }))
}

/// Shows what the API learns of the caller: the identity headers, and whether a credential came through.
async fn whoami(headers: HeaderMap) -> Json<Value> {
    Json(json!({
        "user": text(&headers, "x-user-id"),
        "role": text(&headers, "x-user-role"),
        "plan": text(&headers, "x-user-plan"),
        "request_id": text(&headers, "x-request-id"),
        "forwarded_for": text(&headers, "x-forwarded-for"),
        "saw_authorization": headers.contains_key(AUTHORIZATION),
        "saw_cookie": headers.contains_key(COOKIE),
    }))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn problem(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

/// Server-sent events: a few at once, then one each second for as long as somebody listens.
async fn events() -> Response {
    let body = Body::new(Events { next: 1, ticks: tokio::time::interval(Duration::from_secs(1)) });
    ([(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")], body).into_response()
}

struct Events {
    next: u64,
    ticks: Interval,
}

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.next > FIRST_EVENTS {
            ready!(self.ticks.poll_tick(cx));
        }
        let id = self.next;
        self.next += 1;
        let event = format!("id: {id}\nevent: tick\ndata: {{\"tick\":{id}}}\n\n");
        Poll::Ready(Some(Ok(Frame::data(event.into()))))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tower_service::Service as _;

    use super::*;

    async fn ask(api: &mut Router, method: &str, path: &str, body: &str) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .header("x-user-id", "u1")
            .body(Body::from(body.to_owned()))
            .unwrap();
        let response = api.call(request).await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    #[tokio::test]
    async fn z2_projects_are_listed_made_shown_and_removed() {
        let mut api = router();
        assert_eq!(ask(&mut api, "GET", "/projects", "").await.1.as_array().unwrap().len(), 3);
        let (status, project) = ask(&mut api, "POST", "/projects", r#"{"name":" Dragonfly "}"#).await;
        assert_eq!((status, project), (201, json!({ "id": 4, "name": "Dragonfly", "owner": "u1" })));
        assert_eq!(ask(&mut api, "GET", "/projects/4", "").await.1["name"], "Dragonfly");
        assert_eq!(ask(&mut api, "DELETE", "/projects/4", "").await.0, 204);
        assert_eq!(ask(&mut api, "DELETE", "/projects/4", "").await.0, 404);
        assert_eq!(ask(&mut api, "GET", "/projects/x", "").await.0, 404);
        assert_eq!(ask(&mut api, "GET", "/analytics", "").await.1, json!({ "projects": 3, "requests": 7 }));
        assert_eq!(ask(&mut api, "GET", "/public/status", "").await.1, json!({ "status": "ok" }));
        assert_eq!(ask(&mut api, "GET", "/nothing", "").await.0, 404);
    }

    #[tokio::test]
    async fn what_makes_no_sense_is_refused_and_the_list_is_bounded() {
        let mut api = router();
        let long = format!(r#"{{"name":"{}"}}"#, "x".repeat(101));
        for body in ["", "{", "[]", r#"{"name":3}"#, r#"{"name":" "}"#, &long] {
            assert_eq!(ask(&mut api, "POST", "/projects", body).await.0, 400, "{body}");
        }
        let mut statuses = BTreeMap::new();
        for _ in 0..1_000 {
            *statuses.entry(ask(&mut api, "POST", "/projects", r#"{"name":"x"}"#).await.0).or_insert(0) += 1;
        }
        assert_eq!(statuses, BTreeMap::from([(201, 997), (409, 3)]));
    }

    #[tokio::test(start_paused = true)]
    async fn events_come_at_once_and_then_keep_coming() {
        let request = Request::builder().uri("/events").body(Body::empty()).unwrap();
        let response = router().call(request).await.unwrap();
        assert_eq!(response.headers()[CONTENT_TYPE], "text/event-stream");
        let mut body = response.into_body();
        for id in 1..=10 {
            let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(frame, format!("id: {id}\nevent: tick\ndata: {{\"tick\":{id}}}\n\n"));
        }
    }

    #[tokio::test]
    async fn the_api_tells_what_it_learns_of_the_caller() {
        let (_, who) = ask(&mut router(), "GET", "/whoami", "").await;
        assert_eq!((&who["user"], &who["role"]), (&json!("u1"), &Value::Null));
        assert_eq!(who["saw_authorization"], json!(false));
    }
}
