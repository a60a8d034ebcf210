//! Parameters by place and style.

use crate::support::{shop, table, told};

#[test]
fn h4_query_parameters_are_read_by_their_style() {
    table(
        &shop(),
        &[
            ("GET /v1/orders", "ok"),
            ("GET /v1/orders?limit=5&state=open", "ok"),
            ("GET /v1/orders?limit=0", "query.limit minimum"),
            ("GET /v1/orders?limit=101", "query.limit maximum"),
            ("GET /v1/orders?limit=5.0", "query.limit type"),
            ("GET /v1/orders?limit=1e1", "query.limit type"),
            ("GET /v1/orders?limit=%35", "ok"),
            ("GET /v1/orders?limit=+5", "query.limit type"),
            ("GET /v1/orders?limit=05", "query.limit type"),
            ("GET /v1/orders?limit=", "query.limit type"),
            ("GET /v1/orders?limit=true", "query.limit type"),
            ("GET /v1/orders?limit=99999999999999999999", "query.limit type"),
            ("GET /v1/orders?state=lost", "query.state enum"),
            ("GET /v1/orders?ids=1", "ok"),
            ("GET /v1/orders?ids=1&ids=2&ids=3", "ok"),
            ("GET /v1/orders?ids=1&ids=2&ids=3&ids=4", "query.ids maxItems"),
            ("GET /v1/orders?ids=1&ids=x", "query.ids/1 type"),
            ("GET /v1/orders?ids=1,2", "query.ids/0 type"),
            ("GET /v1/orders?tags=a,b,c", "ok"),
            ("GET /v1/orders?tags=a%2Cb%2Cc", "ok"),
            ("GET /v1/orders?tags=a,b,c,d", "query.tags maxItems"),
            ("GET /v1/orders?tags=a%2Cb%2Cc%2Cd", "query.tags maxItems"),
            ("GET /v1/orders?tags=a,b%2Cc", "query.tags style"),
            ("GET /v1/orders?tags=abcdef", "query.tags/0 maxLength"),
            ("GET /v1/orders?tags=a&tags=b", "query.tags duplicate"),
            ("GET /v1/orders?sizes=1|2", "ok"),
            ("GET /v1/orders?sizes=1%7C2", "ok"),
            ("GET /v1/orders?sizes=1|x", "query.sizes/1 type"),
            ("GET /v1/orders?words=a%20b", "ok"),
            ("GET /v1/orders?words=a+b", "ok"),
            ("GET /v1/orders?filter[name]=x&filter[min]=1.5", "ok"),
            ("GET /v1/orders?filter%5Bname%5D=x", "ok"),
            ("GET /v1/orders?filter[min]=x", "query.filter/min type"),
            ("GET /v1/orders?filter[tag]=a&filter[tag]=b", "ok"),
            ("GET /v1/orders?filter[name]=a&filter[name]=b", "query.filter duplicate"),
            ("GET /v1/orders?filter[other]=a", "query.filter/other additionalProperties"),
            ("GET /v1/orders?where=%7B%22a%22:1%7D", "ok"),
            ("GET /v1/orders?where=%7B%22a%22:true%7D", "query.where/a type"),
            ("GET /v1/orders?where=%7B%7D", "query.where/a required"),
            ("GET /v1/orders?where=1}", "query.where json"),
            ("GET /v1/orders?verbose", "ok"),
            ("GET /v1/orders?verbose=", "ok"),
            ("GET /v1/orders?verbose=true", "ok"),
            ("GET /v1/orders?verbose=1", "query.verbose type"),
            ("GET /v1/orders?code=7", "ok"),
            ("GET /v1/orders?code=1234", "ok"),
            ("GET /v1/orders?code=12345", "query.code oneOf"),
            ("GET /v1/search?text=ab&page=2", "ok"),
            ("GET /v1/search?text=a", "query.q/text minLength"),
            ("GET /v1/search?text=ab&text=cd", "query.q duplicate"),
            ("GET /v1/search?api_key=anything", "ok"),
            ("GET /v1/search?api_key=one&api_key=two", "query.api_key duplicate"),
            ("GET /v1/orders?api_key=anything", "query.api_key unknown"),
        ],
    );
}

#[test]
fn h4_path_parameters_are_read_by_their_style() {
    let id = "7d444840-9dc0-11d1-b245-5ffdce74fad2";
    table(
        &shop(),
        &[
            (&format!("DELETE /v1/orders/{id}"), "ok"),
            (&format!("DELETE /v1/orders/{}", id.to_uppercase()), "ok"),
            ("DELETE /v1/orders/7", "path.id format"),
            ("DELETE /v1/orders/mine", "path.id format"),
            ("GET /v1/orders/mine", "ok"),
            ("GET /v1/places/1,2.5/.from=1.to=2/a.json", "ok"),
            ("GET /v1/places/1%2C2/.from=1.to=2/a.xml", "ok"),
            ("GET /v1/places/1/.from=1.to=2/a.json", "path.at minItems"),
            ("GET /v1/places/1,x/.from=1.to=2/a.json", "path.at/1 type"),
            ("GET /v1/places/1,2/from=1/a.json", "path.range style"),
            ("GET /v1/places/1,2/.from=x/a.json", "path.range/from type"),
            ("GET /v1/places/1,2/.from=1.from=2/a.json", "path.range duplicate"),
            ("GET /v1/places/1,2/.from/a.json", "path.range style"),
            ("GET /v1/places/1,2/.from=1/a.pdf", "path.format enum"),
        ],
    );
}

#[test]
fn h4_headers_and_cookies_are_parameters_too() {
    let shop = shop();
    let order = "GET /v1/orders/7d444840-9dc0-11d1-b245-5ffdce74fad2";
    let cookie = ("cookie", "a=b; session=ab12");
    for (request, headers, expected) in [
        ("GET /v1/orders", vec![("x-tenant", "acme")], "ok"),
        ("GET /v1/orders", vec![("x-tenant", "ACME")], "header.X-Tenant pattern"),
        ("GET /v1/orders", vec![("x-tenant", "acme"), ("x-tenant", "other")], "header.X-Tenant duplicate"),
        ("GET /v1/orders", vec![("x-tenant", "acme"), ("x_tenant", "ACME")], "header.X-Tenant style"),
        ("GET /v1/orders", vec![("x.tenant", "ACME")], "header.X-Tenant style"),
        (order, vec![cookie], "ok"),
        (order, vec![], "cookie.session required"),
        (order, vec![("cookie", "session=AB")], "cookie.session pattern"),
        (order, vec![("cookie", "session=ab12; session=cd34")], "cookie.session duplicate"),
        (order, vec![cookie, ("cookie", "session=cd34")], "cookie.session duplicate"),
        (order, vec![("cookie", "session=ab%31%32")], "ok"),
        (order, vec![("cookie", "session=ab%1")], "cookie.session encoding"),
        (order, vec![cookie, ("x-fields", "id, items")], "ok"),
        (order, vec![cookie, ("x-fields", "id"), ("x-fields", "items")], "ok"),
        (order, vec![cookie, ("x-fields", "id,password")], "header.X-Fields/1 enum"),
    ] {
        assert_eq!(told(&shop, request, &headers, b"")[0], expected, "{request} {headers:?}");
    }
}
