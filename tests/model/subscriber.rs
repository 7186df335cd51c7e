//! A gateway's subscriber connection: it subscribes to tickets with registrations, breaks, reconnects, and reads
//! the tickets again.

use super::world::{Connection, Gateway, Link, Rules, Subscription, World};

/// The next step of the connection, or of Redis at its other end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SubscriberStep {
    /// The notification arrives and wakes the streams.
    Notify,
    /// The gateway notices that the connection is broken, by a ping without a reply.
    Notice,
    Reconnect,
    Subscribe,
    Acknowledge,
    Unsubscribe,
}

impl World {
    pub fn subscriber_steps(&self, gateway: usize) -> Vec<SubscriberStep> {
        let Gateway { link, subscription, is_notified, .. } = self.gateways[gateway];
        let is_wanted = self.has_registrations(gateway);
        let mut steps = Vec::new();
        match link {
            Link::Broken => steps.push(SubscriberStep::Notice),
            Link::Down => steps.push(SubscriberStep::Reconnect),
            Link::Up => {
                if is_notified {
                    steps.push(SubscriberStep::Notify);
                }
                match subscription {
                    Subscription::None if is_wanted => steps.push(SubscriberStep::Subscribe),
                    Subscription::Made => steps.push(SubscriberStep::Acknowledge),
                    Subscription::Acknowledged if !is_wanted => steps.push(SubscriberStep::Unsubscribe),
                    Subscription::None | Subscription::Acknowledged => {}
                }
            }
        }
        steps
    }

    pub fn take_subscriber_step(&mut self, rules: Rules, index: usize, next: SubscriberStep) {
        let is_wanted = self.has_registrations(index);
        let gateway = &mut self.gateways[index];
        let mut is_woken = false;
        match next {
            SubscriberStep::Notify => is_woken = std::mem::take(&mut gateway.is_notified),
            SubscriberStep::Notice => {
                (gateway.link, gateway.subscription, gateway.has_gap) = (Link::Down, Subscription::None, true);
            }
            SubscriberStep::Reconnect => {
                gateway.link = Link::Up;
                // If no ticket is watched, there is nothing to read again.
                gateway.has_gap = is_wanted;
            }
            SubscriberStep::Subscribe => gateway.subscription = Subscription::Made,
            SubscriberStep::Acknowledge => {
                gateway.subscription = Subscription::Acknowledged;
                is_woken = std::mem::take(&mut gateway.has_gap) && rules.reads_after_gap;
            }
            SubscriberStep::Unsubscribe => (gateway.subscription, gateway.is_notified) = (Subscription::None, false),
        }
        if is_woken {
            self.wake(index);
        }
    }

    /// The connection breaks, and notifications in transit are lost.
    pub fn cut(&mut self, gateway: usize) {
        let gateway = &mut self.gateways[gateway];
        gateway.link = Link::Broken;
        self.has_lost_notification |= std::mem::take(&mut gateway.is_notified);
    }

    /// A gateway crashes and restarts: its streams end, its transitions stop, and its state is lost.
    pub fn crash(&mut self, gateway: usize) {
        for browser in &mut self.browsers {
            if matches!(&browser.connection, Connection::Open(stream) if stream.gateway == gateway) {
                browser.connection = Connection::Closed;
            }
        }
        for person in &mut self.people {
            person.ongoing.take_if(|ongoing| ongoing.gateway == gateway);
        }
        self.gateways[gateway] = Gateway::new(self.primary);
    }
}
