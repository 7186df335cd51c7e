//! Tests of WeChat's published callbacks, and when they are accepted.

use super::*;
use crate::clients::Clients;
use crate::connectors::wechat::settings::{Consent, WechatSettings};
use crate::metrics::Metrics;
use crate::secret::Secret;
use crate::sign_in::{Lifetimes, SignIns};
use crate::signer::Signer;
use crate::store::memory::MemoryStore;
use crate::store::{Changes, Store};
use crate::ticket::TicketId;

struct NoWatchers;

impl Changes for NoWatchers {
    fn changed(&self, _id: &TicketId) {}
    fn missed(&self, _ids: Vec<TicketId>) {}
}

/// The account of WeChat's examples.
fn wechat(keys: &[&str]) -> Wechat {
    crate::app::install_crypto();
    let settings = WechatSettings {
        app_id: "wxba5fad812f8e6fb9".into(),
        secret: Secret::new("secret".into()),
        token: Secret::new("AAAAA".into()),
        keys: keys.iter().map(|key| key.parse().unwrap()).collect(),
        api_bases: vec!["http://127.0.0.1:1".parse().unwrap()],
        consent: Consent::Number,
        daily_codes: 100_000,
    };
    let minute = Duration::from_secs(60);
    let lifetimes = Lifetimes { ticket: minute, sign_in: minute, decision: minute, redeem: minute, token: minute };
    let store: Arc<dyn Store> = Arc::new(MemoryStore::open(1, Arc::new(NoWatchers)));
    let signer = Signer::open("https://gate.example", None).unwrap();
    let (metrics, log_limiter) = (Arc::new(Metrics::new()), Arc::default());
    let sign_ins = SignIns::new(Arc::clone(&store), signer, Arc::clone(&metrics), Arc::clone(&log_limiter), lifetimes);
    Wechat::new(settings, store, Clients::web_only(), sign_ins, metrics, log_limiter).unwrap()
}

fn at(secs: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(secs)
}

#[tokio::test]
async fn the_published_check_is_accepted_for_five_minutes_either_way() {
    let query = CallbackQuery {
        signature: "f464b24fc39322e44b38aa78f5edd27bd1441696".into(),
        timestamp: "1714036504".into(),
        nonce: "1514711492".into(),
        ..CallbackQuery::default()
    };
    for keys in [&[][..], &[&*"A".repeat(43)]] {
        let wechat = wechat(keys);
        for now in [1_714_036_204, 1_714_036_504, 1_714_036_804] {
            assert!(wechat.check_at(&query, at(now)).is_ok(), "{now}");
        }
        for now in [1_714_036_203, 1_714_036_805, 0] {
            assert!(matches!(wechat.check_at(&query, at(now)), Err(CallbackError::Stale)), "{now}");
        }
    }
}

#[tokio::test]
async fn the_published_message_is_accepted_only_with_its_signature() {
    let encrypted = "+qdx1OKCy+5JPCBFWw70tm0fJGb2Jmeia4FCB7kao+/Q5c/ohsOzQHi8khUOb05JCpj0JB4RvQMkUyus8TPxLKJGQqcvZqzDpVzazhZv6JsXUnnR8XGT740XgXZUXQ7vJVnAG+tE8NUd4yFyjPy7GgiaviNrlCTj+l5kdfMuFUPpRSrfMZuMcp3Fn2Pede2IuQrKEYwKSqFIZoNqJ4M8EajAsjLY2km32IIjdf8YL/P50F7mStwntrA2cPDrM1kb6mOcfBgRtWygb3VIYnSeOBrebufAlr7F9mFUPAJGj04=";
    let body = format!("<xml><ToUserName>gh_97417a04a28d</ToUserName><Encrypt>{encrypted}</Encrypt></xml>");
    let query = |msg_signature: &str| CallbackQuery {
        signature: "6c5c811b55cc85e0e1b54100749188c20beb3f5d".into(),
        timestamp: "1714112445".into(),
        nonce: "415670741".into(),
        msg_signature: msg_signature.into(),
        ..CallbackQuery::default()
    };
    let open = |keys: &[&str], signature: &str| {
        wechat(keys).verify_and_decrypt(&query(signature), body.as_bytes(), at(1_714_112_445)).map(drop).unwrap_err()
    };
    let (key, other) = (&*"A".repeat(43), &*"B".repeat(43));
    let (good, bad) = ("046e02f8204d34f8ba5fa3b1db94908f3df2e9b3", "046e02f8204d34f8ba5fa3b1db94908f3df2e9b4");
    // It is decrypted, and then refused because it is JSON.
    for keys in [&[key][..], &[other, key]] {
        let error = open(keys, good);
        assert!(matches!(&error, CallbackError::Malformed(why) if why.contains("outside")), "{error}");
    }
    assert!(matches!(open(&[other], good), CallbackError::Unreadable));
    assert!(matches!(open(&[key], bad), CallbackError::Forged));
    // In encrypted mode the other signature, which does not cover the body, has no effect.
    assert!(matches!(open(&[key], "6c5c811b55cc85e0e1b54100749188c20beb3f5d"), CallbackError::Forged));
}
