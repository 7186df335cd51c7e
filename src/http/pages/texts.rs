//! The texts of the pages, one table per language, and the choice of the language.
//!
//! A page gets the texts that all pages share, those of the widget, and its own. If two texts have the same name, the last one
//! is used.

use axum::http::header::{self, HeaderMap};
use minijinja::value::{Serde, Value};
use serde::Deserialize;
use serde_json::{Map, json};

use crate::http::weights::weighted;

/// The language for requests that accept none of the others.
const DEFAULT: &str = "en";

/// The reason why the tables of texts cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum TextsError {
    #[error("static/texts/{tag}.json: {cause}")]
    Invalid { tag: String, cause: serde_json::Error },
    #[error("static/texts/en.json is missing")]
    NoDefaultLanguage,
}

/// The pages. Their names are also those of their templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    SignIn,
    Confirm,
    Share,
    Receive,
}

impl Page {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::SignIn => "sign-in",
            Self::Confirm => "confirm",
            Self::Share => "share",
            Self::Receive => "receive",
        }
    }
}

/// Texts by name. Each is a string, a title with its detail, or a map.
type Section = Map<String, serde_json::Value>;

/// A language's file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Table {
    /// The language's own name.
    language: String,
    /// The texts of the widget, on the gateway's pages and on those of other sites.
    code: Section,
    page: Section,
    sign_in: Section,
    form_post: Section,
    sign_out: Section,
    confirm: Section,
    share: Section,
    receive: Section,
    problem: Section,
}

/// All languages, the default one first.
#[derive(Debug)]
pub(super) struct Languages(Vec<Language>);

/// A language with its texts.
#[derive(Debug)]
pub(super) struct Language {
    /// Its tag (BCP 47), which is also its file's name.
    pub(super) tag: String,
    /// Its own name.
    pub(super) name: String,
    /// The texts of the widget, as JSON.
    pub(super) code_json: String,
    sign_in: PageTexts,
    confirm: PageTexts,
    share: PageTexts,
    receive: PageTexts,
    form_post: Section,
    sign_out: Section,
    problem: Section,
}

/// The texts of a page.
#[derive(Debug)]
pub(super) struct PageTexts {
    /// For the template.
    pub(super) text: Value,
    /// For the scripts: JSON that can be embedded in HTML.
    pub(super) data: Value,
}

impl Languages {
    /// Parses the tables, each with its language's tag.
    ///
    /// # Errors
    /// If a table is invalid or English is missing.
    pub(super) fn read<'a>(tables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, TextsError> {
        let read = |(tag, json): (&'a str, &'a str)| Language::read(tag, json);
        let mut all = tables.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
        all.sort_by(|one, two| (one.tag != DEFAULT, &one.tag).cmp(&(two.tag != DEFAULT, &two.tag)));
        if all.first().is_none_or(|first| first.tag != DEFAULT) {
            return Err(TextsError::NoDefaultLanguage);
        }
        Ok(Self(all))
    }

    /// Returns the language with the `requested` tag, otherwise the language that the browser prefers.
    pub(super) fn choose(&self, requested: Option<&str>, headers: &HeaderMap) -> &Language {
        let requested = requested.and_then(|tag| self.look_up(tag));
        let accepted = || accepted(headers).into_iter().find_map(|range| self.look_up(range));
        requested.or_else(accepted).unwrap_or(&self.0[0])
    }

    /// Returns the first available language of several requested tags, otherwise the language that the browser prefers.
    pub(super) fn first_of(&self, requested: impl IntoIterator<Item = String>, headers: &HeaderMap) -> &Language {
        let found = requested.into_iter().find_map(|tag| self.look_up(&tag));
        found.unwrap_or_else(|| self.choose(None, headers))
    }

    /// Returns all languages except this one.
    pub(super) fn others<'a>(&'a self, this: &'a Language) -> impl Iterator<Item = &'a Language> {
        self.0.iter().filter(|language| language.tag != this.tag)
    }

    /// Looks up a tag by RFC 4647 §3.4: `zh-Hant-TW`, then `zh-Hant`, then `zh`. It also accepts `zh_TW.UTF-8`.
    fn look_up(&self, range: &str) -> Option<&Language> {
        let range = range.split(['.', '@']).next().unwrap_or_default().replace('_', "-");
        let mut tag = range.as_str();
        loop {
            if let Some(found) = self.0.iter().find(|language| language.tag.eq_ignore_ascii_case(tag)) {
                return Some(found);
            }
            tag = tag.rsplit_once('-')?.0;
        }
    }
}

impl Language {
    fn read(tag: &str, json: &str) -> Result<Self, TextsError> {
        let table: Table =
            serde_json::from_str(json).map_err(|error| TextsError::Invalid { tag: tag.to_owned(), cause: error })?;
        let texts = |own: Section| {
            let merged: Section = table.page.clone().into_iter().chain(table.code.clone()).chain(own).collect();
            PageTexts { data: embedded(&json!(merged)), text: Value::from(Serde(merged)) }
        };
        Ok(Self {
            tag: tag.to_owned(),
            name: table.language,
            sign_in: texts(table.sign_in),
            confirm: texts(table.confirm),
            share: texts(table.share),
            receive: texts(table.receive),
            form_post: table.form_post,
            sign_out: table.sign_out,
            problem: table.problem,
            code_json: json!({ "lang": tag, "texts": table.code }).to_string(),
        })
    }

    /// Returns a problem's title and detail: those for its code if the table has them, otherwise those for its status.
    pub(super) fn problem(&self, code: &str, status: u16) -> (&str, &str) {
        let status = status.to_string();
        let found = [code, &status, "other"].into_iter().find_map(|name| self.problem.get(name));
        let text = |index: usize| found.and_then(|pair| pair.get(index)?.as_str()).unwrap_or_default();
        (text(0), text(1))
    }

    /// Returns the texts of the page that posts an answer.
    pub(super) fn form_post_texts(&self) -> Value {
        Value::from(Serde(self.form_post.clone()))
    }

    /// Returns the texts of the pages of a sign-out.
    pub(super) fn sign_out_texts(&self) -> Value {
        Value::from(Serde(self.sign_out.clone()))
    }

    /// Returns the texts of a problem's page.
    pub(super) fn problem_texts(&self) -> Value {
        Value::from(Serde(self.problem.clone()))
    }

    /// Returns the texts of a page.
    pub(super) fn texts(&self, page: Page) -> &PageTexts {
        match page {
            Page::SignIn => &self.sign_in,
            Page::Confirm => &self.confirm,
            Page::Share => &self.share,
            Page::Receive => &self.receive,
        }
    }
}

/// Returns JSON that can be embedded in HTML: escaped so that no text in it can end the script element or begin a comment.
pub(super) fn embedded(json: &serde_json::Value) -> Value {
    Value::from_safe_string(json.to_string().replace('<', "\\u003c"))
}

/// Returns the ranges of `Accept-Language`, the preferred ones first (RFC 9110 §12.5.4), without those of weight zero.
fn accepted(headers: &HeaderMap) -> Vec<&str> {
    let mut ranges: Vec<_> = weighted(headers, header::ACCEPT_LANGUAGE).filter(|(_, weight)| *weight > 0.0).collect();
    // The sort is stable: ranges of equal weight keep their order.
    ranges.sort_by(|one, two| two.1.total_cmp(&one.1));
    ranges.into_iter().map(|(range, _)| range).collect()
}
