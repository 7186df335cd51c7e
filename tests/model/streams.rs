//! A page's event stream: it opens, wakes, sends the ticket and the JWT, and ends; and the browser that reconnects.
//!
//! It restates `Waiter` of `http/wait.rs` and `render` of `http/snapshot.rs`. The real ticket decides who its parties
//! are, and the result of a claim.

use scangate::ticket::Ticket;

use super::actors::{Actor, Operation, Row};
use super::transition::Progress;
use super::world::{
    Browser, Connection, End, Event, Phase, Rules, Setting, Stage, Stream, Subscription, Transition, World,
};

/// The next step of a browser or its stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StreamStep {
    /// It connects to this gateway, which checks that it is a party, and registers it.
    Connect(usize),
    /// Its watch is acknowledged.
    Watched,
    /// It reads the ticket.
    Refresh,
    /// Its timer for the next read is due.
    Timer,
    /// A command of its claim completes.
    CompleteCommand,
    /// The browser receives the last event.
    Receive,
}

impl World {
    pub fn stream_steps(&self, rules: Rules, index: usize) -> Vec<StreamStep> {
        let stream = match &self.browsers[index].connection {
            // The choice of the gateway matters only if they differ.
            Connection::Closed if self.has_equal_gateways() => return vec![StreamStep::Connect(0)],
            Connection::Closed => return vec![StreamStep::Connect(0), StreamStep::Connect(1)],
            Connection::Finished(_) => return Vec::new(),
            Connection::Open(stream) => stream,
        };
        let is_watched = self.gateways[stream.gateway].subscription == Subscription::Acknowledged;
        let mut steps = match &stream.phase {
            Phase::Watching(_) if is_watched => vec![StreamStep::Watched],
            Phase::FirstRead => vec![StreamStep::Refresh],
            Phase::Idle if stream.is_woken => vec![StreamStep::Refresh],
            Phase::Claiming(transition) if self.can_complete(rules, transition) => vec![StreamStep::CompleteCommand],
            Phase::Ended => vec![StreamStep::Receive],
            Phase::Watching(_) | Phase::Idle | Phase::Claiming(_) => Vec::new(),
        };
        if stream.is_registered() && stream.timer.is_some_and(|at| at <= self.now) {
            steps.push(StreamStep::Timer);
        }
        steps
    }

    pub fn take_stream_step(&mut self, setting: Setting, index: usize, step: StreamStep) {
        let rules = setting.rules;
        let Browser { actor, connection, .. } = &mut self.browsers[index];
        let actor = *actor;
        let mut stream = match (std::mem::replace(connection, Connection::Closed), step) {
            (Connection::Open(stream), _) => stream,
            (_, StreamStep::Connect(gateway)) => {
                let row = self.find(setting, actor, gateway);
                self.browsers[index].connection =
                    row.map_or(Connection::Finished(End::NotFound), |row| Connection::Open(Stream::new(gateway, row)));
                return;
            }
            (connection, _) => unreachable!("{step:?} at {connection:?}"),
        };
        let connection = match (step, stream.phase.clone()) {
            (StreamStep::Watched, Phase::Watching(row)) if !rules.reads_after_watch => {
                self.process_reading(setting, index, stream, row)
            }
            (StreamStep::Watched, _) => {
                stream.phase = Phase::FirstRead;
                Connection::Open(stream)
            }
            (StreamStep::Refresh, phase) => {
                stream.is_woken = false;
                match (self.find(setting, actor, stream.gateway), phase) {
                    (Some(row), _) => self.process_reading(setting, index, stream, row),
                    (None, Phase::FirstRead) => Connection::Finished(End::NotFound),
                    (None, _) => Connection::Open(send(stream, Event::Expired(None))),
                }
            }
            (StreamStep::Timer, _) => {
                stream.timer = None;
                stream.is_woken = true;
                Connection::Open(stream)
            }
            (StreamStep::CompleteCommand, Phase::Claiming(transition)) => {
                let progress = self.complete_command(setting, actor, transition);
                self.advance(rules, index, stream, progress)
            }
            (StreamStep::Receive, _) => {
                let event = stream.sent.take().expect("it ended with an event");
                if let Event::State(row) | Event::Token(row) = &event {
                    self.browsers[index].seen = Some(row.clone());
                }
                Connection::Finished(End::Received(event))
            }
            (StreamStep::Connect(_) | StreamStep::CompleteCommand, _) => Connection::Open(stream),
        };
        self.browsers[index].connection = connection;
    }

    /// Advances a claim by its `progress`.
    pub fn advance(&mut self, rules: Rules, index: usize, mut stream: Stream, progress: Progress) -> Connection {
        let is_opening = stream.sent.is_none();
        match progress {
            Progress::Continues(transition) => stream.phase = Phase::Claiming(transition),
            Progress::Done(row, read_at) => return self.send_row(index, stream, &row, read_at),
            Progress::Gone if is_opening => return Connection::Finished(End::NotFound),
            Progress::Refused if is_opening && !rules.retries_refused_claims => {
                return Connection::Finished(End::Refused);
            }
            // The gateway asks the browser to reconnect.
            Progress::Failed | Progress::Refused if is_opening => return Connection::Closed,
            // It reads the ticket again soon.
            Progress::Gone | Progress::Refused | Progress::Failed => {
                (stream.phase, stream.is_woken) = (Phase::Idle, true);
            }
        }
        Connection::Open(stream)
    }

    /// Reads the ticket. A stranger gets none.
    fn find(&mut self, setting: Setting, actor: Actor, gateway: usize) -> Option<Row> {
        let row = self.get(setting, gateway)?;
        (!setting.rules.checks_party || row.is_party(actor.party())).then_some(row)
    }

    /// Sends the ticket that was read, unless it was sent before. Claims it if it is confirmed and this is the
    /// recipient.
    fn process_reading(&mut self, setting: Setting, index: usize, mut stream: Stream, row: Row) -> Connection {
        let Setting { rules, .. } = setting;
        if rules.reads_at_deadline {
            stream.timer = Some(row.deadline_secs());
        }
        if let Some(Event::State(sent)) = &stream.sent
            && is_known(&row, sent)
        {
            return Connection::Open(stream);
        }
        let actor = self.browsers[index].actor;
        let is_recipient = row.is_recipient(actor.party());
        let must =
            if is_recipient && row.redeemable().is_some() { rules.confirms_repeated } else { rules.confirms_sent };
        let progress = if is_recipient && row.is_confirmed() {
            let claim = Operation::Claim(self.unused_jti());
            self.apply_operation(setting, actor, claim, stream.gateway, &row)
        } else if row.revision > Ticket::FIRST_REVISION && must && setting.waits() {
            let stage = Stage::ConfirmReplicated(row, self.now, self.gateways[stream.gateway].route);
            Progress::Continues(Transition { operation: Operation::Claim(0), gateway: stream.gateway, stage })
        } else {
            Progress::Done(row, self.now)
        };
        self.advance(rules, index, stream, progress)
    }

    /// Sends a state, with the JWT if it is claimed and this is the recipient.
    fn send_row(&mut self, index: usize, stream: Stream, row: &Row, read_at: u64) -> Connection {
        let browser = &mut self.browsers[index];
        if row.is_final() && stream.sent.is_none() && browser.seen.as_ref().is_some_and(|seen| is_known(row, seen)) {
            return Connection::Finished(End::Seen);
        }
        let event = match row.redeemable().filter(|_| row.is_recipient(browser.actor.party())) {
            Some((until, jti)) if read_at < until => {
                self.delivered.push((browser.actor, jti.to_owned()));
                Event::Token(row.clone())
            }
            Some(_) => Event::Expired(Some(row.clone())),
            None => Event::State(row.clone()),
        };
        if !event.is_last() {
            // The model treats every event except the last as received: only a lost last event has consequences.
            browser.seen = Some(row.clone());
        }
        Connection::Open(send(stream, event))
    }
}

fn send(mut stream: Stream, event: Event) -> Stream {
    stream.phase = Phase::Idle;
    if event.is_last() {
        (stream.phase, stream.is_woken, stream.timer) = (Phase::Ended, false, None);
    }
    stream.sent = Some(event);
    stream
}

/// Whether a party that received `sent` does not need `row`.
fn is_known(row: &Row, sent: &Row) -> bool {
    row.revision <= sent.revision
}
