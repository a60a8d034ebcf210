//! What the defaults are, and what the files in this tree mean.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use portcullis::{Count, KeyPart, LimitHeaders, LimitRule, Mode, Otherwise, QuotaChoice, Scope};
use portcullis_identity::SmtpProtection;
use portcullis_limit::{Algorithm, Period};

use super::*;

/// A world without variables and files, except those that are named here.
#[derive(Default)]
struct World {
    variables: Vec<(&'static str, String)>,
    files: Vec<(&'static str, String)>,
    open: bool,
}

impl Outside for World {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.iter().find(|(held, _)| *held == name).map(|(_, value)| value.clone())
    }

    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        let found = self.files.iter().find(|(held, _)| Path::new(held) == path);
        found.map(|(_, text)| text.clone().into_bytes()).ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }

    fn list(&self, path: &Path) -> std::io::Result<Vec<String>> {
        let inside = self.files.iter().filter_map(|(held, _)| Path::new(held).strip_prefix(path).ok());
        let names: Vec<String> = inside.map(|name| name.display().to_string()).collect();
        if names.is_empty() { Err(std::io::ErrorKind::NotFound.into()) } else { Ok(names) }
    }

    fn is_world_readable(&self, _: &Path) -> bool {
        self.open
    }
}

fn load(text: &str, world: &World) -> Result<Loaded, String> {
    Source::text("f", text).load_with(world).map_err(|error| error.to_string())
}

fn settings(text: &str) -> Settings {
    load(text, &World::default()).unwrap().settings
}

const UPSTREAM: &str = "upstream = \"http://127.0.0.1:3000\"\n";
const STRONG: &str = "8f2c1b7a90de4f53c6a1e8d7b4902f6135ac7e98d0b1f4c26a5e9037d18cb42f";

#[test]
fn with_no_file_at_all_it_is_a_safe_gateway() {
    let loaded = Source::upstream("http://127.0.0.1:3000").load_with(&World::default()).unwrap();
    assert_eq!(loaded.report.diagnostics(), []);
    let settings = loaded.settings;
    assert_eq!(settings.listen, ["127.0.0.1:8080".parse::<SocketAddr>().unwrap()]);
    assert_eq!(&*settings.public_url, "http://127.0.0.1:8080");
    assert_eq!(settings.state_dir, Path::new("portcullis-data"));
    assert_eq!(settings.upstreams.len(), 1);
    assert_eq!(&*settings.upstreams[0].addresses[0], "127.0.0.1:3000");
    let identity = settings.identity.unwrap();
    assert_eq!(identity.database.to_string(), "portcullis.db");
    assert!(!identity.registration, "without mail nobody can verify an address");
    assert_eq!(settings.gate.otherwise, Otherwise::Authenticated);
    assert!(settings.gate.routes.is_empty());
    assert_eq!(settings.admin.listen, Some("127.0.0.1:9090".parse().unwrap()));
    assert!(settings.admin.token.is_none() && identity.master_key.is_none());
}

#[test]
fn l5_the_presets_apply_where_no_limit_is_written() {
    let limits = settings(UPSTREAM).gate.limits;
    let of = |name: &str| limits.iter().find(|rule| &*rule.name == name).unwrap();
    let rate = |name: &str| match &of(name).quota {
        QuotaChoice::Fixed(rate) => (rate.quota().count(), rate.quota().window().as_secs(), rate.algorithm()),
        QuotaChoice::ByPlan { .. } | QuotaChoice::ByReputation(_) => panic!("{name} has several quotas"),
    };
    let counter = Algorithm::SlidingWindowCounter;
    assert_eq!(limits.len(), 6);
    assert_eq!(rate("anonymous"), (100, 60, counter));
    assert_eq!((rate("auth"), of("auth").count), ((10, 3_600, counter), Count::Denials));
    assert_eq!(rate("auth-endpoints"), (20, 60, counter));
    assert_eq!(rate("login"), (5, 900, Algorithm::SlidingWindowLog));
    assert_eq!(rate("user"), (300, 60, counter));
    assert_eq!(rate("verify"), (600, 60, counter));
    assert_eq!(of("login").message.as_deref(), Some("Too many login attempts. Try again in {minutes} minutes."));
    assert_eq!(of("user").key, [KeyPart::User]);
    assert_eq!(of("user").exempt, ["admin".into()]);
    assert_eq!(of("user").ceiling.as_ref().map(|rate| rate.quota().count()), Some(3_000));
    assert_eq!(of("anonymous").scope, Scope::Anonymous);
    assert_eq!(of("verify").scope, Scope::Verification);
    assert!(limits.iter().all(|rule| rule.mode == Mode::Enforce));
}

#[test]
fn presets_can_be_turned_off_and_are_replaced_by_what_is_written() {
    assert!(settings(&format!("{UPSTREAM}[limits]\npreset = \"none\"")).gate.limits.is_empty());
    let written =
        settings(&format!("{UPSTREAM}[[limit]]\npreset = \"login\"\nquota = \"10 per hour\"\nmode = \"report\""));
    let [rule] = written.gate.limits.as_slice() else { panic!("{:?}", written.gate.limits) };
    assert_eq!(&*rule.name, "login");
    assert!(rule.mode == Mode::Report && rule.message.is_some());
    let QuotaChoice::Fixed(rate) = &rule.quota else { panic!() };
    assert_eq!((rate.quota().count(), rate.algorithm()), (10, Algorithm::SlidingWindowLog), "the rest is the preset's");
    let user = |rest: &str| settings(&format!("{UPSTREAM}[[limit]]\npreset = \"user\"\n{rest}")).gate.limits;
    assert!(user("").iter().all(|rule| rule.ceiling.is_some()));
    assert!(user("danger_no_ceiling = true").iter().all(|rule| rule.ceiling.is_none()), "not the preset's either");
}

#[test]
fn l12_a_limit_may_slow_down_instead_of_refusing() {
    let limit = |rest: &str| format!("{UPSTREAM}[[limit]]\nname = \"slow\"\nquota = \"60 per minute\"\n{rest}");
    let modes = |rest: &str| settings(&limit(rest)).gate.limits.iter().map(|rule| rule.mode).collect::<Vec<_>>();
    let half = Duration::from_millis(500);
    assert_eq!(modes("mode = \"delay\"\ndelay = \"500ms\""), [Mode::Delay(half)]);
    assert_eq!(modes("mode = \"delay\"\ndelay = \"60s\""), [Mode::Delay(portcullis_limit::MAX_DELAY)]);
    for (rest, told) in [
        ("mode = \"delay\"", "\"delay\" is missing"),
        ("delay = \"1s\"", "slows nobody down"),
        ("mode = \"report\"\ndelay = \"1s\"", "slows nobody down"),
        ("mode = \"delay\"\ndelay = \"61s\"", "out of bounds"),
    ] {
        let report = load(&limit(rest), &World::default()).unwrap_err().to_string();
        assert!(report.contains(told), "{rest}: {report}");
    }
}

#[test]
fn l7_the_headers_of_limits_are_a_choice() {
    let headers = |text: &str| settings(&format!("{UPSTREAM}{text}")).gate.limit_headers;
    assert_eq!(headers(""), LimitHeaders::Legacy);
    assert_eq!(headers("[limits]\nheaders = \"draft\""), LimitHeaders::Draft);
    assert_eq!(headers("[limits]\nheaders = \"both\""), LimitHeaders::Both);
    assert_eq!(headers("[limits]\nheaders = \"none\""), LimitHeaders::Neither);
}

#[test]
fn l1_every_algorithm_is_reached_from_a_file_with_what_belongs_to_it() {
    let rate = |limit: &str| {
        let written = settings(&format!("{UPSTREAM}[[limit]]\nname = \"a\"\n{limit}"));
        match written.gate.limits.as_slice() {
            [LimitRule { quota: QuotaChoice::Fixed(rate), .. }] => *rate,
            other => panic!("{other:?}"),
        }
    };
    for algorithm in Algorithm::ALL {
        let found = rate(&format!("quota = \"10 per day\"\nalgorithm = \"{algorithm}\""));
        assert_eq!((found.algorithm(), found.max_delay()), (algorithm, Duration::ZERO));
        assert_eq!(found.burst(), if algorithm == Algorithm::LeakyBucket { 1 } else { 10 }, "{algorithm}");
    }
    let leaky = rate("quota = \"10 per second\"\nalgorithm = \"leaky-bucket\"\nburst = 3\nmax_delay = \"2s\"");
    assert_eq!((leaky.burst(), leaky.max_delay(), leaky.capacity()), (3, Duration::from_secs(2), 23));
    let month = "quota = \"10,000 per month\"\nalgorithm = \"calendar\"";
    let calendar = rate(month).calendar().unwrap();
    assert_eq!((calendar.period(), calendar.time_zone()), (Period::Month, "UTC"));
    let calendar = rate(&format!("{month}\ntime_zone = \"America/New_York\"")).calendar().unwrap();
    assert_eq!(calendar.time_zone(), "America/New_York");
}

#[test]
fn z1_with_any_route_what_matches_none_is_refused() {
    let route = "[[route]]\nmatch = \"GET /a\"\naccess = \"authenticated\"\n";
    assert_eq!(settings(&format!("{UPSTREAM}{route}")).gate.otherwise, Otherwise::Refuse);
    let loose = format!("{UPSTREAM}[routes]\notherwise = \"authenticated\"\n{route}");
    let loaded = load(&loose, &World::default()).unwrap();
    assert_eq!(loaded.settings.gate.otherwise, Otherwise::Authenticated);
    assert!(loaded.report.to_string().contains("ignore letter case"), "{}", loaded.report);
}

#[test]
fn the_first_upstream_takes_what_names_none() {
    let text = "[[upstreams]]\nname = \"a\"\naddresses = \"10.0.0.1:80\"\n[[upstreams]]\nname = \"default\"\n\
                addresses = [\"10.0.0.2:80\", \"[::1]:81\", \"api.internal:82\"]\n\
                [[route]]\nmatch = \"/a\"\nroles = \"admin\"\nupstream = \"a\"\n[[route]]\nmatch = \"/b\"\nroles = \"admin\"\n";
    let settings = settings(text);
    assert_eq!(&*settings.upstreams[0].name, "default");
    let targets: Vec<_> = settings.gate.routes.iter().map(|rule| rule.target).collect();
    assert_eq!(targets, [portcullis::Target::Upstream(1), portcullis::Target::Upstream(0)]);
}

#[test]
fn the_public_url_has_one_spelling() {
    let url = |text: &str| settings(&format!("{UPSTREAM}public_url = \"{text}\"")).public_url.to_string();
    assert_eq!(url("https://API.example.com/"), "https://api.example.com");
    assert_eq!(url("https://api.example.com:443"), "https://api.example.com");
    assert_eq!(url("HTTP://localhost:8080"), "http://localhost:8080");
    let listens = settings(&format!("{UPSTREAM}listen = \"[::1]:8443\""));
    assert_eq!(&*listens.public_url, "http://[::1]:8443");
}

#[test]
fn o3_secrets_come_from_the_environment_or_from_files_and_never_weak() {
    let from_variable = World { variables: vec![("PORTCULLIS_MASTER_KEY", STRONG.to_owned())], ..World::default() };
    let key = load(UPSTREAM, &from_variable).unwrap().settings.identity.unwrap().master_key.unwrap();
    assert_eq!(key.expose().len(), 32);
    let from_file = World {
        variables: vec![("PORTCULLIS_ADMIN_TOKEN_FILE", "/run/token".to_owned())],
        files: vec![("/run/token", format!("{STRONG}\n"))],
        open: false,
    };
    let admin = load(UPSTREAM, &from_file).unwrap().settings.admin;
    assert_eq!(admin.token.unwrap().expose(), STRONG);
    for weak in ["", "changeme", "0123456789abcdef0123456789abcdef", "short"] {
        let world = World { variables: vec![("PORTCULLIS_ADMIN_TOKEN", weak.to_owned())], ..World::default() };
        let told = load(UPSTREAM, &world).unwrap_err();
        assert!(told.contains("the operator's token"), "{told}");
        assert!(weak.is_empty() || weak == "changeme" || !told.contains(weak), "{told}");
    }
}

#[test]
fn o3_a_secret_that_everyone_can_read_is_told() {
    let world = World { files: vec![("key", STRONG.to_owned())], open: true, ..World::default() };
    let loaded = load(&format!("{UPSTREAM}master_key_file = \"key\""), &world).unwrap();
    assert!(loaded.report.to_string().contains("everyone on this machine can read key"), "{}", loaded.report);
}

#[test]
fn a10_with_a_mail_server_registration_opens() {
    let mail = "[mail]\nhost = \"smtp.example.com\"\nfrom = \"The Gate <gate@example.com>\"\n";
    let read = |more: &str, world: &World| {
        let identity = load(&format!("{UPSTREAM}{mail}{more}"), world).unwrap().settings.identity.unwrap();
        let MailDelivery::Server(server) = identity.mail else { panic!("{:?}", identity.mail) };
        (identity.registration, *server)
    };
    let (registration, server) = read("", &World::default());
    assert!(registration && server.login.is_none() && server.authorities.is_none());
    assert_eq!((server.port, server.protection, server.per_recipient), (587, SmtpProtection::Starttls, 5));
    assert_eq!(read("tls = \"tls\"", &World::default()).1.port, 465);
    assert!(!read("[identity]\nregistration = false", &World::default()).0);

    let world = World { variables: vec![("PORTCULLIS_MAIL_PASSWORD", "hunter2\n".to_owned())], ..World::default() };
    assert!(read("", &world).1.login.is_none(), "a variable that is there for another reason is no login");
    let login = read("username = \"gate\"", &world).1.login.unwrap();
    assert_eq!((login.username.as_str(), login.password.expose().as_str()), ("gate", "hunter2"));
    let told = |password: &str| {
        let world = World { variables: vec![("PORTCULLIS_MAIL_PASSWORD", password.to_owned())], ..World::default() };
        load(&format!("{UPSTREAM}{mail}username = \"gate\""), &world).unwrap_err()
    };
    assert!(told("").contains("the password of the mail server is empty"));
    assert!(told("a\0b").contains("the password of the mail server holds a control character"));
}

#[test]
fn a10_mail_goes_unprotected_to_this_machine_only() {
    let read = |host: &str| {
        let mail = format!("{UPSTREAM}[mail]\nhost = \"{host}\"\ntls = \"none\"\nfrom = \"gate@example.com\"\n");
        load(&mail, &World::default()).map(drop)
    };
    for host in ["127.0.0.1", "::1", "localhost", "127.8.8.8"] {
        assert_eq!(read(host), Ok(()), "{host}");
    }
    for host in ["10.0.0.1", "smtp.example.com", "mail.localhost", "localhost.example.com", "0.0.0.0"] {
        assert!(read(host).unwrap_err().contains("unprotected"), "{host}");
    }
    for host in ["", "a b", "a/b", "a@b", "[::1]", "-a", "a..b", "a\\r\\nb"] {
        assert!(read(host).unwrap_err().contains("is not the name of a host"), "{host}");
    }
}

#[test]
fn a10_the_catcher_keeps_what_a_server_would_be_handed() {
    let text =
        "[identity]\ndanger_mail_catcher = true\n[mail]\nhost = \"smtp.example.com\"\nfrom = \"a@example.com\"\n";
    let loaded = load(&format!("{UPSTREAM}{text}"), &World::default()).unwrap();
    assert!(matches!(loaded.settings.identity.unwrap().mail, MailDelivery::Catcher));
    assert!(loaded.report.to_string().contains("never sent"), "{}", loaded.report);
}

#[test]
fn no_secret_is_in_the_debug_output() {
    let world = World { variables: vec![("PORTCULLIS_ADMIN_TOKEN", STRONG.to_owned())], ..World::default() };
    let loaded = load(UPSTREAM, &world).unwrap();
    assert!(!format!("{loaded:?}").contains(STRONG));
}

#[test]
fn t11_a_static_issuer_is_read() {
    let world = World { variables: vec![("PARTNER", STRONG.to_owned())], ..World::default() };
    let text = format!(
        "{UPSTREAM}[[issuer]]\nname = \"partner\"\nissuer = \"https://id.example.com\"\naudience = [\"api\"]\n\
         secret_env = \"PARTNER\"\nleeway = \"5s\"\ntype = \"at+jwt\"\nclaims = {{ roles = \"realm.roles\", keep = \"org\" }}\n\
         [[limit]]\nname = \"org\"\nkey = [\"claim:org\", \"address\"]\nquota = \"5 per minute\"\n"
    );
    let loaded = load(&text, &world).unwrap();
    let [issuer] = loaded.settings.gate.issuers.as_slice() else { panic!() };
    assert_eq!(issuer.name.as_deref(), Some("partner"));
    assert_eq!(issuer.algorithms, [portcullis_auth::Algorithm::Hs256]);
    assert_eq!(issuer.leeway, Duration::from_secs(5));
    assert_eq!((&*issuer.claims.roles, &*issuer.claims.user), ("realm.roles", "sub"));
    assert_eq!(loaded.settings.gate.limits[0].key, [KeyPart::Claim("org".into()), KeyPart::Address]);
}

#[test]
fn l3_a_limit_counts_by_what_our_own_tokens_say_without_an_issuer_that_keeps_it() {
    let told = |claim: &str| {
        let text = format!(
            "{UPSTREAM}[tokens]\nclaims = [\"tier\", \"roles\"]\n[[limit]]\nname = \"x\"\nkey = \"claim:{claim}\"\n\
             quota = \"5 per minute\"\n"
        );
        load(&text, &World::default()).unwrap().report.to_string().contains("no issuer keeps the claim")
    };
    // A claim that nobody says, one that is not asked for, and a list are never there: the address stands in, and that is told.
    assert_eq!(["tier", "plan", "org", "email", "roles"].map(told), [false, false, true, true, true]);
}

#[test]
fn a10_a_directory_of_templates_must_be_there_and_hold_some() {
    let told = |files: Vec<(&'static str, String)>| {
        let mail = "[mail]\nhost = \"smtp.example.com\"\nfrom = \"a@example.com\"\ntemplates = \"letters\"\n";
        load(&format!("{UPSTREAM}{mail}"), &World { files, ..World::default() }).map(drop)
    };
    assert!(told(vec![]).unwrap_err().contains("cannot look into letters"));
    assert!(told(vec![("letters/README.md", String::new())]).unwrap_err().contains("there is no template in letters"));
    let both = |text: &str| vec![("letters/verify.txt", text.to_owned()), ("letters/verify.html", text.to_owned())];
    assert_eq!(told(both("{{link}}")), Ok(()));
    assert!(told(both("{{lnik}}")).unwrap_err().contains("letters/verify.txt:1: \"{{lnik}}\" is no placeholder"));
}

#[test]
fn t2_a_key_file_that_holds_no_good_key_is_told() {
    let with = |line: &str, file: &str| {
        let world = World { files: vec![("keys", file.to_owned())], ..World::default() };
        let text = format!("{UPSTREAM}[[issuer]]\nname = \"p\"\nissuer = \"https://i\"\naudience = \"a\"\n{line}\n");
        load(&text, &world).map(drop).unwrap_err()
    };
    assert!(with("jwks_file = \"keys\"", "{}").contains("not a valid JWK"));
    assert!(with("jwks_file = \"keys\"", "{\"keys\":[]}").contains("none of its keys"));
    let shared = format!("{{\"keys\":[{{\"kty\":\"oct\",\"alg\":\"HS256\",\"k\":\"{STRONG}\"}}]}}");
    assert!(
        with("jwks_file = \"keys\"", &shared).contains("none of its keys"),
        "a key set must not hold shared secrets"
    );
    assert!(with("pem_file = \"keys\"\nalgorithms = \"RS256\"", "nonsense").contains("not a PEM public key"));
    assert!(with("pem_file = \"keys\"", "nonsense").contains("\"algorithms\" is missing"));
}

#[test]
fn the_template_is_good_as_it_stands_and_with_every_setting_in_use() {
    let loaded = load(TEMPLATE, &World::default()).unwrap();
    assert_eq!(loaded.report.to_string(), "");
    let uncommented: String = TEMPLATE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.is_empty() && !setting.starts_with(' ') => format!("{setting}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let (x, y) = ("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
    let jwks = format!(r#"{{"keys":[{{"kty":"EC","crv":"P-256","alg":"ES256","x":"{x}","y":"{y}"}}]}}"#);
    let files = vec![
        ("/etc/portcullis/master.key", STRONG.to_owned()),
        ("/etc/portcullis/mail-password", "hunter2".to_owned()),
        ("/etc/portcullis/mail/verify.subject", "Welcome".to_owned()),
        ("/etc/portcullis/partner.jwks.json", jwks),
    ];
    let loaded = load(&uncommented, &World { files, ..World::default() }).unwrap();
    assert_eq!(loaded.report.to_string(), "");
    assert!(loaded.settings.gate.routes.len() > 3 && loaded.settings.gate.limits.len() == 7);
}

#[test]
fn the_demo_runs_with_a_good_file() {
    let loaded = load(crate::demo::CONFIG, &World::default()).unwrap();
    assert_eq!(loaded.report.to_string(), "");
}

#[test]
fn the_published_schema_is_that_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../portcullis.schema.json");
    let published = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        published == json_schema(),
        "portcullis.schema.json is out of date; refresh it: cargo run --quiet -- schema > portcullis.schema.json"
    );
}

#[test]
fn the_schema_knows_every_key_of_the_template_and_nothing_is_nullable() {
    let schema: serde_json::Value = serde_json::from_str(&json_schema()).unwrap();
    let top = schema["properties"].as_object().unwrap();
    for key in TEMPLATE.lines().filter_map(|line| line.trim_start_matches('#').split_once(" = ")).map(|(key, _)| key) {
        assert!(json_schema().contains(&format!("\"{key}\":")), "{key}");
    }
    assert_eq!(schema["additionalProperties"], false);
    assert!(top.contains_key("listen") && !top.contains_key("graphql"));
    assert!(!json_schema().contains("\"null\""));
}

#[test]
fn l12_a_limit_by_reputation_has_a_rate_for_each_class() {
    let rates = |limit: &str| {
        let written = settings(&format!("{UPSTREAM}[[limit]]\nname = \"a\"\n{limit}"));
        match written.gate.limits.as_slice() {
            [LimitRule { quota: QuotaChoice::ByReputation(rates), .. }] => rates.named().map(|(_, rate)| *rate),
            other => panic!("{other:?}"),
        }
    };
    let counts = |limit: &str| rates(limit).map(|rate| rate.quota().count());
    let of = |classes: &str| counts(&format!("quota = {{ by = \"reputation\", {classes} }}"));
    let minute = |pairs: &[(&str, u64)]| {
        let pairs = pairs.iter().map(|(class, count)| format!("{class} = \"{count} per minute\""));
        of(&pairs.collect::<Vec<_>>().join(", "))
    };
    assert_eq!(minute(&[("good", 100), ("suspect", 30), ("bad", 5), ("challenged", 20)]), [100, 30, 5, 20]);
    assert_eq!(minute(&[("good", 100), ("suspect", 30)]), [100, 30, 30, 100], "no better than the one above");
    assert_eq!(minute(&[("good", 100), ("bad", 5)]), [100, 100, 5, 100]);
    assert_eq!(of("good = \"100 per minute\", bad = \"5 per minute\", otherwise = \"bad\""), [100, 5, 5, 5]);
    // A burst becomes smaller as its quota does: otherwise a change of class would open the difference.
    let quota = "quota = { by = \"reputation\", good = \"100 per minute\", suspect = \"30 per minute\", bad = \"1 per minute\" }";
    let bursts = rates(&format!("{quota}\nalgorithm = \"token-bucket\"\nburst = 50")).map(|rate| rate.burst());
    assert_eq!(bursts, [50, 15, 1, 50]);
}

#[test]
fn l12_addresses_are_judged_as_the_file_says() {
    let rules = settings(UPSTREAM).gate.reputation;
    let highest = rules.highest();
    assert_eq!((rules.half_life, rules.suspect, rules.bad, highest), (Duration::from_secs(600), 100, 300, 600.0));
    let written = "[reputation]\nhalf_life = \"1h\"\nsuspect = 10\nbad = 40\nchallenged_for = \"0s\"\n\
                   trusted = [\"10.0.0.0/8\", \"2001:db8::7\"]\n[reputation.weights]\nmissing = 0\nunproven = 3\n";
    let rules = settings(&format!("{UPSTREAM}{written}")).gate.reputation;
    assert_eq!((rules.half_life, rules.suspect, rules.bad), (Duration::from_secs(3_600), 10, 40));
    assert_eq!(rules.challenged_for, Duration::ZERO);
    // What is not written weighs what it does by default, but never more than the whole scale.
    assert_eq!((rules.weights.missing, rules.weights.unproven, rules.weights.hostile), (0, 3, 40));
    for (address, trusted) in
        [("10.9.9.9", true), ("::ffff:10.0.0.1", true), ("2001:db8::7", true), ("2001:db8::8", false)]
    {
        assert_eq!(rules.trusts(address.parse().unwrap()), trusted, "{address}");
    }
}
