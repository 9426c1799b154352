//! The Huffman code of strings (RFC 7541, 5.2 and appendix B).
//!
//! In: the bytes of a coded string. Out: the string. The code is canonical: codes of one length
//! follow each other in the order of their symbols, and longer codes follow shorter ones. So the
//! lengths are all that has to be written down.

/// The symbol that ends a string, and never occurs in one.
const EOS: usize = 256;

/// The longest code.
const LONGEST: usize = 30;

/// Bits that are looked up at once. Longer codes are of bytes that hardly occur in headers.
const STEP: u32 = 10;

/// The length of each symbol's code.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11,
    10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8,
    15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5,
    6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7,
    7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23,
    23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21,
    23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25,
    26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26,
    28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

/// The code, made from the lengths.
struct Code {
    /// Symbols in the order of their codes.
    order: [u16; 257],
    /// Of each length: where its symbols begin in `order`.
    begin: [u16; LONGEST + 1],
    /// Of each length: its first code, at the top of 32 bits.
    first: [u32; LONGEST + 1],
    /// Of each length: what is past its last code, at the top of 32 bits.
    limit: [u64; LONGEST + 1],
}

static CODE: Code = code();

/// What each `STEP` bits begin with: the length of a code and its symbol. Zero where the code is
/// longer than that.
static SHORT: [u16; 1 << STEP] = short();

const fn code() -> Code {
    let mut code = Code {
        order: [0; 257],
        begin: [0; LONGEST + 1],
        first: [0; LONGEST + 1],
        limit: [0; LONGEST + 1],
    };
    let mut known = 0;
    let mut next = 0_u64;
    let mut length = 1;
    while length <= LONGEST {
        code.begin[length] = known;
        code.first[length] = next as u32;
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                code.order[known as usize] = symbol as u16;
                known += 1;
                next += 1 << (32 - length);
            }
            symbol += 1;
        }
        code.limit[length] = next;
        length += 1;
    }
    code
}

const fn short() -> [u16; 1 << STEP] {
    let code = code();
    let mut table = [0; 1 << STEP];
    let mut at = 0;
    let mut known = 0;
    while at < table.len() {
        let symbol = code.order[known];
        let length = LENGTHS[symbol as usize];
        if length as u32 > STEP {
            break;
        }
        let mut count = 1 << (STEP - length as u32);
        while count > 0 {
            table[at] = (length as u16) << 8 | symbol;
            at += 1;
            count -= 1;
        }
        known += 1;
    }
    table
}

/// A string was not coded as it should be.
#[derive(Debug)]
pub(super) struct Malformed;

/// Puts the string coded in `src` into `out`, instead of what is there.
pub(super) fn decode(mut src: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    out.clear();
    // The shortest code has five bits.
    out.reserve(src.len() * 8 / 5 + 1);
    // What is to be decoded next is at the top of these bits, of which so many are known.
    let mut bits = 0_u64;
    let mut known = 0_u32;
    loop {
        if known <= 32 {
            if let Some((chunk, rest)) = src.split_first_chunk() {
                bits |= u64::from(u32::from_be_bytes(*chunk)) << (32 - known);
                known += 32;
                src = rest;
            } else {
                for &byte in src {
                    bits |= u64::from(byte) << (56 - known);
                    known += 8;
                }
                src = &[];
            }
        }
        let short = SHORT[(bits >> (64 - STEP)) as usize];
        let (symbol, length) = if short == 0 {
            long(bits)
        } else {
            (usize::from(short & 0xff), u32::from(short >> 8))
        };
        if length > known {
            break;
        }
        if symbol == EOS {
            return Err(Malformed);
        }
        out.push(symbol as u8);
        bits <<= length;
        known -= length;
    }
    // Less than a byte may remain, which is the beginning of the symbol that ends a string.
    if known < 8 && bits.leading_ones() >= known {
        Ok(())
    } else {
        Err(Malformed)
    }
}

/// The symbol at the top of these bits and the length of its code, when that is a long one.
#[cold]
fn long(bits: u64) -> (usize, u32) {
    let bits = (bits >> 32) as u32;
    let mut length = STEP as usize + 1;
    while length < LONGEST && u64::from(bits) >= CODE.limit[length] {
        length += 1;
    }
    let nth = (bits - CODE.first[length]) >> (32 - length);
    let at = usize::from(CODE.begin[length]) + nth as usize;
    (usize::from(CODE.order[at]), length as u32)
}

/// Codes a string. What we send is not coded: it would cost more time than the bytes do.
#[cfg(test)]
pub(super) fn encode(src: &[u8], out: &mut Vec<u8>) {
    let mut bits = 0_u64;
    let mut known = 0;
    for &byte in src {
        let length = usize::from(LENGTHS[usize::from(byte)]);
        let begin = usize::from(CODE.begin[length]);
        let nth = CODE.order[begin..]
            .iter()
            .position(|&symbol| symbol == u16::from(byte))
            .unwrap();
        let code = (CODE.first[length] >> (32 - length)) + nth as u32;
        bits = bits << length | u64::from(code);
        known += length;
        while known >= 8 {
            known -= 8;
            out.push((bits >> known) as u8);
        }
    }
    if known > 0 {
        let pad = 8 - known;
        out.push((bits << pad) as u8 | ((1 << pad) - 1));
    }
}
