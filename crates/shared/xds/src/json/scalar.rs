//! Single values as they are written in JSON, and as protobuf encodes them.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Number, Value};

use super::known;
use super::schema::Kind;
use super::wire::Encoded;

/// How many characters of a value an error shows.
const MAX_SHOWN: usize = 60;

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// A value that is neither an object nor a list.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar<'s> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number; one of YAML may be none that JSON has.
    Number(Number),
    /// A number that JSON has none for.
    Irregular(f64),
    /// Text.
    Text(&'s str),
}

impl Scalar<'_> {
    /// A number in floating point.
    pub fn of_float(number: f64) -> Self {
        Number::from_f64(number).map_or(Self::Irregular(number), Self::Number)
    }

    /// The value in a tree.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Null | Self::Irregular(_) => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Number(number) => Value::Number(number.clone()),
            Self::Text(text) => Value::from(*text),
        }
    }

    /// As an error shows it.
    pub fn shown(&self) -> String {
        let mut shown = match self {
            Self::Irregular(number) => number.to_string(),
            other => other.to_value().to_string(),
        };
        if let Some((end, _)) = shown.char_indices().nth(MAX_SHOWN) {
            shown.truncate(end);
            shown.push('…');
        }
        shown
    }

    /// The encoding as a value of a kind that is neither a message nor an enumeration; none where
    /// it is no such value.
    pub fn encode(&self, kind: Kind) -> Option<Encoded<'_>> {
        Some(match kind {
            Kind::String => Encoded::Bytes(Cow::Borrowed(self.text()?.as_bytes())),
            Kind::Bytes => Encoded::Bytes(Cow::Owned(bytes(self.text()?)?)),
            Kind::Bool => match self {
                Self::Bool(value) => Encoded::Varint(u64::from(*value)),
                _ => return None,
            },
            Kind::Int32 => signed(self.integer::<i32>()?.into()),
            Kind::Int64 => signed(self.integer()?),
            Kind::Uint32 => Encoded::Varint(self.integer::<u32>()?.into()),
            Kind::Uint64 => Encoded::Varint(self.integer()?),
            Kind::Sint32 => zigzag(self.integer::<i32>()?.into()),
            Kind::Sint64 => zigzag(self.integer()?),
            Kind::Fixed32 => Encoded::Fixed32(self.integer()?),
            Kind::Fixed64 => Encoded::Fixed64(self.integer()?),
            Kind::Sfixed32 => Encoded::Fixed32(self.integer::<i32>()?.cast_unsigned()),
            Kind::Sfixed64 => Encoded::Fixed64(self.integer::<i64>()?.cast_unsigned()),
            Kind::Double => Encoded::Fixed64(self.float()?.to_bits()),
            Kind::Float => Encoded::Fixed32(single_precision(self.float()?)?.to_bits()),
            Kind::Message(_) | Kind::Enum(_) => return None,
        })
    }

    /// The text, where it is text.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// An integer as such, in a string, or as a whole number in floating point.
    pub fn integer<T: TryFrom<i128>>(&self) -> Option<T> {
        /// Beyond this no 64-bit integer lies, and every `f64` within converts exactly.
        const LIMIT: f64 = 18_446_744_073_709_551_616.0;
        let number = match self {
            Self::Text(text) => return T::try_from(text.parse().ok()?).ok(),
            Self::Number(number) => number,
            _ => return None,
        };
        let exact = number
            .as_u64()
            .map(i128::from)
            .or_else(|| number.as_i64().map(i128::from));
        let exact = exact.or_else(|| {
            let number = number
                .as_f64()
                .filter(|number| number.fract() == 0.0 && number.abs() <= LIMIT)?;
            #[expect(clippy::cast_possible_truncation, reason = "whole and in range")]
            Some(number as i128)
        });
        T::try_from(exact?).ok()
    }

    fn float(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(known::number_from_json(number)),
            Self::Irregular(number) => Some(*number),
            Self::Text("NaN") => Some(f64::NAN),
            Self::Text("Infinity") => Some(f64::INFINITY),
            Self::Text("-Infinity") => Some(f64::NEG_INFINITY),
            Self::Text(text) => text.parse().ok().filter(|number: &f64| number.is_finite()),
            _ => None,
        }
    }
}

/// What a field of a kind takes, for an error.
pub fn expected(kind: Kind) -> &'static str {
    match kind {
        Kind::Double | Kind::Float => "a number",
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => "an integer of 32 bits",
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => "an integer of 64 bits",
        Kind::Uint32 | Kind::Fixed32 => "an integer of 32 bits, not negative",
        Kind::Uint64 | Kind::Fixed64 => "an integer of 64 bits, not negative",
        Kind::Bool => "true or false",
        Kind::String => "a string",
        Kind::Bytes => "base64",
        Kind::Message(_) => "a message",
        Kind::Enum(_) => "the name of a value",
    }
}

/// An integer that may be negative, which then takes ten bytes.
pub fn signed(value: i64) -> Encoded<'static> {
    Encoded::Varint(value.cast_unsigned())
}

fn zigzag(value: i64) -> Encoded<'static> {
    Encoded::Varint(((value << 1) ^ (value >> 63)).cast_unsigned())
}

/// The nearest `f32`, unless a finite number is out of its range.
fn single_precision(number: f64) -> Option<f32> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounding is what protobuf asks for"
    )]
    let single = number as f32;
    (single.is_finite() || !number.is_finite()).then_some(single)
}

/// Base64 in either alphabet, with or without padding.
fn bytes(text: &str) -> Option<Vec<u8>> {
    BASE64
        .decode(text)
        .or_else(|_| BASE64_URL.decode(text))
        .ok()
}
