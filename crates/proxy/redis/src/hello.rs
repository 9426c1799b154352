//! `HELLO`: the client says which version of the protocol it speaks, and perhaps who it is.

use bytes::Bytes;

use crate::Value;

/// What a client says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// Its name and password, if it says so.
    pub(crate) auth: Option<(Bytes, Bytes)>,
}

/// Takes the command's arguments apart, its name the first of them.
///
/// # Errors
/// The text of the error that it is answered with.
pub(crate) fn parse(arguments: &[Bytes]) -> Result<Hello, String> {
    let mut rest = arguments.iter().skip(1);
    if rest.next().is_some_and(|version| **version != *b"2") {
        return Err("NOPROTO unsupported protocol version".to_owned());
    }
    let (mut auth, mut is_named) = (None, false);
    while let Some(option) = rest.next() {
        if option.eq_ignore_ascii_case(b"auth") {
            let (Some(username), Some(password)) = (rest.next(), rest.next()) else {
                return syntax("HELLO AUTH requires <username> <password>");
            };
            if auth.is_some() {
                return syntax("HELLO AUTH specified more than once");
            }
            auth = Some((username.clone(), password.clone()));
        } else if option.eq_ignore_ascii_case(b"setname") {
            if rest.next().is_none() {
                return syntax("HELLO SETNAME requires a <clientname>");
            }
            if is_named {
                return syntax("HELLO SETNAME specified more than once");
            }
            is_named = true;
        } else {
            let option = String::from_utf8_lossy(option);
            return syntax(&format!("unknown HELLO option '{option}'"));
        }
    }
    Ok(Hello { auth })
}

fn syntax(text: &str) -> Result<Hello, String> {
    Err(format!("ERR Syntax error: {text}"))
}

/// The answer: what the proxy is, as Envoy says it, so that clients go on as they do there.
pub(crate) fn answer() -> Value {
    let text = |text: &'static str| Value::Bulk(Bytes::from_static(text.as_bytes()));
    Value::Array(vec![
        text("server"),
        text("envoy-redis-proxy"),
        text("version"),
        text("6.0.0"),
        text("proto"),
        Value::Integer(2),
        text("id"),
        Value::Integer(0),
        text("mode"),
        text("standalone"),
        text("role"),
        text("master"),
        text("modules"),
        Value::Array(Vec::new()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &'static str) -> Result<Hello, String> {
        let arguments: Vec<_> = text.split(' ').map(Bytes::from).collect();
        parse(&arguments)
    }

    #[test]
    fn what_clients_say() {
        assert_eq!(parsed("HELLO"), Ok(Hello { auth: None }));
        assert_eq!(parsed("HELLO 2 setname a"), Ok(Hello { auth: None }));
        let auth = Some(("me".into(), "secret".into()));
        assert_eq!(parsed("HELLO 2 AUTH me secret"), Ok(Hello { auth }));
        for refused in ["HELLO 3", "HELLO x"] {
            assert!(parsed(refused).unwrap_err().starts_with("NOPROTO"));
        }
        for refused in [
            "HELLO 2 AUTH me",
            "HELLO 2 AUTH a b AUTH a b",
            "HELLO 2 SETNAME",
            "HELLO 2 SETNAME a SETNAME a",
            "HELLO 2 else",
        ] {
            assert!(parsed(refused).unwrap_err().starts_with("ERR Syntax"));
        }
    }
}
