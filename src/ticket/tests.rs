//! The parties and tickets of all tests, and single rules. `table` has the complete table of states, actions and parties,
//! `actions` the rules for every sequence of actions.

use std::time::Duration;

use super::*;
use crate::random;

mod actions;
mod freshness;
mod opening;
mod table;

const T0: Timestamp = Timestamp(1_000_000);
const TTL: Duration = Duration::from_secs(120);
const DECISION: Duration = Duration::from_secs(60);
const REDEEM: Duration = Duration::from_secs(30);
const SIGN_IN: Duration = Duration::from_secs(600);
const TOKEN: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Actor {
    Presenter,
    Scanner,
    Stranger,
}

fn person(name: &str) -> Person {
    Person { subject: Subject(name.to_owned()), name: Some(name.to_owned()), picture: None }
}

struct Parties {
    flow: Flow,
    presenter: Party,
    scanner: Party,
    stranger: Party,
}

impl Parties {
    fn new(flow: Flow) -> Self {
        let browser = || Party::Browser(random::binding_secret().hash());
        match flow {
            Flow::Login => Self {
                flow,
                presenter: browser(),
                scanner: Party::Person(person("ada")),
                stranger: Party::Person(person("mallory")),
            },
            Flow::Share => {
                Self { flow, presenter: Party::Person(person("ada")), scanner: browser(), stranger: browser() }
            }
        }
    }

    fn party(&self, actor: Actor) -> &Party {
        match actor {
            Actor::Presenter => &self.presenter,
            Actor::Scanner => &self.scanner,
            Actor::Stranger => &self.stranger,
        }
    }

    /// The person that `actor` confirms as; a browser has none, so it confirms as a stranger.
    fn person(&self, actor: Actor) -> Person {
        match self.party(actor) {
            Party::Person(person) => person.clone(),
            Party::Browser(_) => person("nobody"),
        }
    }

    fn pending(&self) -> Ticket {
        let request = TicketRequest {
            flow: self.flow,
            client_id: ClientId("web".into()),
            presenter: self.presenter.clone(),
            requester: Device { ip: [192, 0, 2, 1].into(), browser: None, os: None },
            matching: None,
            release: vec!["name".into()],
            code: None,
            freshness: Freshness::default(),
            authorization: None,
        };
        NewTicket { id: random::ticket_id(), request, ttl: TTL }.at(T0)
    }

    /// A ticket that a phone opened; in `share` it cannot be opened.
    fn opened(&self) -> Ticket {
        self.pending().open(T0, SIGN_IN).map_or_else(|_refused| self.pending(), Outcome::into_ticket)
    }

    fn scanned(&self) -> Ticket {
        self.pending()
            .scan(&Scanner::with_id(self.scanner.clone(), random::scanner_id()), T0, DECISION)
            .unwrap()
            .into_ticket()
    }

    fn approver(&self) -> Person {
        self.person(if self.flow == Flow::Login { Actor::Scanner } else { Actor::Presenter })
    }

    fn recipient(&self) -> &Party {
        self.party(if self.flow == Flow::Login { Actor::Presenter } else { Actor::Scanner })
    }

    fn confirmed(&self) -> Ticket {
        confirm(&self.scanned(), &self.approver(), Decision::all(&Claims::new())).unwrap().into_ticket()
    }

    fn claimed(&self) -> Ticket {
        self.confirmed().claim(self.recipient(), "one", TOKEN, T0).unwrap().into_ticket()
    }

    fn cancelled(&self) -> Ticket {
        self.scanned().cancel(&self.presenter, CancelReason::Closed, T0).unwrap().into_ticket()
    }
}

/// Confirms for the present scanner.
fn confirm(ticket: &Ticket, by: &Person, decision: Decision<'_>) -> Result<Outcome, Refusal> {
    let scanner = ticket.scanner_id().map(|id| id.to_string());
    ticket.confirm(by, Decision { scanner: scanner.as_deref(), ..decision }, T0, REDEEM)
}

/// The result of an action without the ticket: a new state, no change, or a refusal.
#[derive(Debug, PartialEq)]
enum Verdict {
    To(&'static str),
    Unchanged,
    No(Refusal),
}

fn verdict(result: Result<Outcome, Refusal>) -> Verdict {
    match result {
        Ok(Outcome::Changed(ticket)) => Verdict::To(match ticket.state {
            State::Pending { opened: false } => "pending",
            State::Pending { opened: true } => "opened",
            State::Scanned { .. } => "scanned",
            State::Confirmed { .. } => "confirmed",
            State::Claimed { .. } => "claimed",
            State::Cancelled { .. } => "cancelled",
        }),
        Ok(Outcome::Unchanged(_)) => Verdict::Unchanged,
        Err(refusal) => Verdict::No(refusal),
    }
}

fn act(parties: &Parties, ticket: &Ticket, action: &str, actor: Actor, now: Timestamp) -> Result<Outcome, Refusal> {
    let party = parties.party(actor);
    match action {
        "open" => ticket.open(now, SIGN_IN),
        "scan" => ticket.scan(&Scanner::with_id(party.clone(), random::scanner_id()), now, DECISION),
        "confirm" => {
            let (claims, scanner) = (Claims::new(), ticket.scanner_id().map(|id| id.to_string()));
            let decision = Decision { scanner: scanner.as_deref(), ..Decision::all(&claims) };
            ticket.confirm(&parties.person(actor), decision, now, REDEEM)
        }
        "cancel" => ticket.cancel(party, CancelReason::Declined, now),
        "claim" => ticket.claim(party, "two", TOKEN, now),
        other => panic!("no action {other}"),
    }
}

#[test]
fn a_late_scan_leaves_the_decision_time() {
    let parties = Parties::new(Flow::Login);
    let late = T0 + Duration::from_secs(119);
    let ticket = parties
        .pending()
        .scan(&Scanner::with_id(parties.scanner.clone(), random::scanner_id()), late, DECISION)
        .unwrap()
        .into_ticket();
    assert_eq!(ticket.deadline, late + DECISION);
}

#[test]
fn an_early_scan_does_not_shorten_the_ticket() {
    let parties = Parties::new(Flow::Login);
    assert_eq!(parties.scanned().deadline, T0 + TTL);
}

#[test]
fn a_second_claim_keeps_the_first_receipt() {
    let parties = Parties::new(Flow::Login);
    let again = parties.claimed().claim(parties.recipient(), "two", TOKEN, T0 + Duration::from_secs(5)).unwrap();
    let State::Claimed { receipt, .. } = again.into_ticket().state else { panic!("not claimed") };
    assert_eq!(receipt.jti, "one");
    assert_eq!(receipt.expires_at, T0 + TOKEN);
    assert_eq!(receipt.redeem_until, T0 + REDEEM);
}

#[test]
fn a_person_is_known_by_subject_and_not_by_name() {
    let renamed = Person { name: Some("Countess".into()), ..person("ada") };
    assert!(Party::Person(person("ada")).is(&Party::Person(renamed)));
    assert!(!Party::Person(person("ada")).is(&Party::Person(person("bob"))));
}

#[test]
fn a_stored_state_is_read_back() {
    let parties = Parties::new(Flow::Login);
    for ticket in [
        parties.pending(),
        parties.opened(),
        parties.scanned(),
        parties.confirmed(),
        parties.claimed(),
        parties.cancelled(),
    ] {
        let text = serde_json::to_string(&ticket.state).unwrap();
        assert_eq!(serde_json::from_str::<State>(&text).unwrap(), ticket.state);
        let text = serde_json::to_string(&ticket.request).unwrap();
        assert_eq!(serde_json::from_str::<TicketRequest>(&text).unwrap(), ticket.request);
    }
}

/// The form that 0.1 writes; docs/versioning.md promises that later versions read it.
const STORED_BY_0_1: [&str; 5] = [
    r#"{"state":"pending"}"#,
    r#"{"state":"scanned","scanner":{"party":{"person":{"subject":"ada","name":"Ada","picture":null}}}}"#,
    r#"{"state":"confirmed","scanner":{"party":{"person":{"subject":"ada","name":"Ada","picture":null}}},"grant":{"subject":"ada","claims":{"name":"Ada"},"confirmed_at":1795278498945}}"#,
    r#"{"state":"claimed","scanner":{"party":{"person":{"subject":"ada","name":"Ada","picture":null}}},"grant":{"subject":"ada","claims":{"name":"Ada"},"confirmed_at":1795278498945},"receipt":{"jti":"eCKrh5TScHnJlwIesOcKzQ","issued_at":1795278499033,"expires_at":1795282099033,"redeem_until":1795278528945}}"#,
    r#"{"state":"cancelled","scanner":null,"reason":"closed"}"#,
];
const REQUEST_OF_0_1: &str = r#"{"flow":"login","client_id":"web","presenter":{"browser":"09SgXVFSZOSJ_fHwm1vmW2jXtm9Ywagr3Vz2I24hUZo"},"requester":{"ip":"127.0.0.1","browser":"Firefox","os":"Linux"},"return_to":null,"matching":null,"release":["name"],"code":null}"#;

/// Reads `stored`, and again with a field that a later version may have added.
fn read_now_and_later<T: serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(stored: &str) -> T {
    let read = serde_json::from_str(stored).unwrap();
    let later = stored.replacen('{', r#"{"of_a_later_version":[1],"#, 1);
    assert_eq!(serde_json::from_str::<T>(&later).unwrap(), read);
    read
}

#[test]
fn the_stored_form_of_0_1_is_read_and_written_unchanged() {
    let names = STORED_BY_0_1.map(|stored| {
        let state: State = read_now_and_later(stored);
        assert_eq!(serde_json::to_string(&state).unwrap(), stored);
        stored.split('"').nth(3).unwrap()
    });
    assert_eq!(names, ["pending", "scanned", "confirmed", "claimed", "cancelled"]);
    let request: TicketRequest = read_now_and_later(REQUEST_OF_0_1);
    // 0.1 reads a request without the address, which is optional there.
    assert_eq!(serde_json::to_string(&request).unwrap(), REQUEST_OF_0_1.replace("\"return_to\":null,", ""));
}

#[test]
fn only_claims_that_were_asked_for_are_granted() {
    let parties = Parties::new(Flow::Login);
    let all = serde_json::json!({"name": "Ada", "email": "ada@example.com", "sub": "ada"});
    let granted = |release: Option<&[String]>| {
        let outcome = confirm(
            &parties.scanned(),
            &parties.approver(),
            Decision { release, ..Decision::all(all.as_object().unwrap()) },
        );
        outcome.map(|outcome| match outcome.into_ticket().state {
            State::Confirmed { grant, .. } => grant.claims.keys().cloned().collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(granted(None), Ok(vec!["name".to_owned()]));
    assert_eq!(granted(Some(&[])), Ok(vec![]));
    assert_eq!(granted(Some(&["email".to_owned()])), Err(Refusal::NotOffered));
}

fn matched(flow: Flow) -> (Parties, Ticket, Matching) {
    let parties = Parties::new(flow);
    let mut pending = parties.pending();
    pending.request.matching = random::matching(MatchPolicy::Choose);
    let matching = pending.request.matching.clone().unwrap();
    (parties, pending, matching)
}

#[test]
fn there_is_one_attempt_at_a_number() {
    for flow in [Flow::Login, Flow::Share] {
        let (parties, pending, matching) = matched(flow);
        let ticket = pending
            .scan(&Scanner::with_id(parties.scanner.clone(), random::scanner_id()), T0, DECISION)
            .unwrap()
            .into_ticket();
        let claims = Claims::new();
        let with = |ticket: &Ticket, number| {
            confirm(ticket, &parties.approver(), Decision { number, ..Decision::all(&claims) })
        };
        let wrong = *matching.choices.iter().find(|choice| **choice != matching.number).unwrap();

        assert_eq!(verdict(with(&ticket, None)), Verdict::No(Refusal::NumberMissing));
        let right = with(&ticket, Some(matching.number)).unwrap().into_ticket();
        assert!(matches!(right.state, State::Confirmed { .. }));
        assert_eq!(verdict(with(&right, Some(wrong))), Verdict::Unchanged, "a grant cannot be changed");

        let ended = with(&ticket, Some(wrong)).unwrap().into_ticket();
        assert!(matches!(&ended.state, State::Cancelled { reason: CancelReason::Mismatch, scanner: Some(_) }));
        assert_eq!(ended.deadline, T0 + FINAL_STATE_TTL);
        assert_eq!(verdict(with(&ended, Some(matching.number))), Verdict::No(Refusal::Mismatch));
    }
}

#[test]
fn an_unexpected_number_is_refused() {
    let parties = Parties::new(Flow::Login);
    let claims = Claims::new();
    let decision = Decision { number: "42".parse().ok(), ..Decision::all(&claims) };
    assert_eq!(
        verdict(confirm(&parties.scanned(), &parties.approver(), decision)),
        Verdict::No(Refusal::UnexpectedNumber)
    );
}

#[test]
fn a_share_is_granted_only_to_the_scanner_that_the_approver_saw() {
    let parties = Parties::new(Flow::Share);
    let seen = parties.scanned();
    let another = Scanner::with_id(parties.stranger.clone(), random::scanner_id());
    let swapped = Ticket { state: State::Scanned { scanner: another }, ..seen.clone() };
    let claims = Claims::new();
    let by = |ticket: &Ticket, scanner: Option<&str>| {
        verdict(ticket.confirm(&parties.approver(), Decision { scanner, ..Decision::all(&claims) }, T0, REDEEM))
    };
    let id = seen.scanner_id().map(|id| id.to_string());
    assert_eq!(by(&seen, None), Verdict::No(Refusal::ScannerMissing));
    assert_eq!(by(&swapped, id.as_deref()), Verdict::No(Refusal::ScannerChanged));
    assert_eq!(by(&seen, id.as_deref()), Verdict::To("confirmed"));
}

#[test]
fn a_scanner_id_reveals_no_subject() {
    let parties = Parties::new(Flow::Share);
    let (ticket, again) = (parties.scanned(), parties.scanned());
    assert_ne!(ticket.scanner_id(), again.scanner_id(), "every scan has a new id, even of the same scanner");
    let id = ticket.scanner_id().unwrap();
    let rescanned =
        ticket.scan(&Scanner::with_id(parties.scanner.clone(), random::scanner_id()), T0, DECISION).unwrap();
    assert_eq!(rescanned.into_ticket().scanner_id(), Some(id), "a repeated scan keeps the id that the approver saw");
    assert!(!id.is(""));
    assert!(!id.is(&id.to_string()[1..]));
}

#[test]
fn a_share_without_a_scanner_id_is_refused() {
    let parties = Parties::new(Flow::Share);
    let seen = parties.scanned();
    let without_id = Ticket { state: State::Scanned { scanner: Scanner::of(parties.scanner.clone()) }, ..seen.clone() };
    let (claims, id) = (Claims::new(), seen.scanner_id().unwrap().to_string());
    for scanner in ["", id.as_str()] {
        let decision = Decision { scanner: Some(scanner), ..Decision::all(&claims) };
        let result = without_id.confirm(&parties.approver(), decision, T0, REDEEM);
        assert_eq!(verdict(result), Verdict::No(Refusal::ScannerChanged));
    }
}

#[test]
fn a_scanner_may_use_another_client() {
    let parties = Parties::new(Flow::Share);
    let ticket = parties.scanned();
    let State::Scanned { mut scanner } = ticket.state.clone() else { panic!() };
    scanner.audience = Some(Audience {
        client_id: ClientId("kiosk".into()),
        claims: vec![],
        matching: None,
        freshness: Freshness::default(),
    });
    let at_kiosk = Ticket { state: State::Scanned { scanner }, ..ticket.clone() };
    assert_eq!(at_kiosk.audience().0, "kiosk");
    assert_eq!(at_kiosk.offered(), Vec::<&String>::new(), "the kiosk may have no claim");
}
