use proptest::prelude::*;

use super::*;

fn all(bytes: &[u8]) -> Result<Vec<Value>, Malformed> {
    let mut decoder = Decoder::of_commands();
    let mut input = BytesMut::from(bytes);
    let mut values = Vec::new();
    while let Some(value) = decoder.decode(&mut input)? {
        values.push(value);
    }
    Ok(values)
}

fn bulk(text: &str) -> Value {
    Value::Bulk(Bytes::copy_from_slice(text.as_bytes()))
}

#[test]
fn values() {
    let bytes =
        b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n+OK\r\n-ERR no\r\n:-12\r\n$-1\r\n*-1\r\n*0\r\n$0\r\n\r\n";
    assert_eq!(
        all(bytes).unwrap(),
        [
            Value::Array(vec![bulk("GET"), bulk("k")]),
            Value::Simple("OK".into()),
            Value::Error("ERR no".into()),
            Value::Integer(-12),
            Value::Null,
            Value::Null,
            Value::Array(Vec::new()),
            bulk(""),
        ]
    );
}

#[test]
fn arrays_in_arrays() {
    let inner = Value::Array(vec![Value::Integer(1), Value::Null]);
    assert_eq!(
        all(b"*2\r\n*2\r\n:1\r\n$-1\r\n*1\r\n+a\r\n").unwrap(),
        [Value::Array(vec![
            inner,
            Value::Array(vec![Value::Simple("a".into())])
        ])]
    );
}

#[test]
fn lines_are_commands() {
    let words = |words: &[&str]| Value::Array(words.iter().map(|word| bulk(word)).collect());
    assert_eq!(
        all(b"PING\r\n  set  k \"a \\\" b\" 'c d'\r\n\r\n").unwrap(),
        [
            words(&["PING"]),
            words(&["set", "k", "a \" b", "c d"]),
            words(&[]),
        ]
    );
    let mut input = BytesMut::from(&b"PING\r\n"[..]);
    assert_eq!(
        Decoder::new().decode(&mut input),
        Err(Malformed::Kind(b'P'))
    );
}

#[test]
fn the_largest_numbers() {
    assert_eq!(
        all(b":9223372036854775807\r\n:-9223372036854775808\r\n").unwrap(),
        [Value::Integer(i64::MAX), Value::Integer(i64::MIN)]
    );
    assert_eq!(all(b":9223372036854775808\r\n"), Err(Malformed::Number));
}

#[test]
fn what_is_refused_is_refused_at_once() {
    for (bytes, because) in [
        (&b":x"[..], Malformed::Number),
        (b"*\r\n", Malformed::Number),
        (b"$-\r\n", Malformed::Number),
        (b"$-2\r\n", Malformed::Number),
        (b"*-2\r\n", Malformed::Number),
        (b":1\rx", Malformed::End),
        (b"+a\rx", Malformed::End),
        (b"$1\r\naX", Malformed::End),
        (b"$600000000\r\n", Malformed::Size),
        (b"*2000000\r\n", Malformed::Size),
        (b"*1\r\nPING\r\n", Malformed::Kind(b'P')),
        (b"\0", Malformed::Kind(0)),
        (b"a \"b\r\n", Malformed::Quotes),
    ] {
        assert_eq!(all(bytes), Err(because), "{:?}", Bytes::from_static(bytes));
    }
    assert_eq!(all(&b"*1\r\n".repeat(DEEPEST + 1)), Err(Malformed::Size));
    assert_eq!(all(&vec![b'a'; LONGEST_LINE + 1]), Err(Malformed::Size));
}

#[test]
fn errors_stay_in_their_line() {
    let mut out = BytesMut::new();
    Value::error("ERR 'a\r\n+OK'").encode(&mut out);
    assert_eq!(out, "-ERR 'a  +OK'\r\n");
}

fn value() -> impl Strategy<Value = Value> {
    let text = "[^\r\n]{0,20}";
    let leaf = prop_oneof![
        text.prop_map(|text| Value::Simple(text.into())),
        text.prop_map(|text| Value::Error(text.into())),
        any::<i64>().prop_map(Value::Integer),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Value::Bulk(bytes.into())),
        Just(Value::Null),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        proptest::collection::vec(inner, 0..6).prop_map(Value::Array)
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_wherever_it_is_cut(
        values in proptest::collection::vec(value(), 1..4),
        pieces in proptest::collection::vec(1..9usize, 1..20),
    ) {
        let mut bytes = BytesMut::new();
        values.iter().for_each(|value| value.encode(&mut bytes));
        let (mut decoder, mut input, mut read) = (Decoder::new(), BytesMut::new(), Vec::new());
        let mut pieces = pieces.into_iter().cycle();
        while !bytes.is_empty() {
            let piece = pieces.next().unwrap().min(bytes.len());
            input.extend_from_slice(&bytes.split_to(piece));
            while let Some(value) = decoder.decode(&mut input).unwrap() {
                read.push(value);
            }
        }
        prop_assert_eq!(read, values);
        prop_assert!(input.is_empty());
    }

    #[test]
    fn whatever_comes_is_read_alike_in_one_piece_and_byte_by_byte(
        bytes in "[*$+:\r\n0-9a-]{0,40}",
    ) {
        let mut decoder = Decoder::of_commands();
        let (mut input, mut read) = (BytesMut::new(), Vec::new());
        let mut failed = None;
        for byte in bytes.bytes() {
            input.extend_from_slice(&[byte]);
            loop {
                match decoder.decode(&mut input) {
                    Ok(Some(value)) => read.push(value),
                    Ok(None) => break,
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                }
            }
            if failed.is_some() {
                break;
            }
        }
        match all(bytes.as_bytes()) {
            Ok(values) => prop_assert_eq!((read, failed), (values, None)),
            Err(error) => prop_assert_eq!(failed, Some(error)),
        }
    }
}
