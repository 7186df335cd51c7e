//! The rules that hold for every sequence of actions.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn any_action() -> impl Strategy<Value = (&'static str, Actor, u64)> {
    let actions = select(vec!["open", "scan", "confirm", "cancel", "claim"]);
    let actors = select(vec![Actor::Presenter, Actor::Scanner, Actor::Stranger]);
    // Most steps are short, so that sequences reach the later states.
    let pauses = prop_oneof![4 => 0..20_u64, 1 => 0..700_u64];
    (actions, actors, pauses)
}

proptest! {
    #[test]
    fn any_sequence_of_actions_keeps_the_rules(
        flow in select(vec![Flow::Login, Flow::Share]),
        actions in vec(any_action(), 0..16),
    ) {
        let parties = Parties::new(flow);
        let mut ticket = parties.pending();
        let mut now = T0;
        let mut openings = 0;
        for (action, actor, pause) in actions {
            now = now + Duration::from_secs(pause);
            match act(&parties, &ticket, action, actor, now) {
                Ok(Outcome::Changed(next)) => {
                    prop_assert!(now < ticket.deadline && now < next.deadline);
                    prop_assert_eq!(next.revision, ticket.revision + 1);
                    prop_assert_ne!(next.stamp, ticket.stamp);
                    prop_assert_eq!(&next.request, &ticket.request);
                    if action == "open" {
                        openings += 1;
                        prop_assert_eq!(flow, Flow::Login);
                        prop_assert_eq!(&ticket.state, &State::NEW);
                        prop_assert!(next.is_opened());
                        prop_assert_eq!(next.deadline, T0 + SIGN_IN);
                    } else {
                        prop_assert!(!next.is_opened());
                    }
                    ticket = next;
                }
                Ok(Outcome::Unchanged(same)) => prop_assert_eq!(&same, &ticket),
                Err(Refusal::Expired) => {
                    prop_assert!(now >= ticket.deadline);
                    break;
                }
                Err(_) => prop_assert!(now < ticket.deadline),
            }
            if matches!(ticket.state, State::Pending { .. }) {
                prop_assert!(ticket.scanner().is_none());
                prop_assert_eq!(ticket.deadline, T0 + if ticket.is_opened() { SIGN_IN } else { TTL });
            }
        }
        prop_assert!(openings <= 1);
    }
}
