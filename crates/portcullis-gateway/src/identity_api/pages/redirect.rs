//! Where a browser may be sent after a sign-in: paths of our own, and what the operator lists. A redirect to anywhere would
//! lend our name to every phishing page (CWE-601).

use std::sync::Arc;

/// The targets that there are.
#[derive(Debug)]
pub(super) struct Targets {
    home: Arc<str>,
    /// Each ends with `/`, so that `https://app.example` is not the beginning of `https://app.example.evil`.
    listed: Vec<String>,
}

impl Targets {
    pub(super) fn new(home: &Arc<str>, listed: &[Arc<str>]) -> Self {
        let ending = |url: &Arc<str>| if url.ends_with('/') { url.to_string() } else { format!("{url}/") };
        Self { home: Arc::clone(home), listed: listed.iter().map(ending).collect() }
    }

    /// Where to go for a wish: the wish if it may be, home if not.
    pub(super) fn choose<'t>(&'t self, wish: &'t str) -> &'t str {
        if self.allows(wish) { wish } else { &self.home }
    }

    /// `scheme://host[:port]` of all that is listed.
    pub(super) fn origins(&self) -> impl Iterator<Item = &str> {
        self.listed.iter().map(String::as_str).chain([&*self.home]).filter_map(|url| {
            let after = url.find("://")? + 3;
            Some(url[after..].find('/').map_or(url, |slash| &url[..after + slash]))
        })
    }

    fn allows(&self, wish: &str) -> bool {
        // Browsers drop tabs and line ends from a URL and take `\` for `/`, so that `/\t/evil` and `/\evil` name a host.
        let plain = wish.len() <= 2_048 && wish.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        let ours = wish.starts_with('/') && !wish.starts_with("//");
        let listed = |url: &String| wish.starts_with(url.as_str()) || wish == &url[..url.len() - 1];
        plain && !climbs(wish) && (ours || self.listed.iter().any(listed))
    }
}

/// Whether a path leads up again: browsers resolve `..`, in either spelling, before they go anywhere, so that
/// `https://app.example/here/../there` begins with a listed URL and does not lead below it (URL standard §4.4).
fn climbs(url: &str) -> bool {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    path.split('/').any(|segment| matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_leads_to_paths_of_ours_and_to_what_is_listed() {
        let home = "/auth/account";
        let listed = ["https://app.example.com".into(), "https://other.example/deep/".into()];
        let targets = Targets::new(&home.into(), &listed);
        for good in [
            "/",
            "/auth/account",
            "/projects?page=2#x",
            "/...",
            "/a?b=/../c",
            "https://other.example/deep/..x?y=../z",
            "/a//b",
            "/%2f%2fevil.example",
            "https://app.example.com",
            "https://app.example.com/",
            "https://app.example.com/x?y=https://evil.example",
            "https://other.example/deep",
            "https://other.example/deep/er",
        ] {
            assert_eq!(targets.choose(good), good);
        }
        for bad in [
            "",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            " /x",
            "/x y",
            "https:evil.example",
            "https:///evil.example",
            "https://evil.example",
            "https://app.example.com.evil.example",
            "https://app.example.com@evil.example",
            "https://app.example.com:8443/",
            "https://app.example.com\\.evil.example",
            "http://app.example.com/",
            "HTTPS://APP.EXAMPLE.COM/",
            "https://other.example/",
            "https://other.example/deeper",
            "https://other.example/deep/..",
            "https://other.example/deep/../x",
            "https://other.example/deep/x/%2e%2E/../x",
            "https://other.example/deep/.%2e/x",
            "https://other.example/deep/%2e/../x",
            "/.//evil.example",
            "/..//evil.example",
            "/%2e/x",
            "javascript:alert(1)",
            "data:text/html,x",
            "/ü",
            &format!("/{}", "a".repeat(3_000)),
        ] {
            assert_eq!(targets.choose(bad), home, "{bad:?}");
        }
        assert_eq!(targets.origins().collect::<Vec<_>>(), ["https://app.example.com", "https://other.example"]);
    }
}
