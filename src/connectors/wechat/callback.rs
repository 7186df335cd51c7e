//! WeChat's callbacks: verified, processed once, responded to in time.
//!
//! WeChat waits five seconds and then repeats the callback, three times in all. If no response comes in time, WeChat shows the
//! person an error. So a separate task does the work and continues after the response is sent, and the store keeps the reply to
//! each message for its repetitions.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Wechat;
use super::crypto::{self, MessageKey};
use super::message::{Message, MessageKind};
use super::xml::{Elements, cdata};
use crate::random::{self, RandomId};
use crate::store::{Put, StoreError};

/// The maximum difference between WeChat's clock and the gateway's, transport included.
const WINDOW: Duration = Duration::from_secs(5 * 60);
/// How long the store keeps a reply: the window on either side of the signature's time, plus one minute.
const SEEN_TTL: Duration = Duration::from_secs(11 * 60);
/// How long a repeated callback is assumed to be in progress; after that, the worker may have crashed.
const WORKING_TTL: Duration = Duration::from_secs(5);
/// The time limit of a response; WeChat waits five seconds.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(4);
/// How long the work is retried while the store is unavailable.
const RETRY_FOR: Duration = Duration::from_secs(30);
/// The pause between two attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// The longest query parameter that is accepted, in bytes.
const MAX_PARAMETER_BYTES: usize = 256;

/// The query of a callback.
#[derive(Debug, Default, Deserialize)]
pub struct CallbackQuery {
    #[serde(default)]
    signature: String,
    #[serde(default)]
    timestamp: String,
    #[serde(default)]
    nonce: String,
    #[serde(default)]
    echostr: String,
    #[serde(default)]
    msg_signature: String,
}

/// The response to a callback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallbackResponse {
    /// An acknowledgement: the word `success`.
    Success,
    /// A reply for the chat, as XML.
    Reply(String),
}

/// The reason why a callback is refused.
#[derive(Debug, thiserror::Error)]
pub enum CallbackError {
    /// The signature is missing or wrong.
    #[error("the signature does not match: check the token on both sides")]
    Forged,
    /// It is too old, or its time is in the future.
    #[error("the timestamp is more than 5 minutes from this gateway's time: check its clock")]
    Stale,
    /// The signature was already used with another body.
    #[error("the signature was used for another body before")]
    Replayed,
    /// It is not encrypted, or encrypted with another key or for another account.
    #[error("cannot decrypt the message: check encoding_aes_key, app_id and the mode on both sides")]
    Unreadable,
    /// It does not have the format of WeChat's callbacks.
    #[error("the callback is malformed: {0}")]
    Malformed(String),
    /// Too many callbacks are in progress.
    #[error("too many callbacks are in progress")]
    Overloaded,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl CallbackError {
    /// Returns its label in the metrics.
    fn as_str(&self) -> &'static str {
        match self {
            Self::Forged => "forged",
            Self::Stale => "stale",
            Self::Replayed => "replayed",
            Self::Unreadable => "unreadable",
            Self::Malformed(_) => "malformed",
            Self::Overloaded => "overloaded",
            Self::Store(_) => "failed",
        }
    }
}

/// A verified message, and the key to encrypt the response with.
struct VerifiedMessage {
    message: Message,
    /// The key that decrypted it; none in plain mode.
    key: Option<MessageKey>,
    /// In plain mode, the binding of the signature to its body.
    body_binding: Option<BodyBinding>,
}

/// Binds a signature that does not cover the body to the first body that it came with.
struct BodyBinding {
    /// The key of the value in the store.
    key: String,
    /// The body's SHA-256, in base64.
    body: String,
}

impl Wechat {
    /// Responds to the check that WeChat sends when an administrator enters the gateway's address in its console.
    ///
    /// # Errors
    /// [`CallbackError`].
    pub async fn check(&self, query: &CallbackQuery) -> Result<String, CallbackError> {
        let checked = match self.check_at(query, SystemTime::now()) {
            Ok(()) if self.settings.keys.is_empty() => self.bind_signature(&self.body_binding(query, b"")).await,
            checked => checked,
        };
        match &checked {
            Ok(()) => self.metrics.connectors.called_back("wechat", "checked"),
            Err(refused) => self.count_refused(refused),
        }
        checked.map(|()| query.echostr.clone())
    }

    fn check_at(&self, query: &CallbackQuery, now: SystemTime) -> Result<(), CallbackError> {
        query.check_lengths()?;
        self.verify(&query.signature, &[&query.timestamp, &query.nonce])?;
        query.check_timestamp(now)
    }

    /// Processes a callback. Returns within four seconds, even if the work is not finished.
    ///
    /// # Errors
    /// [`CallbackError`]. Then nothing has changed.
    pub async fn receive(
        self: &Arc<Self>,
        query: &CallbackQuery,
        body: &[u8],
    ) -> Result<CallbackResponse, CallbackError> {
        let received = self.process(query, body).await;
        if let Err(refused) = &received {
            self.count_refused(refused);
        }
        received
    }

    fn count_refused(&self, refused: &CallbackError) {
        self.metrics.connectors.called_back("wechat", refused.as_str());
        if !self.log_limiter.should_log("refused a callback", Some(refused.as_str())) {
            return;
        }
        if matches!(refused, CallbackError::Stale) {
            // If this gateway's clock is wrong, it refuses all callbacks.
            tracing::warn!(why = %refused, "refused a callback");
        } else {
            tracing::info!(why = %refused, "refused a callback");
        }
    }

    async fn process(self: &Arc<Self>, query: &CallbackQuery, body: &[u8]) -> Result<CallbackResponse, CallbackError> {
        let deadline = Instant::now() + RESPONSE_TIMEOUT;
        let verified = self.verify_and_decrypt(query, body, SystemTime::now())?;
        let permit = tokio::time::timeout_at(deadline, Arc::clone(&self.callback_permits).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else { return Err(CallbackError::Overloaded) };
        let (done, result) = oneshot::channel();
        let (this, message) = (Arc::clone(self), verified.message.clone());
        crate::task::spawn("wechat-callback", async move {
            let result = this.process_with_retry(&message, verified.body_binding).await;
            drop(permit);
            // The receiver, if it still waits, logs the error.
            if let Err(Err(refused)) = done.send(result) {
                this.metrics.connectors.called_back("wechat", refused.as_str());
                tracing::error!(why = %refused, "could not process a callback; the person must scan again");
            }
        });
        let reply = match tokio::time::timeout_at(deadline, result).await {
            Ok(result) => result.unwrap_or_else(|_panicked| Err(interrupted()))?,
            Err(_elapsed) => {
                self.metrics.connectors.called_back("wechat", "late");
                tracing::warn!("answered a callback before it was processed");
                None
            }
        };
        match reply {
            Some(text) => self.wrap(&verified.message, verified.key.as_ref(), &query.nonce, &text),
            None => Ok(CallbackResponse::Success),
        }
    }

    /// Verifies and decrypts a callback.
    fn verify_and_decrypt(
        &self,
        query: &CallbackQuery,
        body: &[u8],
        now: SystemTime,
    ) -> Result<VerifiedMessage, CallbackError> {
        query.check_lengths()?;
        let CallbackQuery { timestamp, nonce, .. } = query;
        let parse = |text: &[u8]| Elements::parse(text).map_err(|error| CallbackError::Malformed(error.to_string()));
        let read = |fields: &Elements| {
            Message::read(fields).ok_or_else(|| CallbackError::Malformed("it lacks a required element".to_owned()))
        };
        if self.settings.keys.is_empty() {
            self.verify(&query.signature, &[timestamp, nonce])?;
            query.check_timestamp(now)?;
            let fields = parse(body)?;
            if fields.get("Encrypt").is_some() {
                return Err(CallbackError::Unreadable);
            }
            let body_binding = Some(self.body_binding(query, body));
            return Ok(VerifiedMessage { message: read(&fields)?, key: None, body_binding });
        }
        let outer = parse(body)?;
        let encrypted = outer.get("Encrypt").ok_or(CallbackError::Unreadable)?;
        self.verify(&query.msg_signature, &[timestamp, nonce, encrypted])?;
        query.check_timestamp(now)?;
        let app_id = &self.settings.app_id;
        let decrypt = |key: &MessageKey| Some((key.decrypt(encrypted, app_id).ok()?, key.clone()));
        let (text, key) = self.settings.keys.iter().find_map(decrypt).ok_or(CallbackError::Unreadable)?;
        let message = read(&parse(text.as_bytes())?)?;
        // The query's time is signed, but an attacker may have swapped it with the nonce, because WeChat sorts the parts
        // before hashing.
        check_window(message.created, now)?;
        Ok(VerifiedMessage { message, key: Some(key), body_binding: None })
    }

    fn body_binding(&self, query: &CallbackQuery, body: &[u8]) -> BodyBinding {
        BodyBinding {
            key: format!("wechat:used:{}:{}", self.settings.app_id, query.signature),
            body: STANDARD.encode(digest::digest(&digest::SHA256, body)),
        }
    }

    /// Binds a signature to its body. Refuses a signature that is bound to another body.
    async fn bind_signature(&self, BodyBinding { key, body }: &BodyBinding) -> Result<(), CallbackError> {
        let is_first = self.store.put_value(key, body, SEEN_TTL, Put::IfAbsent).await?;
        if is_first { Ok(()) } else { Err(CallbackError::Replayed) }
    }

    fn verify(&self, signature: &str, parts: &[&str]) -> Result<(), CallbackError> {
        let is_good = crypto::is_signature(signature, self.settings.token.reveal(), parts);
        if is_good { Ok(()) } else { Err(CallbackError::Forged) }
    }

    /// Processes a message unless it was processed before. Retries while the store is unavailable.
    async fn process_with_retry(
        &self,
        message: &Message,
        body_binding: Option<BodyBinding>,
    ) -> Result<Option<String>, CallbackError> {
        let give_up_at = Instant::now() + RETRY_FOR;
        // The id is the same in every attempt, so that the store recognises an attempt that succeeded without a reply.
        let attempt_id = format!("?{}", RandomId::new());
        loop {
            match self.process_once(message, body_binding.as_ref(), &attempt_id).await {
                Err(CallbackError::Store(StoreError::Unavailable(_))) if Instant::now() < give_up_at => {
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                result => return result,
            }
        }
    }

    async fn process_once(
        &self,
        message: &Message,
        body_binding: Option<&BodyBinding>,
        attempt_id: &str,
    ) -> Result<Option<String>, CallbackError> {
        // Bind the signature first: an attacker who sees the signature of an ignored message could send another body with it.
        if let Some(body_binding) = body_binding {
            self.bind_signature(body_binding).await?;
        }
        if message.kind == MessageKind::Other {
            self.metrics.connectors.called_back("wechat", "ignored");
            return Ok(None);
        }
        let seen = format!("wechat:seen:{}:{}", self.settings.app_id, message.key);
        if !self.store.put_value(&seen, attempt_id, WORKING_TTL, Put::IfAbsent).await? {
            self.metrics.connectors.called_back("wechat", "repeated");
            let stored = self.store.value(&seen).await?;
            return Ok(stored
                .and_then(|stored| Some(stored.strip_prefix('=')?.to_owned()))
                .filter(|text| !text.is_empty()));
        }
        let (result, reply) = self.apply(message).await?;
        self.metrics.connectors.called_back("wechat", result);
        let stored = format!("={}", reply.as_deref().unwrap_or_default());
        self.store.put_value(&seen, &stored, SEEN_TTL, Put::Always).await?;
        Ok(reply)
    }

    /// Returns `text` as a reply to `message`, encrypted with the message's key.
    fn wrap(
        &self,
        message: &Message,
        key: Option<&MessageKey>,
        nonce: &str,
        text: &str,
    ) -> Result<CallbackResponse, CallbackError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let reply = format!(
            "<xml><ToUserName>{}</ToUserName><FromUserName>{}</FromUserName><CreateTime>{now}</CreateTime>\
             <MsgType><![CDATA[text]]></MsgType><Content>{}</Content></xml>",
            cdata(&message.openid),
            cdata(&message.account),
            cdata(text),
        );
        let Some(key) = key else { return Ok(CallbackResponse::Reply(reply)) };
        let encrypted =
            key.encrypt(&reply, &self.settings.app_id, random::bytes()).map_err(|_error| CallbackError::Unreadable)?;
        let signature = crypto::signature(self.settings.token.reveal(), &[&now.to_string(), nonce, &encrypted]);
        Ok(CallbackResponse::Reply(format!(
            "<xml><Encrypt>{}</Encrypt><MsgSignature>{}</MsgSignature><TimeStamp>{now}</TimeStamp><Nonce>{}</Nonce></xml>",
            cdata(&encrypted),
            cdata(&signature),
            cdata(nonce),
        )))
    }
}

fn interrupted() -> CallbackError {
    CallbackError::Store(StoreError::Unavailable("the work was interrupted".to_owned()))
}

impl CallbackQuery {
    fn check_lengths(&self) -> Result<(), CallbackError> {
        let all = [&self.signature, &self.timestamp, &self.nonce, &self.echostr, &self.msg_signature];
        let fits = |text: &&String| text.len() <= MAX_PARAMETER_BYTES;
        if all.iter().all(fits) { Ok(()) } else { Err(CallbackError::Malformed("a parameter is too long".to_owned())) }
    }

    /// Checks that the callback was sent recently.
    fn check_timestamp(&self, now: SystemTime) -> Result<(), CallbackError> {
        let is_digits = !self.timestamp.is_empty() && self.timestamp.bytes().all(|byte| byte.is_ascii_digit());
        let sent = self.timestamp.parse::<u64>().ok().filter(|_| is_digits);
        check_window(
            sent.ok_or_else(|| CallbackError::Malformed("timestamp is not a number of seconds".to_owned()))?,
            now,
        )
    }
}

fn check_window(sent: u64, now: SystemTime) -> Result<(), CallbackError> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    if now.abs_diff(sent) <= WINDOW.as_secs() { Ok(()) } else { Err(CallbackError::Stale) }
}

#[cfg(test)]
mod tests;
