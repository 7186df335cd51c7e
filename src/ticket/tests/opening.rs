//! Opening a ticket, and the requirements on the approver's sign-in.

use serde_json::json;

use super::*;

#[test]
fn an_opened_ticket_lives_for_the_sign_in_time_from_its_creation() {
    let parties = Parties::new(Flow::Login);
    let late = T0 + Duration::from_secs(119);
    let opened = parties.pending().open(late, SIGN_IN).unwrap().into_ticket();
    assert_eq!((opened.deadline, opened.revision, opened.is_opened()), (T0 + SIGN_IN, 2, true));
    let again = opened.open(late + Duration::from_secs(400), SIGN_IN).unwrap();
    assert_eq!(again, Outcome::Unchanged(opened), "a repeated request prolongs nothing");
}

#[test]
fn opening_does_not_shorten_a_ticket() {
    let ticket = Parties::new(Flow::Login).pending();
    assert_eq!(ticket.open(T0, Duration::from_secs(30)).unwrap().into_ticket().deadline, T0 + TTL);
}

#[test]
fn opening_binds_no_one() {
    let parties = Parties::new(Flow::Login);
    let opened = parties.opened();
    assert_eq!((opened.scanner(), opened.approver()), (None, None));
    for actor in [Actor::Scanner, Actor::Stranger] {
        assert!(!opened.is_party(parties.party(actor)), "{actor:?}");
        let scanned = act(&parties, &opened, "scan", actor, T0 + Duration::from_secs(599)).unwrap().into_ticket();
        assert_eq!(scanned.deadline, T0 + Duration::from_secs(659), "the decision time is left");
        assert!(!scanned.is_opened());
    }
}

#[test]
fn a_ticket_with_the_code_of_a_connector_is_not_opened() {
    let mut ticket = Parties::new(Flow::Login).pending();
    ticket.request.code = Some("http://we.example/q/1".to_owned());
    assert_eq!(ticket.open(T0, SIGN_IN), Err(Refusal::NotPermitted));
}

#[test]
fn an_opened_ticket_has_another_stamp_and_is_read_by_earlier_versions() {
    /// The state in a version that knows no opened tickets.
    #[derive(serde::Deserialize)]
    #[serde(tag = "state", rename_all = "lowercase")]
    enum Earlier {
        Pending,
    }

    let parties = Parties::new(Flow::Login);
    let (pending, opened) = (parties.pending(), parties.opened());
    assert_ne!(pending.stamp, opened.stamp);
    assert_eq!(serde_json::to_string(&pending.state).unwrap(), r#"{"state":"pending"}"#);
    assert_eq!(serde_json::to_string(&opened.state).unwrap(), r#"{"state":"pending","opened":true}"#);
    let read = serde_json::from_str(&serde_json::to_string(&opened.state).unwrap());
    assert!(matches!(read, Ok(Earlier::Pending)));
}

#[test]
fn the_requirements_of_a_ticket_are_stored() {
    let mut request = Parties::new(Flow::Login).pending().request;
    assert!(!serde_json::to_string(&request).unwrap().contains("freshness"));
    request.freshness =
        Freshness { max_auth_age_secs: Some(300), acr_values: vec!["mfa".to_owned()], ..Freshness::default() };
    let text = serde_json::to_string(&request).unwrap();
    assert!(text.ends_with(r#""freshness":{"max_auth_age_secs":300,"acr_values":["mfa"]}}"#), "{text}");
    assert_eq!(serde_json::from_str::<TicketRequest>(&text).unwrap(), request);
}

fn demanding(flow: Flow) -> (Parties, Ticket) {
    let parties = Parties::new(flow);
    let mut ticket = parties.scanned();
    ticket.request.freshness =
        Freshness { max_auth_age_secs: Some(60), acr_values: vec!["mfa".to_owned()], ..Freshness::default() };
    (parties, ticket)
}

#[test]
fn an_old_or_weak_sign_in_does_not_confirm() {
    // T0 is 1,000 s after the epoch, and clocks may differ by 30 s.
    let cases = [
        (json!({"auth_time": 990, "acr": "mfa"}), Verdict::To("confirmed")),
        (json!({"auth_time": 900, "acr": "mfa"}), Verdict::No(Refusal::SignInTooOld)),
        (json!({"acr": "mfa"}), Verdict::No(Refusal::SignInTooOld)),
        (json!({"auth_time": 990, "acr": "pwd"}), Verdict::No(Refusal::StrongerSignInNeeded)),
        (json!({"auth_time": 990}), Verdict::No(Refusal::StrongerSignInNeeded)),
    ];
    for flow in [Flow::Login, Flow::Share] {
        let (parties, ticket) = demanding(flow);
        for (claims, expected) in &cases {
            let decision = Decision::all(claims.as_object().unwrap());
            assert_eq!(verdict(confirm(&ticket, &parties.approver(), decision)), *expected, "{flow:?} {claims}");
        }
    }
}

#[test]
fn an_old_sign_in_is_told_to_the_approver_only_and_uses_up_no_number() {
    let (parties, mut ticket) = demanding(Flow::Login);
    ticket.request.matching = random::matching(MatchPolicy::Choose);
    let claims = Claims::new();
    let right = ticket.request.matching.as_ref().unwrap().number;
    let wrong =
        ["10", "11"].map(|text| text.parse::<MatchNumber>().unwrap()).into_iter().find(|number| *number != right);
    let decision = Decision { number: wrong, ..Decision::all(&claims) };
    let refused = |by: Actor| verdict(confirm(&ticket, &parties.person(by), decision));
    assert_eq!(refused(Actor::Scanner), Verdict::No(Refusal::SignInTooOld));
    assert_eq!(refused(Actor::Stranger), Verdict::No(Refusal::NotPermitted));
}

#[test]
fn a_confirmed_ticket_stays_confirmed_when_the_sign_in_ages() {
    let parties = Parties::new(Flow::Login);
    let mut ticket = parties.confirmed();
    ticket.request.freshness =
        Freshness { max_auth_age_secs: Some(60), acr_values: Vec::new(), ..Freshness::default() };
    assert_eq!(verdict(confirm(&ticket, &parties.approver(), Decision::all(&Claims::new()))), Verdict::Unchanged);
}

#[test]
fn the_client_of_a_scanner_may_require_more() {
    let parties = Parties::new(Flow::Share);
    let ticket = parties.scanned();
    let State::Scanned { mut scanner } = ticket.state.clone() else { panic!() };
    let freshness = Freshness { max_auth_age_secs: None, acr_values: vec!["mfa".to_owned()], ..Freshness::default() };
    scanner.audience =
        Some(Audience { client_id: ClientId("kiosk".into()), claims: vec![], matching: None, freshness });
    let at_kiosk = Ticket { state: State::Scanned { scanner }, ..ticket };
    let (weak, strong) = (Claims::new(), json!({"acr": "mfa"}));
    let by = |claims| verdict(confirm(&at_kiosk, &parties.approver(), Decision::all(claims)));
    assert_eq!(by(&weak), Verdict::No(Refusal::StrongerSignInNeeded));
    assert_eq!(by(strong.as_object().unwrap()), Verdict::To("confirmed"));
}
