//! A gateway's subscriber connection: it subscribes to what has seats, is cut, connects again, closes the gap.

use super::world::{Gateway, Link, Place, Rules, Subscription, World};

/// What the connection, or Redis at its other end, can do next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Move {
    /// The notification arrives, and wakes.
    Notify,
    /// The gateway finds out that the connection is broken: a ping was not answered.
    Notice,
    Reconnect,
    Subscribe,
    Acknowledge,
    Unsubscribe,
}

impl World {
    pub fn bus_moves(&self, gateway: usize) -> Vec<Move> {
        let Gateway { link, subscription, is_notified, .. } = self.gateways[gateway];
        let is_wanted = self.has_seats(gateway);
        let mut moves = Vec::new();
        match link {
            Link::Broken => moves.push(Move::Notice),
            Link::Down => moves.push(Move::Reconnect),
            Link::Up => {
                if is_notified {
                    moves.push(Move::Notify);
                }
                match subscription {
                    Subscription::None if is_wanted => moves.push(Move::Subscribe),
                    Subscription::Made => moves.push(Move::Acknowledge),
                    Subscription::Acknowledged if !is_wanted => moves.push(Move::Unsubscribe),
                    Subscription::None | Subscription::Acknowledged => {}
                }
            }
        }
        moves
    }

    pub fn move_bus(&mut self, rules: Rules, index: usize, next: Move) {
        let is_wanted = self.has_seats(index);
        let gateway = &mut self.gateways[index];
        let mut is_woken = false;
        match next {
            Move::Notify => is_woken = std::mem::take(&mut gateway.is_notified),
            Move::Notice => {
                (gateway.link, gateway.subscription, gateway.has_gap) = (Link::Down, Subscription::None, true);
            }
            Move::Reconnect => {
                gateway.link = Link::Up;
                // With nothing watched there is nothing to read again.
                gateway.has_gap = is_wanted;
            }
            Move::Subscribe => gateway.subscription = Subscription::Made,
            Move::Acknowledge => {
                gateway.subscription = Subscription::Acknowledged;
                is_woken = std::mem::take(&mut gateway.has_gap) && rules.reads_after_gap;
            }
            Move::Unsubscribe => (gateway.subscription, gateway.is_notified) = (Subscription::None, false),
        }
        if is_woken {
            self.wake(index);
        }
    }

    /// The connection breaks, and what was on its way is lost.
    pub fn cut(&mut self, gateway: usize) {
        let gateway = &mut self.gateways[gateway];
        gateway.link = Link::Broken;
        self.has_lost |= std::mem::take(&mut gateway.is_notified);
    }

    /// A gateway crashes and is started again: its streams end, what it was doing is not done, what it knew is forgotten.
    pub fn crash(&mut self, gateway: usize) {
        for browser in &mut self.browsers {
            if matches!(&browser.at, Place::At(stream) if stream.gateway == gateway) {
                browser.at = Place::Away;
            }
        }
        for person in &mut self.people {
            person.doing.take_if(|doing| doing.gateway == gateway);
        }
        self.gateways[gateway] = Gateway::new(self.primary);
    }
}
