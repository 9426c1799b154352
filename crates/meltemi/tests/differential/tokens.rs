//! The tokens of a suite, signed anew by keys that live as long as the test.
//!
//! In: a suite as written, with `tokens`. Out: the suite, in which `${token:NAME}` is that token and
//! `${jwks:ID,ID}` the set of those keys. Called by `differential`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use meltemi_testkit::TokenSigner;
use regex::{Captures, Regex};
use serde::Deserialize;
use serde_json::{Value, json};

/// A token as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// `alg` of the header.
    #[serde(default)]
    alg: Option<String>,
    /// `kid` of the header.
    #[serde(default)]
    kid: Option<String>,
    /// The whole header in place of the two, as JSON or as text.
    #[serde(default)]
    header: Option<Value>,
    /// What signs it, where it is not as the header says.
    #[serde(default, rename = "as")]
    signed_as: Option<String>,
    /// The claims, as JSON or as text.
    #[serde(default)]
    claims: Value,
    /// This is added to the signature.
    #[serde(default)]
    spoilt: bool,
}

/// Signs the tokens of a suite and puts them where they are referred to.
pub fn signed(mut suite: Value) -> Value {
    static SIGNER: LazyLock<TokenSigner> = LazyLock::new(TokenSigner::new);
    let Some(written) = suite.as_object_mut().and_then(|it| it.remove("tokens")) else {
        return suite;
    };
    let written: BTreeMap<String, Written> = serde_json::from_value(written).expect("tokens");
    let tokens = written.into_iter();
    let tokens: BTreeMap<_, _> = tokens
        .map(|(name, token)| (name, token.sign(&SIGNER)))
        .collect();
    fill(&mut suite, &SIGNER, &tokens);
    suite
}

impl Written {
    fn sign(self, signer: &TokenSigner) -> String {
        let header = self.header.unwrap_or_else(|| {
            let mut header = json!({ "alg": self.alg, "typ": "JWT" });
            if let Some(kid) = &self.kid {
                header["kid"] = json!(kid);
            }
            header
        });
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        let algorithm = self.signed_as.or(self.alg);
        let algorithm = algorithm.unwrap_or_else(|| "RS256".to_owned());
        let mut token = signer.token_of(&text(&header), &text(&self.claims), &algorithm);
        if self.spoilt {
            let at = token.rfind('.').expect("a token has dots") + 5;
            let other = if &token[at..=at] == "A" { "B" } else { "A" };
            token.replace_range(at..=at, other);
        }
        token
    }
}

fn fill(value: &mut Value, signer: &TokenSigner, tokens: &BTreeMap<String, String>) {
    static PLACE: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\$\{(token|jwks):([^}]*)\}").expect("it is one"));
    match value {
        Value::String(text) if text.contains("${") => {
            let filled = PLACE.replace_all(text, |found: &Captures<'_>| match &found[1] {
                "token" => tokens[&found[2]].clone(),
                _ => {
                    let ids = found[2].split(',').filter(|id| !id.is_empty());
                    let keys: Vec<_> = ids.map(|id| signer.key(id)).collect();
                    json!({ "keys": keys }).to_string()
                }
            });
            *text = filled.into_owned();
        }
        Value::Array(all) => all.iter_mut().for_each(|one| fill(one, signer, tokens)),
        Value::Object(all) => all.values_mut().for_each(|one| fill(one, signer, tokens)),
        _ => {}
    }
}
