//! A page's event stream: opened, woken, shown the ticket, handed the JWT, ended; and the browser that comes back.
//!
//! It restates `Waiter` of `http/wait.rs` and `render` of `http/snapshot.rs`; whose ticket it is and what a claim makes
//! of it, it asks the real one.

use scangate::ticket::Ticket;

use super::cast::{Deed, Row, Who};
use super::transition::Progress;
use super::world::{Browser, End, Event, Phase, Place, Rules, Setting, Stage, Stream, Subscription, Transition, World};

/// What a browser or its stream can do next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Turn {
    /// It connects to this gateway, which reads whether it is a party, and gives it a seat.
    Connect(usize),
    /// Its watch is acknowledged.
    Watched,
    /// It reads what to tell first, or looks again.
    Look,
    /// It is time to look again.
    Ring,
    /// A command of its claim is answered.
    Answer,
    /// The browser receives the last event.
    Receive,
}

impl World {
    pub fn turns(&self, rules: Rules, index: usize) -> Vec<Turn> {
        let stream = match &self.browsers[index].at {
            // To whichever gateway; they are alike for the one that comes first.
            Place::Away if self.is_untouched() => return vec![Turn::Connect(0)],
            Place::Away => return vec![Turn::Connect(0), Turn::Connect(1)],
            Place::Over(_) => return Vec::new(),
            Place::At(stream) => stream,
        };
        let is_watched = self.gateways[stream.gateway].subscription == Subscription::Acknowledged;
        let mut turns = match &stream.phase {
            Phase::Watching(_) if is_watched => vec![Turn::Watched],
            Phase::Second => vec![Turn::Look],
            Phase::Idle if stream.is_woken => vec![Turn::Look],
            Phase::Claiming(transition) if self.is_answerable(rules, transition) => vec![Turn::Answer],
            Phase::Ended => vec![Turn::Receive],
            Phase::Watching(_) | Phase::Idle | Phase::Claiming(_) => Vec::new(),
        };
        if stream.has_seat() && stream.alarm.is_some_and(|at| at <= self.now) {
            turns.push(Turn::Ring);
        }
        turns
    }

    pub fn take_turn(&mut self, setting: Setting, index: usize, turn: Turn) {
        let rules = setting.rules;
        let Browser { who, at, .. } = &mut self.browsers[index];
        let who = *who;
        let mut stream = match (std::mem::replace(at, Place::Away), turn) {
            (Place::At(stream), _) => stream,
            (_, Turn::Connect(gateway)) => {
                let row = self.find(setting, who, gateway);
                self.browsers[index].at =
                    row.map_or(Place::Over(End::NotFound), |row| Place::At(Stream::new(gateway, row)));
                return;
            }
            (place, _) => unreachable!("{turn:?} at {place:?}"),
        };
        let place = match (turn, stream.phase.clone()) {
            (Turn::Watched, Phase::Watching(row)) if !rules.reads_after_watch => self.show(setting, index, stream, row),
            (Turn::Watched, _) => {
                stream.phase = Phase::Second;
                Place::At(stream)
            }
            (Turn::Look, phase) => {
                stream.is_woken = false;
                match (self.find(setting, who, stream.gateway), phase) {
                    (Some(row), _) => self.show(setting, index, stream, row),
                    (None, Phase::Second) => Place::Over(End::NotFound),
                    (None, _) => Place::At(tell(stream, Event::Expired(None))),
                }
            }
            (Turn::Ring, _) => {
                stream.alarm = None;
                stream.is_woken = true;
                Place::At(stream)
            }
            (Turn::Answer, Phase::Claiming(transition)) => {
                let progress = self.answer(setting, who, transition);
                self.go_on(rules, index, stream, progress)
            }
            (Turn::Receive, _) => {
                let event = stream.told.take().expect("it ended with an event");
                if let Event::State(row) | Event::Token(row) = &event {
                    self.browsers[index].seen = Some(row.clone());
                }
                Place::Over(End::Told(event))
            }
            (Turn::Connect(_) | Turn::Answer, _) => Place::At(stream),
        };
        self.browsers[index].at = place;
    }

    /// Goes on with a claim that has made `progress`.
    pub fn go_on(&mut self, rules: Rules, index: usize, mut stream: Stream, progress: Progress) -> Place {
        let is_opening = stream.told.is_none();
        match progress {
            Progress::Goes(transition) => stream.phase = Phase::Claiming(transition),
            Progress::Done(row, read_at) => return self.tell_row(index, stream, &row, read_at),
            Progress::Gone if is_opening => return Place::Over(End::NotFound),
            Progress::Refused if is_opening && !rules.forgives => return Place::Over(End::Refused),
            // Sent away, to come back.
            Progress::Failed | Progress::Refused if is_opening => return Place::Away,
            // It looks again in a moment.
            Progress::Gone | Progress::Refused | Progress::Failed => {
                (stream.phase, stream.is_woken) = (Phase::Idle, true);
            }
        }
        Place::At(stream)
    }

    /// Reads the ticket; for a stranger there is none.
    fn find(&mut self, setting: Setting, who: Who, gateway: usize) -> Option<Row> {
        let row = self.get(setting, gateway)?;
        (!setting.rules.asks_who || row.is_party(who.party())).then_some(row)
    }

    /// Shows what was just read, unless that was told already; claims the ticket if that is the recipient's to do.
    fn show(&mut self, setting: Setting, index: usize, mut stream: Stream, row: Row) -> Place {
        let Setting { rules, .. } = setting;
        if rules.looks_at_deadline {
            stream.alarm = Some(row.ends());
        }
        if let Some(Event::State(told)) = &stream.told
            && is_known(&row, told)
        {
            return Place::At(stream);
        }
        let who = self.browsers[index].who;
        let is_recipient = row.is_recipient(who.party());
        let must = if is_recipient && row.redeemable().is_some() { rules.persists } else { rules.persists_told };
        let progress = if is_recipient && row.is_confirmed() {
            let claim = Deed::Claim(self.fresh_jti());
            self.step(setting, who, claim, stream.gateway, &row)
        } else if row.revision > Ticket::FIRST_REVISION && must && setting.waits() {
            let stage = Stage::Persist(row, self.now, self.gateways[stream.gateway].route);
            Progress::Goes(Transition { deed: Deed::Claim(0), gateway: stream.gateway, stage })
        } else {
            Progress::Done(row, self.now)
        };
        self.go_on(rules, index, stream, progress)
    }

    /// Tells a state, with the JWT if it is claimed and this is the recipient's.
    fn tell_row(&mut self, index: usize, stream: Stream, row: &Row, read_at: u64) -> Place {
        let browser = &mut self.browsers[index];
        if row.is_final() && stream.told.is_none() && browser.seen.as_ref().is_some_and(|seen| is_known(row, seen)) {
            return Place::Over(End::Seen);
        }
        let event = match row.redeemable().filter(|_| row.is_recipient(browser.who.party())) {
            Some((until, jti)) if read_at < until => {
                self.handed_over.push((browser.who, jti.to_owned()));
                Event::Token(row.clone())
            }
            Some(_) => Event::Expired(Some(row.clone())),
            None => Event::State(row.clone()),
        };
        if !event.is_last() {
            // One that is not the last may as well have been received: nothing but the last can be missed.
            browser.seen = Some(row.clone());
        }
        Place::At(tell(stream, event))
    }
}

fn tell(mut stream: Stream, event: Event) -> Stream {
    stream.phase = Phase::Idle;
    if event.is_last() {
        (stream.phase, stream.is_woken, stream.alarm) = (Phase::Ended, false, None);
    }
    stream.told = Some(event);
    stream
}

/// Whether whoever was told `told` needs not be told `row`.
fn is_known(row: &Row, told: &Row) -> bool {
    row.revision <= told.revision
}
