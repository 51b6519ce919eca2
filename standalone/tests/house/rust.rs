//! Rust source as a list of the paths it names. A plain scan, no parser: comments, texts and unit tests are left out, and
//! `use` trees are taken apart.

/// What a file names.
#[derive(Debug)]
pub(crate) struct Source {
    /// The paths of its `use` declarations, each in full.
    pub(crate) uses: Vec<Vec<String>>,
    /// Every path it names, with those of `use`; a lone name is a path of one.
    pub(crate) paths: Vec<Vec<String>>,
}

impl Source {
    /// Reads a file without its unit tests.
    pub(crate) fn of(text: &str) -> Self {
        let tokens = tokens(&without_unit_tests(&without_texts(text)));
        let (mut uses, mut paths) = (Vec::new(), Vec::new());
        let mut at = 0;
        while at < tokens.len() {
            if tokens[at] == "use" && tokens.get(at + 1).is_some_and(|next| next != "<") {
                let mut found = Vec::new();
                at = use_tree(&tokens, at + 1, &[], &mut found);
                paths.extend(found.iter().cloned());
                uses.extend(found);
            } else if is_name(&tokens[at]) {
                let mut path = vec![tokens[at].clone()];
                while tokens.get(at + 1).is_some_and(|next| next == "::")
                    && tokens.get(at + 2).is_some_and(|next| is_name(next))
                {
                    path.push(tokens[at + 2].clone());
                    at += 2;
                }
                paths.push(path);
                at += 1;
            } else {
                at += 1;
            }
        }
        Self { uses, paths }
    }

    /// Whether it names this path or something below it; a lone name counts only where it is what is asked for.
    pub(crate) fn names(&self, path: &str) -> bool {
        let path: Vec<&str> = path.split("::").collect();
        self.paths.iter().any(|named| named.len() >= path.len() && named.iter().zip(&path).all(|(one, two)| one == two))
    }

    /// Whether some path that it names goes through these names in a row.
    pub(crate) fn goes_through(&self, path: &str) -> bool {
        let path: Vec<&str> = path.split("::").collect();
        self.paths.iter().any(|named| named.windows(path.len()).any(|part| part == path))
    }

    /// Whether it names something of that crate: imports it, or has it before a `::`.
    pub(crate) fn knows_crate(&self, name: &str) -> bool {
        self.uses.iter().any(|path| path[0] == name) || self.paths.iter().any(|path| path.len() > 1 && path[0] == name)
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Replaces comments by nothing and the insides of texts and characters by nothing, and keeps line ends.
fn without_texts(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let starts = |at: usize, what: &str| what.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c));
    while at < chars.len() {
        let begins_word = at == 0 || !(chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
        if starts(at, "//") {
            while at < chars.len() && chars[at] != '\n' {
                at += 1;
            }
        } else if starts(at, "/*") {
            let mut depth = 0;
            loop {
                if starts(at, "/*") {
                    (depth, at) = (depth + 1, at + 2);
                } else if starts(at, "*/") {
                    (depth, at) = (depth - 1, at + 2);
                } else {
                    out.extend((chars.get(at) == Some(&'\n')).then_some('\n'));
                    at += 1;
                }
                if depth == 0 || at >= chars.len() {
                    break;
                }
            }
        } else if let Some((hashes, open)) = begins_word.then(|| raw_text(&chars, at)).flatten() {
            let close: String = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            at = open;
            while at < chars.len() && !starts(at, &close) {
                out.extend((chars[at] == '\n').then_some('\n'));
                at += 1;
            }
            at += close.len();
            out.push_str("\"\"");
        } else if chars[at] == '"' {
            at += 1;
            while at < chars.len() && chars[at] != '"' {
                out.extend((chars[at] == '\n').then_some('\n'));
                at += if chars[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
            out.push_str("\"\"");
        } else if chars[at] == '\'' && chars.get(at + 1) == Some(&'\\') {
            at += 3;
            while at < chars.len() && chars[at] != '\'' {
                at += 1;
            }
            at += 1;
            out.push_str("''");
        } else if chars[at] == '\'' && chars.get(at + 2) == Some(&'\'') {
            at += 3;
            out.push_str("''");
        } else {
            out.push(chars[at]);
            at += 1;
        }
    }
    out
}

/// `r"`, `br#"` and the like: the number of hashes, and where the text begins.
fn raw_text(chars: &[char], at: usize) -> Option<(usize, usize)> {
    let mut at = at;
    if matches!(chars.get(at), Some('b' | 'c')) {
        at += 1;
    }
    if chars.get(at) != Some(&'r') {
        return None;
    }
    at += 1;
    let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
    (chars.get(at + hashes) == Some(&'"')).then_some((hashes, at + hashes + 1))
}

/// Leaves out `#[cfg(test)]` and the item behind it.
fn without_unit_tests(text: &str) -> String {
    let mut rest = text;
    let mut out = String::new();
    while let Some((before, behind)) = rest.split_once("#[cfg(test)]") {
        out.push_str(before);
        let mut depth = 0;
        let mut end = behind.len();
        for (at, c) in behind.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 && (c == '}' || c == ';') {
                end = at + 1;
                break;
            }
        }
        rest = &behind[end..];
    }
    out + rest
}

/// Names, `::` and single characters.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c.is_alphanumeric() || c == '_' {
            let mut name = c.to_string();
            while let Some(next) = chars.next_if(|next| next.is_alphanumeric() || *next == '_') {
                name.push(next);
            }
            tokens.push(name);
        } else if c == ':' && chars.peek() == Some(&':') {
            chars.next();
            tokens.push("::".to_owned());
        } else if !c.is_whitespace() {
            tokens.push(c.to_string());
        }
    }
    tokens
}

/// Takes a `use` tree apart, from `at` to behind its end.
fn use_tree(tokens: &[String], mut at: usize, before: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut path = before.to_vec();
    while let Some(token) = tokens.get(at) {
        match token.as_str() {
            "::" | "*" => at += 1,
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token != "}") {
                    at = use_tree(tokens, at, &path, found);
                    if tokens.get(at).is_some_and(|token| token == ",") {
                        at += 1;
                    }
                }
                return at + 1;
            }
            "as" => at += 2,
            "self" if !path.is_empty() => at += 1,
            name if is_name(name) => {
                path.push(token.clone());
                at += 1;
            }
            _ => break,
        }
    }
    found.push(path);
    if tokens.get(at).is_some_and(|token| token == ";") { at + 1 } else { at }
}

fn shown(paths: &[Vec<String>]) -> Vec<String> {
    paths.iter().map(|path| path.join("::")).collect()
}

#[test]
fn a_use_tree_is_taken_apart() {
    let source =
        Source::of("use std::{env, fmt::{self, Display as _}};\npub(crate) use super::*;\nuse crate::a::b as c;");
    assert_eq!(shown(&source.uses), ["std::env", "std::fmt", "std::fmt::Display", "super", "crate::a::b"]);
    assert!(source.names("std::env") && source.names("crate::a") && !source.names("std::env::var"));
}

#[test]
fn paths_in_the_middle_of_code_are_seen() {
    let source = Source::of(
        "fn f<'a>(x: &'a [crate::one::Two]) -> u8 { let y = Instant::now(); tracing::info!(y); unsafe { g() } }",
    );
    assert!(source.names("crate::one") && source.goes_through("Instant::now"));
    assert!(source.knows_crate("tracing") && source.names("unsafe") && !source.knows_crate("info"));
}

#[test]
fn comments_texts_characters_and_unit_tests_say_nothing() {
    let text = r##"
        //! uses serde_json::Value
        /* outer /* rdkafka::x */ std::env::var */
        const A: &str = "std::env \" rdkafka::y"; const B: &str = r#"tokio::spawn "quoted" "#; const C: char = '"';
        const D: char = '\''; const E: &[u8] = br"actix::Addr";
        #[cfg(test)]
        mod tests { use tokio::spawn; fn f() { uuid::Uuid::now_v7(); } }
        fn last() { seen::at_the_end(); }
    "##;
    let source = Source::of(text);
    for unseen in ["serde_json", "rdkafka", "std::env", "tokio", "actix", "uuid"] {
        assert!(!source.names(unseen), "{unseen}: {:?}", shown(&source.paths));
    }
    assert!(source.names("seen::at_the_end"));
}
