//! The comparison of a client's requirements with the approver's sign-in.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn check(freshness: &Freshness, claims: &serde_json::Value) -> Result<(), Refusal> {
    Authentication::of(claims.as_object().unwrap(), NOW).check(freshness, NOW)
}

fn within(secs: u32) -> Freshness {
    Freshness { max_auth_age_secs: Some(secs), acr_values: Vec::new(), ..Freshness::default() }
}

fn of_class(values: &[&str]) -> Freshness {
    Freshness {
        max_auth_age_secs: None,
        acr_values: values.iter().map(|&value| value.to_owned()).collect(),
        ..Freshness::default()
    }
}

#[test]
fn without_requirements_any_sign_in_is_accepted() {
    for claims in [json!({}), json!({"auth_time": 0}), json!({"acr": "0"})] {
        assert_eq!(check(&Freshness::default(), &claims), Ok(()), "{claims}");
    }
}

#[test]
fn an_old_sign_in_is_refused() {
    let freshness = within(300);
    assert_eq!(check(&freshness, &json!({"auth_time": 1_699_999_701})), Ok(()));
    assert_eq!(check(&freshness, &json!({"auth_time": 1_699_999_670})), Ok(()), "two clocks may differ");
    for claims in [
        json!({"auth_time": 1_699_999_669}),
        json!({"auth_time": 0}),
        json!({"auth_time": "1699999999"}),
        json!({"auth_time": 1_700_000_031}),
        json!({"iat": 1_700_000_000}),
        json!({}),
    ] {
        assert_eq!(check(&freshness, &claims), Err(Refusal::SignInTooOld), "{claims}");
    }
}

#[test]
fn the_age_that_a_request_allows_counts_back_from_the_creation_of_the_ticket() {
    let freshness = Freshness { request_max_age_secs: Some(60), ..Freshness::default() };
    let created_at = NOW;
    let check = |auth_time: u64| {
        let claims = json!({ "auth_time": auth_time });
        let later = created_at + Duration::from_secs(900);
        Authentication::of(claims.as_object().unwrap(), later).check_request(&freshness, created_at)
    };
    for auth_time in [1_700_000_800, 1_700_000_000, 1_699_999_940, 1_699_999_910] {
        assert_eq!(check(auth_time), Ok(()), "{auth_time}");
    }
    assert_eq!(check(1_699_999_909), Err(Refusal::SignInTooOld));
    let nothing = Authentication::default();
    assert_eq!(nothing.check_request(&freshness, created_at), Err(Refusal::SignInTooOld), "no auth_time");
    assert_eq!(nothing.check_request(&within(1), created_at), Ok(()), "the client's own bound is checked elsewhere");
}

#[test]
fn the_provider_is_asked_for_the_smaller_age() {
    let of = |own, request| {
        let freshness = Freshness { request_max_age_secs: request, max_auth_age_secs: own, acr_values: Vec::new() };
        freshness.as_of(Duration::from_secs(100)).max_auth_age_secs
    };
    assert_eq!([of(None, None), of(Some(90), None), of(None, Some(0))], [None, Some(90), Some(100)]);
    assert_eq!([of(Some(300), Some(60)), of(Some(90), Some(u32::MAX))], [Some(160), Some(90)]);
}

#[test]
fn a_weak_sign_in_is_refused() {
    let freshness = of_class(&["phr", "mfa"]);
    assert_eq!(check(&freshness, &json!({"acr": "mfa"})), Ok(()));
    for claims in [json!({"acr": "pwd"}), json!({"acr": ["mfa"]}), json!({"amr": ["mfa"]}), json!({})] {
        assert_eq!(check(&freshness, &claims), Err(Refusal::StrongerSignInNeeded), "{claims}");
    }
}

#[test]
fn the_stored_form_is_read_back() {
    for freshness in [Freshness::default(), within(300), of_class(&["mfa"])] {
        let text = serde_json::to_string(&freshness).unwrap();
        assert_eq!(serde_json::from_str::<Freshness>(&text).unwrap(), freshness);
    }
    assert_eq!(serde_json::to_string(&Freshness::default()).unwrap(), "{}");
}

proptest! {
    #[test]
    fn a_sign_in_is_accepted_exactly_up_to_the_maximum_age(age in 0_u32..10_000, max_age in 0_u32..10_000) {
        let claims = json!({"auth_time": NOW.unix_seconds() - u64::from(age)});
        let is_accepted = check(&within(max_age), &claims).is_ok();
        prop_assert_eq!(is_accepted, age <= max_age + CLOCK_LEEWAY_SECS);
    }

    #[test]
    fn a_longer_maximum_never_refuses_more(auth_time in any::<f64>(), less in any::<u32>(), more in any::<u32>()) {
        let claims = json!({"auth_time": auth_time});
        let (less, more) = (less.min(more), less.max(more));
        prop_assert!(check(&within(less), &claims).is_err() || check(&within(more), &claims).is_ok());
    }
}

#[test]
fn a_scanner_in_login_is_asked_for_a_fresh_sign_in_while_the_ticket_waits() {
    let old = json!({"auth_time": 1, "acr": "mfa"});
    for (flow, expected) in [(Flow::Login, Err(Refusal::SignInTooOld)), (Flow::Share, Ok(()))] {
        let parties = Parties::new(flow);
        for (ticket, expected) in [
            (parties.pending(), expected),
            (parties.opened(), expected),
            // `confirm` checks from here on.
            (parties.scanned(), Ok(())),
            (parties.confirmed(), Ok(())),
        ] {
            let mut ticket = ticket;
            assert_eq!(ticket.check_scanner(old.as_object().unwrap(), NOW), Ok(()), "no requirements");
            ticket.request.freshness = within(60);
            assert_eq!(ticket.check_scanner(old.as_object().unwrap(), NOW), expected, "{flow:?} {:?}", ticket.state);
        }
    }
}
