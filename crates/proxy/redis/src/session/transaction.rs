//! Transactions: what a client does between `MULTI` and `EXEC`, and what it watches before, goes
//! over a connection of its own to the host of its first key.

use bytes::Bytes;

use super::{Answer, NO_HOST, Session, ok};
use crate::call::{Call, Merge};
use crate::client::{Dedicated, Part};
use crate::command::{MULTI, Step};
use crate::route::route;
use crate::{Command, Kind, Value};

/// Where a client stands.
#[derive(Default)]
pub(crate) struct Transaction {
    /// `MULTI` was said, and neither `EXEC` nor `DISCARD` since.
    pub(super) is_active: bool,
    pin: Pin,
}

/// Where its commands go.
#[derive(Default)]
enum Pin {
    /// Nowhere yet: there was no key.
    #[default]
    None,
    /// To a host.
    Host(Dedicated),
    /// Nowhere: there is no host for the first key, and a part elsewhere would be no transaction.
    NoHost,
}

impl Session<'_> {
    /// A command that begins or ends a transaction, or stands in one.
    pub(super) fn transact(&mut self, command: Command, mut arguments: Vec<Bytes>) -> Answer {
        let was_active = self.transaction.is_active;
        let counted = match was_active {
            true => Command::named(MULTI).unwrap_or(command),
            false => command,
        };
        self.command_stats(counted).total.inc();
        let is_pinned = !matches!(self.transaction.pin, Pin::None);
        match command.kind {
            Kind::Transaction(Step::Multi) if was_active => {
                return Answer::Ready(Value::error("MULTI calls can not be nested"));
            }
            Kind::Transaction(Step::Multi) => {
                self.transaction.is_active = true;
                if !is_pinned {
                    return Answer::Ready(ok());
                }
            }
            Kind::Transaction(Step::Exec | Step::Discard) if !was_active => {
                let name = command.name.to_ascii_uppercase();
                return Answer::Ready(Value::error(format!("{name} without MULTI")));
            }
            Kind::Transaction(step @ (Step::Exec | Step::Discard)) => {
                let ended = std::mem::take(&mut self.transaction);
                return match (ended.pin, step) {
                    (Pin::None, Step::Exec) => Answer::Ready(Value::Array(Vec::new())),
                    (Pin::None, _) => Answer::Ready(ok()),
                    (pin, _) => self.forward(&pin, counted, &arguments),
                };
            }
            Kind::Transaction(Step::Unwatch) if !is_pinned => {
                let text = if was_active { "QUEUED" } else { "OK" };
                return Answer::Ready(Value::Simple(Bytes::from_static(text.as_bytes())));
            }
            Kind::Transaction(Step::Unwatch) if !was_active => {
                let pin = std::mem::take(&mut self.transaction.pin);
                return self.forward(&pin, counted, &arguments);
            }
            Kind::Transaction(Step::Unwatch) => {}
            Kind::Transaction(Step::Watch) if arguments.len() < 2 => {
                return self.arity(counted, &arguments[0]);
            }
            Kind::Transaction(Step::Watch)
            | Kind::Key(1)
            | Kind::Gather
            | Kind::SetAll
            | Kind::Sum => {
                if !is_pinned {
                    self.pin(&arguments[1]);
                }
                self.strip(command, &mut arguments);
            }
            _ => return not_in_transaction(&arguments[0]),
        }
        self.forward(&self.transaction.pin, counted, &arguments)
    }

    /// Settles where the commands go, by the first key.
    fn pin(&mut self, key: &Bytes) {
        self.transaction.pin = match self.host_of(key) {
            None => Pin::NoHost,
            Some((cluster, host, _)) => {
                let connections = &self.context.connections;
                let target = (&cluster, &host);
                let dedicated = connections.dedicated(self.proxy, target, self.context.worker);
                if self.transaction.is_active
                    && let Some(command) = Command::named(MULTI)
                {
                    let multi = [Bytes::from_static(b"MULTI")];
                    dedicated.send(&multi, Part::for_nobody(command));
                }
                Pin::Host(dedicated)
            }
        };
    }

    /// Takes their prefixes from the keys of a command, where routes say so.
    fn strip(&self, command: Command, arguments: &mut [Bytes]) {
        let (keys, each) = match command.kind {
            Kind::Key(_) => (1, 1),
            Kind::SetAll => (usize::MAX, 2),
            _ => (usize::MAX, 1),
        };
        for key in arguments.iter_mut().skip(1).step_by(each).take(keys) {
            if let Some((_, stripped)) = route(&self.proxy.config.routes, key) {
                *key = stripped;
            }
        }
    }

    fn forward(&self, pin: &Pin, command: Command, arguments: &[Bytes]) -> Answer {
        let Pin::Host(dedicated) = pin else {
            self.command_stats(command).error.inc();
            return Answer::Ready(Value::error(NO_HOST));
        };
        let call = Call::begin(&self.caller(), command, Merge::Single, 1);
        let sent = Command::named(&arguments[0]).unwrap_or(command);
        dedicated.send(arguments, Part::new(sent, &call, 0));
        Answer::Call(call)
    }
}

/// A command that a transaction cannot have.
pub(super) fn not_in_transaction(name: &[u8]) -> Answer {
    let name = String::from_utf8_lossy(name);
    Answer::Ready(Value::error(format!(
        "'{name}' command is not supported within transaction"
    )))
}
