//! The tables by which JSON is read: what messages, fields and enumerations are called.
//!
//! In: the descriptor set. Out: Rust source with constants of the types in `src/json/schema.rs`.
//! They hold numbers and no references, so that the program's file has them as they are and
//! nothing is to be done with them at its start.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};

/// Text shared by all tables; the same text is held once.
#[derive(Default)]
struct Names {
    text: String,
    known: HashMap<String, usize>,
}

impl Names {
    fn add(&mut self, name: &str) -> String {
        let start = *self.known.entry(name.to_owned()).or_insert_with(|| {
            let start = self.text.len();
            self.text.push_str(name);
            start
        });
        format!("T({start},{})", name.len())
    }
}

/// Messages and enumerations by full name, with whether fields of implicit presence can be there.
#[derive(Default)]
struct Types<'d> {
    messages: BTreeMap<String, (&'d DescriptorProto, bool)>,
    enums: BTreeMap<String, &'d EnumDescriptorProto>,
}

impl<'d> Types<'d> {
    fn of(descriptors: &'d FileDescriptorSet) -> Self {
        let mut types = Self::default();
        for file in &descriptors.file {
            let package = file.package();
            let implicit = file.syntax() == "proto3";
            for message in &file.message_type {
                types.add(package, message, implicit);
            }
            for one in &file.enum_type {
                types.enums.insert(join(package, one.name()), one);
            }
        }
        types
    }

    fn add(&mut self, scope: &str, message: &'d DescriptorProto, implicit: bool) {
        let name = join(scope, message.name());
        for nested in &message.nested_type {
            self.add(&name, nested, implicit);
        }
        for one in &message.enum_type {
            self.enums.insert(join(&name, one.name()), one);
        }
        self.messages.insert(name, (message, implicit));
    }
}

fn join(scope: &str, name: &str) -> String {
    if scope.is_empty() {
        return name.to_owned();
    }
    format!("{scope}.{name}")
}

/// The source of the tables.
pub fn source(descriptors: &FileDescriptorSet) -> Result<String, std::fmt::Error> {
    let types = Types::of(descriptors);
    let message_numbers = numbers(types.messages.keys());
    let enum_numbers = numbers(types.enums.keys());
    let mut names = Names::default();
    let (mut messages, mut fields, mut spellings) = (String::new(), String::new(), String::new());
    let (mut enums, mut values) = (String::new(), String::new());
    let (mut field_count, mut spelling_count, mut value_count) = (0, 0, 0);
    for (name, (message, implicit)) in &types.messages {
        let mut spelled = BTreeMap::new();
        for field in &message.field {
            let Some(kind) = kind(field, &message_numbers, &enum_numbers) else {
                continue;
            };
            let shape = shape(field, *implicit, &types);
            let oneof = match field.oneof_index {
                Some(index) if !field.proto3_optional() => {
                    names.add(message.oneof_decl[index as usize].name())
                }
                _ => names.add(""),
            };
            let number = field.number();
            writeln!(
                fields,
                "F{{number:{number},kind:{kind},shape:S::{shape},oneof:{oneof}}},"
            )?;
            spelled.insert(field.name().to_owned(), field_count);
            field_count += 1;
        }
        // A name as in the `.proto` file goes before another field's in camel case.
        for field in &message.field {
            if let Some(&number) = spelled.get(field.name()) {
                spelled
                    .entry(field.json_name().to_owned())
                    .or_insert(number);
            }
        }
        let start = spelling_count;
        for (spelling, field) in &spelled {
            writeln!(spellings, "({},{field}),", names.add(spelling))?;
            spelling_count += 1;
        }
        writeln!(
            messages,
            "M{{name:{},start:{start},end:{spelling_count}}},",
            names.add(name)
        )?;
    }
    for (name, descriptor) in &types.enums {
        let mut sorted: Vec<_> = descriptor.value.iter().collect();
        sorted.sort_by_key(|value| value.name());
        let start = value_count;
        for value in sorted {
            writeln!(values, "({},{}),", names.add(value.name()), value.number())?;
            value_count += 1;
        }
        writeln!(
            enums,
            "E{{name:{},start:{start},end:{value_count}}},",
            names.add(name)
        )?;
    }
    let text = &names.text;
    Ok(format!(
        "static NAMES: &str = {text:?};
static MESSAGES: [M; {}] = [\n{messages}];
static FIELDS: [F; {field_count}] = [\n{fields}];
static SPELLINGS: [(T, u32); {spelling_count}] = [\n{spellings}];
static ENUMS: [E; {}] = [\n{enums}];
static ENUM_VALUES: [(T, i32); {value_count}] = [\n{values}];
",
        types.messages.len(),
        types.enums.len(),
    ))
}

fn numbers<'n>(names: impl Iterator<Item = &'n String>) -> HashMap<&'n str, usize> {
    names
        .enumerate()
        .map(|(number, name)| (name.as_str(), number))
        .collect()
}

/// The kind of a field's values; none for groups, which JSON has no form for.
fn kind(
    field: &FieldDescriptorProto,
    messages: &HashMap<&str, usize>,
    enums: &HashMap<&str, usize>,
) -> Option<String> {
    let target = field.type_name().trim_start_matches('.');
    Some(match field.r#type() {
        Type::Group => return None,
        Type::Message => format!("K::Message({})", messages[target]),
        Type::Enum => format!("K::Enum({})", enums[target]),
        scalar => format!("K::{scalar:?}"),
    })
}

fn shape(field: &FieldDescriptorProto, implicit: bool, types: &Types<'_>) -> &'static str {
    if field.label() == Label::Repeated {
        let target = types
            .messages
            .get(field.type_name().trim_start_matches('.'));
        let is_map = target.is_some_and(|(entry, _)| {
            entry
                .options
                .as_ref()
                .is_some_and(|options| options.map_entry())
        });
        let is_scalar = !matches!(field.r#type(), Type::Message | Type::String | Type::Bytes);
        let packed = field.options.as_ref().and_then(|options| options.packed);
        return match is_map {
            true => "Map",
            false if is_scalar && packed.unwrap_or(implicit) => "Packed",
            false => "List",
        };
    }
    let explicit = field.oneof_index.is_some() || field.r#type() == Type::Message;
    if implicit && !explicit {
        "Implicit"
    } else {
        "Explicit"
    }
}
