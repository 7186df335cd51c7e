//! Tests of the parsers for replies of Redis and Sentinel.

use proptest::prelude::*;

use super::*;
use crate::store::redis::slots::slot_of;

fn entry(host: &str, port: u16) -> Value {
    let host = if host.is_empty() { Value::Nil } else { Value::BulkString(host.into()) };
    Value::Array(vec![host, Value::Int(port.into()), Value::BulkString("id".into()), Value::Array(Vec::new())])
}

fn row(first: u16, last: u16, nodes: &[(&str, u16)]) -> Value {
    let mut row = vec![Value::Int(first.into()), Value::Int(last.into())];
    row.extend(nodes.iter().map(|(host, port)| entry(host, *port)));
    Value::Array(row)
}

fn parse(rows: Vec<Value>) -> Result<SlotMap, RedisError> {
    parse_slots(&Value::Array(rows), 7, &Address::new("asked", 1))
}

#[test]
fn slots_have_a_primary_and_replicas_own_none() {
    let rows = vec![row(12_000, 16_383, &[("c", 3), ("d", 4)]), row(0, 11_999, &[("", 1), ("?", 2)])];
    let slots = parse(rows).unwrap();
    assert_eq!(slots.owner(slot_of("123456789")), Some(&Address::new("c", 3)));
    assert_eq!(slots.owner(0), Some(&Address::new("asked", 1)));
    assert_eq!(slots.primaries(), [&Address::new("asked", 1), &Address::new("c", 3)]);
    assert_eq!(slots.replicas, [Address::new("asked", 2), Address::new("d", 4)]);
}

#[test]
fn a_malformed_reply_is_refused() {
    for rows in [
        vec![],
        vec![Value::Nil],
        vec![row(0, 10, &[])],
        vec![row(10, 0, &[("a", 1)])],
        vec![row(0, 10, &[("a", 1)]), row(10, 20, &[("b", 1)])],
        vec![row(0, 16_384, &[("a", 1)])],
    ] {
        assert!(parse(rows.clone()).is_err(), "{rows:?}");
    }
}

#[test]
fn replicas_that_slots_do_not_list_are_found() {
    let nodes = "a 10.0.0.1:7001@17001 myself,master - 0 0 1 connected 0-16383\n\
                 b 10.0.0.2:7002@17002 slave,fail a 0 0 1 disconnected\n\
                 c 10.0.0.3:7003@17003,three slave a 0 0 1 connected\n\
                 d :0@0 slave,noaddr a 0 0 1 disconnected\n\
                 e 10.0.0.5:7005@17005 slave a 0 0 1 connected\n";
    let listed = [Address::new("three", 7003), Address::new("10.0.0.5", 7005)];
    assert_eq!(parse_unlisted_replicas(nodes, &listed), [Address::new("10.0.0.2", 7002)]);
}

#[test]
fn a_sentinels_view_of_a_primary_is_read() {
    let pairs = [
        ("ip", "10.0.0.1"),
        ("port", "6379"),
        ("flags", "master,s_down"),
        ("config-epoch", "3"),
        ("last-ok-ping-reply", "250"),
        ("num-other-sentinels", "2"),
        ("quorum", "x"),
    ];
    let fields = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let primary = WatchedPrimary { fields };
    assert_eq!((primary.address(), primary.epoch()), (Some(Address::new("10.0.0.1", 6379)), 3));
    assert_eq!((primary.is_down(), primary.is_failing_over()), (true, false));
    assert_eq!(primary.last_reply_age(), Some(Duration::from_millis(250)));
    assert_eq!((primary.other_sentinels(), primary.quorum()), (Some(2), None));
    assert_eq!((WatchedPrimary::default().address(), WatchedPrimary::default().epoch()), (None, 0));
}

proptest! {
    #[test]
    fn every_slot_has_the_owner_in_the_reply(bounds in proptest::collection::btree_set(1..16_384_u16, 0..12)) {
        let starts: Vec<u16> = std::iter::once(0).chain(bounds).collect();
        let last = |index: usize| starts.get(index + 1).map_or(16_383, |next| next - 1);
        let rows = starts.iter().enumerate().map(|(index, &first)| row(first, last(index), &[("n", first)])).collect();
        let slots = parse(rows).unwrap();
        for slot in 0..=16_383 {
            let expected = starts.iter().rev().find(|&&first| first <= slot).copied().unwrap();
            prop_assert_eq!(slots.owner(slot), Some(&Address::new("n", expected)));
        }
        prop_assert!(slots.clone().filled_from(&SlotMap::single(Address::new("x", 1), 0)).has_same_owners(&slots));
    }
}
