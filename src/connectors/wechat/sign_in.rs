//! The changes that a verified message causes: a scan binds the ticket, the right number confirms it, a wrong one cancels it.
//!
//! Each change is safe to repeat: a repeated transition of the same person changes nothing, and only a person's newest scan
//! waits for its number.

use std::time::Duration;

use serde_json::Value;

use super::message::{ChatReply, Message, MessageKind};
use super::settings::Consent;
use super::{SCENE_PREFIX, SUBJECT_PREFIX, Wechat, texts};
use crate::store::{Put, Reading, StoreError, TransitionError};
use crate::ticket::{CancelReason, Claims, Decision, MatchNumber, Party, Person, Refusal, Scanner, Subject, TicketId};

/// The time limit for fetching a person's unionid. The sign-in continues without it.
const UNIONID_TIMEOUT: Duration = Duration::from_secs(2);
/// The claim that carries the unionid.
const UNIONID: &str = "unionid";

/// The result's label in the metrics, and the reply in the chat.
type CallbackResult = (&'static str, Option<String>);

impl Wechat {
    /// Applies the change that a message requests.
    ///
    /// # Errors
    /// The store's error.
    pub(super) async fn apply(&self, message: &Message) -> Result<CallbackResult, StoreError> {
        match &message.kind {
            MessageKind::Scan(scene) => self.scan(message, scene).await,
            MessageKind::Text(text) => self.answer_chat(message, text).await,
            MessageKind::Other => Ok(("ignored", None)),
        }
    }

    async fn scan(&self, message: &Message, scene: &str) -> Result<CallbackResult, StoreError> {
        if !scene.starts_with(SCENE_PREFIX) {
            return Ok(("ignored", None));
        }
        let id = self.store.value(&self.scene_key(scene)).await?.and_then(|id| id.parse::<TicketId>().ok());
        let Some(id) = id else { return Ok(("expired", Some(texts::expired()))) };
        let scanner = Scanner::of(Party::Person(self.person(message)));
        let reading = match self.sign_ins.scan(&id, &scanner, &Claims::default()).await {
            Ok(reading) => reading,
            Err(error) => return refused(error),
        };
        match self.settings.consent {
            Consent::Scan => self.confirm(message, &id, None).await,
            Consent::Number => {
                self.store
                    .put_value(&self.waiting_key(message), &id.to_string(), reading.remaining(), Put::Always)
                    .await?;
                let request = &reading.ticket.request;
                Ok(("asked", Some(texts::ask_number(&self.client_name(&reading), &request.requester))))
            }
        }
    }

    async fn answer_chat(&self, message: &Message, text: &str) -> Result<CallbackResult, StoreError> {
        let waiting = self.store.value(&self.waiting_key(message)).await?;
        let id = waiting.and_then(|id| id.parse::<TicketId>().ok());
        match (id, ChatReply::of(text)) {
            (Some(id), ChatReply::Number(number)) => self.confirm(message, &id, Some(number)).await,
            (Some(id), ChatReply::No) => self.decline(message, &id).await,
            (Some(_), ChatReply::Unclear) => Ok(("asked_again", Some(texts::ask_number_again()))),
            // A number without a pending question is a late reply.
            (None, ChatReply::Number(_)) => Ok(("expired", Some(texts::expired()))),
            // Other systems of the account may handle this message.
            (None, ChatReply::No | ChatReply::Unclear) => Ok(("ignored", None)),
        }
    }

    async fn confirm(
        &self,
        message: &Message,
        id: &TicketId,
        number: Option<MatchNumber>,
    ) -> Result<CallbackResult, StoreError> {
        let (person, claims) = (self.person(message), self.claims(message).await);
        let decision = Decision { number, ..Decision::all(&claims) };
        let outcome = match self.sign_ins.confirm(id, &person, decision).await {
            Ok(reading) => {
                let requester = &reading.ticket.request.requester;
                ("confirmed", Some(texts::confirmed(&self.client_name(&reading), requester)))
            }
            Err(error) => refused(error)?,
        };
        self.clear_expected_number(message, id).await?;
        Ok(outcome)
    }

    async fn decline(&self, message: &Message, id: &TicketId) -> Result<CallbackResult, StoreError> {
        let party = Party::Person(self.person(message));
        let outcome = match self.sign_ins.cancel(id, &party, |_ticket| Some(CancelReason::Declined)).await {
            Ok(_cancelled) => ("declined", Some(texts::declined())),
            Err(error) => refused(error)?,
        };
        self.clear_expected_number(message, id).await?;
        Ok(outcome)
    }

    /// Stops waiting for the person's number, unless they have scanned another ticket since.
    async fn clear_expected_number(&self, message: &Message, id: &TicketId) -> Result<(), StoreError> {
        let key = self.waiting_key(message);
        if self.store.value(&key).await?.is_some_and(|waiting| waiting == id.to_string()) {
            self.store.remove_value(&key).await?;
        }
        Ok(())
    }

    /// Returns the key of the value that names the ticket for which a person's number is expected.
    fn waiting_key(&self, message: &Message) -> String {
        format!("wechat:waits:{}:{}", self.settings.app_id, message.openid)
    }

    /// Returns the person, without a name or picture, which WeChat no longer provides.
    fn person(&self, message: &Message) -> Person {
        let subject = Subject(format!("{SUBJECT_PREFIX}{}:{}", self.settings.app_id, message.openid));
        Person { subject, name: None, picture: None }
    }

    /// Returns the claims that WeChat provides within [`UNIONID_TIMEOUT`].
    async fn claims(&self, message: &Message) -> Claims {
        let fetch = self.with_token(|token| self.api.unionid(token, &message.openid));
        let unionid = match tokio::time::timeout(UNIONID_TIMEOUT, fetch).await {
            Ok(Ok(unionid)) => unionid,
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot fetch the unionid; issuing the JWT without it");
                None
            }
            Err(_elapsed) => {
                tracing::warn!("WeChat did not send the unionid in time; issuing the JWT without it");
                None
            }
        };
        unionid.map(|unionid| (UNIONID.to_owned(), Value::String(unionid))).into_iter().collect()
    }

    fn client_name(&self, reading: &Reading) -> String {
        let id = &reading.ticket.request.client_id.0;
        self.clients.find(Some(id)).map_or_else(|| id.clone(), |client| client.name.clone())
    }
}

/// Returns the result of a refused transition.
fn refused(error: TransitionError) -> Result<CallbackResult, StoreError> {
    let text = match error {
        TransitionError::Store(error) => return Err(error),
        TransitionError::Refused(Refusal::AlreadyConfirmed) => texts::already_confirmed(),
        TransitionError::Refused(Refusal::AlreadyScanned) => texts::already_scanned(),
        TransitionError::Refused(Refusal::Mismatch) => return Ok(("mismatch", Some(texts::wrong_number()))),
        TransitionError::NoTicket | TransitionError::Refused(_) => texts::expired(),
    };
    Ok(("too_late", Some(text)))
}
