//! The rules of the house that no compiler checks: sizes, first lines, edges, atomics, unsafe.
//!
//! Every rule is a function from text to complaints. The tests at the end hand each one something
//! untidy, to see that it would speak.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Longest source file, in lines.
const MAX_LINES: usize = 600;
/// Longest file of tests, in lines.
const MAX_TEST_LINES: usize = 1200;
/// Longest line, in characters.
const MAX_COLUMNS: usize = 100;
/// Largest binary file, in bytes.
const MAX_BINARY_BYTES: usize = 64 << 10;
/// Number of invariants that ARCHITECTURE.md lists.
const INVARIANTS: u32 = 17;

/// Who may use whom, of our own packages: the edges of ARCHITECTURE.md. `.` is the engine.
const EDGES: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("sync", &[]),
    ("delta", &["types"]),
    ("mapping", &["types", "sync"]),
    ("lss", &["types", "sync"]),
    ("gc", &["types", "sync", "lss"]),
    (".", &["types", "sync", "delta", "mapping", "lss", "gc"]),
    ("cli", &["bwtree"]),
    ("compare", &["bwtree"]),
    ("tests", &["bwtree", "types", "sync", "delta", "mapping", "lss", "gc"]),
    ("benches", &["bwtree", "types", "sync", "delta", "mapping", "lss", "gc"]),
];

/// Where the atomics of `std` may be used although the loom models don't see them, and why.
const STD_ATOMICS: &[(&str, &str)] = &[
    ("sync/", "the switch itself"),
    ("lss/", "counters and flags beside locks and files, which loom can't model anyway"),
    ("gc/", "threads that park, condition variables: modelled by tests with real threads"),
    ("cli/", "a program, not the engine"),
    ("tests/", "observers must not take part in what they observe"),
    ("benches/", "programs, not the engine"),
];

/// The files that may say `unsafe`. Another one needs a decision record.
const UNSAFE_FILES: &[&str] = &[
    "mapping/src/arena/models.rs",
    "mapping/src/arena/space.rs",
    "mapping/src/block.rs",
    "mapping/src/buckets.rs",
    "mapping/src/directory.rs",
    "mapping/src/history.rs",
    "mapping/src/kept.rs",
    "mapping/src/memory.rs",
    "mapping/src/page/aside.rs",
    "mapping/src/page/modelled.rs",
    "mapping/src/page/raw/ahead.rs",
    "mapping/src/page/raw/mod.rs",
    "mapping/src/page/raw/record.rs",
    "mapping/src/places.rs",
    "mapping/src/registry.rs",
    "mapping/src/stack.rs",
    "mapping/src/table.rs",
    "src/memory.rs",
    "src/paging/values.rs",
    "tests/fork.rs",
];

/// This file quotes what the rules look for.
const THIS: &str = "tests/tidy.rs";

/// File names that say nothing.
const EMPTY_NAMES: &[&str] = &["util", "utils", "helper", "helpers", "common", "manager", "misc"];

/// A file of the repository: its path from the root, with `/`, and what is in it.
struct File {
    path: String,
    bytes: Vec<u8>,
}

impl File {
    fn is(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|found| found == extension)
    }

    /// The text of a text file.
    fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap_or_default()
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All files but build outputs and what begins with a dot; of these only `.ci`.
fn files() -> Vec<File> {
    fn walk(folder: &Path, prefix: &str, out: &mut Vec<File>) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let path = format!("{prefix}{}", name.to_string_lossy());
            let hidden = name.as_encoded_bytes().starts_with(b".") && path != ".ci";
            let kind = entry.file_type()?;
            if name == "target" || hidden {
                continue;
            }
            if kind.is_dir() {
                walk(&entry.path(), &format!("{path}/"), out)?;
            } else if kind.is_file() {
                let bytes = fs::read(entry.path())?;
                out.push(File { path, bytes });
            }
        }
        Ok(())
    }
    let mut out = Vec::new();
    if let Err(error) = walk(&root(), "", &mut out) {
        panic!("{}: {error}", root().display());
    }
    out.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(out.len() > 50, "only {} files found in {}", out.len(), root().display());
    out
}

/// Runs a rule over all files with this extension and fails with all complaints at once.
fn each(extension: &str, rule: impl Fn(&str, &str) -> Vec<String>) {
    let files = files();
    let found: Vec<&File> = files.iter().filter(|file| file.is(extension)).collect();
    assert!(!found.is_empty(), "no file ends with .{extension}");
    report(found.into_iter().flat_map(|file| rule(&file.path, file.text())));
}

fn report(complaints: impl IntoIterator<Item = String>) {
    let complaints: Vec<String> = complaints.into_iter().collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// The lines with their numbers.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, line)| (at + 1, line))
}

/// A line without its comment. What looks like a comment in a string ends it too early, which no
/// rule minds.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// The words of a text: letters, digits and underscores.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

fn is_test(path: &str) -> bool {
    path.starts_with("tests/") || path.ends_with("tests.rs") || path.contains("/tests/")
}

// ---- the rules ----

fn size(path: &str, text: &str) -> Vec<String> {
    let most = if is_test(path) { MAX_TEST_LINES } else { MAX_LINES };
    let count = text.lines().count();
    let too_long = count > most;
    too_long
        .then(|| format!("{path}: {count} lines, at most {most}: split it"))
        .into_iter()
        .collect()
}

fn columns(path: &str, text: &str) -> Vec<String> {
    lines(text)
        .filter(|(_, line)| line.chars().count() > MAX_COLUMNS)
        .map(|(at, _)| format!("{path}:{at}: longer than {MAX_COLUMNS} columns"))
        .collect()
}

fn opening(path: &str, text: &str) -> Vec<String> {
    let opens = text
        .lines()
        .next()
        .is_some_and(|line| line.strip_prefix("//!").is_some_and(|idea| !idea.trim().is_empty()));
    let complaint = || format!("{path}:1: begin with `//!` and the one idea of the file");
    (!opens).then(complaint).into_iter().collect()
}

fn ascii(path: &str, text: &str) -> Vec<String> {
    lines(text)
        .filter(|(_, line)| !line.is_ascii())
        .map(|(at, _)| format!("{path}:{at}: not ASCII"))
        .collect()
}

fn names(path: &str) -> Vec<String> {
    let says_nothing = |part: &&str| EMPTY_NAMES.contains(&part.trim_end_matches(".rs"));
    path.split('/')
        .filter(says_nothing)
        .map(|part| format!("{path}: `{part}` says nothing about what is in it"))
        .collect()
}

fn leftovers(path: &str, text: &str) -> Vec<String> {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    lines(text)
        .filter(|(_, line)| words(line).any(|word| marks.contains(&word)))
        .map(|(at, _)| format!("{path}:{at}: finish it, or write it down elsewhere"))
        .collect()
}

fn atomics(path: &str, text: &str) -> Vec<String> {
    if STD_ATOMICS.iter().any(|(folder, _)| path.starts_with(folder)) {
        return Vec::new();
    }
    lines(text)
        .filter(|(_, line)| {
            let code = code(line);
            code.contains(concat!("std::sync::", "atomic"))
                || code.contains(concat!("core::sync::", "atomic"))
        })
        .map(|(at, _)| format!("{path}:{at}: take atomics from `sync`, so that loom sees them"))
        .collect()
}

fn says_unsafe(text: &str) -> impl Iterator<Item = usize> {
    lines(text)
        .filter(|(_, line)| words(code(line)).any(|word| word == concat!("un", "safe")))
        .map(|(at, _)| at)
}

fn unsafety(path: &str, text: &str) -> Vec<String> {
    if path == THIS || UNSAFE_FILES.contains(&path) {
        return Vec::new();
    }
    says_unsafe(text)
        .map(|at| format!("{path}:{at}: unsafe code, in a file that is not listed for it"))
        .collect()
}

/// The invariants that a line cites: `I` and a number.
fn cited(line: &str) -> impl Iterator<Item = u32> {
    words(line).filter_map(|word| {
        let digits = word.strip_prefix('I')?;
        digits.parse().ok().filter(|_| digits.len() <= 2 && !digits.starts_with('0'))
    })
}

/// What is said in comments, where an `I16` is no type.
fn citations(path: &str, text: &str) -> Vec<String> {
    if path == THIS {
        return Vec::new();
    }
    lines(text)
        .filter_map(|(at, line)| Some((at, line.split_once("//")?.1)))
        .flat_map(|(at, comment)| cited(comment).map(move |number| (at, number)))
        .filter(|(_, number)| !(1..=INVARIANTS).contains(number))
        .map(|(at, number)| format!("{path}:{at}: there is no invariant I{number}"))
        .collect()
}

/// The targets of Markdown links in a text.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0))
}

/// Documents that a comment names by their path from the root.
fn named_documents(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && !"/._-".contains(c))
        .map(|word| word.trim_end_matches('.'))
        .filter(|word| word.starts_with("docs/") && word.rsplit('.').next() == Some("md"))
}

fn markdown_links(path: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    links(text)
        .map(|link| link.split(['#', ' ']).next().unwrap_or_default())
        .filter(|link| !link.is_empty() && !link.contains("://") && !link.starts_with("mailto:"))
        .filter(|link| !exists(&joined(folder, link)))
        .map(|link| format!("{path}: the link to {link} leads nowhere"))
        .collect()
}

/// `link` seen from `folder`, with `.` and `..` resolved.
fn joined(folder: &str, link: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Names in the tables of a manifest that say what the package is built from; what only its tests
/// use is free.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    let mut counts = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(table) = line.strip_prefix('[') {
            let table = table.trim_end_matches(']');
            let platform = table.starts_with("target.") && table.ends_with(".dependencies");
            counts = table == "dependencies" || table == "build-dependencies" || platform;
        } else if counts && !line.is_empty() && !line.starts_with('#') {
            let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
            out.insert(name.trim_matches('"').to_owned());
        }
    }
    out
}

fn edges(folder: &str, manifest: &str) -> Vec<String> {
    let known: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    let Some(allowed) = known.get(folder) else {
        return vec![format!("{folder}: a new package; say in EDGES what it may use")];
    };
    let ours = |name: &String| name == "bwtree" || known.contains_key(name.as_str());
    dependencies(manifest)
        .into_iter()
        .filter(|name| ours(name) && !allowed.contains(&name.as_str()))
        .map(|name| format!("{folder}/Cargo.toml: {folder} must not use {name}"))
        .collect()
}

// ---- the repository follows them ----

#[test]
fn files_are_short() {
    each("rs", size);
}

#[test]
fn lines_are_short() {
    each("rs", columns);
    each("toml", columns);
}

#[test]
fn every_source_file_opens_with_its_idea() {
    each("rs", opening);
}

#[test]
fn sources_are_ascii() {
    each("rs", ascii);
    each("toml", ascii);
}

#[test]
fn every_text_is_utf8() {
    let files = files();
    let texts = files.iter().filter(|f| ["rs", "toml", "md"].iter().any(|e| f.is(e)));
    let broken = texts.filter(|file| std::str::from_utf8(&file.bytes).is_err());
    report(broken.map(|file| format!("{}: not UTF-8", file.path)));
}

#[test]
fn file_names_say_something() {
    report(files().iter().flat_map(|file| names(&file.path)));
}

#[test]
fn nothing_is_left_over() {
    each("rs", leftovers);
    each("md", leftovers);
}

#[test]
fn atomics_come_from_sync() {
    each("rs", atomics);
}

#[test]
fn unsafe_code_is_where_it_is_listed() {
    each("rs", unsafety);
    let files = files();
    let listed_for_nothing = |path: &&&str| {
        let file = files.iter().find(|file| file.path == **path);
        file.is_none_or(|file| says_unsafe(file.text()).next().is_none())
    };
    let complaint = |path: &&str| format!("{path}: listed for unsafe code and has none");
    report(UNSAFE_FILES.iter().filter(listed_for_nothing).map(complaint));
}

#[test]
fn cited_invariants_exist() {
    each("rs", citations);
    let path = root().join("ARCHITECTURE.md");
    let Ok(text) = fs::read_to_string(&path) else {
        panic!("ARCHITECTURE.md is missing: it lists the invariants I1 to I{INVARIANTS}");
    };
    let listed: BTreeSet<u32> = text.lines().flat_map(cited).collect();
    let expected: BTreeSet<u32> = (1..=INVARIANTS).collect();
    assert_eq!(listed, expected, "ARCHITECTURE.md lists other invariants");
}

#[test]
fn links_lead_somewhere() {
    let exists = |path: &str| root().join(path).exists();
    each("md", |path, text| markdown_links(path, text, exists));
    each("rs", |path, text| {
        let missing = named_documents(text).filter(|document| path != THIS && !exists(document));
        missing.map(|document| format!("{path}: {document} does not exist")).collect()
    });
}

#[test]
fn large_binary_files_stay_out() {
    let large = |file: &&File| file.bytes.len() > MAX_BINARY_BYTES && file.bytes.contains(&0);
    let complaint = |file: &File| format!("{}: {} bytes", file.path, file.bytes.len());
    report(files().iter().filter(large).map(complaint));
}

#[test]
fn dependencies_follow_the_edges() {
    let files = files();
    let manifests: Vec<&File> =
        files.iter().filter(|file| file.path.ends_with("Cargo.toml")).collect();
    assert!(manifests.len() >= 9, "only {} manifests", manifests.len());
    let folder = |file: &File| file.path.strip_suffix("/Cargo.toml").unwrap_or(".").to_owned();
    report(manifests.iter().flat_map(|file| edges(&folder(file), file.text())));
}

// ---- each rule speaks when it should ----

#[test]
fn untidy_text_is_caught_by_every_rule() {
    let long = "//! x\n".repeat(MAX_LINES + 1);
    assert_eq!(size("src/a.rs", &long).len(), 1);
    assert!(size("tests/a.rs", &long).is_empty());
    assert_eq!(columns("a.rs", &format!("//! x\n{}", "y".repeat(101))).len(), 1);
    assert_eq!(opening("a.rs", "use x;\n").len(), 1);
    assert_eq!(opening("a.rs", "//!\n").len(), 1);
    assert_eq!(opening("a.rs", "").len(), 1);
    assert!(opening("a.rs", "//! A file.\n").is_empty());
    assert_eq!(ascii("a.rs", "//! x\n// \u{2192}\n"), ["a.rs:2: not ASCII"]);
    assert_eq!(names("src/util/a.rs").len() + names("src/helpers.rs").len(), 2);
    assert!(names("src/utilisation.rs").is_empty());
    assert_eq!(leftovers("a.rs", concat!("// TO", "DO: x\nlet y; // FIX", "ME")).len(), 2);
    let import = concat!("use std::sync::", "atomic::AtomicU8;\n");
    assert_eq!(atomics("src/a.rs", import).len(), 1);
    assert!(atomics("sync/src/a.rs", import).is_empty());
    assert!(atomics("src/a.rs", &format!("// {import}")).is_empty());
    let block = concat!("let x = un", "safe { y };");
    assert_eq!(unsafety("src/a.rs", block).len(), 1);
    assert!(unsafety(UNSAFE_FILES[0], block).is_empty());
    assert!(unsafety("src/a.rs", "#![deny(unsafe_code)]\n// unsafe in a comment").is_empty());
}

#[test]
fn wrong_references_are_caught() {
    assert_eq!(citations("a.rs", "// (I3, I14)\n// I18\n// I/O, I0\nlet I99;").len(), 1);
    assert_eq!(cited("I3 and I14, not XI5 or I/O").collect::<Vec<_>>(), [3, 14]);
    let text = "[a](b.md) [b](../c.md#x) [c](https://x.y/z) [d](#here) [e](../no.md)";
    let exists = |path: &str| ["docs/b.md", "c.md"].contains(&path);
    assert_eq!(markdown_links("docs/a.md", text, exists).len(), 1);
    let named: Vec<_> = named_documents("see `docs/log.md`, docs/a-b.md. And docs/").collect();
    assert_eq!(named, ["docs/log.md", "docs/a-b.md"]);
}

#[test]
fn wrong_edges_are_caught() {
    let back = "[dependencies]\ntypes.workspace = true\nlss = { path = \"../lss\" }\n";
    assert_eq!(edges("delta", back), ["delta/Cargo.toml: delta must not use lss"]);
    assert_eq!(edges("types", back).len(), 2);
    assert!(edges("gc", back).is_empty());
    let around = "[target.'cfg(loom)'.dependencies]\nbwtree = \"1\"\n";
    assert_eq!(edges("mapping", around).len(), 1);
    let in_tests = "[dev-dependencies]\nlss.workspace = true\n";
    assert!(edges("delta", in_tests).is_empty());
    assert_eq!(edges("strange", "").len(), 1);
}
