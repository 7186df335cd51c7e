//! The sign-in of a person at their identity provider (OpenID Connect Core §3.1): authorization code with PKCE.
//!
//! [`RelyingParty::begin`] returns the provider's address to which the browser goes, and keeps what the way back needs in the
//! store (`begun`). [`RelyingParty::finish`] takes the provider's answer, exchanges the code, and checks the ID token. It owns
//! no session and no cookie: `http` sets them.
//!
//! Invariants: an answer is accepted once, only in the browser that began, and only from the provider at which it began. No
//! token of a provider is stored or logged.

mod answer;
mod begun;
mod calls;
mod discovery;
mod exchange;
mod failure;
mod finish;
mod id_token;
mod metadata;
mod provider;
mod request;
pub mod settings;
pub mod tables;
mod userinfo;

pub use answer::Answer;
pub use begun::{BEGUN_TTL, Return, ReturnPath};
pub use calls::CallError;
pub use discovery::{Discovery, DiscoveryError};
pub use failure::{Failed, SignInError};
pub use finish::{Finished, RelyingParty};
pub use id_token::IdTokenFault;
pub use metadata::{Metadata, MetadataFault};
pub use provider::{Provider, SetupError};
pub use request::{Prompt, Wishes};

#[cfg(test)]
mod tests;
