//! A message for a proxy, and its encoding.
//!
//! In: resources as they are shared between proxies. Out: the bytes of a `DeltaDiscoveryResponse` or of a
//! `DiscoveryResponse`. Thousands of proxies are sent the same resources, and each only has its own nonce,
//! so that a resource's bytes are copied once for each: to where they are sent from.

use std::sync::Arc;

use bytes::BufMut;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len, message};
use prost_types::Any;

use super::Form;
use crate::{Kind, Resource};

/// A message for the proxy.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    /// In which form.
    pub form: Form,
    /// Of what kind its resources are.
    pub kind: Kind,
    /// By which the proxy's answer will name it.
    pub nonce: String,
    /// The state of the mesh that it was made from.
    pub version: String,
    /// The resources, in the order of their names.
    pub resources: Vec<Resource>,
    /// Names that stand for nothing any more; only the delta form can say so.
    pub removed: Vec<Arc<str>>,
}

/// The numbers of fields of the two messages.
const VERSION: u32 = 1;
const RESOURCES: u32 = 2;
const TYPE_URL: u32 = 4;
const NONCE: u32 = 5;
const REMOVED: u32 = 6;
/// Those of the delta form's `Resource`.
const RESOURCE_VERSION: u32 = 1;
const RESOURCE_BODY: u32 = 2;
const RESOURCE_NAME: u32 = 3;

impl Outgoing {
    /// How many bytes the message has.
    pub fn encoded_len(&self) -> usize {
        let resources = self.resources.iter().map(|it| match self.form {
            Form::Delta => field_len(RESOURCES, Wrapped::of(it).len()),
            Form::Sotw => message::encoded_len(RESOURCES, it.body.as_ref()),
        });
        let removed = self.removed().map(|it| field_len(REMOVED, it.len()));
        text_len(VERSION, &self.version)
            + resources.sum::<usize>()
            + text_len(TYPE_URL, &self.kind.type_url())
            + text_len(NONCE, &self.nonce)
            + removed.sum::<usize>()
    }

    /// Writes the message.
    pub fn encode(&self, buffer: &mut impl BufMut) {
        put_text(VERSION, &self.version, buffer);
        for resource in &self.resources {
            match self.form {
                Form::Delta => Wrapped::of(resource).put(buffer),
                Form::Sotw => message::encode(RESOURCES, resource.body.as_ref(), buffer),
            }
        }
        put_text(TYPE_URL, &self.kind.type_url(), buffer);
        put_text(NONCE, &self.nonce, buffer);
        for name in self.removed() {
            put(REMOVED, name.as_bytes(), buffer);
        }
    }

    fn removed(&self) -> impl Iterator<Item = &Arc<str>> {
        let can_say = self.form == Form::Delta;
        self.removed.iter().filter(move |_| can_say)
    }
}

/// A resource with its name and version, as the delta form has it.
struct Wrapped<'a> {
    name: &'a str,
    version: String,
    body: &'a Any,
}

impl<'a> Wrapped<'a> {
    fn of(resource: &'a Resource) -> Self {
        Self {
            name: &resource.name,
            version: resource.version.to_string(),
            body: &resource.body,
        }
    }

    fn len(&self) -> usize {
        text_len(RESOURCE_VERSION, &self.version)
            + message::encoded_len(RESOURCE_BODY, self.body)
            + text_len(RESOURCE_NAME, self.name)
    }

    fn put(&self, buffer: &mut impl BufMut) {
        encode_key(RESOURCES, WireType::LengthDelimited, buffer);
        encode_varint(self.len() as u64, buffer);
        put_text(RESOURCE_VERSION, &self.version, buffer);
        message::encode(RESOURCE_BODY, self.body, buffer);
        put_text(RESOURCE_NAME, self.name, buffer);
    }
}

/// The length of a field whose content has this length.
fn field_len(field: u32, length: usize) -> usize {
    key_len(field) + encoded_len_varint(length as u64) + length
}

/// The same of a text, which is left out if it is empty.
fn text_len(field: u32, text: &str) -> usize {
    match text.len() {
        0 => 0,
        length => field_len(field, length),
    }
}

fn put(field: u32, content: &[u8], buffer: &mut impl BufMut) {
    encode_key(field, WireType::LengthDelimited, buffer);
    encode_varint(content.len() as u64, buffer);
    buffer.put_slice(content);
}

fn put_text(field: u32, text: &str, buffer: &mut impl BufMut) {
    if !text.is_empty() {
        put(field, text.as_bytes(), buffer);
    }
}
