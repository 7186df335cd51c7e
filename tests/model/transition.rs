//! `store::transition`: read, apply, replace, and again after a conflict; then wait until the change is replicated.
//! People and claiming streams use it.
//!
//! Each command is one step of the model, so that everything else can happen in between. A command's reply may be lost;
//! the command may still be executed, now, later, or never.

use scangate::store::Replaced;
use scangate::ticket::{Outcome, Refusal};

use super::actors::{Actor, Operation, Row};
use super::world::{Rules, Setting, Stage, Transition, World, Write};

/// The result of a command.
pub enum Progress {
    Continues(Transition),
    /// It is done, now or before: the ticket, and the time of the read that it is based on.
    Done(Row, u64),
    Gone,
    Refused,
    /// The store did not answer.
    Failed,
}

impl World {
    /// Applies an operation to the ticket that was just read.
    pub fn apply_operation(
        &self,
        setting: Setting,
        actor: Actor,
        operation: Operation,
        gateway: usize,
        row: &Row,
    ) -> Progress {
        let continues = |stage| Progress::Continues(Transition { operation, gateway, stage });
        match operation.apply(actor, row, self.now, setting.rules.names_scanner) {
            Ok(Outcome::Changed(next)) => {
                continues(Stage::Replace(Write { current: row.clone(), next: Row::new(next) }, self.now))
            }
            Ok(Outcome::Unchanged(_)) if setting.waits() && setting.rules.confirms_repeated => {
                continues(Stage::ConfirmReplicated(row.clone(), self.now, self.gateways[gateway].route))
            }
            Ok(Outcome::Unchanged(_)) => Progress::Done(row.clone(), self.now),
            Err(Refusal::Expired) => Progress::Gone,
            Err(_) => Progress::Refused,
        }
    }

    /// Reads the ticket, and applies an operation.
    pub fn begin(&mut self, setting: Setting, actor: Actor, operation: Operation, gateway: usize) -> Progress {
        match self.get(setting, gateway) {
            Some(row) => self.apply_operation(setting, actor, operation, gateway, &row),
            None => Progress::Gone,
        }
    }

    /// Whether the current command can complete.
    pub fn can_complete(&self, rules: Rules, transition: &Transition) -> bool {
        match transition.stage {
            Stage::Read | Stage::Replace(..) => true,
            // A former primary gets no replica again, so the wait ends, too.
            Stage::ConfirmReplicated(.., node) => self.is_durable(rules, node) || node != self.primary,
        }
    }

    /// Executes the current command and returns its result.
    pub fn complete_command(&mut self, setting: Setting, actor: Actor, transition: Transition) -> Progress {
        let Transition { operation, gateway, stage } = transition;
        let continues = |stage| Progress::Continues(Transition { operation, gateway, stage });
        match stage {
            Stage::Read => self.begin(setting, actor, operation, gateway),
            Stage::Replace(write, at) => match self.replace(setting, gateway, &write) {
                (Replaced::Done, node) if setting.waits() => continues(Stage::ConfirmReplicated(write.next, at, node)),
                (Replaced::Done, _) => Progress::Done(write.next, at),
                (Replaced::Conflict, _) => continues(Stage::Read),
                (Replaced::Gone, _) => Progress::Gone,
            },
            Stage::ConfirmReplicated(row, at, node) if self.is_durable(setting.rules, node) => Progress::Done(row, at),
            Stage::ConfirmReplicated(..) => Progress::Failed,
        }
    }

    /// The reply is lost. The command may still be executed. The gateway sends it again over a new connection, or gives
    /// up.
    pub fn lose_reply(&mut self, transition: Transition, is_sent_again: bool) -> Progress {
        if let Stage::Replace(write, _) = &transition.stage {
            self.late_commands.push((self.gateways[transition.gateway].route, write.clone()));
        }
        if is_sent_again { Progress::Continues(transition) } else { Progress::Failed }
    }
}
