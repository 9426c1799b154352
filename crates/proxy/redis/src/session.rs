//! What a client's commands become: answers at once, or calls to upstreams.
//!
//! In: values that a client sent, one by one. Out: what its connection waits for. Called by
//! `serve`.

mod transaction;

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use meltemi_ir::RedisAuth;
use meltemi_telemetry::{RedisCommandStats, RedisStats};
use meltemi_upstream::{LbContext, WorkerCluster, WorkerHost};
use tokio::sync::Notify;

use crate::call::{Call, Caller, Merge};
use crate::client::Part;
use crate::route::{hash, route};
use crate::serve::Context;
use crate::{Command, Kind, RedisProxy, Value, hello};
use transaction::{Transaction, not_in_transaction};

/// Nothing is there for a key.
const NO_HOST: &str = "no upstream host";

/// A command that is none.
const INVALID: &str = "invalid request";

/// A client must say who it is first.
const NO_AUTH: &str = "NOAUTH Authentication required.";

/// What the connection waits for.
pub(crate) enum Answer {
    /// Nothing; here it is.
    Ready(Value),
    /// The end of a call.
    Call(Rc<Call>),
}

/// A client.
pub(crate) struct Session<'a> {
    pub(crate) proxy: &'a Arc<RedisProxy>,
    pub(crate) context: &'a Context,
    pub(crate) wake: Rc<Notify>,
    /// It has said who it is, or need not.
    is_allowed: bool,
    /// It wants to end.
    pub(crate) has_quit: bool,
    transaction: Transaction,
}

impl<'a> Session<'a> {
    pub(crate) fn new(proxy: &'a Arc<RedisProxy>, context: &'a Context) -> Self {
        let RedisAuth {
            username,
            passwords,
        } = &proxy.config.auth;
        Self {
            proxy,
            context,
            wake: Rc::default(),
            is_allowed: username.is_empty() && passwords.is_empty(),
            has_quit: false,
            transaction: Transaction::default(),
        }
    }

    fn stats(&self) -> &RedisStats {
        self.proxy.stats.shard(self.context.worker)
    }

    fn command_stats(&self, command: Command) -> &RedisCommandStats {
        self.stats().command.of(command.number, command.name)
    }

    /// Takes a command.
    pub(crate) fn ask(&mut self, value: Value) -> Answer {
        let Some(arguments) = arguments(value) else {
            return Answer::Ready(self.invalid());
        };
        let name = &arguments[0];
        let Some(command) = Command::named(name) else {
            self.stats().unsupported_command.inc();
            let first = arguments.get(1).map_or(&b""[..], |bytes| bytes);
            return Answer::Ready(Value::error(format!(
                "ERR unknown command '{}', with args beginning with: {}",
                String::from_utf8_lossy(name),
                String::from_utf8_lossy(first),
            )));
        };
        match command.kind {
            Kind::Auth => return Answer::Ready(self.auth(&arguments)),
            Kind::Hello if self.transaction.is_active => {
                self.command_stats(command).total.inc();
                self.command_stats(command).error.inc();
                return not_in_transaction(command.name.as_bytes());
            }
            Kind::Hello => return Answer::Ready(self.hello(command, &arguments)),
            Kind::Quit => {
                self.has_quit = true;
                return Answer::Ready(ok());
            }
            _ if !self.is_allowed => return Answer::Ready(Value::error(NO_AUTH)),
            Kind::Client if self.transaction.is_active => {
                return not_in_transaction(command.name.as_bytes());
            }
            Kind::Client => return Answer::Ready(self.client(&arguments)),
            Kind::Ping => return Answer::Ready(Value::Simple(Bytes::from_static(b"PONG"))),
            Kind::Echo => {
                return Answer::Ready(match &arguments[..] {
                    [_, text] => Value::Bulk(text.clone()),
                    _ => self.invalid(),
                });
            }
            Kind::Time => return Answer::Ready(self.time()),
            Kind::Transaction(_) => return self.transact(command, arguments),
            Kind::Key(_) | Kind::Gather | Kind::SetAll | Kind::Sum => {}
        }
        if arguments.len() < 2 {
            return Answer::Ready(self.invalid());
        }
        if self.transaction.is_active {
            return self.transact(command, arguments);
        }
        self.command_stats(command).total.inc();
        match command.kind {
            Kind::Key(key) => self.by_key(command, key, arguments),
            Kind::SetAll if arguments.len() % 2 == 0 => self.arity(command, name),
            _ => self.split(command, &arguments),
        }
    }

    fn invalid(&self) -> Value {
        self.stats().invalid_request.inc();
        Value::error(INVALID)
    }

    /// The wrong number of arguments.
    fn arity(&self, command: Command, name: &[u8]) -> Answer {
        self.command_stats(command).error.inc();
        let name = String::from_utf8_lossy(name);
        let text = format!("wrong number of arguments for '{name}' command");
        Answer::Ready(Value::error(text))
    }

    /// A command that goes to the host of one key.
    fn by_key(&self, command: Command, key: usize, mut arguments: Vec<Bytes>) -> Answer {
        if arguments.len() <= key {
            return self.arity(command, &arguments[0]);
        }
        let call = Call::begin(&self.caller(), command, Merge::Single, 1);
        match self.send(command, key, &mut arguments, (&call, 0)) {
            Ok(()) => Answer::Call(call),
            Err(error) => {
                self.command_stats(command).error.inc();
                Answer::Ready(error)
            }
        }
    }

    /// A command that goes to the hosts of several keys, each of which gets its part.
    fn split(&self, command: Command, arguments: &[Bytes]) -> Answer {
        let (merge, each, name) = match command.kind {
            Kind::Gather => (Merge::Gather, 1, Bytes::from_static(b"get")),
            Kind::SetAll => (Merge::AllOk, 2, Bytes::from_static(b"set")),
            _ => (Merge::Sum, 1, arguments[0].clone()),
        };
        let of_part = Command::named(&name).unwrap_or(command);
        let parts = arguments[1..].chunks(each);
        let call = Call::begin(&self.caller(), command, merge, parts.len());
        for (number, part) in parts.enumerate() {
            let mut request = Vec::with_capacity(1 + each);
            request.push(name.clone());
            request.extend_from_slice(part);
            if let Err(error) = self.send(of_part, 1, &mut request, (&call, number)) {
                call.answer(number, Ok(error));
            }
        }
        Answer::Call(call)
    }

    /// Sends a command to the host of a key, which loses its prefix where the route says so.
    fn send(
        &self,
        command: Command,
        key: usize,
        request: &mut [Bytes],
        (call, number): (&Rc<Call>, usize),
    ) -> Result<(), Value> {
        let target = self.host_of(&request[key]);
        let (cluster, host, stripped) = target.ok_or_else(|| Value::error(NO_HOST))?;
        request[key] = stripped;
        let part = Part::new(command, call, number);
        let connections = &self.context.connections;
        let worker = self.context.worker;
        connections.send(self.proxy, (&cluster, &host), worker, (request, part));
        Ok(())
    }

    /// The host of a key, and the key as the host gets it.
    fn host_of(&self, key: &Bytes) -> Option<(Rc<WorkerCluster>, Rc<WorkerHost>, Bytes)> {
        let config = &self.proxy.config;
        let (route, stripped) = route(&config.routes, key)?;
        let cluster = self.context.pools.cluster(&route.cluster)?;
        let lb = LbContext {
            hash: Some(hash(&stripped, config.hash_tags)),
            ..LbContext::default()
        };
        let host = cluster.choose(&lb)?;
        Some((cluster, host, stripped))
    }

    fn caller(&self) -> Caller<'_> {
        Caller {
            proxy: self.proxy,
            worker: self.context.worker,
            wake: &self.wake,
        }
    }

    fn auth(&mut self, arguments: &[Bytes]) -> Value {
        let auth = &self.proxy.config.auth;
        let (allowed, refusal) = match arguments {
            [_] => return self.invalid(),
            [_, username, password] => match self.login(username, password) {
                Some(allowed) => (allowed, "WRONGPASS invalid username-password pair"),
                None => return no_login(),
            },
            [_, ..] if auth.passwords.is_empty() => {
                return Value::error("ERR Client sent AUTH, but no password is set");
            }
            [_, password, ..] => (is_password(auth, password), "ERR invalid password"),
            [] => (false, INVALID),
        };
        self.is_allowed = allowed;
        match allowed {
            true => ok(),
            false => Value::error(refusal),
        }
    }

    /// Whether a name and a password go together; nothing where nobody has either.
    fn login(&self, username: &[u8], password: &[u8]) -> Option<bool> {
        let auth = &self.proxy.config.auth;
        if auth.username.is_empty() && auth.passwords.is_empty() {
            return None;
        }
        let is_user = match auth.username.is_empty() {
            true => username.is_empty() || username == b"default",
            false => same(username, &auth.username),
        };
        Some(is_user & is_password(auth, password))
    }

    fn hello(&mut self, command: Command, arguments: &[Bytes]) -> Value {
        self.command_stats(command).total.inc();
        let said = match hello::parse(arguments) {
            Ok(said) => said,
            Err(error) => return self.refuse_hello(command, error),
        };
        match said.auth {
            None if !self.is_allowed => return self.refuse_hello(command, NO_AUTH),
            None => {}
            Some((username, password)) => match self.login(&username, &password) {
                None => return no_login(),
                Some(allowed) => {
                    self.is_allowed = allowed;
                    if !allowed {
                        let text = "WRONGPASS invalid username-password pair";
                        return self.refuse_hello(command, text);
                    }
                }
            },
        }
        self.command_stats(command).success.inc();
        hello::answer()
    }

    fn refuse_hello(&self, command: Command, text: impl Into<String>) -> Value {
        self.command_stats(command).error.inc();
        Value::error(text)
    }

    /// What clients say of themselves is taken and forgotten.
    fn client(&self, arguments: &[Bytes]) -> Value {
        let Some(subcommand) = arguments.get(1) else {
            return self.invalid();
        };
        let wanted = match subcommand.to_ascii_lowercase().as_slice() {
            b"setname" => ("setname", 3),
            b"setinfo" => ("setinfo", 4),
            _ => {
                let name = String::from_utf8_lossy(subcommand);
                return Value::error(format!(
                    "ERR CLIENT subcommand '{name}' is not supported by the proxy"
                ));
            }
        };
        if arguments.len() != wanted.1 {
            return Value::error(format!(
                "ERR wrong number of arguments for 'client|{}' command",
                wanted.0
            ));
        }
        ok()
    }

    /// Seconds, and microseconds in all, as Envoy has it.
    fn time(&self) -> Value {
        let now = self.context.clock.since_epoch();
        let text = |number: u128| Value::Bulk(number.to_string().into());
        Value::Array(vec![text(now.as_secs().into()), text(now.as_micros())])
    }
}

/// A command's arguments, of which there is one at least.
fn arguments(value: Value) -> Option<Vec<Bytes>> {
    let Value::Array(values) = value else {
        return None;
    };
    let arguments: Option<Vec<_>> = values
        .into_iter()
        .map(|value| match value {
            Value::Bulk(bytes) => Some(bytes),
            _ => None,
        })
        .collect();
    arguments.filter(|arguments| !arguments.is_empty())
}

fn ok() -> Value {
    Value::Simple(Bytes::from_static(b"OK"))
}

fn no_login() -> Value {
    Value::error("ERR Client sent AUTH, but no username-password pair is set")
}

fn is_password(auth: &RedisAuth, password: &[u8]) -> bool {
    let mut any = false;
    for known in &auth.passwords {
        any |= same(known, password);
    }
    any
}

/// Whether two secrets are the same, in a time that does not tell where they differ.
fn same(left: &[u8], right: &[u8]) -> bool {
    let differ = left.iter().zip(right).fold(0, |all, (l, r)| all | (l ^ r));
    left.len() == right.len() && differ == 0
}
