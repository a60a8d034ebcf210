//! What the README says is typed, and what it says is printed: paths that a reader follows, followed.

use std::path::Path;
use std::process::{Command, Stdio};

const README: &str = include_str!("../../../../README.md");

/// The blocks of code under a heading: the language and the lines.
pub(crate) fn blocks(heading: &str) -> Vec<(&'static str, &'static str)> {
    let (_, section) = README.split_once(&format!("\n## {heading}\n")).expect("the heading is there");
    let section = section.split("\n## ").next().unwrap();
    let fences: Vec<&str> = section.split("```").collect();
    fences.iter().skip(1).step_by(2).map(|block| block.split_once('\n').unwrap()).collect()
}

/// A command that a person types, and what it prints.
pub(crate) struct Step {
    pub(crate) command: String,
    pub(crate) printed: Vec<String>,
}

pub(crate) fn steps(console: &str) -> Vec<Step> {
    let mut steps = Vec::<Step>::new();
    for line in console.lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push(Step { command: command.to_owned(), printed: Vec::new() }),
            (None, Some(step)) => step.printed.push(line.to_owned()),
            (None, None) => panic!("{line:?} is printed by nothing"),
        }
    }
    steps
}

/// Types one command after the other into one shell, in this directory and with the programs of the other at hand, and
/// compares what each prints.
pub(crate) fn run(console: &str, directory: &Path, programs: &Path, replaced: &[(&str, String)]) {
    let console = replaced.iter().fold(console.to_owned(), |text, (from, to)| text.replace(from, to));
    let steps = steps(&console);
    // What serves in the background must not outlive the shell, which waits for nobody.
    let mut script = "trap 'kill $started' EXIT; started=\n".to_owned();
    for step in &steps {
        script.push_str(&format!("printf '\\036'\n{}\n", step.command));
        if step.command.ends_with(" &") {
            script.push_str("started=\"$started $!\"\n");
        }
    }
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    let output =
        shell.args(["-c", &script]).env("PATH", path).current_dir(directory).stdin(Stdio::null()).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = String::from_utf8_lossy(&output.stderr);
    let printed: Vec<&str> = printed.split('\u{1e}').skip(1).collect();
    assert_eq!(printed.len(), steps.len(), "{printed:?}\n{told}");
    for (step, printed) in steps.iter().zip(printed) {
        for line in &step.printed {
            let mut rest = printed;
            for piece in line.split('…') {
                let Some(at) = rest.find(piece) else {
                    panic!("`{}`\nis said to print\n{line}\nand printed\n{printed}\nerrors:\n{told}", step.command)
                };
                rest = &rest[at + piece.len()..];
            }
        }
    }
}

/// All consoles of a section, one after the other.
pub(crate) fn console(blocks: &[(&str, &str)]) -> String {
    blocks.iter().filter(|(language, _)| *language == "console").map(|(_, lines)| *lines).collect()
}
