//! Renders pages from the templates, texts and files that are compiled into the binary.

use std::sync::LazyLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, HtmlEscape, UndefinedBehavior, context};
use serde_json::json;

use super::files::{self, Assets};
use super::people::{People, Site};
use super::query::with_language;
use super::texts::{Language, Languages, Page, TextsError, embedded};
use crate::http::view::client::ClientView;

/// The renderer, built on first use.
pub(super) static RENDERER: LazyLock<Renderer> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "its parts are compiled in, and the unit tests build it")]
    Renderer::new(files::texts()).expect("the pages' own texts and templates")
});

/// The reason why the renderer cannot be built.
#[derive(Debug, thiserror::Error)]
pub(super) enum BuildError {
    #[error(transparent)]
    Texts(#[from] TextsError),
    #[error("{0}")]
    Template(#[from] minijinja::Error),
}

/// Templates, texts, and the URLs of files.
pub(super) struct Renderer {
    pub(super) assets: Assets,
    pub(super) languages: Languages,
    pub(super) templates: Environment<'static>,
}

/// The part of a page that depends on the request.
pub(super) struct PageContext<'a> {
    pub(super) language: &'a Language,
    /// The client, if the query string names one.
    pub(super) client: Option<ClientView>,
    /// The path of the share page, if the client allows that flow.
    pub(super) share_href: Option<String>,
    /// The site that asks people to sign in.
    pub(super) site: Site,
    /// The person who reads the page, and the ways to sign in.
    pub(super) people: &'a People,
    pub(super) query: &'a str,
    /// If the page answers an authorization request, the way back to the app without a sign-in.
    pub(super) cancel_href: Option<String>,
}

impl Renderer {
    /// Builds a renderer from tables of texts, each with its language's tag.
    ///
    /// # Errors
    /// If a table or a template is invalid.
    pub(super) fn new<'a>(tables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, BuildError> {
        let assets = Assets::new();
        let urls = assets.urls();
        let mut templates = Environment::new();
        templates.set_syntax(
            SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build()?,
        );
        // A misspelt name is an error and not an empty string.
        templates.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        templates.add_filter("fill", fill);
        templates.add_filter("fill_isolated", fill_isolated);
        templates.add_function("asset", move |path: &str| {
            let no_file = || minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, format!("no static/{path}"));
            urls.get(path).cloned().map(Value::from_safe_string).ok_or_else(no_file)
        });
        for (path, source) in files::templates() {
            templates.add_template(path, source)?;
        }
        Ok(Self { assets, languages: Languages::read(tables)?, templates })
    }

    /// Renders a page.
    ///
    /// # Errors
    /// The template's error.
    pub(super) fn render(&self, page: Page, request: &PageContext<'_>) -> Result<String, minijinja::Error> {
        let PageContext { language, client, share_href, site, people, query, cancel_href } = request;
        let texts = language.texts(page);
        let logo = client.as_ref().and_then(|client| client.logo.clone());
        let others = self.languages.others(language);
        let languages: Vec<Value> = others
            .map(|other| context! { code => &other.tag, name => &other.name, href => with_language(query, &other.tag) })
            .collect();
        self.templates.get_template(&format!("{}.html", page.name()))?.render(context! {
            page => page.name(),
            lang => &language.tag,
            text => texts.text.clone(),
            data => texts.data.clone(),
            client => client.clone().map(|client| Value::from(Serde(client))),
            logo,
            share_href,
            cancel_href,
            site => Value::from(Serde(site.clone())),
            people => Value::from(Serde((*people).clone())),
            reader => embedded(&json!({ "way": people.way, "person": people.person })),
            languages,
        })
    }
}

/// Replaces a name in braces by its value: `text | fill("name", "Shop")`.
fn fill(text: &str, name: &str, value: &str) -> String {
    text.replace(&format!("{{{name}}}"), value)
}

/// Like [`fill`], but returns markup with the value in a `<bdi>`, so that the direction of its text does not affect the rest.
fn fill_isolated(text: &str, name: &str, value: &str) -> Value {
    let text = HtmlEscape(text).to_string();
    Value::from_safe_string(fill(&text, name, &format!("<bdi>{}</bdi>", HtmlEscape(value))))
}
