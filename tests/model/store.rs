//! Redis as the gateways see it: a row on a primary, `get` and `replace` as in the two scripts, an expiry that is
//! reported when a command uses the key, a replica that lags, and a slot that migrates.

use scangate::store::Replaced;

use super::actors::Row;
use super::world::{Follows, Layout, Link, Rules, Setting, Subscription, Waits, World, Write};

impl World {
    /// `get`, as a gateway sends it.
    pub fn get(&mut self, setting: Setting, gateway: usize) -> Option<Row> {
        let node = self.route(setting, gateway);
        self.expire_key(node);
        self.nodes[node].clone()
    }

    /// `replace`, as a gateway sends it; also returns the node that executed it.
    pub fn replace(&mut self, setting: Setting, gateway: usize, write: &Write) -> (Replaced, usize) {
        let node = self.route(setting, gateway);
        (self.execute(setting.rules, node, write), node)
    }

    /// Executes a command that no caller waits for any more, if its node still accepts commands.
    pub fn execute_late_command(&mut self, setting: Setting, index: usize) {
        let (node, write) = self.late_commands.remove(index);
        let is_old_primary = setting.layout == Layout::Replicated && !self.has_replica;
        if node == self.primary || is_old_primary {
            self.execute(setting.rules, node, &write);
        }
    }

    /// Whether the data of a node would survive its failure, according to the rules.
    pub fn is_durable(&self, rules: Rules, node: usize) -> bool {
        let is_connected = node == self.primary && self.has_replica;
        if is_connected { self.nodes[0] == self.nodes[1] } else { rules.waits == Waits::Connected }
    }

    /// The replica receives the primary's writes.
    pub fn replicate(&mut self) {
        self.nodes[1 - self.primary] = self.nodes[self.primary].clone();
    }

    /// The replica becomes the primary, with its data. The old primary does not know yet.
    pub fn fail_over(&mut self) {
        self.primary = 1 - self.primary;
        self.has_replica = false;
    }

    /// A gateway loses the old primary and finds the new one.
    pub fn switch(&mut self, gateway: usize) {
        let primary = self.primary;
        let gateway = &mut self.gateways[gateway];
        (gateway.route, gateway.subscriber_node) = (primary, primary);
        (gateway.link, gateway.subscription) = (Link::Down, Subscription::None);
        self.has_lost_notification |= std::mem::take(&mut gateway.is_notified);
        gateway.has_gap = true;
    }

    /// The ticket's slot moves to the other node. Subscribers of the old node are notified.
    pub fn move_slot(&mut self) {
        let old = self.primary;
        self.primary = 1 - old;
        self.nodes[self.primary] = self.nodes[old].take();
        self.publish(old);
    }

    /// A gateway discovers the slot's node, and subscribes there if it `follows`.
    pub fn discover_slot(&mut self, gateway: usize, follows: bool) {
        let primary = self.primary;
        let gateway = &mut self.gateways[gateway];
        gateway.route = primary;
        if follows && gateway.subscriber_node != primary {
            (gateway.subscriber_node, gateway.link, gateway.subscription) = (primary, Link::Up, Subscription::None);
            (gateway.is_notified, gateway.has_gap) = (false, true);
        }
    }

    /// Returns the node that a command is sent to. In a Cluster, the wrong node redirects to the right one; an old
    /// primary does not know the new one.
    fn route(&mut self, setting: Setting, gateway: usize) -> usize {
        if setting.layout == Layout::Cluster && self.gateways[gateway].route != self.primary {
            self.discover_slot(gateway, setting.rules.follows != Follows::Nothing);
        }
        self.gateways[gateway].route
    }

    fn execute(&mut self, rules: Rules, node: usize, Write { current, next }: &Write) -> Replaced {
        self.expire_key(node);
        let Some(row) = &self.nodes[node] else { return Replaced::Gone };
        if next.deadline_secs() <= self.now {
            return Replaced::Gone;
        }
        if rules.compares_revisions && (row.revision, row.stamp) != (current.revision, current.stamp) {
            return Replaced::Conflict;
        }
        self.nodes[node] = Some(next.clone());
        self.publish(node);
        Replaced::Done
    }

    /// Deletes the key if its deadline has passed, and reports that: Redis does so when a command uses the key.
    fn expire_key(&mut self, node: usize) {
        if self.nodes[node].as_ref().is_some_and(|row| row.deadline_secs() <= self.now) {
            self.nodes[node] = None;
            self.publish(node);
        }
    }

    /// Notifies the subscribers of `node`. Redis does not repeat lost notifications.
    fn publish(&mut self, node: usize) {
        for gateway in &mut self.gateways {
            if gateway.subscriber_node == node && gateway.subscription != Subscription::None {
                match gateway.link {
                    Link::Up => gateway.is_notified = true,
                    Link::Broken => self.has_lost_notification = true,
                    Link::Down => {}
                }
            }
        }
    }
}
