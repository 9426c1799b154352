//! Commands: what they are called, where their keys stand, and how they are carried out.

/// A command that the proxy knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// Its name, in small letters.
    pub name: &'static str,
    /// Its number among the commands, for statistics.
    pub number: usize,
    /// How it is carried out.
    pub kind: Kind,
}

/// How a command is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Goes to the host of the key that is this argument, the name being the first.
    Key(usize),
    /// `MGET`: a `GET` for each key; the answers are gathered.
    Gather,
    /// `MSET`: a `SET` for each pair; all must go well.
    SetAll,
    /// Once for each key; the answers are added up.
    Sum,
    /// The client says who it is.
    Auth,
    /// The client says what it speaks, and perhaps who it is.
    Hello,
    /// What the client is called, which nobody asks for.
    Client,
    /// Answered here.
    Ping,
    /// Answered here.
    Echo,
    /// Answered here.
    Time,
    /// Answered here; then the connection ends.
    Quit,
    /// Begins or ends a transaction, or what is before one.
    Transaction(Step),
}

/// A step of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Begins it.
    Multi,
    /// Ends it, and carries it out.
    Exec,
    /// Ends it.
    Discard,
    /// It is carried out only if these keys stay as they are.
    Watch,
    /// Whatever becomes of them.
    Unwatch,
}

/// The name of the command that begins a transaction, which counts all that are in one.
pub(crate) const MULTI: &[u8] = b"multi";

/// Commands with one key that counts, their first argument; sorted.
#[rustfmt::skip]
static SIMPLE: &[&str] = &[
    "append", "bf.add", "bf.card", "bf.exists", "bf.info", "bf.insert", "bf.loadchunk", "bf.madd",
    "bf.mexists", "bf.reserve", "bf.scandump", "bitcount", "bitfield", "bitfield_ro", "bitop",
    "bitpos", "copy", "decr", "decrby", "dump", "expire", "expireat", "geoadd", "geodist",
    "geohash", "geopos", "georadius", "georadius_ro", "georadiusbymember", "georadiusbymember_ro",
    "geosearch", "geosearchstore", "get", "getbit", "getdel", "getex", "getrange", "getset", "hdel",
    "hexists", "hexpire", "hexpireat", "hexpiretime", "hget", "hgetall", "hincrby", "hincrbyfloat",
    "hkeys", "hlen", "hmget", "hmset", "hpersist", "hpexpire", "hpexpireat", "hpexpiretime",
    "hpttl", "hrandfield", "hscan", "hset", "hsetnx", "hstrlen", "httl", "hvals", "incr", "incrby",
    "incrbyfloat", "lindex", "linsert", "llen", "lmove", "lpop", "lpos", "lpush", "lpushx",
    "lrange", "lrem", "lset", "ltrim", "msetnx", "persist", "pexpire", "pexpireat", "pfadd",
    "pfcount", "pfmerge", "psetex", "pttl", "publish", "rename", "renamenx", "restore", "rpop",
    "rpoplpush", "rpush", "rpushx", "sadd", "scard", "sdiff", "sdiffstore", "set", "setbit",
    "setex", "setnx", "setrange", "sinter", "sinterstore", "sismember", "smembers", "smismember",
    "smove", "sort", "sort_ro", "spop", "srandmember", "srem", "sscan", "strlen", "substr",
    "sunion", "sunionstore", "ttl", "type", "xack", "xadd", "xautoclaim", "xclaim", "xdel", "xlen",
    "xpending", "xrange", "xrevrange", "xtrim", "zadd", "zcard", "zcount", "zdiff", "zdiffstore",
    "zincrby", "zinter", "zinterstore", "zlexcount", "zmscore", "zpopmax", "zpopmin", "zrandmember",
    "zrange", "zrangebylex", "zrangebyscore", "zrangestore", "zrank", "zrem", "zremrangebylex",
    "zremrangebyrank", "zremrangebyscore", "zrevrange", "zrevrangebylex", "zrevrangebyscore",
    "zrevrank", "zscan", "zscore", "zunion", "zunionstore",
];

/// The other commands.
static OTHERS: &[(&str, Kind)] = &[
    ("auth", Kind::Auth),
    ("client", Kind::Client),
    ("del", Kind::Sum),
    ("discard", Kind::Transaction(Step::Discard)),
    ("echo", Kind::Echo),
    ("eval", Kind::Key(3)),
    ("evalsha", Kind::Key(3)),
    ("exec", Kind::Transaction(Step::Exec)),
    ("exists", Kind::Sum),
    ("hello", Kind::Hello),
    ("mget", Kind::Gather),
    ("mset", Kind::SetAll),
    ("multi", Kind::Transaction(Step::Multi)),
    ("object", Kind::Key(2)),
    ("ping", Kind::Ping),
    ("quit", Kind::Quit),
    ("time", Kind::Time),
    ("touch", Kind::Sum),
    ("unlink", Kind::Sum),
    ("unwatch", Kind::Transaction(Step::Unwatch)),
    ("watch", Kind::Transaction(Step::Watch)),
];

/// The longest name.
const LONGEST: usize = 32;

impl Command {
    /// The command of this name, whatever its letters' case; none that the proxy does not carry out.
    #[must_use]
    pub fn named(name: &[u8]) -> Option<Self> {
        let mut small = [0; LONGEST];
        let small = small.get_mut(..name.len())?;
        small.copy_from_slice(name);
        small.make_ascii_lowercase();
        let small = std::str::from_utf8(small).ok()?;
        if let Ok(number) = SIMPLE.binary_search(&small) {
            return Some(Self {
                name: SIMPLE[number],
                number,
                kind: Kind::Key(1),
            });
        }
        let number = OTHERS.iter().position(|(name, _)| *name == small)?;
        let (name, kind) = OTHERS[number];
        Some(Self {
            name,
            number: SIMPLE.len() + number,
            kind,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found() {
        assert!(SIMPLE.is_sorted());
        assert!(SIMPLE.len() + OTHERS.len() < 255);
        let all = SIMPLE.iter().chain(OTHERS.iter().map(|(name, _)| name));
        for (number, name) in all.enumerate() {
            let command = Command::named(name.to_ascii_uppercase().as_bytes()).unwrap();
            assert_eq!((command.name, command.number), (*name, number));
        }
        assert_eq!(Command::named(b"subscribe"), None);
        assert_eq!(Command::named(&[b'a'; 100]), None);
        assert_eq!(Command::named(b"\xff"), None);
    }
}
