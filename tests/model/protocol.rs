//! The model that is checked: where it begins, and which moves there are.
//!
//! A move is either one that the system makes of itself, sooner or later, or one that comes from outside: people act,
//! time passes, something breaks. Where only the latter are left, all has come to rest, and what must be true then is a
//! matter of that state alone; nothing has to be said of fairness or of endless runs.

use scangate::ticket::Flow;
use stateright::{Model, Property};

use super::bus::Move;
use super::cast::{Deed, Row, Who};
use super::properties;
use super::streams::Turn;
use super::transition::Progress;
use super::world::{
    Browser, By, Follows, GATEWAYS, Gateway, Layout, Link, Misfortune, Person, Place, Rules, Setting, Stage, World,
};

/// What one person does, in order; of each choice one deed.
#[derive(Clone, Copy)]
pub struct Plan(pub Who, pub &'static [&'static [Deed]]);

pub struct Protocol {
    pub flow: Flow,
    pub setting: Setting,
    /// What was done before the model begins.
    pub before: &'static [(Who, Deed)],
    /// How much of that the replica does not have yet.
    pub behind: usize,
    pub people: &'static [Plan],
    pub browsers: &'static [Who],
    pub ahead: Misfortune,
    /// Whether time passes.
    pub ticks: bool,
    /// What must be possible, lest the rest be true for want of anything happening.
    pub wonders: fn() -> Vec<Property<Protocol>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    // What the system does of itself.
    Bus(usize, Move),
    Stream(usize, Turn),
    Answer(usize),
    Replicate,
    Rejoin,
    Switch(usize),
    // What comes from outside.
    Begin(usize, Deed, usize),
    Tick(u64),
    Cut(usize),
    Crash(usize),
    Break(usize),
    Lose(By, bool),
    Stray(usize),
    MoveSlot,
    LearnSlot(usize),
    FailOver,
}

impl Protocol {
    /// Breaks a rule, to see what then goes wrong.
    pub fn with(mut self, change: impl FnOnce(&mut Rules)) -> Self {
        change(&mut self.setting.rules);
        self.wonders = Vec::new;
        self
    }

    /// What the system will do of itself, in any order.
    pub fn inner(&self, world: &World) -> Vec<Action> {
        let mut actions = Vec::new();
        for gateway in 0..GATEWAYS {
            actions.extend(world.bus_moves(gateway).into_iter().map(|next| Action::Bus(gateway, next)));
        }
        for browser in 0..world.browsers.len() {
            actions
                .extend(world.turns(self.setting.rules, browser).into_iter().map(|turn| Action::Stream(browser, turn)));
        }
        for (index, person) in world.people.iter().enumerate() {
            if person.doing.as_ref().is_some_and(|doing| world.is_answerable(self.setting.rules, doing)) {
                actions.push(Action::Answer(index));
            }
        }
        if self.setting.layout == Layout::Replicated {
            let behind = (0..GATEWAYS).filter(|&gateway| world.gateways[gateway].route != world.primary);
            actions.extend(behind.map(Action::Switch));
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
        let ahead = world.ahead;
        for (index, (person, Plan(_, deeds))) in world.people.iter().zip(self.people).enumerate() {
            if person.doing.is_none() && person.done < deeds.len() {
                // Which gateway it is makes a difference only where they may have gone different ways.
                let are_alike = self.setting.layout == Layout::Single || world.is_untouched();
                let gateways = if are_alike { 1 } else { GATEWAYS };
                for deed in deeds[person.done] {
                    actions.extend((0..gateways).map(|gateway| Action::Begin(index, *deed, gateway)));
                }
            }
        }
        if let Some(next) = self.next_tick(world) {
            actions.push(Action::Tick(next));
        }
        for gateway in 0..GATEWAYS {
            if ahead.cuts > 0 && world.gateways[gateway].link == Link::Up && world.has_seats(gateway) {
                actions.push(Action::Cut(gateway));
            }
            if ahead.crashes > 0 && world.streams(gateway).next().is_some() {
                actions.push(Action::Crash(gateway));
            }
            let is_elsewhere = world.gateways[gateway].route != world.primary;
            if self.setting.layout == Layout::Cluster && is_elsewhere {
                actions.push(Action::LearnSlot(gateway));
            }
        }
        for (index, browser) in world.browsers.iter().enumerate() {
            if ahead.breaks > 0 && matches!(browser.at, Place::At(_)) {
                actions.push(Action::Break(index));
            }
        }
        if ahead.losses > 0 {
            for (by, _, transition) in world.under_way() {
                let is_sent_again = matches!(transition.stage, Stage::Replace(..)).then_some(true);
                let chances = [Some(false), is_sent_again].into_iter().flatten();
                actions.extend(chances.map(|is_sent_again| Action::Lose(by, is_sent_again)));
            }
        }
        actions.extend((0..world.strays.len()).map(Action::Stray));
        if ahead.moves > 0 && world.truth().is_some() {
            actions.push(Action::MoveSlot);
        }
        if ahead.failovers > 0 {
            actions.push(Action::FailOver);
        }
    }

    /// The next time at which something is due.
    fn next_tick(&self, world: &World) -> Option<u64> {
        let rows = world.nodes.iter().flatten();
        let due = rows.flat_map(|row| [Some(row.ends()), row.redeemable().map(|(until, _)| until)]);
        let alarms = (0..GATEWAYS).flat_map(|gateway| world.streams(gateway).map(|stream| stream.alarm));
        due.chain(alarms).flatten().filter(|&at| self.ticks && at > world.now).min()
    }

    /// Goes on with a transition that has made progress.
    fn go_on(&self, world: &mut World, by: By, progress: Progress) {
        match by {
            By::Person(index) => {
                let person = &mut world.people[index];
                person.doing = None;
                match progress {
                    Progress::Goes(transition) => person.doing = Some(transition),
                    Progress::Done(row, _) => {
                        person.done += 1;
                        if row.is_confirmed() || row.redeemable().is_some() {
                            world.promised = Some(row.ends());
                        }
                    }
                    Progress::Gone | Progress::Refused => person.done += 1,
                    // They try again, or change their mind.
                    Progress::Failed => {}
                }
            }
            By::Browser(index) => {
                let Place::At(stream) = world.browsers[index].at.clone() else { return };
                world.browsers[index].at = world.go_on(self.setting.rules, index, stream, progress);
            }
        }
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let row = Row::after(self.flow, self.before);
        let replicated = Row::after(self.flow, &self.before[..self.before.len() - self.behind]);
        let is_replicated = self.setting.layout == Layout::Replicated;
        let browser = |&who: &Who| Browser { who, at: Place::Away, seen: None };
        vec![World {
            now: 0,
            nodes: [Some(row), is_replicated.then_some(replicated)],
            primary: 0,
            has_replica: is_replicated,
            gateways: std::array::from_fn(|_| Gateway::new(0)),
            browsers: self.browsers.iter().map(browser).collect(),
            people: self.people.iter().map(|&Plan(who, _)| Person { who, done: 0, doing: None }).collect(),
            strays: Vec::new(),
            ahead: self.ahead,
            handed_over: Vec::new(),
            promised: None,
            has_lost: false,
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
            Action::Bus(gateway, what) => next.move_bus(setting.rules, gateway, what),
            Action::Stream(browser, turn) => next.take_turn(setting, browser, turn),
            Action::Answer(index) => {
                let transition = next.people[index].doing.clone()?;
                let progress = next.answer(setting, next.people[index].who, transition);
                self.go_on(&mut next, By::Person(index), progress);
            }
            Action::Replicate => next.replicate(),
            Action::Rejoin => next.has_replica = true,
            Action::Switch(gateway) => next.switch(gateway),
            Action::Begin(index, deed, gateway) => {
                let progress = next.begin(setting, next.people[index].who, deed, gateway);
                self.go_on(&mut next, By::Person(index), progress);
            }
            Action::Tick(now) => next.now = now,
            Action::Cut(gateway) => {
                next.ahead.cuts -= 1;
                next.cut(gateway);
            }
            Action::Crash(gateway) => {
                next.ahead.crashes -= 1;
                next.crash(gateway);
            }
            Action::Break(browser) => {
                next.ahead.breaks -= 1;
                next.browsers[browser].at = Place::Away;
            }
            Action::Lose(by, is_sent_again) => {
                next.ahead.losses -= 1;
                let (_, _, transition) = world.under_way().into_iter().find(|(whose, ..)| *whose == by)?;
                let progress = next.lose(transition.clone(), is_sent_again);
                self.go_on(&mut next, by, progress);
            }
            Action::Stray(index) => next.execute_stray(setting, index),
            Action::MoveSlot => {
                next.ahead.moves -= 1;
                next.move_slot();
            }
            Action::LearnSlot(gateway) => {
                next.learn(gateway, setting.rules.follows == Follows::EveryRedirect);
            }
            Action::FailOver => {
                next.ahead.failovers -= 1;
                next.fail_over();
            }
        }
        next.order_tabs();
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = properties::always();
        properties.extend((self.wonders)());
        properties
    }
}
