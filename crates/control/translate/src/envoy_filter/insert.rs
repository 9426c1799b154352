//! Putting a patch's value into a list, or taking one out.
//!
//! In: a list, a patch that is no merge, and which elements it names, if it names any. Out: the list.

use meltemi_model::{ConfigPatch, PatchOperation};
use prost::Message;

use super::message;

/// Applies a patch to a list. `named` says which elements the patch names, and is `None` if it names
/// none, by which it means all to remove and none to replace; `last` is where something at the end goes, before the end if what stands there has to stay
/// the last.
pub(super) fn apply<T: Message + Default>(
    list: &mut Vec<T>,
    patch: &ConfigPatch,
    named: Option<&dyn Fn(&T) -> bool>,
    last: impl Fn(&[T]) -> usize,
) {
    let found = |list: &[T]| list.iter().position(named?);
    let place = match patch.operation {
        PatchOperation::Merge | PatchOperation::MergeAndReplaceList => return,
        PatchOperation::Remove => {
            list.retain(|it| named.is_some_and(|named| !named(it)));
            return;
        }
        PatchOperation::Replace => {
            if let (Some(at), Some(value)) = (found(list), message::of(patch)) {
                list[at] = value;
            }
            return;
        }
        PatchOperation::Add => Some(last(list)),
        PatchOperation::InsertFirst => Some(0),
        PatchOperation::InsertBefore if named.is_none() => Some(0),
        PatchOperation::InsertBefore => found(list),
        PatchOperation::InsertAfter if named.is_none() => Some(last(list)),
        PatchOperation::InsertAfter => found(list).map(|at| (at + 1).min(last(list).max(at))),
    };
    if let (Some(at), Some(value)) = (place, message::of(patch)) {
        list.insert(at, value);
    }
}

/// Where something at the end of a list goes whose end may be anything.
pub(super) fn end<T>(list: &[T]) -> usize {
    list.len()
}
