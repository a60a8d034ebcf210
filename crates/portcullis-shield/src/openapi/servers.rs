//! The path before all paths of a document, as its `servers` tell it.

use super::document::Part;
use super::fault::Fault;

/// The path of the servers' URLs, without a slash at its end; empty where there is none.
pub(super) fn base_path(root: &Part<'_>) -> Result<String, Fault> {
    let servers = root.member("servers");
    let mut base: Option<String> = None;
    for server in servers.iter().flat_map(Part::elements) {
        let Some(url) = server.text("url") else { return Err(server.fault("a server has a \"url\"")) };
        let mut url = url.to_owned();
        let variables = server.member("variables");
        for (name, variable) in variables.iter().flat_map(Part::members) {
            url = url.replace(&format!("{{{name}}}"), variable.text("default").unwrap_or_default());
        }
        let path = match url.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("", |at| &rest[at..]),
            None => &*url,
        };
        let path = path.trim_end_matches('/');
        let odd = path.contains(['{', '}', '?', '#']) || !(path.is_empty() || path.starts_with('/'));
        if odd || base.as_ref().is_some_and(|base| base != path) {
            let what = if odd { "the path of this server cannot be read" } else { "the servers have different paths" };
            return Err(server.fault(what).hint("say which one the gate serves: base_path = \"/v1\" in [openapi]"));
        }
        base = Some(path.to_owned());
    }
    Ok(base.unwrap_or_default())
}
