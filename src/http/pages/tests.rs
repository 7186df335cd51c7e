//! Tests of the texts against the templates and scripts that use them, of the choice of language, and of hostile input.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT_LANGUAGE, HeaderValue};
use serde_json::Value as Json;

use super::files;
use super::people::{People, ProviderButton, Reader, Site, Way};
use super::query::with_language;
use super::renderer::{PageContext, RENDERER, Renderer};
use super::texts::Page;
use crate::http::problem;
use crate::http::view::client::ClientView;

const ALL: [Page; 4] = [Page::SignIn, Page::Confirm, Page::Share, Page::Receive];
/// The texts that scripts look up by the name of a state, a reason or a connector.
const LOOKED_UP: [&str; 12] = [
    "waiting_wechat",
    "numbered_wechat",
    "loading",
    "waiting",
    "scanned",
    "confirmed",
    "declined",
    "closed",
    "superseded",
    "mismatch",
    "cancelled",
    "expired",
];

fn table(json: &str) -> BTreeMap<String, Json> {
    serde_json::from_str(json).unwrap()
}

/// The sections of a table, without the language's name.
fn sections(json: &str) -> BTreeMap<String, BTreeMap<String, Json>> {
    let sections = table(json)
        .into_iter()
        .filter_map(|(name, section)| Some((name, section.as_object()?.clone().into_iter().collect())));
    sections.collect()
}

fn source(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("static").join(path)).unwrap()
}

/// The paths of files under `static/` that end with `end`.
fn names(end: &str) -> Vec<String> {
    let all = files::templates().map(|(path, _)| path).chain(RENDERER.assets.urls().into_keys());
    all.filter(|path| path.ends_with(end)).map(str::to_owned).collect()
}

/// The names that follow `start` in a text.
fn names_after<'a>(text: &'a str, start: &str) -> BTreeSet<&'a str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let found = text.match_indices(start).filter(|(at, _)| !text[..*at].ends_with(is_name));
    let names = found.map(|(at, _)| &text[at + start.len()..]);
    names.map(|rest| rest.split(|c| !is_name(c)).next().unwrap()).filter(|name| !name.is_empty()).collect()
}

/// The scripts that a page loads.
fn scripts_of(page: Page) -> Vec<String> {
    let html = render(&RENDERER, page, "en", None, "");
    let loaded = html.split("<script src=\"/static/").skip(1).map(|rest| rest.split('?').next().unwrap().to_owned());
    let loaded: Vec<_> = loaded.collect();
    assert!(loaded.len() > 1, "{loaded:?}");
    loaded
}

fn slots(text: &str) -> BTreeSet<&str> {
    text.split('{').skip(1).map(|rest| rest.split('}').next().unwrap()).collect()
}

/// The parts of a text that a translation must keep: whether it is a text, a pair or a map, and its slots.
fn shape(value: &Json) -> (Vec<&str>, BTreeSet<&str>) {
    match value {
        Json::String(text) => (vec!["text"], slots(text)),
        Json::Array(pair) => {
            assert!(pair.len() == 2 && pair.iter().all(Json::is_string), "{value}");
            (vec!["pair"], pair.iter().flat_map(|text| slots(text.as_str().unwrap())).collect())
        }
        Json::Object(map) => (map.keys().map(String::as_str).collect(), BTreeSet::new()),
        other => panic!("{other} is not a text"),
    }
}

fn headers(accept_language: &str) -> HeaderMap {
    HeaderMap::from_iter([(ACCEPT_LANGUAGE, HeaderValue::from_str(accept_language).unwrap())])
}

fn render(pages: &Renderer, page: Page, language: &str, client: Option<ClientView>, query: &str) -> String {
    render_for(pages, page, language, client, query, &nobody(Way::Demo))
}

fn render_for(
    pages: &Renderer,
    page: Page,
    language: &str,
    client: Option<ClientView>,
    query: &str,
    people: &People,
) -> String {
    let language = pages.languages.choose(Some(language), &HeaderMap::new());
    let site = Site { name: client.as_ref().map_or("gate.example", |client| &client.name).to_owned(), logo: None };
    let share_href = Some("/share".to_owned());
    pages.render(page, &PageContext { language, client, share_href, site, people, query, cancel_href: None }).unwrap()
}

fn two_providers() -> Vec<ProviderButton> {
    let button = |id: &str, name: &str, logo: Option<&str>| ProviderButton {
        id: id.to_owned(),
        name: name.to_owned(),
        logo: logo.map(str::to_owned),
    };
    vec![button("acme", "Acme", Some("/sign-in/acme/logo.png")), button("other", "<b>Other</b>", None)]
}

/// Nobody, on a gateway with this way to sign in.
fn nobody(way: Way) -> People {
    People { person: None, way, providers: Vec::new() }
}

fn client(name: &str) -> ClientView {
    ClientView { id: "web".to_owned(), name: name.to_owned(), logo: None, theme: None, connector: None }
}

/// The texts embedded in a page for its scripts.
fn data(html: &str) -> Json {
    let block = html.split_once("<script type=\"application/json\" id=\"texts\">").unwrap().1;
    serde_json::from_str(block.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn every_language_has_the_same_texts_with_the_same_slots() {
    let (_, english) = files::texts().find(|(tag, _)| *tag == "en").unwrap();
    let mut count = 0;
    for (tag, json) in files::texts() {
        count += 1;
        assert!(!table(json)["language"].as_str().unwrap().is_empty(), "{tag}");
        let (sections_here, model) = (sections(json), sections(english));
        assert_eq!(sections_here.keys().collect::<Vec<_>>(), model.keys().collect::<Vec<_>>(), "{tag}");
        for (section, texts) in &model {
            let names = |texts: &BTreeMap<String, Json>| texts.keys().cloned().collect::<Vec<_>>();
            assert_eq!(names(&sections_here[section]), names(texts), "{tag}: {section}");
            for (name, text) in texts {
                assert_eq!(shape(&sections_here[section][name]), shape(text), "{tag}: {section}.{name}");
            }
        }
    }
    assert!(count >= 2);
}

#[test]
fn every_text_that_is_used_exists() {
    // Rendering fails if a template uses a missing text.
    for page in ALL {
        for way in [Way::Providers, Way::Apps] {
            render_for(&RENDERER, page, "en", None, "", &People { providers: two_providers(), ..nobody(way) });
        }
        let texts = data(&render(&RENDERER, page, "en", None, ""));
        for script in scripts_of(page) {
            for name in names_after(&source(&script), "text.") {
                assert!(texts.get(name).is_some(), "{script} on {} uses {name}", page.name());
            }
        }
    }
}

#[test]
fn the_widget_uses_only_its_own_texts() {
    let code = serde_json::from_str::<Json>(&RENDERER.languages.choose(None, &HeaderMap::new()).code_json).unwrap();
    let scripts: Vec<_> = names(".js").into_iter().filter(|name| name.starts_with("scangate")).collect();
    assert!(!scripts.is_empty());
    for script in scripts {
        for name in names_after(&source(&script), "text.") {
            assert!(code["texts"].get(name).is_some(), "{script} uses {name}");
        }
    }
}

#[test]
fn every_text_is_used() {
    let (_, english) = files::texts().find(|(tag, _)| *tag == "en").unwrap();
    let everything: String = names(".html").iter().chain(&names(".js")).map(|name| source(name)).collect();
    for (section, texts) in sections(english).into_iter().filter(|(section, _)| section != "problem") {
        let of_page = ALL.into_iter().find(|page| page.name() == section).map(|page| {
            let templates = names(".html").into_iter().filter(|name| name.starts_with("parts/"));
            let own = templates.chain([format!("{section}.html")]).chain(scripts_of(page));
            own.map(|name| source(&name)).collect::<String>()
        });
        let sources = of_page.unwrap_or_else(|| everything.clone());
        let used = names_after(&sources, "text.");
        for (name, _) in texts {
            let is_used = used.contains(name.as_str()) || sources.contains(&format!("'{name}'"));
            assert!(is_used || LOOKED_UP.contains(&name.as_str()), "{section}.{name} is not used");
        }
    }
}

#[test]
fn every_problem_has_texts_in_every_language() {
    let codes: BTreeSet<&str> = problem::ALL.iter().map(|kind| kind.code).collect();
    let statuses: BTreeSet<String> = problem::ALL.iter().map(|kind| kind.status.as_str().to_owned()).collect();
    let template = source("problem.html");
    let used = names_after(&template, "text.");
    for (tag, json) in files::texts() {
        let language = RENDERER.languages.choose(Some(tag), &HeaderMap::new());
        for kind in problem::ALL {
            let (title, detail) = language.problem(kind.code, kind.status.as_u16());
            assert!(!title.is_empty() && !detail.is_empty(), "{tag}: {}", kind.code);
            assert_ne!(title, language.problem("", 0).0, "{tag}: {}", kind.code);
        }
        for name in sections(json)["problem"].keys().map(String::as_str) {
            let is_used = codes.contains(name) || statuses.contains(name) || used.contains(name) || name == "other";
            assert!(is_used, "{tag}: problem.{name} is not used");
        }
    }
}

#[test]
fn no_page_and_no_script_has_texts_of_its_own() {
    for name in names(".html") {
        let mut text = source(&name);
        for (open, close) in [("{#", "#}"), ("{%", "%}"), ("{{", "}}"), ("<", ">")] {
            while let Some(start) = text.find(open) {
                let end = start + text[start..].find(close).unwrap() + close.len();
                let taken = text.drain(start..end).collect::<String>();
                for attribute in ["alt=\"", "title=\"", "aria-label=\"", "placeholder=\""] {
                    let value = taken.split(attribute).nth(1).map(|rest| rest.split('"').next().unwrap());
                    assert_eq!(value.unwrap_or_default(), "", "{name}: {taken}");
                }
            }
        }
        assert_eq!(text.split_whitespace().collect::<Vec<_>>(), [""; 0], "{name}");
    }
    let scripts = names(".js");
    assert!(scripts.len() > 8, "{scripts:?}");
    for name in scripts.iter().chain(&names(".css")).chain(&names(".html")) {
        let code = source(name);
        let foreign = code.chars().find(|c| c.is_alphabetic() && !c.is_ascii());
        assert_eq!(foreign, None, "{name}");
        // A phrase is two or more quoted words, the first with a capital letter.
        for literal in code
            .lines()
            .filter(|line| !line.trim_start().starts_with(['*', '/']))
            .flat_map(|line| line.split('\'').skip(1).step_by(2))
        {
            let words: Vec<&str> = literal.split(' ').collect();
            let is_word = |word: &str| word.chars().all(|c| c.is_ascii_alphabetic());
            let begins = |c: char| c.is_ascii_uppercase();
            let is_phrase =
                words.len() > 1 && words[0].starts_with(begins) && is_word(words[0]) && !words[1].is_empty();
            assert!(!is_phrase, "{name}: {literal}");
        }
    }
}

#[test]
fn scripts_are_shipped_with_all_but_their_comments() {
    for name in names(".js") {
        let source = source(&name);
        // No code follows a comment on its line, so removing the line loses no code.
        let mut is_comment = false;
        let mut code = Vec::new();
        for line in source.lines().map(str::trim) {
            is_comment |= line.starts_with("/*");
            if is_comment {
                assert!(!line.contains("*/") || line.ends_with("*/"), "{name}: {line}");
                is_comment = !line.ends_with("*/");
            } else if !line.is_empty() && !line.starts_with("//") {
                code.push(line);
            }
        }
        let shipped = files::without_comments(&source);
        assert_eq!(shipped.lines().collect::<Vec<_>>(), code, "{name}");
        assert!(shipped.len() < source.len() && !shipped.contains("\n//") && !shipped.contains("\n/*"), "{name}");
    }
}

#[test]
fn the_requested_or_preferred_language_is_chosen() {
    let chosen =
        |requested: Option<&str>, accepted: &str| RENDERER.languages.choose(requested, &headers(accepted)).tag.clone();
    for (accepted, tag) in [
        ("", "en"),
        ("zh", "zh"),
        ("zh-TW", "zh"),
        ("ZH-hant-tw", "zh"),
        ("en-GB,zh;q=0.9", "en"),
        ("zh;q=0.3, en;q=0.4", "en"),
        ("en;q=0.3 , zh ; q=0.4", "zh"),
        ("fr, de;q=0.9, zh;q=0.1", "zh"),
        ("zh;q=0, fr", "en"),
        ("fr", "en"),
        ("*", "en"),
        ("zh;q=2", "en"),
        ("zh;q=NaN, en;q=inf", "en"),
        ("zh;q=, zh;level=1, ;;;, -, zh-;q=x", "en"),
        ("zhx", "en"),
        ("zh_CN", "zh"),
        ("zh-Hans-CN", "zh"),
        ("ZH_hans_cn.UTF-8@x", "zh"),
        ("fr_FR, zh_TW;q=0.1, *;q=0.5", "zh"),
        ("*, zh;q=0.5", "zh"),
        ("en;q=0.2, *, zh_CN;q=0.3", "zh"),
    ] {
        assert_eq!(chosen(None, accepted), tag, "{accepted:?}");
    }
    assert_eq!(chosen(Some("zh"), "en"), "zh");
    assert_eq!(chosen(Some("zh-CN"), "en"), "zh");
    assert_eq!(chosen(Some("zh_CN"), "en"), "zh");
    assert_eq!(chosen(Some("ZH"), "en"), "zh");
    assert_eq!(chosen(Some("*"), "zh"), "zh");
    assert_eq!(chosen(Some("_"), "zh"), "zh");
    assert_eq!(chosen(Some("xx"), "zh"), "zh");
    assert_eq!(chosen(Some(""), "zh"), "zh");
    assert_eq!(chosen(Some("\"><script>"), "fr"), "en");
    let none = HeaderMap::from_iter([(ACCEPT_LANGUAGE, HeaderValue::from_bytes(b"zh\xff").unwrap())]);
    assert_eq!(RENDERER.languages.choose(None, &none).tag, "en");
    // An entry that is not UTF-8 is ignored, and the others are used.
    let one = HeaderMap::from_iter([(ACCEPT_LANGUAGE, HeaderValue::from_bytes(b"\xff, zh").unwrap())]);
    assert_eq!(RENDERER.languages.choose(None, &one).tag, "zh");
}

#[test]
fn a_language_is_added_by_a_file() {
    let (_, english) = files::texts().find(|(tag, _)| *tag == "en").unwrap();
    let portuguese = english.replace("\"English\"", "\"Português\"").replace("Sign in to {name}", "Entrar em {name}");
    let mut tables: Vec<(&str, &str)> = files::texts().collect();
    tables.push(("pt-BR", &portuguese));
    let pages = Renderer::new(tables).unwrap();
    assert_eq!(pages.languages.choose(None, &headers("pt-br, en;q=0.5")).tag, "pt-BR");
    let html = render(&pages, Page::SignIn, "pt-BR", Some(client("Web")), "");
    assert!(html.contains("<html lang=\"pt-BR\">") && html.contains(">Entrar em <bdi>Web</bdi></h1>"), "{html}");
    for page in ALL {
        let html = render(&pages, page, "zh", None, "");
        for (tag, name) in [("en", "English"), ("pt-BR", "Português")] {
            let link = format!("href=\"?lang={tag}\" rel=\"alternate\" lang=\"{tag}\" hreflang=\"{tag}\">{name}</a>");
            assert!(html.contains(&link), "{html}");
        }
        assert_eq!(html.matches("class=\"language\"").count(), 2);
    }
}

#[test]
fn an_incomplete_table_is_refused_by_name() {
    let faults = |tables: &[(&str, &str)]| Renderer::new(tables.iter().copied()).err().unwrap().to_string();
    assert_eq!(faults(&[]), "static/texts/en.json is missing");
    let fault = faults(&[("fr", "{\"language\": \"Français\"}")]);
    assert!(fault.starts_with("static/texts/fr.json: missing field"), "{fault}");
}

#[test]
fn a_page_has_a_button_for_each_identity_provider() {
    let people = People { providers: two_providers(), ..nobody(Way::Providers) };
    for page in [Page::Confirm, Page::Share, Page::Receive] {
        let html = render_for(&RENDERER, page, "en", None, "", &people).replace("&#x2f;", "/");
        assert_eq!(html.matches("data-provider=").count(), 2, "{html}");
        assert!(html.contains("data-provider=\"acme\"") && html.contains("src=\"/sign-in/acme/logo.png\" alt=\"\""));
        assert!(html.contains("<span>Continue with <bdi>Acme</bdi></span>"), "{html}");
        assert!(html.contains("<bdi>&lt;b&gt;Other&lt;/b&gt;</bdi>"), "{html}");
        assert!(html.contains("<p class=\"site\">gate.example</p>") && !html.contains("id=\"sign-in-form\""), "{html}");
        let demo = render(&RENDERER, page, "en", None, "");
        assert!(demo.contains("id=\"sign-in-form\"") && !demo.contains("data-provider"), "{demo}");
    }
}

#[test]
fn a_page_embeds_its_reader_and_no_markup_of_their_name() {
    let read = |html: &str| {
        let block = html.split_once("<script type=\"application/json\" id=\"reader\">")?.1;
        serde_json::from_str::<Json>(block.split_once("</script>")?.0).ok()
    };
    let name = "</script><script>alert(1)</script>";
    let reader = Reader { name: name.to_owned(), provider: "acme".to_owned(), provider_name: "Acme".to_owned() };
    let people = People { person: Some(reader), providers: two_providers(), ..nobody(Way::Providers) };
    for page in [Page::Confirm, Page::Share, Page::Receive] {
        let html = render_for(&RENDERER, page, "en", None, "", &people);
        let person = serde_json::json!({ "name": name, "provider": "acme", "provider_name": "Acme" });
        assert_eq!(read(&html), Some(serde_json::json!({ "way": "providers", "person": person })), "{html}");
        assert!(!html.contains("alert(1)</script>"), "{html}");
        let nobody = read(&render(&RENDERER, page, "en", None, ""));
        assert_eq!(nobody, Some(serde_json::json!({ "way": "demo", "person": null })));
    }
    // The page that shows a code is the same for everyone.
    let html = render_for(&RENDERER, Page::SignIn, "en", None, "", &people);
    assert!(!html.contains("id=\"reader\"") && !html.contains("alert(1)"), "{html}");
}

#[test]
fn markup_in_a_clients_name_or_in_a_table_is_text() {
    let hostile = "</script><script>alert(1)</script>\"'&<!--{name}{{ 1 }}";
    let (_, english) = files::texts().find(|(tag, _)| *tag == "en").unwrap();
    let escaped = serde_json::to_string(hostile).unwrap();
    let table = english.replace("\"Sign in again\"", &escaped);
    assert_ne!(table, english);
    let pages = Renderer::new([("en", table.as_str())]).unwrap();
    for page in ALL {
        let html = render(&pages, page, "en", Some(client(hostile)), "a=%22%3E&b=\"><script>alert(1)</script>");
        assert!(!html.contains("<script>") && !html.contains("alert(1)</script>"), "{html}");
        assert!(!html.contains("<!--") && !html.contains("\"><script>"), "{html}");
    }
    let html = render(&pages, Page::SignIn, "en", Some(client(hostile)), "");
    assert!(html.contains("Sign in to &lt;"), "{html}");
    assert_eq!(data(&html)["again"], hostile, "the scripts get it unchanged");
}

#[test]
fn a_language_link_keeps_the_query_string_unchanged() {
    for (query, link) in [
        ("", "?lang=zh"),
        ("lang=en", "?lang=zh"),
        ("client_id=a&lang=en&state=%7E%FF+x", "?client_id=a&state=%7E%FF+x&lang=zh"),
        ("l%61ng=en&&state", "?state&lang=zh"),
        ("lang=\"><script>&language=x", "?language=x&lang=zh"),
    ] {
        assert_eq!(with_language(query, "zh"), link, "{query}");
    }
}

#[test]
fn no_word_breaks_at_its_hyphen() {
    for (tag, json) in files::texts() {
        let is_letter = |c: char| c.is_alphabetic();
        for (section, texts) in sections(json) {
            for (name, text) in texts {
                let words = text.to_string();
                let broken = words
                    .match_indices('-')
                    .find(|(at, _)| words[..*at].ends_with(is_letter) && words[at + 1..].starts_with(is_letter));
                assert_eq!(broken, None, "{tag}: {section}.{name}: write U+2011 within a word: {text}");
            }
        }
    }
}

#[test]
fn the_widget_is_served_with_the_functions_it_needs_in_front_of_it() {
    let widget = files::script("scangate-look.js");
    let (before, own) = (files::script("dom.js"), files::without_comments(&source("scangate-look.js")));
    assert_eq!(widget, before + &own);
    for name in names_after(&own, "scangate.").into_iter().filter(|name| *name != "css") {
        let is_defined = |source: &str| source.contains(&format!("scangate.{name} ="));
        let is_of_the_script = source("scangate.js").contains(&format!("{name}: {name}"));
        assert!(is_defined(&widget) || is_of_the_script, "scangate.{name}");
    }
}
