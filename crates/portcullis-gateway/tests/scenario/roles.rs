//! Roles at the example API (Z1, Z2, Z4).

use crate::projects;
use crate::support::PROJECT_ROUTES;
use crate::support::origin::Origin;
use crate::support::process::Setup;

#[test]
fn z2_each_role_may_do_what_the_example_says_and_nothing_else() {
    let (origin, gateway) = projects();
    let [viewer, editor, admin] = ["viewer", "editor", "admin"].map(|role| gateway.token(role));
    let cases = [
        ("GET", "/public/status", [200, 200, 200]),
        ("GET", "/projects", [200, 200, 200]),
        ("HEAD", "/projects", [200, 200, 200]),
        ("GET", "/projects/7", [200, 200, 200]),
        ("POST", "/projects", [403, 200, 200]),
        ("DELETE", "/projects/7", [403, 403, 200]),
        ("GET", "/analytics", [403, 403, 200]),
        ("HEAD", "/analytics", [403, 403, 200]),
        ("PUT", "/projects/7", [404, 404, 404]),
        ("DELETE", "/projects", [404, 404, 404]),
        ("GET", "/nowhere", [404, 404, 404]),
    ];
    for (method, path, expected) in cases {
        for (token, expected) in [&viewer, &editor, &admin].into_iter().zip(expected) {
            let before = origin.requests().len();
            let reply = gateway.client().request(method, path).bearer(token).send();
            assert_eq!(reply.status, expected, "{method} {path}: {}", reply.text());
            if method != "HEAD" && expected == 403 {
                let reply = reply.refused(403, "Insufficient permissions");
                assert!(reply.header("www-authenticate").is_none_or(|value| value.contains("insufficient_scope")));
            } else if method != "HEAD" && expected == 404 {
                reply.refused(404, "Not found");
            }
            let forwarded = origin.requests().len() - before;
            assert_eq!(forwarded, usize::from(expected == 200), "{method} {path}");
        }
    }
}

#[test]
fn z1_without_a_login_only_the_public_route_is_open() {
    let (origin, gateway) = projects();
    gateway.client().get("/public/status").send().expect(200);
    for (method, path) in
        [("GET", "/projects"), ("POST", "/projects"), ("DELETE", "/projects/1"), ("GET", "/analytics")]
    {
        gateway.client().request(method, path).send().refused(401, "Authentication required");
    }
    gateway.client().post("/public/status").send().refused(404, "Not found");
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn z1_with_no_route_in_the_file_everything_needs_a_login() {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).start();
    let token = gateway.token("viewer");
    for path in ["/", "/anything", "/public/status", "/a/b/c?d=e"] {
        gateway.client().get(path).send().refused(401, "Authentication required");
        gateway.client().get(path).bearer(&token).send().expect(200);
    }
    gateway.client().request("DELETE", "/anything").bearer(&token).send().expect(200);
}

#[test]
fn z1_the_most_specific_route_wins_whatever_the_order() {
    let routes = [
        "[[route]]\nmatch = \"/docs/**\"\naccess = \"public\"\n\n",
        "[[route]]\nmatch = \"/docs/internal/**\"\nroles = [\"admin\"]\n\n",
        "[[route]]\nmatch = \"GET /docs/internal/{page}\"\naccess = \"authenticated\"\n\n",
    ];
    for order in [[0, 1, 2], [2, 1, 0]] {
        let origin = Origin::echo();
        let tables: String = order.into_iter().map(|index| routes[index]).collect();
        let gateway = Setup::before(&origin).with(&tables).start();
        let viewer = gateway.token("viewer");
        gateway.client().get("/docs/a").send().expect(200);
        gateway.client().get("/docs/internal/x").send().expect(401);
        gateway.client().get("/docs/internal/x").bearer(&viewer).send().expect(200);
        gateway.client().get("/docs/internal/x/y").bearer(&viewer).send().expect(403);
        gateway.client().post("/docs/internal/x").bearer(&viewer).send().expect(403);
    }
}

#[test]
fn z1_a_method_in_a_header_is_not_a_method() {
    let (origin, gateway) = projects();
    let viewer = gateway.token("viewer");
    let names = ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-URL", "X-Rewrite-URL"];
    let mut request = gateway.client();
    for name in names {
        let value = if name.ends_with("URL") { "/analytics" } else { "DELETE" };
        request.get("/projects/7").bearer(&viewer).header(name, value).send().expect(200);
        let seen = origin.last();
        assert_eq!(seen.method, "GET");
        assert_eq!(seen.target, "/projects/7");
        assert!(seen.twins(name).is_empty(), "{name} reached the API: {:?}", seen.headers);
        request = gateway.client();
    }
}

#[test]
fn z3_permissions_with_wildcards_and_inheritance_decide_a_route() {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin)
        .with(
            "[roles.viewer]\npermissions = [\"posts:read\", \"posts:write\"]\n\n\
             [roles.editor]\ninherits = [\"viewer\"]\npermissions = [\"posts:delete\", \"users:read\"]\n\n\
             [roles.admin]\npermissions = [\"users:*\", \"posts:*\", \"admin:access\"]\n\n\
             [[route]]\nmatch = \"GET /posts/**\"\npermissions = [\"posts:read\"]\n\n\
             [[route]]\nmatch = \"DELETE /posts/{id}\"\npermissions = { all = [\"posts:read\", \"posts:delete\"] }\n\n\
             [[route]]\nmatch = \"GET /users\"\npermissions = { any = [\"users:read\", \"admin:access\"] }\n\n\
             [[route]]\nmatch = \"DELETE /users/{id}\"\npermissions = [\"users:delete\"]\n",
        )
        .start();
    let tokens = ["viewer", "editor", "admin"].map(|role| gateway.token(role));
    let cases = [
        ("GET", "/posts/1", [200, 200, 200]),
        ("DELETE", "/posts/1", [403, 200, 200]),
        ("GET", "/users", [403, 200, 200]),
        ("DELETE", "/users/1", [403, 403, 200]),
    ];
    for (method, path, expected) in cases {
        for (token, expected) in tokens.iter().zip(expected) {
            let reply = gateway.client().request(method, path).bearer(token).send();
            assert_eq!(reply.status, expected, "{method} {path}: {}", reply.text());
        }
    }
    assert!(PROJECT_ROUTES.contains("roles"), "the other tests decide by role");
}
