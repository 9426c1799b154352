//! What of a certificate log lines show beside its names: taken from its DER form when asked for.

use std::fmt::Write as _;

/// Tags of DER (ITU-T X.690).
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;

/// The serial number in hexadecimal (RFC 5280, section 4.1.2.2); none where this is no certificate.
pub(super) fn serial(der: &[u8]) -> Option<String> {
    let (SEQUENCE, certificate, _) = element(der)? else {
        return None;
    };
    let (SEQUENCE, to_be_signed, _) = element(certificate)? else {
        return None;
    };
    let (tag, content, rest) = element(to_be_signed)?;
    let number = match tag {
        VERSION => {
            let (INTEGER, number, _) = element(rest)? else {
                return None;
            };
            number
        }
        INTEGER => content,
        _ => return None,
    };
    // a first byte of 0 says that the number is positive
    let number = match number {
        [0, rest @ ..] if !rest.is_empty() => rest,
        number => number,
    };
    Some(hexadecimal(number))
}

/// The first element: its tag and content, and what comes after it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], mut rest) = bytes.split_first_chunk()?;
    let mut length = usize::from(first);
    if first & 0x80 != 0 {
        let (digits, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if digits.is_empty() || digits.len() > 4 {
            return None;
        }
        length = digits
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        rest = after;
    }
    let (content, after) = rest.split_at_checked(length)?;
    Some((tag, content, after))
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
