//! `?mask=`: which fields of a dump are kept.

use serde_json::{Map, Value};

/// Fields to keep; none means all of what is below.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Mask(std::collections::BTreeMap<String, Mask>);

impl Mask {
    /// Reads `a.b,c`.
    pub fn parse(text: &str) -> Self {
        let mut mask = Self::default();
        for path in text.split(',').filter(|path| !path.is_empty()) {
            let mut at = &mut mask;
            for field in path.split('.') {
                at = at.0.entry(field.to_owned()).or_default();
            }
        }
        mask
    }

    /// Removes what is not kept; the type of a message always is.
    ///
    /// # Errors
    /// The field that cannot be looked into because it is a list.
    pub fn apply(&self, value: &mut Value) -> Result<(), String> {
        if self.0.is_empty() {
            return Ok(());
        }
        let Value::Object(fields) = value else {
            return Ok(());
        };
        let mut kept = Map::new();
        for (name, mut field) in std::mem::take(fields) {
            if name == "@type" {
                kept.insert(name, field);
            } else if let Some(below) = self.0.get(&name) {
                if field.is_array() && !below.0.is_empty() {
                    return Err(name);
                }
                below.apply(&mut field)?;
                kept.insert(name, field);
            }
        }
        *fields = kept;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_named_stays() {
        let mask = Mask::parse("a.b,list");
        let mut value = json!({"@type": "t", "a": {"b": 1, "c": 2}, "list": [1], "d": 3});
        assert_eq!(mask.apply(&mut value), Ok(()));
        assert_eq!(value, json!({"@type": "t", "a": {"b": 1}, "list": [1]}));
        let mut value = json!({"list": [{"x": 1}]});
        assert_eq!(
            Mask::parse("list.x").apply(&mut value),
            Err("list".to_owned())
        );
    }
}
