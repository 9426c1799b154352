//! DNS: any bytes are a question or none, and an answer to a question repeats it within its limit.
#![no_main]

use std::net::Ipv4Addr;

use libfuzzer_sys::fuzz_target;
use meltemi_dns::{Answer, Query};

fuzz_target!(|bytes: &[u8]| {
    let Ok(query) = Query::parse(bytes) else {
        return;
    };
    let v4 = [Ipv4Addr::LOCALHOST; 40];
    let answer = Answer {
        alias: bytes.first().filter(|it| **it % 2 == 0).map(|_| "db.example.org"),
        v4: &v4,
        v6: &[],
    };
    for message in [query.answer(&answer, 3, query.limit), query.failure()] {
        assert!(message.len() <= query.limit);
        assert_eq!(message[..2], bytes[..2]);
    }
});
