//! The contract: a document compiled once, and asked about every request.

use http::{HeaderMap, Method, StatusCode};
use portcullis_core::{Reason, Violation};

use super::document::{Document, Format, Part, Version};
use super::fault::Fault;
use super::findings::{Findings, Rules, Unknown};
use super::operation::{Head, METHODS, Operation};
use super::schema::{Book, Draft, dialect};
use super::template::{Template, Tree, Values};
use super::{servers, yaml};
use crate::{Check, Seen, Tunnels};

/// What becomes of what breaks the contract.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It is refused.
    #[default]
    Enforce,
    /// It passes, and is reported.
    Report,
}

/// How a document is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The path that all paths of the document stand behind at the gate; `None`: that of its `servers`.
    pub base_path: Option<String>,
    /// What becomes of requests that no operation covers.
    pub unknown_paths: Unknown,
    /// What becomes of query parameters that the operation does not declare.
    pub unknown_parameters: Unknown,
    /// What becomes of members of a body that its schema does not name and says nothing about.
    pub unknown_members: Unknown,
    /// What becomes of requests that break the contract.
    pub requests: Mode,
}

/// A document that was compiled, and what there is to say of it.
#[derive(Debug)]
pub struct Compiled {
    /// The contract.
    pub contract: Contract,
    /// What somebody should think about.
    pub warnings: Vec<Fault>,
}

/// An operation, as far as a configuration can be compared with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperationInfo<'c> {
    /// The method.
    pub method: &'c Method,
    /// Its path as a pattern of routes, base path included.
    pub pattern: &'c str,
    /// Whether the document says that it needs a credential.
    pub needs_login: bool,
}

/// An OpenAPI document as the contract of an upstream.
#[derive(Debug)]
pub struct Contract {
    tree: Tree,
    /// For each path its operations.
    paths: Vec<Vec<(Method, usize)>>,
    operations: Vec<Operation>,
    pub(super) book: Book,
    terms: Terms,
}

/// What compiling needs at most: a chain of many schemas is compiled by as many calls.
const STACK: usize = 256 << 20;

impl Contract {
    /// Compiles a document.
    ///
    /// # Errors
    /// What is wrong with it, with places.
    pub fn compile(text: &str, format: Format, terms: Terms) -> Result<Compiled, Vec<Fault>> {
        let compile = || {
            let located = |mut faults: Vec<Fault>| {
                for fault in &mut faults {
                    fault.place = fault.place.or_else(|| yaml::locate(text, &fault.pointer));
                }
                faults
            };
            let document = Document::read(text, format).map_err(|fault| located(vec![fault]))?;
            let compiled = Self::of_document(&document, terms).map_err(located)?;
            Ok(Compiled { warnings: located(compiled.warnings), ..compiled })
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, compile);
            let failed = || vec![Fault::new("", "the document could not be compiled")];
            thread.map_err(|_| failed())?.join().map_err(|_| failed())?
        })
    }

    fn of_document(document: &Document, terms: Terms) -> Result<Compiled, Vec<Fault>> {
        let root = document.root();
        let mut draft = Draft::new(document);
        let (mut warnings, mut faults) = (Vec::new(), Vec::new());
        if document.version == Version::V31
            && let Some(part) = root.member("jsonSchemaDialect")
            && let Err(fault) = dialect(&part)
        {
            faults.push(fault);
        }
        let base = match &terms.base_path {
            Some(path) => path.trim_end_matches('/').to_owned(),
            None => servers::base_path(&root).unwrap_or_else(|fault| {
                faults.push(fault);
                String::new()
            }),
        };
        let mut rules = Rules { draft: &mut draft, members: terms.unknown_members };
        let mut reader = Reader {
            base,
            tree: Tree::new(),
            paths: Vec::new(),
            names: Vec::new(),
            operations: Vec::new(),
            warnings: &mut warnings,
        };
        match root.member("paths") {
            Some(paths) => {
                for (path, item) in paths.members().filter(|(path, _)| !path.starts_with("x-")) {
                    if let Err(fault) = reader.path(&mut rules, path, item) {
                        faults.push(fault);
                    }
                }
            }
            None if document.version == Version::V31 => {}
            None => faults.push(root.fault("the document has no \"paths\"")),
        }
        let Reader { tree, paths, operations, .. } = reader;
        if operations.is_empty() && faults.is_empty() {
            faults.push(root.fault("the document has no operation, so nothing would pass"));
        }
        let book = match draft.finish() {
            Ok(book) if faults.is_empty() => book,
            Ok(_) => return Err(faults),
            Err(more) => {
                faults.extend(more);
                return Err(faults);
            }
        };
        Ok(Compiled { contract: Self { tree, paths, operations, book, terms }, warnings })
    }

    /// All operations.
    pub fn operations(&self) -> impl Iterator<Item = OperationInfo<'_>> {
        self.operations.iter().map(|operation| OperationInfo {
            method: &operation.method,
            pattern: &operation.pattern,
            needs_login: operation.needs_login,
        })
    }

    /// Judges an answer that is here whole: its status, media type and content. Members that its schema does not name are
    /// not looked at.
    ///
    /// # Errors
    /// What breaks the contract.
    pub fn judge_answer(
        &self,
        request: (&Method, &str),
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<(), Vec<Violation>> {
        let (method, path) = request;
        // What no operation covers has passed for another reason, and nothing is declared of its answer.
        let Some((operation, _)) = self.find(method, path) else { return Ok(()) };
        match operation.responses.judge(&self.book, (method, status), headers, body) {
            Ok(findings) if findings.is_broken() => Err(findings.broken),
            Ok(_) => Ok(()),
            Err(wrong) => Err(vec![wrong.into()]),
        }
    }

    /// The operation that covers a request: of the paths that match the first that has the method. `GET` covers `HEAD`.
    pub(super) fn find<'p>(&self, method: &Method, path: &'p str) -> Option<(&Operation, Values<'p>)> {
        self.tree.find(path, |number, values| {
            let of =
                |wanted: &Method| self.paths[number].iter().find(|(known, _)| known == wanted).map(|(_, index)| *index);
            let get = || (*method == Method::HEAD).then(|| of(&Method::GET)).flatten();
            of(method).or_else(get).map(|index| (&self.operations[index], values.clone()))
        })
    }

    /// Tells what is to be reported, and refuses by what is broken.
    fn conclude(&self, seen: &Seen<'_>, findings: Findings) -> Result<(), Reason> {
        findings.reported.into_iter().for_each(|violation| seen.reported.note(violation));
        if findings.broken.is_empty() {
            return Ok(());
        }
        match self.terms.requests {
            Mode::Enforce => Err(Reason::ValidationFailed(findings.broken.into())),
            Mode::Report => {
                findings.broken.into_iter().for_each(|violation| seen.reported.note(violation));
                Ok(())
            }
        }
    }

    /// Refuses for a reason of its own, or reports it.
    fn refuse(&self, seen: &Seen<'_>, reason: Reason) -> Result<(), Reason> {
        if self.terms.requests == Mode::Enforce {
            return Err(reason);
        }
        let message = reason.detail().unwrap_or_default();
        seen.reported.note(Violation { path: "".into(), rule: reason.slug().into(), message: message.into() });
        Ok(())
    }
}

impl Check for Contract {
    fn describe(&self, method: &Method, path: &str) -> String {
        match self.find(method, path) {
            Some((operation, _)) => format!("the OpenAPI document: {}", operation.describe()),
            None => "the OpenAPI document: no operation".to_owned(),
        }
    }

    fn before(&self, seen: &Seen<'_>) -> Result<(), Reason> {
        let Some((operation, values)) = self.find(seen.method, seen.path) else {
            let mut findings = Findings::default();
            findings.unknown(self.terms.unknown_paths, || Violation {
                path: "path".into(),
                rule: "unknown".into(),
                message: "is not a path of the document, or not with this method".into(),
            });
            if findings.is_broken() && self.terms.requests == Mode::Enforce {
                // As where no route covers it: who asks is not told what else there is.
                return Err(Reason::NotFound);
            }
            return self.conclude(seen, findings);
        };
        let head = Head { query: seen.query, headers: seen.headers };
        let findings = operation.judge_head(&self.book, &values, &head, self.terms.unknown_parameters);
        self.conclude(seen, findings)?;
        match operation.accepts(seen.headers) {
            // It is reported once, with the body.
            Err(_) if self.terms.requests == Mode::Report => Ok(()),
            answer => answer,
        }
    }

    /// A document describes the request that opens a WebSocket, and by the status 101 that one is opened; what is said in it
    /// no document of this kind can describe. What no operation covers has passed for another reason.
    fn tunnel(&self, method: &Method, path: &str) -> Tunnels {
        let undeclared = |(operation, _): (&Operation, _)| !operation.responses.name(StatusCode::SWITCHING_PROTOCOLS);
        match self.terms.requests {
            _ if !self.find(method, path).is_some_and(undeclared) => Tunnels::Open,
            Mode::Enforce => Tunnels::Closed,
            Mode::Report => Tunnels::Reported,
        }
    }

    fn check(&self, seen: &Seen<'_>, body: &[u8]) -> Result<(), Reason> {
        let Some((operation, _)) = self.find(seen.method, seen.path) else { return Ok(()) };
        match operation.judge_body(&self.book, seen.headers, body) {
            Ok(findings) => self.conclude(seen, findings),
            Err(reason) => self.refuse(seen, reason),
        }
    }
}

/// Reads the paths of a document.
struct Reader<'w> {
    base: String,
    tree: Tree,
    paths: Vec<Vec<(Method, usize)>>,
    names: Vec<String>,
    operations: Vec<Operation>,
    warnings: &'w mut Vec<Fault>,
}

impl Reader<'_> {
    fn path(&mut self, rules: &mut Rules<'_, '_>, path: &str, item: Part<'_>) -> Result<(), Fault> {
        let here = item.pointer.clone();
        let template = Template::parse(&self.base, path).map_err(|message| Fault::new(&here, message))?;
        if let Some(known) = self.tree.insert(&template, self.paths.len()) {
            let fault = Fault::new(&here, format!("it covers the same paths as {:?}", self.names[known]));
            return Err(fault.hint("names of variables make no difference"));
        }
        let item = rules.document().follow(item)?;
        item.object("a path")?;
        let pattern = format!("{}{path}", self.base);
        let mut methods = Vec::new();
        self.names.push(path.to_owned());
        for (name, method) in METHODS {
            let Some(part) = item.member(name) else { continue };
            let operation = Operation::read(rules, (method.clone(), &pattern), &template, &item, &part, self.warnings);
            match operation {
                Ok(operation) => {
                    methods.push((method, self.operations.len()));
                    self.operations.push(operation);
                }
                Err(fault) => {
                    self.paths.push(methods);
                    return Err(fault);
                }
            }
        }
        self.paths.push(methods);
        Ok(())
    }
}
