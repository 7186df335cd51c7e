//! Callbacks of WeChat: verified, processed once, answered in time.
//!
//! WeChat waits five seconds and then repeats the callback, three times in all. If no answer comes in time, WeChat shows the
//! person an error. So a separate task does the work and continues after the answer is sent, and the store keeps the reply to
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
use super::message::{Kind, Message};
use super::xml::{Fields, cdata};
use crate::random::{self, RandomId};
use crate::store::{Put, StoreError};

/// How far WeChat's clock may differ from ours, transport included.
const WINDOW: Duration = Duration::from_secs(5 * 60);
/// How long the store keeps a reply: a signature is valid for the window on either side of its time, and a minute is added.
const SEEN_TTL: Duration = Duration::from_secs(11 * 60);
/// How long a repetition counts as one of work in progress; after that, the worker may have crashed.
const WORKING_TTL: Duration = Duration::from_secs(5);
/// The time limit of an answer; WeChat waits five seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// How long the work is retried while the store is unavailable.
const RETRY_FOR: Duration = Duration::from_secs(30);
/// The pause between two attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// The longest parameter of a query that is accepted, in bytes.
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

/// The answer to a callback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// An acknowledgement: the word `success`.
    Success,
    /// A reply for the chat, as XML.
    Reply(String),
}

/// Why a callback is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The signature is missing or wrong.
    #[error("the signature does not match: check the token on both sides")]
    Forged,
    /// It is too old, or its time lies in the future.
    #[error("the timestamp is more than 5 minutes from this gateway's time: check its clock")]
    Stale,
    /// Its signature came with another body before.
    #[error("the signature was used for another body before")]
    Replayed,
    /// It is not encrypted, or with another key, or for another account.
    #[error("cannot decrypt the message: check encoding_aes_key, app_id and the mode on both sides")]
    Unreadable,
    /// It does not have the form of WeChat's callbacks.
    #[error("the callback is malformed: {0}")]
    Malformed(String),
    /// Too many callbacks are in progress.
    #[error("too many callbacks are in progress")]
    Overloaded,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Refused {
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

/// A genuine message, and how to encrypt the answer.
struct Opened {
    message: Message,
    /// The key that decrypted it; none in plain mode.
    key: Option<MessageKey>,
    /// In plain mode, the signature, which must not come again with another body.
    single_use: Option<SingleUse>,
}

/// A signature that does not cover the body, and the body it came with.
struct SingleUse {
    /// The key of the value in the store.
    key: String,
    /// The body's SHA-256, in base64.
    body: String,
}

impl Wechat {
    /// Answers the check that WeChat makes when someone enters the gateway's address in its console.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn check(&self, query: &CallbackQuery) -> Result<String, Refused> {
        let checked = match self.check_at(query, SystemTime::now()) {
            Ok(()) if self.settings.keys.is_empty() => self.use_up(&self.single_use(query, b"")).await,
            checked => checked,
        };
        match &checked {
            Ok(()) => self.metrics.connectors.called_back("wechat", "checked"),
            Err(refused) => self.count_refused(refused),
        }
        checked.map(|()| query.echostr.clone())
    }

    fn check_at(&self, query: &CallbackQuery, now: SystemTime) -> Result<(), Refused> {
        query.bounded()?;
        self.verify(&query.signature, &[&query.timestamp, &query.nonce])?;
        query.in_time(now)
    }

    /// Processes a callback. Answers within four seconds, whether the work is finished or not.
    ///
    /// # Errors
    /// [`Refused`]; then nothing was changed.
    pub async fn receive(self: &Arc<Self>, query: &CallbackQuery, body: &[u8]) -> Result<Answer, Refused> {
        let received = self.process(query, body).await;
        if let Err(refused) = &received {
            self.count_refused(refused);
        }
        received
    }

    fn count_refused(&self, refused: &Refused) {
        self.metrics.connectors.called_back("wechat", refused.as_str());
        if !self.journal.admits("refused a callback", Some(refused.as_str())) {
            return;
        }
        if matches!(refused, Refused::Stale) {
            // If this gateway's clock is wrong, it refuses all callbacks.
            tracing::warn!(why = %refused, "refused a callback");
        } else {
            tracing::info!(why = %refused, "refused a callback");
        }
    }

    async fn process(self: &Arc<Self>, query: &CallbackQuery, body: &[u8]) -> Result<Answer, Refused> {
        let answer_at = Instant::now() + ANSWER_WITHIN;
        let opened = self.open(query, body, SystemTime::now())?;
        let permit = tokio::time::timeout_at(answer_at, Arc::clone(&self.callback_permits).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else { return Err(Refused::Overloaded) };
        let (done, answer) = oneshot::channel();
        let (this, message) = (Arc::clone(self), opened.message.clone());
        crate::task::spawn("wechat-callback", async move {
            let result = this.work(&message, opened.single_use).await;
            drop(permit);
            // A receiver that still waits for the answer logs the error.
            if let Err(Err(refused)) = done.send(result) {
                this.metrics.connectors.called_back("wechat", refused.as_str());
                tracing::error!(why = %refused, "could not process a callback; the person must scan again");
            }
        });
        let reply = match tokio::time::timeout_at(answer_at, answer).await {
            Ok(result) => result.unwrap_or_else(|_panicked| Err(interrupted()))?,
            Err(_elapsed) => {
                self.metrics.connectors.called_back("wechat", "late");
                tracing::warn!("answered a callback before it was processed");
                None
            }
        };
        match reply {
            Some(text) => self.wrap(&opened.message, opened.key.as_ref(), &query.nonce, &text),
            None => Ok(Answer::Success),
        }
    }

    /// Verifies and decrypts a callback.
    fn open(&self, query: &CallbackQuery, body: &[u8], now: SystemTime) -> Result<Opened, Refused> {
        query.bounded()?;
        let CallbackQuery { timestamp, nonce, .. } = query;
        let parse = |text: &[u8]| Fields::parse(text).map_err(|error| Refused::Malformed(error.to_string()));
        let read = |fields: &Fields| {
            Message::read(fields).ok_or_else(|| Refused::Malformed("it lacks a required element".to_owned()))
        };
        if self.settings.keys.is_empty() {
            self.verify(&query.signature, &[timestamp, nonce])?;
            query.in_time(now)?;
            let fields = parse(body)?;
            if fields.get("Encrypt").is_some() {
                return Err(Refused::Unreadable);
            }
            let single_use = Some(self.single_use(query, body));
            return Ok(Opened { message: read(&fields)?, key: None, single_use });
        }
        let outer = parse(body)?;
        let encrypted = outer.get("Encrypt").ok_or(Refused::Unreadable)?;
        self.verify(&query.msg_signature, &[timestamp, nonce, encrypted])?;
        query.in_time(now)?;
        let app_id = &self.settings.app_id;
        let decrypt = |key: &MessageKey| Some((key.decrypt(encrypted, app_id).ok()?, key.clone()));
        let (text, key) = self.settings.keys.iter().find_map(decrypt).ok_or(Refused::Unreadable)?;
        let message = read(&parse(text.as_bytes())?)?;
        // The query's time is signed, but an attacker may have swapped it with the nonce: WeChat sorts the parts before it
        // hashes them.
        in_window(message.created, now)?;
        Ok(Opened { message, key: Some(key), single_use: None })
    }

    fn single_use(&self, query: &CallbackQuery, body: &[u8]) -> SingleUse {
        SingleUse {
            key: format!("wechat:used:{}:{}", self.settings.app_id, query.signature),
            body: STANDARD.encode(digest::digest(&digest::SHA256, body)),
        }
    }

    /// Binds a signature to the first body that it came with.
    async fn use_up(&self, SingleUse { key, body }: &SingleUse) -> Result<(), Refused> {
        let is_first = self.store.put_value(key, body, SEEN_TTL, Put::IfAbsent).await?;
        if is_first { Ok(()) } else { Err(Refused::Replayed) }
    }

    fn verify(&self, signature: &str, parts: &[&str]) -> Result<(), Refused> {
        let is_good = crypto::is_signature(signature, self.settings.token.reveal(), parts);
        if is_good { Ok(()) } else { Err(Refused::Forged) }
    }

    /// Does the work of a message unless it was done before; retries while the store is unavailable.
    async fn work(&self, message: &Message, single_use: Option<SingleUse>) -> Result<Option<String>, Refused> {
        let give_up_at = Instant::now() + RETRY_FOR;
        // The same in every attempt, so that one that seemed to fail is recognised.
        let mark = format!("?{}", RandomId::new());
        loop {
            match self.work_once(message, single_use.as_ref(), &mark).await {
                Err(Refused::Store(StoreError::Unavailable(_))) if Instant::now() < give_up_at => {
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                result => return result,
            }
        }
    }

    async fn work_once(
        &self,
        message: &Message,
        single_use: Option<&SingleUse>,
        mark: &str,
    ) -> Result<Option<String>, Refused> {
        // Before anything else: an attacker who sees the signature of an ignored message could send another body with it.
        if let Some(single_use) = single_use {
            self.use_up(single_use).await?;
        }
        if message.kind == Kind::Other {
            self.metrics.connectors.called_back("wechat", "ignored");
            return Ok(None);
        }
        let seen = format!("wechat:seen:{}:{}", self.settings.app_id, message.key);
        if !self.store.put_value(&seen, mark, WORKING_TTL, Put::IfAbsent).await? {
            self.metrics.connectors.called_back("wechat", "repeated");
            let answered = self.store.value(&seen).await?;
            return Ok(answered
                .and_then(|answered| Some(answered.strip_prefix('=')?.to_owned()))
                .filter(|text| !text.is_empty()));
        }
        let (result, reply) = self.act(message).await?;
        self.metrics.connectors.called_back("wechat", result);
        let answered = format!("={}", reply.as_deref().unwrap_or_default());
        self.store.put_value(&seen, &answered, SEEN_TTL, Put::Always).await?;
        Ok(reply)
    }

    /// Wraps `text` into an answer to `message`, encrypted with the message's key.
    fn wrap(&self, message: &Message, key: Option<&MessageKey>, nonce: &str, text: &str) -> Result<Answer, Refused> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let reply = format!(
            "<xml><ToUserName>{}</ToUserName><FromUserName>{}</FromUserName><CreateTime>{now}</CreateTime>\
             <MsgType><![CDATA[text]]></MsgType><Content>{}</Content></xml>",
            cdata(&message.openid),
            cdata(&message.account),
            cdata(text),
        );
        let Some(key) = key else { return Ok(Answer::Reply(reply)) };
        let encrypted =
            key.encrypt(&reply, &self.settings.app_id, random::bytes()).map_err(|_error| Refused::Unreadable)?;
        let signature = crypto::signature(self.settings.token.reveal(), &[&now.to_string(), nonce, &encrypted]);
        Ok(Answer::Reply(format!(
            "<xml><Encrypt>{}</Encrypt><MsgSignature>{}</MsgSignature><TimeStamp>{now}</TimeStamp><Nonce>{}</Nonce></xml>",
            cdata(&encrypted),
            cdata(&signature),
            cdata(nonce),
        )))
    }
}

fn interrupted() -> Refused {
    Refused::Store(StoreError::Unavailable("the work was interrupted".to_owned()))
}

impl CallbackQuery {
    fn bounded(&self) -> Result<(), Refused> {
        let all = [&self.signature, &self.timestamp, &self.nonce, &self.echostr, &self.msg_signature];
        let fits = |text: &&String| text.len() <= MAX_PARAMETER_BYTES;
        if all.iter().all(fits) { Ok(()) } else { Err(Refused::Malformed("a parameter is too long".to_owned())) }
    }

    /// Checks that it was sent recently.
    fn in_time(&self, now: SystemTime) -> Result<(), Refused> {
        let is_digits = !self.timestamp.is_empty() && self.timestamp.bytes().all(|byte| byte.is_ascii_digit());
        let sent = self.timestamp.parse::<u64>().ok().filter(|_| is_digits);
        in_window(sent.ok_or_else(|| Refused::Malformed("timestamp is not a number of seconds".to_owned()))?, now)
    }
}

fn in_window(sent: u64, now: SystemTime) -> Result<(), Refused> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    if now.abs_diff(sent) <= WINDOW.as_secs() { Ok(()) } else { Err(Refused::Stale) }
}

#[cfg(test)]
mod tests;
