//! Redis' protocol: any bytes give the same values however they are cut, and what is read is
//! written as it would be read again.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use meltemi_redis::{Decoder, Malformed, Value};

fn read(pieces: &[&[u8]]) -> (Vec<Value>, Option<Malformed>) {
    let mut decoder = Decoder::of_commands();
    let (mut input, mut values) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(value)) => values.push(value),
                Ok(None) => break,
                Err(error) => return (values, Some(error)),
            }
        }
    }
    (values, None)
}

fuzz_target!(|bytes: &[u8]| {
    let whole = read(&[bytes]);
    let (front, back) = bytes.split_at(bytes.len() / 2);
    assert_eq!(read(&[front, back]), whole);
    for value in whole.0 {
        let mut written = BytesMut::new();
        value.encode(&mut written);
        assert_eq!(read(&[&written]), (vec![value], None));
    }
});
