//! The declaration of a message's fields: each is honoured, refused or ignored, and none is left out.
//!
//! [`fields!`] takes a message apart without a `..`, so that a field that the protocol gains does
//! not compile until somebody has decided about it. It binds what is honoured, refuses what is not
//! supported where it is set, and writes the row of the support table, all from one declaration.

use std::collections::BTreeMap;

use crate::path::At;

/// What the proxy does with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FieldState {
    /// It does what Envoy does.
    Honoured,
    /// It does what Envoy does for some values, and refuses the others.
    Partly,
    /// A configuration that sets it is refused.
    Refused,
    /// It is accepted and changes nothing that a user would observe.
    Ignored,
}

impl FieldState {
    /// The word used in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Honoured => "honoured",
            Self::Partly => "in part",
            Self::Refused => "refused",
            Self::Ignored => "ignored",
        }
    }
}

/// What a conversion declares of one field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// The field, perhaps with `r#`.
    pub(crate) field: &'static str,
    /// What is done with it.
    pub(crate) state: FieldState,
    /// The limits, or the reason.
    pub(crate) note: &'static str,
}

/// A message whose fields are declared.
pub(crate) trait Declared {
    /// A row for each field, in the order of declaration.
    const ROWS: &'static [Row];
}

/// Whether a field is set to anything but its default.
pub(crate) trait Given {
    /// True when it is set.
    fn is_given(&self) -> bool;
}

macro_rules! given_unless_default {
    ($($type:ty),*) => {$(
        impl Given for $type {
            fn is_given(&self) -> bool {
                *self != <$type>::default()
            }
        }
    )*};
}

given_unless_default!(bool, i32, i64, u32, u64, f32, f64);

impl Given for String {
    fn is_given(&self) -> bool {
        !self.is_empty()
    }
}

impl<T> Given for Vec<T> {
    fn is_given(&self) -> bool {
        !self.is_empty()
    }
}

impl<K, V> Given for BTreeMap<K, V> {
    fn is_given(&self) -> bool {
        !self.is_empty()
    }
}

impl<T> Given for Option<T> {
    fn is_given(&self) -> bool {
        self.is_some()
    }
}

/// Reports a field that is set and not supported.
pub(crate) fn refuse_given(value: &impl Given, at: &At<'_>, why: &str) {
    if value.is_given() {
        at.refuse(why);
    }
}

/// Takes a message apart; see the module.
///
/// `fields!(at, message, Type { honoured { a, b } partly { c: "limits" } oneof { d { e: Honoured "",
/// f: Refused "why" } } refused { g: "why" } unsupported { h } ignored { i: "why" } })` binds `a`,
/// `b`, `c` and `d`; `unsupported` is `refused` where there is nothing to say.
/// A oneof is bound whole, and its arms are refused by whoever matches on it.
macro_rules! fields {
    ($at:expr, $message:expr, $type:path {
        $(honoured { $($honoured:ident),* $(,)? })?
        $(partly { $($partly:ident: $limits:literal),* $(,)? })?
        $(oneof { $($oneof:ident { $($arm:ident: $state:ident $note:literal),* $(,)? }),* $(,)? })?
        $(refused { $($refused:ident: $why:literal),* $(,)? })?
        $(unsupported { $($unsupported:ident),* $(,)? })?
        $(ignored { $($ignored:ident: $because:literal),* $(,)? })?
    }) => {
        let $type {
            $($($honoured,)*)?
            $($($partly,)*)?
            $($($oneof,)*)?
            $($($refused,)*)?
            $($($unsupported,)*)?
            // ignored: for the reason that the declaration gives.
            $($($ignored: _,)*)?
        } = $message;
        let _: &$crate::path::At<'_> = $at;
        $($( $crate::fields::refuse_given($refused, &$at.field(stringify!($refused)), $why); )*)?
        $($( $crate::fields::refuse_given($unsupported, &$at.field(stringify!($unsupported)), ""); )*)?
        #[allow(non_local_definitions)]
        const _: () = {
            impl $crate::fields::Declared for $type {
                const ROWS: &'static [$crate::fields::Row] = &[
                    $($($crate::fields::row!($honoured, Honoured, ""),)*)?
                    $($($crate::fields::row!($partly, Partly, $limits),)*)?
                    $($($($crate::fields::row!($arm, $state, $note),)*)*)?
                    $($($crate::fields::row!($refused, Refused, $why),)*)?
                    $($($crate::fields::row!($unsupported, Refused, ""),)*)?
                    $($($crate::fields::row!($ignored, Ignored, $because),)*)?
                ];
            }
        };
    };
}

macro_rules! row {
    ($field:ident, $state:ident, $note:literal) => {
        $crate::fields::Row {
            field: stringify!($field),
            state: $crate::FieldState::$state,
            note: $note,
        }
    };
}

pub(crate) use {fields, row};
