//! The command line: exit codes, and one clear line for each failure.

use std::cell::RefCell;
use std::fs;

use super::*;

/// Takes down what it is asked to do.
#[derive(Default)]
struct Recorder {
    asked: RefCell<Vec<String>>,
    fails: bool,
}

impl Recorder {
    fn note(&self, what: String) -> Result<String, Failure> {
        self.asked.borrow_mut().push(what);
        if self.fails { Err(Failure::run("port 8080 is in use")) } else { Ok("done".to_owned()) }
    }
}

impl Commands for Recorder {
    fn serve(&self, source: Source, settings: Settings) -> Result<(), Failure> {
        self.note(format!("serve {:?} on {:?}", source.path(), settings.listen)).map(drop)
    }

    fn demo(&self, demo: Demo) -> Result<(), Failure> {
        self.note(format!("{demo:?}")).map(drop)
    }

    fn create_user(&self, settings: Settings, user: NewUser) -> Result<String, Failure> {
        let password = user.password.as_ref().map(|password| password.expose().clone());
        self.note(format!("create {} {} {password:?} in {}", user.email, user.role, settings.state_dir.display()))
    }

    fn list_users(&self, _: Settings, show: &mut dyn FnMut(&str)) -> Result<(), Failure> {
        show(&self.note("list users".to_owned())?);
        Ok(())
    }

    fn manage_users(&self, _: Settings, task: UserTask) -> Result<String, Failure> {
        self.note(format!("{task:?}"))
    }

    fn list_keys(&self, _: Settings) -> Result<String, Failure> {
        self.note("list keys".to_owned())
    }

    fn rotate_keys(&self, _: Settings) -> Result<String, Failure> {
        self.note("rotate keys".to_owned())
    }

    fn import_key(&self, _: Settings, pem: Secret<String>) -> Result<String, Failure> {
        self.note(format!("import a key of {} bytes", pem.expose().len()))
    }

    fn public_keys(&self, _: Settings, pem: bool) -> Result<String, Failure> {
        self.note(format!("public keys, as PEM: {pem}"))
    }

    fn manage_api_keys(&self, _: Settings, task: ApiKeyTask) -> Result<String, Failure> {
        self.note(format!("{task:?}"))
    }

    fn revoke_token(&self, _: Settings, jti: &str) -> Result<String, Failure> {
        self.note(format!("revoke {jti}"))
    }

    fn revoke_everybody(&self, _: Settings) -> Result<String, Failure> {
        self.note("revoke everybody".to_owned())
    }

    fn manage_limits(&self, _: Settings, task: LimitTask) -> Result<String, Failure> {
        self.note(format!("{task:?}"))
    }

    fn manage_reputation(&self, _: Settings, task: ReputationTask) -> Result<String, Failure> {
        self.note(format!("{task:?}"))
    }

    fn explain(&self, _: Settings, question: Question) -> Result<String, Failure> {
        self.note(format!("explain {} {} from {}", question.method, question.target, question.address))
    }
}

struct Ran {
    code: u8,
    out: String,
    err: String,
    asked: Vec<String>,
}

fn portcullis(args: &[&str]) -> Ran {
    run_with(&Recorder::default(), args)
}

fn run_with(commands: &Recorder, args: &[&str]) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut console = Console { out: &mut out, err: &mut err };
    let args = ["portcullis"].iter().chain(args).map(OsString::from);
    let code = run(args, commands, &mut console);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code, out: text(out), err: text(err), asked: commands.asked.borrow().clone() }
}

#[test]
fn help_and_version_are_no_failures() {
    let help = portcullis(&["--help"]);
    assert_eq!(help.code, 0);
    for command in ["serve", "check", "init", "schema", "users", "keys", "explain", "demo"] {
        assert!(help.out.contains(command), "{command}");
    }
    assert_eq!(portcullis(&["--version"]).code, 0);
}

#[test]
fn a_wrong_command_line_exits_with_2() {
    for args in [&[][..], &["srve"], &["serve"], &["check"], &["serve", "--upstream", "u", "--listen", "x"]] {
        let ran = portcullis(args);
        assert_eq!(ran.code, 2, "{args:?}");
        assert!(!ran.err.is_empty() && ran.asked.is_empty());
    }
}

#[test]
fn serve_needs_no_file() {
    let ran = portcullis(&["serve", "--upstream", "http://127.0.0.1:3000", "--listen", "127.0.0.1:8081"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_eq!(ran.asked, ["serve None on [127.0.0.1:8081]"]);
}

#[test]
fn a_wrong_upstream_is_told_like_a_line_of_a_file() {
    let ran = portcullis(&["serve", "--upstream", "127.0.0.1:3000\" evil"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.starts_with("--upstream:1:12: error: "), "{}", ran.err);
    assert!(ran.err.ends_with("\n1 error\n"), "{}", ran.err);
    assert!(ran.asked.is_empty());
}

#[test]
fn an_unreadable_file_is_one_line_and_exits_with_2() {
    for command in [&["check", "no-such-file.toml"][..], &["serve", "--config", "no-such-file.toml"]] {
        let ran = portcullis(command);
        assert_eq!(ran.code, 2);
        assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
        assert!(ran.err.contains("cannot read no-such-file.toml"), "{}", ran.err);
    }
}

#[test]
fn a_failure_while_it_runs_is_one_line_and_exits_with_1() {
    let commands = Recorder { fails: true, ..Recorder::default() };
    let ran = run_with(&commands, &["serve", "--upstream", "http://127.0.0.1:3000"]);
    assert_eq!((ran.code, ran.err.as_str()), (1, "portcullis: port 8080 is in use\n"));
}

#[test]
fn check_exits_with_2_on_errors_and_with_0_on_warnings() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("portcullis.toml");
    let check = |text: &str| {
        fs::write(&file, text).unwrap();
        portcullis(&["check", file.to_str().unwrap()])
    };
    let wrong = check("upstream = 5\nlisten = \"x\"\n");
    assert_eq!(wrong.code, 2);
    assert!(wrong.err.ends_with("\n2 errors\n"), "{}", wrong.err);
    assert_eq!(wrong.out, "");
    let risky = check("upstream = \"http://127.0.0.1:3000\"\n[limits]\npreset = \"none\"\n");
    assert_eq!(risky.code, 0);
    assert!(risky.err.contains("warning: there are no limits at all") && risky.err.ends_with("\n1 warning\n"));
    assert!(risky.out.contains("is good"));
    let good = check("upstream = \"http://127.0.0.1:3000\"\n");
    assert_eq!((good.code, good.err.as_str()), (0, ""));
    assert!(good.out.contains("A reload cannot change: listen"));
}

#[test]
fn init_writes_a_good_file_and_never_overwrites_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("portcullis.toml");
    let path = file.to_str().unwrap();
    assert_eq!(portcullis(&["init", path]).code, 0);
    let checked = portcullis(&["check", path]);
    assert_eq!((checked.code, checked.err.as_str()), (0, ""));
    fs::write(&file, "mine").unwrap();
    let again = portcullis(&["init", path]);
    assert_eq!(again.code, 1);
    assert!(again.err.contains("exists already"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    assert_eq!(portcullis(&["init", "/no/such/folder/portcullis.toml"]).code, 1);
}

#[test]
fn schema_prints_the_schema() {
    let ran = portcullis(&["schema"]);
    assert_eq!((ran.code, ran.out), (0, json_schema()));
}

#[test]
fn a_password_is_read_from_a_file_and_never_from_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, "Correct-Horse-7\n").unwrap();
    let state = folder.path().to_str().unwrap();
    let password = file.to_str().unwrap();
    let args =
        ["users", "create", "--email", "a@b.c", "--role", "admin", "--state-dir", state, "--password-file", password];
    let ran = portcullis(&args);
    assert_eq!((ran.code, ran.out.as_str()), (0, "done\n"));
    assert_eq!(ran.asked, [format!("create a@b.c admin Some(\"Correct-Horse-7\") in {state}")]);
    assert_eq!(portcullis(&["users", "create", "--email", "a@b.c", "--password", "x"]).code, 2);
    fs::write(&file, "\n").unwrap();
    assert_eq!(portcullis(&args).code, 2, "an empty password file is a mistake, not an empty password");
}

#[test]
fn the_other_commands_reach_their_place() {
    assert_eq!(portcullis(&["users", "list"]).asked, ["list users"]);
    assert_eq!(portcullis(&["users", "show", "a@b.c"]).asked, ["Show { email: \"a@b.c\" }"]);
    assert_eq!(
        portcullis(&["users", "role", "a@b.c", "admin"]).asked,
        ["Change { email: \"a@b.c\", change: Role(\"admin\") }"]
    );
    assert_eq!(portcullis(&["users", "disable", "a@b.c"]).asked, ["Disable { email: \"a@b.c\", disabled: true }"]);
    assert_eq!(portcullis(&["users", "unlock", "a@b.c"]).asked, ["Unlock { email: \"a@b.c\" }"]);
    assert_eq!(portcullis(&["users", "delete", "a@b.c"]).code, 2, "a deletion is asked for twice");
    assert_eq!(
        portcullis(&["users", "delete", "a@b.c", "--yes"]).asked,
        ["Change { email: \"a@b.c\", change: Delete }"]
    );
    let import = portcullis(&["users", "import", "users.csv", "--dry-run", "--ignore-column", "note"]);
    assert_eq!(
        import.asked,
        ["Import(ImportTask { file: \"users.csv\", format: Csv, dry_run: true, assume_verified: false, ignore: \
          [\"note\"], report: None })"]
    );
    assert!(portcullis(&["users", "import", "users.txt"]).err.contains("--format"));
    assert_eq!(portcullis(&["tokens", "revoke", "--all", "--yes"]).asked, ["revoke everybody"]);
    for wrong in [&["--all"][..], &["--yes"], &["--jti", "a", "--all", "--yes"], &["--jti", "a", "--yes"], &[]] {
        let ran = portcullis(&[&["tokens", "revoke"], wrong].concat());
        assert_eq!((ran.code, ran.asked.len()), (2, 0), "{wrong:?}");
    }
    assert_eq!(portcullis(&["keys", "list"]).asked, ["list keys"]);
    assert_eq!(portcullis(&["keys", "rotate"]).asked, ["rotate keys"]);
    assert_eq!(portcullis(&["demo"]).asked, ["Whole { state_dir: None, listen: None, admin: None, upstream: None }"]);
    assert_eq!(portcullis(&["demo", "--upstream-only"]).asked, ["Upstream { listen: None }"]);
    let explain = portcullis(&["explain", "POST /a?b=c", "--address", "192.0.2.1"]);
    assert_eq!(explain.asked, ["explain POST /a?b=c from 192.0.2.1"]);
    assert_eq!(portcullis(&["explain", "POST a"]).code, 2);
}
