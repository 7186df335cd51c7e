//! `store::transition`: read, step, replace, again if another was faster; then the wait until it is durable. People do
//! it, and streams that claim.
//!
//! Each command is one step of the model, so that everything else can happen between them; a command's answer may be
//! lost, and the command still be executed, at once, later, or never.

use scangate::store::Replaced;
use scangate::ticket::{Outcome, Refusal};

use super::cast::{Deed, Row, Who};
use super::world::{Rules, Setting, Stage, Transition, World, Write};

/// What a command has led to.
pub enum Progress {
    Goes(Transition),
    /// It is done, or had been done before: the ticket, and when that was read which it was made from.
    Done(Row, u64),
    Gone,
    Refused,
    /// The store did not answer.
    Failed,
}

impl World {
    /// Begins with what was just read.
    pub fn step(&self, setting: Setting, who: Who, deed: Deed, gateway: usize, row: &Row) -> Progress {
        let goes = |stage| Progress::Goes(Transition { deed, gateway, stage });
        match deed.step(who, row, self.now, setting.rules.names_scanner) {
            Ok(Outcome::Changed(next)) => {
                goes(Stage::Replace(Write { current: row.clone(), next: Row::new(next) }, self.now))
            }
            Ok(Outcome::Unchanged(_)) if setting.waits() && setting.rules.persists => {
                goes(Stage::Persist(row.clone(), self.now, self.gateways[gateway].route))
            }
            Ok(Outcome::Unchanged(_)) => Progress::Done(row.clone(), self.now),
            Err(Refusal::Expired) => Progress::Gone,
            Err(_) => Progress::Refused,
        }
    }

    /// Reads, and steps.
    pub fn begin(&mut self, setting: Setting, who: Who, deed: Deed, gateway: usize) -> Progress {
        match self.get(setting, gateway) {
            Some(row) => self.step(setting, who, deed, gateway, &row),
            None => Progress::Gone,
        }
    }

    /// Whether the command that is under way can be answered.
    pub fn is_answerable(&self, rules: Rules, transition: &Transition) -> bool {
        match transition.stage {
            Stage::Read | Stage::Replace(..) => true,
            // A node that is the primary no more will not have a replica again: that is an answer, too.
            Stage::Persist(.., node) => self.is_durable(rules, node) || node != self.primary,
        }
    }

    /// Executes the command that is under way, and answers.
    pub fn answer(&mut self, setting: Setting, who: Who, transition: Transition) -> Progress {
        let Transition { deed, gateway, stage } = transition;
        let goes = |stage| Progress::Goes(Transition { deed, gateway, stage });
        match stage {
            Stage::Read => self.begin(setting, who, deed, gateway),
            Stage::Replace(write, at) => match self.replace(setting, gateway, &write) {
                (Replaced::Done, node) if setting.waits() => goes(Stage::Persist(write.next, at, node)),
                (Replaced::Done, _) => Progress::Done(write.next, at),
                (Replaced::Conflict, _) => goes(Stage::Read),
                (Replaced::Gone, _) => Progress::Gone,
            },
            Stage::Persist(row, at, node) if self.is_durable(setting.rules, node) => Progress::Done(row, at),
            Stage::Persist(..) => Progress::Failed,
        }
    }

    /// The answer does not come. The command may be executed all the same; it is sent again over a fresh connection, or
    /// given up.
    pub fn lose(&mut self, transition: Transition, is_sent_again: bool) -> Progress {
        if let Stage::Replace(write, _) = &transition.stage {
            self.strays.push((self.gateways[transition.gateway].route, write.clone()));
        }
        if is_sent_again { Progress::Goes(transition) } else { Progress::Failed }
    }
}
