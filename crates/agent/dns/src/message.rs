//! DNS messages (RFC 1035, RFC 6891), as far as a proxy needs to understand them.
//!
//! In: bytes. Out: [`Query`], the one question that a resolver asks; and the bytes of an answer to it.
//! Everything else is passed on as it is.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::table::Answer;

/// The length of a header.
const HEADER: usize = 12;
/// How long a message over UDP may be where nothing else is said.
const UDP_LIMIT: usize = 512;
/// The longest name, in bytes of a message.
const NAME_LIMIT: usize = 255;
/// The longest label.
const LABEL_LIMIT: usize = 63;
/// For how many seconds an answer may be kept: not for long, as names move.
const TTL: u32 = 30;
/// A pointer to the name of the question, which stands behind the header.
const QUESTION: [u8; 2] = [0xc0, HEADER as u8];

const TYPE_A: u16 = 1;
const TYPE_CNAME: u16 = 5;
const TYPE_AAAA: u16 = 28;
const TYPE_OPT: u16 = 41;
const CLASS_IN: u16 = 1;

/// `QR`: this is an answer.
const RESPONSE: u16 = 1 << 15;
/// `AA`: the answer is of who decides.
const AUTHORITATIVE: u16 = 1 << 10;
/// `TC`: there is more of it.
const TRUNCATED: u16 = 1 << 9;
/// `RA`: recursion is to be had.
const RECURSIVE: u16 = 1 << 7;
/// What of a query's flags stands in its answer: the operation, and whether recursion is wanted.
const COPIED: u16 = 0x7900;
/// The operation, which is a question.
const OPERATION: u16 = 0x7800;
/// `SERVFAIL`.
const FAILURE: u16 = 2;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Who asks will know the answer by it.
    pub id: u16,
    /// The name in lower case, without a dot at the end.
    pub name: String,
    /// The type of record that is asked for.
    pub kind: u16,
    /// The class of record that is asked for.
    pub class: u16,
    /// How long the answer may be over UDP, in bytes.
    pub limit: usize,
    flags: u16,
    /// The question as it was written.
    question: Vec<u8>,
    /// Who asks knows of EDNS, and is to be told that we do.
    extended: bool,
}

/// Why bytes are no question that is answered here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryError {
    /// They are no message.
    Malformed,
    /// They are a message of another sort, which others may understand.
    Foreign,
}

impl Query {
    /// Reads a message.
    ///
    /// # Errors
    /// When it is none, or does not ask one question.
    pub fn parse(message: &[u8]) -> Result<Self, QueryError> {
        let mut reader = Reader { message, at: 0 };
        let id = reader.number()?;
        let flags = reader.number()?;
        let counts = [
            reader.number()?,
            reader.number()?,
            reader.number()?,
            reader.number()?,
        ];
        let [questions, answers, authorities, additional] = counts;
        if flags & RESPONSE != 0 || flags & OPERATION != 0 || questions != 1 {
            return Err(QueryError::Foreign);
        }
        let name = reader.name()?;
        let kind = reader.number()?;
        let class = reader.number()?;
        let question = message[HEADER..reader.at].to_vec();
        let mut query = Self {
            id,
            name,
            kind,
            class,
            limit: UDP_LIMIT,
            flags,
            question,
            extended: false,
        };
        if (answers, authorities) == (0, 0) {
            for _ in 0..additional {
                query.read_additional(&mut reader)?;
            }
        }
        Ok(query)
    }

    fn read_additional(&mut self, reader: &mut Reader<'_>) -> Result<(), QueryError> {
        reader.skip_name()?;
        let (kind, class) = (reader.number()?, reader.number()?);
        reader.skip(4)?;
        let length = reader.number()?;
        reader.skip(length.into())?;
        if kind == TYPE_OPT {
            self.extended = true;
            self.limit = UDP_LIMIT.max(class.into());
        }
        Ok(())
    }

    /// Whether addresses are asked for.
    pub fn is_for_addresses(&self) -> bool {
        self.class == CLASS_IN && matches!(self.kind, TYPE_A | TYPE_AAAA)
    }

    /// An answer with no more bytes than `limit`: what does not fit is left out, and that is said.
    /// `turn` says which address stands first.
    pub fn answer(&self, answer: &Answer<'_>, turn: usize, limit: usize) -> Vec<u8> {
        let mut records = Vec::new();
        let mut owner = QUESTION;
        if let Some(alias) = answer.alias {
            let at = HEADER + self.question.len() + 12;
            records.push(record(QUESTION, TYPE_CNAME, &written(alias)));
            owner = pointer(at);
        }
        let addresses: Vec<_> = match self.kind {
            TYPE_A => answer.v4.iter().map(|it| a(owner, *it)).collect(),
            _ => answer.v6.iter().map(|it| aaaa(owner, *it)).collect(),
        };
        match addresses.is_empty() {
            true => records.clear(),
            false => {
                let first = turn % addresses.len();
                let (before, after) = addresses.split_at(first);
                records.extend(after.iter().chain(before).cloned());
            }
        }
        let extension = if self.extended { OPTION.len() } else { 0 };
        let room = limit.saturating_sub(HEADER + self.question.len() + extension);
        let mut used = 0;
        let fitting = records.iter().take_while(|it| {
            used += it.len();
            used <= room
        });
        let fitting = fitting.count();
        let mut flags = RESPONSE | AUTHORITATIVE | RECURSIVE | self.flags & COPIED;
        if fitting < records.len() {
            flags |= TRUNCATED;
        }
        self.message(flags, &records[..fitting])
    }

    /// That there is no answer now.
    pub fn failure(&self) -> Vec<u8> {
        let flags = RESPONSE | RECURSIVE | self.flags & COPIED | FAILURE;
        self.message(flags, &[])
    }

    fn message(&self, flags: u16, records: &[Vec<u8>]) -> Vec<u8> {
        let mut message = Vec::new();
        let count = u16::try_from(records.len()).unwrap_or(u16::MAX);
        for number in [self.id, flags, 1, count, 0, u16::from(self.extended)] {
            message.extend(number.to_be_bytes());
        }
        message.extend(&self.question);
        records.iter().for_each(|it| message.extend(it));
        if self.extended {
            message.extend(OPTION);
        }
        message
    }
}

/// That we know of EDNS, and take as much over UDP as fits a usual packet.
const OPTION: [u8; 11] = [0, 0, TYPE_OPT as u8, 0x04, 0xd0, 0, 0, 0, 0, 0, 0];

fn pointer(at: usize) -> [u8; 2] {
    // A question is at most 259 bytes long, so that the place is always one that can be pointed to.
    let at = u16::try_from(at).unwrap_or_default();
    (0xc000 | at).to_be_bytes()
}

fn a(owner: [u8; 2], address: Ipv4Addr) -> Vec<u8> {
    record(owner, TYPE_A, &address.octets())
}

fn aaaa(owner: [u8; 2], address: Ipv6Addr) -> Vec<u8> {
    record(owner, TYPE_AAAA, &address.octets())
}

fn record(owner: [u8; 2], kind: u16, content: &[u8]) -> Vec<u8> {
    let mut record = owner.to_vec();
    record.extend(kind.to_be_bytes());
    record.extend(CLASS_IN.to_be_bytes());
    record.extend(TTL.to_be_bytes());
    let length = u16::try_from(content.len()).unwrap_or_default();
    record.extend(length.to_be_bytes());
    record.extend(content);
    record
}

/// A name as it stands in a message. What is too long to be a name is not one of a table.
fn written(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|it| !it.is_empty()) {
        let label = &label.as_bytes()[..label.len().min(LABEL_LIMIT)];
        bytes.push(label.len() as u8);
        bytes.extend(label);
    }
    bytes.push(0);
    bytes
}

/// Reads a message from its beginning.
struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8, QueryError> {
        let byte = self.message.get(self.at).ok_or(QueryError::Malformed)?;
        self.at += 1;
        Ok(*byte)
    }

    fn number(&mut self) -> Result<u16, QueryError> {
        Ok(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    fn skip(&mut self, count: usize) -> Result<(), QueryError> {
        self.at += count;
        match self.at <= self.message.len() {
            true => Ok(()),
            false => Err(QueryError::Malformed),
        }
    }

    /// A name without pointers: there is nothing yet that it could point to.
    fn name(&mut self) -> Result<String, QueryError> {
        let mut name = String::new();
        let start = self.at;
        loop {
            let length = usize::from(self.byte()?);
            if length == 0 {
                return Ok(name);
            }
            if length > LABEL_LIMIT {
                return Err(QueryError::Malformed);
            }
            let label = self.message.get(self.at..self.at + length);
            let label = label.ok_or(QueryError::Malformed)?;
            self.at += length;
            if self.at - start >= NAME_LIMIT {
                return Err(QueryError::Malformed);
            }
            if !name.is_empty() {
                name.push('.');
            }
            // A label may hold any byte; no name of a table has others than these.
            name.extend(label.iter().map(|it| char::from(it.to_ascii_lowercase())));
        }
    }

    fn skip_name(&mut self) -> Result<(), QueryError> {
        loop {
            match self.byte()? {
                0 => return Ok(()),
                it if it & 0xc0 == 0xc0 => return self.skip(1),
                it if usize::from(it) > LABEL_LIMIT => return Err(QueryError::Malformed),
                it => self.skip(it.into())?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(name: &str, kind: u16, extended: bool) -> Vec<u8> {
        let mut message = Vec::new();
        for number in [7, 0x0100, 1, 0, 0, u16::from(extended)] {
            message.extend(u16::to_be_bytes(number));
        }
        message.extend(written(name));
        message.extend(kind.to_be_bytes());
        message.extend(CLASS_IN.to_be_bytes());
        if extended {
            message.extend(OPTION);
        }
        message
    }

    fn counts(message: &[u8]) -> (u16, u16) {
        let number = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
        (number(2), number(6))
    }

    #[test]
    fn a_question_is_read_and_answered() {
        let query = Query::parse(&ask("Web.Shop", TYPE_A, false)).expect("a question");
        assert_eq!(
            (query.id, query.name.as_str(), query.limit),
            (7, "web.shop", 512)
        );
        assert!(query.is_for_addresses());
        let v4 = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)];
        let answer = Answer {
            alias: None,
            v4: &v4,
            v6: &[],
        };
        let message = query.answer(&answer, 1, 512);
        // An answer, of who decides, to one who wants recursion, which is to be had.
        assert_eq!(counts(&message), (0x8580, 2));
        assert!(message.ends_with(&[10, 0, 0, 1]), "the second stands first");
        let none = Query::parse(&ask("web.shop", TYPE_AAAA, false)).expect("a question");
        assert_eq!(counts(&none.answer(&answer, 0, 512)), (0x8580, 0));
        assert_eq!(counts(&query.failure()), (0x8182, 0));
    }

    #[test]
    fn an_alias_stands_before_the_addresses_of_its_name() {
        let query = Query::parse(&ask("db.org.shop.svc", TYPE_A, true)).expect("a question");
        assert_eq!(query.limit, 0x04d0);
        let v4 = [Ipv4Addr::new(10, 0, 0, 1)];
        let answer = Answer {
            alias: Some("db.org"),
            v4: &v4,
            v6: &[],
        };
        let message = query.answer(&answer, 0, query.limit);
        assert_eq!(counts(&message).1, 2);
        let place = HEADER + query.question.len() + 12;
        assert_eq!(&message[place..place + 8], b"\x02db\x03org\0");
        let owner = &message[place + 8..place + 10];
        assert_eq!(owner, pointer(place), "the address is that of the alias");
        assert!(message.ends_with(&OPTION));
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_that_is_said() {
        let query = Query::parse(&ask("web", TYPE_A, false)).expect("a question");
        let v4: Vec<_> = (0..100).map(|it| Ipv4Addr::new(10, 0, 0, it)).collect();
        let answer = Answer {
            alias: None,
            v4: &v4,
            v6: &[],
        };
        let message = query.answer(&answer, 0, 512);
        let (flags, count) = counts(&message);
        assert_eq!((flags & TRUNCATED, count), (TRUNCATED, 30));
        assert!(message.len() <= 512);
        assert_eq!(counts(&query.answer(&answer, 0, 65_535)), (0x8580, 100));
    }

    #[test]
    fn what_is_no_question_is_told_from_what_is_no_message() {
        let asked = ask("web", TYPE_A, false);
        for end in 0..asked.len() {
            assert_eq!(Query::parse(&asked[..end]), Err(QueryError::Malformed));
        }
        let mut answer = asked.clone();
        answer[2] |= 0x80;
        assert_eq!(Query::parse(&answer), Err(QueryError::Foreign));
        let mut pointing = asked;
        pointing[HEADER] = 0xc0;
        assert_eq!(Query::parse(&pointing), Err(QueryError::Malformed));
    }
}
