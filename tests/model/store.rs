//! Redis as the gateways see it: a row on a primary, `get` and `replace` as the two scripts are, expiry that is told when
//! somebody touches the key, a replica that lags, a slot that moves.

use scangate::store::Replaced;

use super::cast::Row;
use super::world::{Follows, Layout, Link, Rules, Setting, Subscription, Waits, World, Write};

impl World {
    /// `get`, as a gateway sends it.
    pub fn get(&mut self, setting: Setting, gateway: usize) -> Option<Row> {
        let node = self.route(setting, gateway);
        self.touch(node);
        self.nodes[node].clone()
    }

    /// `replace`, as a gateway sends it; also says which node has executed it.
    pub fn replace(&mut self, setting: Setting, gateway: usize, write: &Write) -> (Replaced, usize) {
        let node = self.route(setting, gateway);
        (self.execute(setting.rules, node, write), node)
    }

    /// Executes a command that nobody waits for any more, if the node it was sent to still would.
    pub fn execute_stray(&mut self, setting: Setting, index: usize) {
        let (node, write) = self.strays.remove(index);
        let is_old_primary = setting.layout == Layout::Replicated && !self.has_replica;
        if node == self.primary || is_old_primary {
            self.execute(setting.rules, node, &write);
        }
    }

    /// Whether what a node holds would survive the node, as far as the rules go.
    pub fn is_durable(&self, rules: Rules, node: usize) -> bool {
        let is_connected = node == self.primary && self.has_replica;
        if is_connected { self.nodes[0] == self.nodes[1] } else { rules.waits == Waits::Connected }
    }

    /// The replica receives what the primary has done.
    pub fn replicate(&mut self) {
        self.nodes[1 - self.primary] = self.nodes[self.primary].clone();
    }

    /// The replica is made the primary, with what it has. The old one does not know yet.
    pub fn fail_over(&mut self) {
        self.primary = 1 - self.primary;
        self.has_replica = false;
    }

    /// A gateway loses the old primary and finds the new one.
    pub fn switch(&mut self, gateway: usize) {
        let primary = self.primary;
        let gateway = &mut self.gateways[gateway];
        (gateway.route, gateway.home) = (primary, primary);
        (gateway.link, gateway.subscription) = (Link::Down, Subscription::None);
        self.has_lost |= std::mem::take(&mut gateway.is_notified);
        gateway.has_gap = true;
    }

    /// The ticket's slot goes to the other node, which those hear who have subscribed at the old one.
    pub fn move_slot(&mut self) {
        let old = self.primary;
        self.primary = 1 - old;
        self.nodes[self.primary] = self.nodes[old].take();
        self.publish(old);
    }

    /// A gateway learns where the slot is, and subscribes there if it `follows`.
    pub fn learn(&mut self, gateway: usize, follows: bool) {
        let primary = self.primary;
        let gateway = &mut self.gateways[gateway];
        gateway.route = primary;
        if follows && gateway.home != primary {
            (gateway.home, gateway.link, gateway.subscription) = (primary, Link::Up, Subscription::None);
            (gateway.is_notified, gateway.has_gap) = (false, true);
        }
    }

    /// Where a command goes. In a cluster the wrong node says which one is right; an old primary knows nothing of a new one.
    fn route(&mut self, setting: Setting, gateway: usize) -> usize {
        if setting.layout == Layout::Cluster && self.gateways[gateway].route != self.primary {
            self.learn(gateway, setting.rules.follows != Follows::Nothing);
        }
        self.gateways[gateway].route
    }

    fn execute(&mut self, rules: Rules, node: usize, Write { current, next }: &Write) -> Replaced {
        self.touch(node);
        let Some(row) = &self.nodes[node] else { return Replaced::Gone };
        if next.ends() <= self.now {
            return Replaced::Gone;
        }
        if rules.compares_revisions && (row.revision, row.stamp) != (current.revision, current.stamp) {
            return Replaced::Conflict;
        }
        self.nodes[node] = Some(next.clone());
        self.publish(node);
        Replaced::Done
    }

    /// Redis deletes a key whose time is over, and says so, when somebody touches it.
    fn touch(&mut self, node: usize) {
        if self.nodes[node].as_ref().is_some_and(|row| row.ends() <= self.now) {
            self.nodes[node] = None;
            self.publish(node);
        }
    }

    /// Notifies those who have subscribed at `node`. Fire and forget.
    fn publish(&mut self, node: usize) {
        for gateway in &mut self.gateways {
            if gateway.home == node && gateway.subscription != Subscription::None {
                match gateway.link {
                    Link::Up => gateway.is_notified = true,
                    Link::Broken => self.has_lost = true,
                    Link::Down => {}
                }
            }
        }
    }
}
