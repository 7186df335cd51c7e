//! Finds which files of a crate depend on which others, from `use` items and paths in the code, each resolved to the file that
//! defines the name. It ignores test code. It reads tokens, so it finds paths inside macros as well.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// The files of a tree: path → text.
pub type Files = BTreeMap<String, String>;

/// One file uses a name that another defines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dependency {
    pub from: String,
    pub line: usize,
    pub to: String,
    pub name: String,
}

/// A path in the code, and its line.
#[derive(Debug, Clone)]
struct Reference {
    segments: Vec<String>,
    line: usize,
}

/// A name that a `use` item binds.
#[derive(Debug)]
struct Import {
    target: Reference,
    /// Whether it is a `pub use`, which is not a dependency of the file unless the file uses the name itself.
    is_public: bool,
}

/// The content of one module's file.
#[derive(Debug, Default)]
struct Module {
    file: String,
    imports: BTreeMap<String, Import>,
    /// `use path::*` of modules.
    globs: Vec<Reference>,
    /// Paths of at least two segments in the code.
    paths: Vec<Reference>,
    /// Single names in the code.
    names: BTreeSet<String>,
    children: BTreeSet<String>,
}

/// A crate: its modules by path. The root is the empty path.
#[derive(Debug, Default)]
pub struct Crate {
    modules: BTreeMap<Vec<String>, Module>,
    /// The library's name, which `main.rs` uses in paths.
    library: String,
    /// Every use of another file's definitions, once for each pair of files and name.
    pub dependencies: BTreeSet<Dependency>,
    /// The files that could not be read, and the paths that could not be resolved.
    pub faults: Vec<String>,
}

/// The module that a path leads to, and the name of the item.
type Target = (Vec<String>, Option<String>);

/// The maximum number of imports between a path and the definition. A longer chain is probably a cycle.
const MAX_IMPORTS: usize = 8;

/// A path leads through more than [`MAX_IMPORTS`] imports; they may form a cycle.
struct TooDeep;

impl Crate {
    /// Reads the modules that `src/main.rs` and `src/lib.rs` declare, and finds their dependencies. `library` is the name of the
    /// crate.
    pub fn read(files: &Files, library: &str) -> Self {
        let mut package = Self { library: library.to_owned(), ..Self::default() };
        package.read_module(files, "src/lib.rs", Vec::new());
        package.read_module(files, "src/main.rs", vec!["main".to_owned()]);
        package.find_dependencies();
        package
    }

    fn read_module(&mut self, files: &Files, file: &str, path: Vec<String>) {
        let Some(text) = files.get(file) else {
            self.faults.push(format!("{file} is declared as a module and does not exist"));
            return;
        };
        let tokens = match text.parse::<TokenStream>() {
            Ok(tokens) => tokens,
            Err(error) => return self.faults.push(format!("{file}: {error}")),
        };
        let mut module = Module { file: file.to_owned(), ..Module::default() };
        module.read(tokens);
        let is_root = path.is_empty() || file == "src/main.rs";
        let folder = if is_root { "src".to_owned() } else { format!("src/{}", path.join("/")) };
        let children: Vec<_> = module.children.iter().cloned().collect();
        self.modules.insert(path.clone(), module);
        for child in children {
            let path = [&path[..], std::slice::from_ref(&child)].concat();
            self.read_module(files, &format!("{folder}/{child}.rs"), path);
        }
    }

    /// Returns the modules below the root, including `main`.
    pub fn top_modules(&self) -> BTreeSet<String> {
        self.modules.keys().filter_map(|path| path.first().cloned()).collect()
    }

    /// Returns the files of all modules.
    pub fn files(&self) -> BTreeSet<&str> {
        self.modules.values().map(|module| module.file.as_str()).collect()
    }

    /// Returns the module below the root that a file belongs to; `None` for the root's own file.
    pub fn top_module_of(&self, file: &str) -> Option<&str> {
        let (path, _) = self.modules.iter().find(|(_, module)| module.file == file)?;
        path.first().map(String::as_str)
    }

    fn find_dependencies(&mut self) {
        let mut found: BTreeMap<(String, String, String), usize> = BTreeMap::new();
        let mut faults = Vec::new();
        for (path, module) in &self.modules {
            let imports = module.imports.iter().filter(|(name, import)| {
                !import.is_public
                    || module.names.contains(*name)
                    || module.paths.iter().any(|used| used.segments[0] == **name)
            });
            let imports = imports.map(|(_, import)| &import.target);
            for reference in imports.chain(&module.paths).chain(&module.globs) {
                let is_glob = module.globs.iter().any(|glob| std::ptr::eq(glob, reference));
                let resolved = self.resolve(path, &reference.segments, 0).unwrap_or_else(|TooDeep| {
                    let (file, line, path) = (&module.file, reference.line, reference.segments.join("::"));
                    faults.push(format!(
                        "{file}:{line}: `{path}` leads through more than {MAX_IMPORTS} imports; import it from the file that defines it"
                    ));
                    None
                });
                let Some((target, name)) = resolved else { continue };
                // A `use` of a module only shortens the paths that follow.
                let name = match name {
                    Some(name) => name,
                    None if is_glob => "*".to_owned(),
                    None => continue,
                };
                let to = &self.modules[&target].file;
                if *to != module.file {
                    found.entry((module.file.clone(), to.clone(), name)).or_insert(reference.line);
                }
            }
        }
        self.dependencies =
            found.into_iter().map(|((from, to, name), line)| Dependency { from, line, to, name }).collect();
        self.faults.extend(faults);
    }

    /// Returns the module that defines the item of a path, and the item's name; no name if the path leads to the module itself.
    /// Returns `None` for a path that leads out of the crate. `depth` is the number of imports followed so far.
    ///
    /// # Errors
    /// [`TooDeep`] after [`MAX_IMPORTS`] imports.
    fn resolve(&self, from: &[String], segments: &[String], depth: usize) -> Result<Option<Target>, TooDeep> {
        if depth > MAX_IMPORTS {
            return Err(TooDeep);
        }
        let Some((first, mut rest)) = segments.split_first() else { return Ok(None) };
        let Some(here) = self.modules.get(from) else { return Ok(None) };
        let mut module = match first.as_str() {
            "crate" if from.first().is_some_and(|top| top == "main") => from[..1].to_vec(),
            "crate" => Vec::new(),
            "self" => from.to_vec(),
            "super" => match from.split_last() {
                Some((_, parent)) => parent.to_vec(),
                None => return Ok(None),
            },
            name if name == self.library => Vec::new(),
            name if here.children.contains(name) => [from, std::slice::from_ref(first)].concat(),
            name => {
                let Some(import) = here.imports.get(name) else { return Ok(None) };
                // `use name::…` of another crate binds the crate's own name.
                if import.target.segments.first() == Some(first) {
                    return Ok(None);
                }
                let whole = [&import.target.segments[..], rest].concat();
                return self.resolve(from, &whole, depth + 1);
            }
        };
        while let Some((next, after)) = rest.split_first() {
            let Some(there) = self.modules.get(&module) else { return Ok(None) };
            if next == "super" {
                module.pop();
            } else if there.children.contains(next) {
                module.push(next.clone());
            } else {
                // The file may re-export a name that another file defines.
                if let Some(import) = there.imports.get(next)
                    && let Some(found) = self.resolve(&module, &import.target.segments, depth + 1)?
                {
                    return Ok(Some((found.0, found.1.or_else(|| after.first().cloned()))));
                }
                return Ok(Some((module, Some(next.clone()))));
            }
            rest = after;
        }
        Ok(Some((module, None)))
    }
}

impl Module {
    fn read(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        let mut is_public = false;
        while at < tokens.len() {
            if let Some(attribute) = attribute(&tokens[at..]) {
                at +=
                    if attribute == "cfg(test)" { item_length(&tokens[at..]) } else { attribute_length(&tokens[at..]) };
                continue;
            }
            match &tokens[at] {
                TokenTree::Ident(word) if *word == "pub" => {
                    let has_scope = matches!(tokens.get(at + 1), Some(TokenTree::Group(scope)) if is_scope(scope));
                    at += 1 + usize::from(has_scope);
                    is_public = true;
                    continue;
                }
                TokenTree::Ident(word) if *word == "use" => {
                    let end =
                        tokens[at..].iter().position(|token| is_punct(token, ';')).map_or(tokens.len(), |n| at + n);
                    self.read_use(&tokens[at + 1..end], &[], is_public);
                    at = end;
                }
                TokenTree::Ident(word)
                    if *word == "mod" && matches!(tokens.get(at + 2), Some(end) if is_punct(end, ';')) =>
                {
                    self.children.insert(tokens[at + 1].to_string());
                    at += 2;
                }
                TokenTree::Ident(_) => {
                    let (path, length) = path(&tokens[at..]);
                    let is_continued = at > 0 && (is_punct(&tokens[at - 1], ':') || is_punct(&tokens[at - 1], '.'));
                    let is_absolute = at > 1 && is_punct(&tokens[at - 1], ':') && is_punct(&tokens[at - 2], ':');
                    if path.segments.len() > 1 && !is_absolute {
                        self.paths.push(path);
                    } else if !is_continued || !is_absolute {
                        self.names.extend(path.segments);
                    }
                    at += length - 1;
                }
                TokenTree::Group(group) => self.read(group.stream()),
                _ => {}
            }
            is_public = false;
            at += 1;
        }
    }

    /// Reads `a::{b, c as d, e::*}`.
    fn read_use(&mut self, tokens: &[TokenTree], before: &[String], is_public: bool) {
        let Some(line) = tokens.first().map(|token| token.span().start().line) else { return };
        let mut segments = before.to_vec();
        let mut alias = None;
        let mut rest = tokens.iter();
        while let Some(token) = rest.next() {
            match token {
                TokenTree::Ident(word) if *word == "as" => alias = rest.next().map(ToString::to_string),
                TokenTree::Ident(word) => segments.push(word.to_string()),
                TokenTree::Group(group) => {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    for tree in inner.split(|token| is_punct(token, ',')) {
                        self.read_use(tree, &segments, is_public);
                    }
                    return;
                }
                token if is_punct(token, '*') => return self.globs.push(Reference { segments, line }),
                _ => {}
            }
        }
        if segments.last().is_some_and(|last| last == "self") {
            segments.pop();
        }
        let Some(name) = alias.filter(|alias| alias != "_").or_else(|| segments.last().cloned()) else { return };
        self.imports.insert(name, Import { target: Reference { segments, line }, is_public });
    }
}

/// Returns every identifier of the code outside its tests, with its line.
pub fn words(text: &str) -> Vec<(String, usize)> {
    fn collect(tokens: TokenStream, words: &mut Vec<(String, usize)>) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            if let Some(attribute) = attribute(&tokens[at..]) {
                at +=
                    if attribute == "cfg(test)" { item_length(&tokens[at..]) } else { attribute_length(&tokens[at..]) };
                continue;
            }
            match &tokens[at] {
                TokenTree::Ident(word) => words.push((word.to_string(), word.span().start().line)),
                TokenTree::Group(group) => collect(group.stream(), words),
                _ => {}
            }
            at += 1;
        }
    }
    let mut words = Vec::new();
    collect(text.parse().unwrap(), &mut words);
    words
}

/// Returns the path that the tokens begin with, and its number of tokens.
fn path(tokens: &[TokenTree]) -> (Reference, usize) {
    let mut segments = vec![tokens[0].to_string()];
    let line = tokens[0].span().start().line;
    let mut at = 1;
    while let [one, two, TokenTree::Ident(word), ..] = &tokens[at..]
        && is_punct(one, ':')
        && is_punct(two, ':')
    {
        segments.push(word.to_string());
        at += 3;
    }
    (Reference { segments, line }, at)
}

/// Returns the text of an attribute without whitespace, if the tokens begin with one.
fn attribute(tokens: &[TokenTree]) -> Option<String> {
    let length = attribute_length(tokens);
    match tokens.get(length.checked_sub(1)?)? {
        TokenTree::Group(group) => Some(group.stream().to_string().split_whitespace().collect()),
        _ => None,
    }
}

fn attribute_length(tokens: &[TokenTree]) -> usize {
    match tokens {
        [hash, TokenTree::Group(group), ..] if is_punct(hash, '#') && group.delimiter() == Delimiter::Bracket => 2,
        [hash, bang, TokenTree::Group(group), ..]
            if is_punct(hash, '#') && is_punct(bang, '!') && group.delimiter() == Delimiter::Bracket =>
        {
            3
        }
        _ => 0,
    }
}

/// Returns the number of tokens of an item with its attributes.
fn item_length(tokens: &[TokenTree]) -> usize {
    let mut at = 0;
    while attribute_length(&tokens[at..]) > 0 {
        at += attribute_length(&tokens[at..]);
    }
    let is_use = tokens[at..].iter().take(3).any(|token| matches!(token, TokenTree::Ident(word) if *word == "use"));
    let is_end = |token: &TokenTree| {
        let is_body = matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
        is_punct(token, ';') || is_punct(token, ',') || (is_body && !is_use)
    };
    tokens[at..].iter().position(is_end).map_or(tokens.len(), |n| at + n + 1)
}

/// Returns whether a group after `pub` is a visibility: `(crate)`, `(super)`, `(in path)`.
fn is_scope(group: &Group) -> bool {
    let first = group.stream().into_iter().next().map(|token| token.to_string()).unwrap_or_default();
    group.delimiter() == Delimiter::Parenthesis && matches!(first.as_str(), "crate" | "super" | "self" | "in")
}

fn is_punct(token: &TokenTree, sign: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == sign)
}
