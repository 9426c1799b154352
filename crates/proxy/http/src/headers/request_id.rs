//! `x-request-id`: a version 4 UUID, written without formatting machinery.

use bytes::Bytes;
use http::HeaderValue;
use meltemi_lifecycle::Random;

/// A new request id.
pub(crate) fn generate(random: &Random) -> HeaderValue {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bits = u128::from(random.bits()) << 64 | u128::from(random.bits());
    // Version 4, variant 10.
    let bits = bits & !(0xf << 76) | 0x4 << 76;
    let bits = bits & !(0x3 << 62) | 0x2 << 62;
    let bytes = bits.to_be_bytes();
    let mut text = [b'-'; 36];
    let mut at = 0;
    for byte in bytes {
        if matches!(at, 8 | 13 | 18 | 23) {
            at += 1;
        }
        text[at] = HEX[usize::from(byte >> 4)];
        text[at + 1] = HEX[usize::from(byte & 15)];
        at += 2;
    }
    HeaderValue::from_maybe_shared(Bytes::copy_from_slice(&text))
        .expect("hexadecimal digits and dashes")
}
