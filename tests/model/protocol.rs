//! The model that is checked: its initial state and its actions.
//!
//! The system takes inner actions by itself, sooner or later. Outer actions come from outside: people act, time passes,
//! something fails. A state that has only outer actions is at rest. So "at rest" is a property of one state, and the
//! model needs no assumptions on fairness or infinite runs.

use scangate::ticket::Flow;
use stateright::{Model, Property};

use super::actors::{Actor, Operation, Row};
use super::properties;
use super::streams::StreamStep;
use super::subscriber::SubscriberStep;
use super::transition::Progress;
use super::world::{
    Browser, Connection, Faults, Follows, GATEWAYS, Gateway, Layout, Link, Owner, Person, Rules, Setting, Stage, World,
};

/// The operations of one person, in order. Of each list, the person chooses one.
#[derive(Clone, Copy)]
pub struct Plan(pub Actor, pub &'static [&'static [Operation]]);

pub struct Protocol {
    pub flow: Flow,
    pub setting: Setting,
    /// The operations before the initial state.
    pub before: &'static [(Actor, Operation)],
    /// The number of these that the replica does not have yet.
    pub unreplicated: usize,
    pub people: &'static [Plan],
    pub browsers: &'static [Actor],
    pub faults: Faults,
    /// Whether time passes.
    pub ticks: bool,
    /// The properties that some state must have. Without them, the invariants could hold because nothing happens.
    pub reachable: fn() -> Vec<Property<Protocol>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    // Inner actions.
    Subscriber(usize, SubscriberStep),
    Stream(usize, StreamStep),
    CompleteCommand(usize),
    Replicate,
    Rejoin,
    Switch(usize),
    // Outer actions.
    Begin(usize, Operation, usize),
    Tick(u64),
    Cut(usize),
    Crash(usize),
    Break(usize),
    LoseReply(Owner, bool),
    ExecuteLate(usize),
    MoveSlot,
    DiscoverSlot(usize),
    FailOver,
}

impl Protocol {
    /// Removes a rule, so that a test can expect a violation.
    pub fn with(mut self, change: impl FnOnce(&mut Rules)) -> Self {
        change(&mut self.setting.rules);
        self.reachable = Vec::new;
        self
    }

    /// Returns the inner actions, which the system takes in any order.
    pub fn inner(&self, world: &World) -> Vec<Action> {
        let mut actions = Vec::new();
        for gateway in 0..GATEWAYS {
            actions.extend(world.subscriber_steps(gateway).into_iter().map(|next| Action::Subscriber(gateway, next)));
        }
        for browser in 0..world.browsers.len() {
            actions.extend(
                world.stream_steps(self.setting.rules, browser).into_iter().map(|step| Action::Stream(browser, step)),
            );
        }
        for (index, person) in world.people.iter().enumerate() {
            if person.ongoing.as_ref().is_some_and(|ongoing| world.can_complete(self.setting.rules, ongoing)) {
                actions.push(Action::CompleteCommand(index));
            }
        }
        if self.setting.layout == Layout::Replicated {
            let outdated = (0..GATEWAYS).filter(|&gateway| world.gateways[gateway].route != world.primary);
            actions.extend(outdated.map(Action::Switch));
            if world.has_replica && world.nodes[0] != world.nodes[1] {
                actions.push(Action::Replicate);
            }
            if !world.has_replica && world.gateways.iter().all(|gateway| gateway.route == world.primary) {
                actions.push(Action::Rejoin);
            }
        }
        actions
    }

    fn outer(&self, world: &World, actions: &mut Vec<Action>) {
        let faults_left = world.faults_left;
        for (index, (person, Plan(_, operations))) in world.people.iter().zip(self.people).enumerate() {
            if person.ongoing.is_none() && person.done < operations.len() {
                // The choice of the gateway matters only if the gateways may differ.
                let are_equivalent = self.setting.layout == Layout::Single || world.has_equal_gateways();
                let gateways = if are_equivalent { 1 } else { GATEWAYS };
                for operation in operations[person.done] {
                    actions.extend((0..gateways).map(|gateway| Action::Begin(index, *operation, gateway)));
                }
            }
        }
        if let Some(next) = self.next_tick(world) {
            actions.push(Action::Tick(next));
        }
        for gateway in 0..GATEWAYS {
            if faults_left.cuts > 0 && world.gateways[gateway].link == Link::Up && world.has_registrations(gateway) {
                actions.push(Action::Cut(gateway));
            }
            if faults_left.crashes > 0 && world.streams(gateway).next().is_some() {
                actions.push(Action::Crash(gateway));
            }
            let is_elsewhere = world.gateways[gateway].route != world.primary;
            if self.setting.layout == Layout::Cluster && is_elsewhere {
                actions.push(Action::DiscoverSlot(gateway));
            }
        }
        for (index, browser) in world.browsers.iter().enumerate() {
            if faults_left.breaks > 0 && matches!(browser.connection, Connection::Open(_)) {
                actions.push(Action::Break(index));
            }
        }
        if faults_left.losses > 0 {
            for (owner, _, transition) in world.ongoing_transitions() {
                let is_sent_again = matches!(transition.stage, Stage::Replace(..)).then_some(true);
                let chances = [Some(false), is_sent_again].into_iter().flatten();
                actions.extend(chances.map(|is_sent_again| Action::LoseReply(owner, is_sent_again)));
            }
        }
        actions.extend((0..world.late_commands.len()).map(Action::ExecuteLate));
        if faults_left.moves > 0 && world.current().is_some() {
            actions.push(Action::MoveSlot);
        }
        if faults_left.failovers > 0 {
            actions.push(Action::FailOver);
        }
    }

    /// Returns the next time at which something is due.
    fn next_tick(&self, world: &World) -> Option<u64> {
        let rows = world.nodes.iter().flatten();
        let due = rows.flat_map(|row| [Some(row.deadline_secs()), row.redeemable().map(|(until, _)| until)]);
        let timers = (0..GATEWAYS).flat_map(|gateway| world.streams(gateway).map(|stream| stream.timer));
        due.chain(timers).flatten().filter(|&at| self.ticks && at > world.now).min()
    }

    /// Advances a transition by its progress.
    fn advance(&self, world: &mut World, owner: Owner, progress: Progress) {
        match owner {
            Owner::Person(index) => {
                let person = &mut world.people[index];
                person.ongoing = None;
                match progress {
                    Progress::Continues(transition) => person.ongoing = Some(transition),
                    Progress::Done(row, _) => {
                        person.done += 1;
                        if row.is_confirmed() || row.redeemable().is_some() {
                            world.acknowledged_until = Some(row.deadline_secs());
                        }
                    }
                    Progress::Gone | Progress::Refused => person.done += 1,
                    // The person tries again, or chooses another operation.
                    Progress::Failed => {}
                }
            }
            Owner::Browser(index) => {
                let Connection::Open(stream) = world.browsers[index].connection.clone() else { return };
                world.browsers[index].connection = world.advance(self.setting.rules, index, stream, progress);
            }
        }
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let row = Row::after(self.flow, self.before);
        let replicated = Row::after(self.flow, &self.before[..self.before.len() - self.unreplicated]);
        let is_replicated = self.setting.layout == Layout::Replicated;
        let browser = |&actor: &Actor| Browser { actor, connection: Connection::Closed, seen: None };
        vec![World {
            now: 0,
            nodes: [Some(row), is_replicated.then_some(replicated)],
            primary: 0,
            has_replica: is_replicated,
            gateways: std::array::from_fn(|_| Gateway::new(0)),
            browsers: self.browsers.iter().map(browser).collect(),
            people: self.people.iter().map(|&Plan(actor, _)| Person { actor, done: 0, ongoing: None }).collect(),
            late_commands: Vec::new(),
            faults_left: self.faults,
            delivered: Vec::new(),
            acknowledged_until: None,
            has_lost_notification: false,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        *actions = self.inner(world);
        self.outer(world, actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        let setting = self.setting;
        match action {
            Action::Subscriber(gateway, step) => next.take_subscriber_step(setting.rules, gateway, step),
            Action::Stream(browser, step) => next.take_stream_step(setting, browser, step),
            Action::CompleteCommand(index) => {
                let transition = next.people[index].ongoing.clone()?;
                let progress = next.complete_command(setting, next.people[index].actor, transition);
                self.advance(&mut next, Owner::Person(index), progress);
            }
            Action::Replicate => next.replicate(),
            Action::Rejoin => next.has_replica = true,
            Action::Switch(gateway) => next.switch(gateway),
            Action::Begin(index, operation, gateway) => {
                let progress = next.begin(setting, next.people[index].actor, operation, gateway);
                self.advance(&mut next, Owner::Person(index), progress);
            }
            Action::Tick(now) => next.now = now,
            Action::Cut(gateway) => {
                next.faults_left.cuts -= 1;
                next.cut(gateway);
            }
            Action::Crash(gateway) => {
                next.faults_left.crashes -= 1;
                next.crash(gateway);
            }
            Action::Break(browser) => {
                next.faults_left.breaks -= 1;
                next.browsers[browser].connection = Connection::Closed;
            }
            Action::LoseReply(owner, is_sent_again) => {
                next.faults_left.losses -= 1;
                let (_, _, transition) = world.ongoing_transitions().into_iter().find(|(whose, ..)| *whose == owner)?;
                let progress = next.lose_reply(transition.clone(), is_sent_again);
                self.advance(&mut next, owner, progress);
            }
            Action::ExecuteLate(index) => next.execute_late_command(setting, index),
            Action::MoveSlot => {
                next.faults_left.moves -= 1;
                next.move_slot();
            }
            Action::DiscoverSlot(gateway) => {
                next.discover_slot(gateway, setting.rules.follows == Follows::EveryRedirect);
            }
            Action::FailOver => {
                next.faults_left.failovers -= 1;
                next.fail_over();
            }
        }
        next.sort_tabs();
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = properties::always();
        properties.extend((self.reachable)());
        properties
    }
}
