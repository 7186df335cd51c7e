//! Refresh tokens: their form, their rotation, and the decision about a presented one (RFC 6749 §6, RFC 9700 §4.14.2).
//!
//! A token's successor is derived from its secret and from a salt in the store. So a client whose answer was lost gets
//! the same successor again, although the store has only hashes. A thief of an old token lacks the salt, and a reader
//! of the store lacks the secret: neither can compute a successor.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;

use super::grants::{Handle, RefreshState};
use super::record;
use crate::random;
use crate::ticket::Timestamp;

/// How long the token before the current one still returns the current one. A client repeats a lost request within
/// seconds. A thief who is as fast gets the same successor, and is noticed at the next rotation.
pub const REFRESH_GRACE: Duration = Duration::from_secs(30);
/// The length of a secret and of a salt, in bytes.
const BYTES: usize = 32;
/// The maximum length of the number, in digits.
const MAX_DIGITS: usize = 10;

/// A refresh token: `{handle}.{number}.{secret}`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct RefreshToken {
    /// Names the grant.
    pub(super) handle: Handle,
    number: u32,
    secret: [u8; BYTES],
}

/// The decision about a presented token.
#[derive(PartialEq, Eq)]
pub(super) enum Decision {
    /// It is the current one: rotate it.
    Rotate,
    /// It is the one before, within the grace: return this current one, which the client did not receive.
    SameAgain(RefreshToken),
    /// It is an old one: two parties have it.
    Reuse,
    /// It does not belong to this grant.
    Foreign,
    /// It is newer than the current one: the store has lost a rotation.
    Lost,
    /// It was not used for too long.
    Idle,
}

impl RefreshToken {
    /// Makes the first token of a grant.
    pub(super) fn first(handle: Handle) -> Self {
        Self { handle, number: 1, secret: random::bytes() }
    }

    /// Reads a token; `None` for any text but the form that [`RefreshToken::reveal`] returns.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let (handle, number, secret) = (parts.next()?, parts.next()?, parts.next()?);
        let is_number = number.len() <= MAX_DIGITS && number.bytes().all(|byte| byte.is_ascii_digit());
        if parts.next().is_some() || !is_number || number.starts_with('0') {
            return None;
        }
        let mut bytes = [0; BYTES];
        let is_secret = matches!(URL_SAFE_NO_PAD.decode_slice(secret, &mut bytes), Ok(BYTES));
        is_secret.then_some(())?;
        Some(Self { handle: Handle::parse(handle)?, number: number.parse().ok()?, secret: bytes })
    }

    /// Returns the text form, only for the client.
    pub(super) fn reveal(&self) -> String {
        format!("{}.{}.{}", self.handle.reveal(), self.number, URL_SAFE_NO_PAD.encode(self.secret))
    }

    /// Returns the successor, and the record in which it is the current one.
    pub(super) fn rotate(&self, state: &RefreshState, salt: [u8; BYTES], now: Timestamp) -> (Self, RefreshState) {
        let next = self.successor(&salt);
        let state = RefreshState {
            number: next.number,
            current: record::hash(&next.secret),
            previous: Some(state.current.clone()),
            salt: URL_SAFE_NO_PAD.encode(salt),
            rotated_at: now,
        };
        (next, state)
    }

    fn successor(&self, salt: &[u8]) -> Self {
        let number = self.number.saturating_add(1);
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.secret));
        context.update(b"scangate refresh\0");
        context.update(self.handle.grant_id().as_str().as_bytes());
        context.update(&number.to_be_bytes());
        context.update(salt);
        let mut secret = [0; BYTES];
        secret.copy_from_slice(context.sign().as_ref());
        Self { handle: self.handle, number, secret }
    }

    fn has_hash(&self, hash: &str) -> bool {
        record::hash(&self.secret).as_bytes().ct_eq(hash.as_bytes()).into()
    }
}

impl RefreshState {
    /// Returns the record of a grant's first token.
    pub(super) fn first(token: &RefreshToken, now: Timestamp) -> Self {
        let current = record::hash(&token.secret);
        Self { number: token.number, current, previous: None, salt: String::new(), rotated_at: now }
    }
}

/// Decides about `token` at `now`, by the record of its grant. A token may stay unused for `idle`.
pub(super) fn decide(state: &RefreshState, token: &RefreshToken, now: Timestamp, idle: Duration) -> Decision {
    let age = now.since(state.rotated_at);
    if token.number > state.number {
        return Decision::Lost;
    }
    if token.number == state.number {
        return match (token.has_hash(&state.current), age <= idle) {
            (true, true) => Decision::Rotate,
            (true, false) => Decision::Idle,
            (false, _) => Decision::Foreign,
        };
    }
    let is_previous =
        token.number + 1 == state.number && state.previous.as_ref().is_some_and(|hash| token.has_hash(hash));
    if is_previous && age <= REFRESH_GRACE {
        let next = URL_SAFE_NO_PAD.decode(&state.salt).ok().map(|salt| token.successor(&salt));
        if let Some(next) = next.filter(|next| next.has_hash(&state.current)) {
            return Decision::SameAgain(next);
        }
    }
    Decision::Reuse
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Timestamp = Timestamp(1_700_000_000_000);
    const IDLE: Duration = Duration::from_secs(600);

    fn first() -> (RefreshToken, RefreshState) {
        let token = RefreshToken::first(Handle::generate());
        let state = RefreshState::first(&token, START);
        (token, state)
    }

    fn word(decision: &Decision) -> &'static str {
        match decision {
            Decision::Rotate => "rotate",
            Decision::SameAgain(_) => "same again",
            Decision::Reuse => "reuse",
            Decision::Foreign => "foreign",
            Decision::Lost => "lost",
            Decision::Idle => "idle",
        }
    }

    #[test]
    fn a_presented_token_means_one_of_six_things() {
        let (one, state_one) = first();
        let (two, state_two) = one.rotate(&state_one, [7; BYTES], START);
        let (three, state_three) = two.rotate(&state_two, [8; BYTES], START);
        let forged = |token: &RefreshToken| RefreshToken { secret: [0; BYTES], ..token.clone() };
        let late = START + REFRESH_GRACE + Duration::from_millis(1);
        let rows = [
            (&state_one, one.clone(), START, "rotate"),
            (&state_one, one.clone(), START + IDLE, "rotate"),
            (&state_one, one.clone(), START + IDLE + Duration::from_millis(1), "idle"),
            (&state_one, forged(&one), START, "foreign"),
            (&state_one, two.clone(), START, "lost"),
            (&state_two, one.clone(), START + REFRESH_GRACE, "same again"),
            (&state_two, one.clone(), late, "reuse"),
            (&state_two, forged(&one), START, "reuse"),
            (&state_two, two.clone(), late, "rotate"),
            (&state_three, one, START, "reuse"),
            (&state_three, two.clone(), START, "same again"),
            (&state_three, three, START, "rotate"),
        ];
        for (row, (state, token, at, expected)) in rows.into_iter().enumerate() {
            assert_eq!(word(&decide(state, &token, at, IDLE)), expected, "row {row}");
        }
        let Decision::SameAgain(again) = decide(&state_three, &two, START, IDLE) else { panic!("not again") };
        assert!(again.has_hash(&state_three.current), "another successor than the first time");
    }

    #[test]
    fn a_successor_needs_the_secret_and_the_salt() {
        let (one, state) = first();
        let (two, rotated) = one.rotate(&state, [7; BYTES], START);
        for salt in [&[8; BYTES][..], b"", rotated.salt.as_bytes()] {
            assert!(one.successor(salt) != two, "the salt {salt:?} gives the successor");
        }
        let other = RefreshToken { secret: [0; BYTES], ..one.clone() };
        assert!(other.successor(&[7; BYTES]) != two);
        let stored = serde_json::to_string(&rotated).unwrap();
        for token in [&one, &two] {
            assert!(
                !stored.contains(&URL_SAFE_NO_PAD.encode(token.secret)) && !stored.contains(&token.handle.reveal())
            );
        }
    }

    #[test]
    fn an_access_token_does_not_say_how_the_refresh_token_begins() {
        let handle = Handle::generate();
        assert_ne!(handle.grant_id().as_str(), handle.reveal());
        assert_eq!(handle.grant_id(), Handle::parse(&handle.reveal()).unwrap().grant_id());
    }

    /// A step of a party.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        /// The client refreshes. Its answer may be lost.
        Client { is_lost: bool },
        /// The thief takes the client's current token.
        Steal,
        /// The thief refreshes.
        Thief,
        /// Time passes, in seconds.
        Wait(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => any::<bool>().prop_map(|is_lost| Step::Client { is_lost }),
            1 => Just(Step::Steal),
            2 => Just(Step::Thief),
            2 => (1_u64..40).prop_map(Step::Wait),
        ];
        prop::collection::vec(step, 1..40)
    }

    proptest! {
        #[test]
        fn any_text_is_the_form_of_a_token_or_refused(
            text in "[A-Za-z0-9_-]{22}\\.[0-9]{1,10}\\.[A-Za-z0-9_-]{43}|.{0,90}",
        ) {
            if let Some(token) = RefreshToken::parse(&text) {
                prop_assert_eq!(token.reveal(), text);
            }
        }

        /// A client alone never loses its sign-in. A thief and the client never have different tokens that both work.
        /// If either uses an older token after the grace, the sign-in ends for both.
        #[test]
        fn two_parties_never_have_two_working_tokens(steps in steps()) {
            let (first, mut state) = first();
            let (mut client, mut thief) = (first, None::<RefreshToken>);
            let (mut now, mut is_ended, mut has_thief_used) = (START, false, false);
            let mut salt = 0_u8;
            for step in steps {
                let (presented, is_client, is_lost) = match step {
                    Step::Wait(secs) => {
                        now = now + Duration::from_secs(secs);
                        continue;
                    }
                    Step::Steal => {
                        thief = Some(client.clone());
                        continue;
                    }
                    Step::Client { is_lost } => (client.clone(), true, is_lost),
                    Step::Thief => match &thief {
                        Some(token) => (token.clone(), false, false),
                        None => continue,
                    },
                };
                if is_ended {
                    continue;
                }
                let gap = state.number - presented.number;
                let next = match decide(&state, &presented, now, Duration::from_secs(100_000)) {
                    Decision::Rotate => {
                        prop_assert_eq!(gap, 0);
                        salt = salt.wrapping_add(1);
                        let (next, rotated) = presented.rotate(&state, [salt; BYTES], now);
                        state = rotated;
                        next
                    }
                    Decision::SameAgain(next) => {
                        prop_assert!(gap == 1 && now.since(state.rotated_at) <= REFRESH_GRACE);
                        next
                    }
                    Decision::Reuse => {
                        prop_assert!(gap > 1 || now.since(state.rotated_at) > REFRESH_GRACE);
                        // If the client lost an answer and waited longer than the grace, it ends its own sign-in.
                        is_ended = true;
                        continue;
                    }
                    Decision::Foreign | Decision::Lost | Decision::Idle => unreachable!("all tokens are of this grant"),
                };
                prop_assert!(next.has_hash(&state.current), "a token that does not work was issued");
                has_thief_used |= !is_client;
                match (is_client, is_lost) {
                    (true, false) => client = next,
                    (true, true) => {}
                    (false, _) => thief = Some(next),
                }
            }
            // Both may have the same token, but never two different ones that work.
            let works = |token: &RefreshToken| !is_ended && token.has_hash(&state.current);
            if let Some(thief) = &thief && works(thief) && works(&client) {
                prop_assert!(*thief == client && (has_thief_used || thief.number == client.number));
            }
        }
    }
}
