//! Reading values from JSON, straight from the text.
//!
//! Seeds carry the depth and the form. An error of ours is put aside in [`Faults`], since an
//! error of serde is only text and would lose the code.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::Patch;
use crate::limits::{
    ARRAY_LENGTH_MAX, INVALID_VALUE, VALUE_NESTING_MAX, ValueError, check_array_length,
    check_field_count, check_field_name, quoted, too_nested,
};
use crate::object::Object;
use crate::value::Value;

/// Which numbers are int64.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// None: they are `$integer` objects.
    Encoded,
    /// Those without a dot that fit.
    Export,
}

/// The first error of ours while serde reads.
#[derive(Default)]
pub(crate) struct Faults(RefCell<Option<ValueError>>);

impl Faults {
    /// Puts `error` aside and gives a stand-in to stop serde with.
    fn stop<E: Error>(&self, error: ValueError) -> E {
        let text = E::custom(&error.message);
        self.0.borrow_mut().get_or_insert(error);
        text
    }

    /// The error put aside, else the one of the JSON reader.
    pub(crate) fn take(&self, error: &serde_json::Error) -> ValueError {
        let fault = self.0.borrow_mut().take();
        fault.unwrap_or_else(|| ValueError::new(INVALID_VALUE, format!("invalid JSON: {error}")))
    }
}

/// A value at `depth` levels below the root.
#[derive(Clone, Copy)]
pub(crate) struct ValueSeed<'f> {
    form: Form,
    depth: usize,
    faults: &'f Faults,
}

impl<'f> ValueSeed<'f> {
    pub(crate) fn new(form: Form, faults: &'f Faults) -> Self {
        ValueSeed { form, depth: 0, faults }
    }

    fn inner<E: Error>(self) -> Result<Self, E> {
        if self.depth >= VALUE_NESTING_MAX {
            return Err(self.faults.stop(too_nested()));
        }
        Ok(ValueSeed { depth: self.depth + 1, ..self })
    }

    fn integer(self, i: i64) -> Value {
        match self.form {
            Form::Encoded => Value::Float64(i as f64),
            Form::Export => Value::Int64(i),
        }
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, b: bool) -> Result<Value, E> {
        Ok(Value::Boolean(b))
    }

    fn visit_i64<E: Error>(self, i: i64) -> Result<Value, E> {
        Ok(self.integer(i))
    }

    fn visit_u64<E: Error>(self, u: u64) -> Result<Value, E> {
        Ok(i64::try_from(u).map_or(Value::Float64(u as f64), |i| self.integer(i)))
    }

    fn visit_f64<E: Error>(self, f: f64) -> Result<Value, E> {
        Ok(Value::Float64(f))
    }

    /// Never from JSON: an int64 of the serde bridge.
    fn visit_i128<E: Error>(self, i: i128) -> Result<Value, E> {
        i64::try_from(i).map(Value::Int64).map_err(E::custom)
    }

    /// Never from JSON: bytes of the serde bridge.
    fn visit_byte_buf<E: Error>(self, b: Vec<u8>) -> Result<Value, E> {
        Ok(Value::Bytes(b))
    }

    fn visit_str<E: Error>(self, s: &str) -> Result<Value, E> {
        Ok(Value::String(s.to_owned()))
    }

    fn visit_string<E: Error>(self, s: String) -> Result<Value, E> {
        Ok(Value::String(s))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let seed = self.inner()?;
        let mut items = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(ARRAY_LENGTH_MAX));
        while let Some(item) = seq.next_element_seed(seed)? {
            items.push(item);
            check_array_length(items.len()).map_err(|error| self.faults.stop(error))?;
        }
        // A list of one would keep room for four.
        items.shrink_to_fit();
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let Some(first) = map.next_key::<String>()? else {
            self.inner::<A::Error>()?;
            return Ok(Value::Object(Object::new()));
        };
        if first.starts_with('$') {
            return special(&first, map, self.faults);
        }
        let seed = self.inner()?;
        let mut fields = BTreeMap::new();
        let mut next = Some(first);
        while let Some(name) = next {
            check_field_name(&name).map_err(|error| self.faults.stop(error))?;
            fields.insert(name, map.next_value_seed(seed)?);
            check_field_count(fields.len()).map_err(|error| self.faults.stop(error))?;
            next = map.next_key()?;
        }
        Ok(Value::Object(fields.into()))
    }
}

/// The value of an object whose first field is `name`, which starts with `$`.
fn special<'de, A: MapAccess<'de>>(
    name: &str,
    mut map: A,
    faults: &Faults,
) -> Result<Value, A::Error> {
    let payload = map.next_value_seed(PayloadSeed)?;
    if map.next_key::<String>()?.is_some() {
        let text = format!("object has the field {}, which may only stand alone", quoted(name));
        return Err(faults.stop(ValueError::new(INVALID_VALUE, text)));
    }
    decode_special(name, &payload).map_err(|error| faults.stop(error))
}

/// What may stand behind a field that starts with `$`.
pub(crate) enum Payload {
    Text(String),
    Null,
    Other,
}

/// The value that `{name: payload}` stands for.
pub(crate) fn decode_special(name: &str, payload: &Payload) -> Result<Value, ValueError> {
    let error = |text: String| Err(ValueError::new(INVALID_VALUE, text));
    match name {
        "$integer" | "$float" | "$bytes" => {}
        "$commitTs" => {
            return error("the commit timestamp placeholder cannot stand here".to_owned());
        }
        "$undefined" => return error("undefined is not a value and cannot stand here".to_owned()),
        _ => return check_field_name(name).map(|()| Value::Null),
    }
    let Payload::Text(text) = payload else {
        return error(format!("{name} does not hold a string"));
    };
    let Ok(bytes) = STANDARD.decode(text) else {
        return error(format!("{name} does not hold padded base64"));
    };
    if name == "$bytes" {
        return Ok(Value::Bytes(bytes));
    }
    let Ok(eight) = <[u8; 8]>::try_from(bytes.as_slice()) else {
        return error(format!("{name} holds {} bytes, not eight", bytes.len()));
    };
    if name == "$integer" {
        return Ok(Value::Int64(i64::from_le_bytes(eight)));
    }
    let float = f64::from_le_bytes(eight);
    if float.is_normal() || float.is_subnormal() {
        return error(format!("$float holds {float:?}, which is written as a number"));
    }
    Ok(Value::Float64(float))
}

struct PayloadSeed;

impl<'de> DeserializeSeed<'de> for PayloadSeed {
    type Value = Payload;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Payload, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PayloadSeed {
    type Value = Payload;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or null")
    }

    fn visit_str<E: Error>(self, s: &str) -> Result<Payload, E> {
        Ok(Payload::Text(s.to_owned()))
    }

    fn visit_unit<E: Error>(self) -> Result<Payload, E> {
        Ok(Payload::Null)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Payload, E> {
        Ok(Payload::Other)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Payload, E> {
        Ok(Payload::Other)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Payload, E> {
        Ok(Payload::Other)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Payload, E> {
        Ok(Payload::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Payload, A::Error> {
        while seq.next_element::<serde::de::IgnoredAny>()?.is_some() {}
        Ok(Payload::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Payload, A::Error> {
        while map.next_entry::<serde::de::IgnoredAny, serde::de::IgnoredAny>()?.is_some() {}
        Ok(Payload::Other)
    }
}

/// A value, or `{"$undefined":null}` for a missing one.
pub(super) struct UndefinedSeed<'f>(ValueSeed<'f>);

impl<'f> UndefinedSeed<'f> {
    pub(super) fn new(faults: &'f Faults) -> Self {
        UndefinedSeed(ValueSeed::new(Form::Encoded, faults))
    }
}

impl<'de> DeserializeSeed<'de> for UndefinedSeed<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Value>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UndefinedSeed<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Option<Value>, E> {
        self.0.visit_unit().map(Some)
    }

    fn visit_bool<E: Error>(self, b: bool) -> Result<Option<Value>, E> {
        self.0.visit_bool(b).map(Some)
    }

    fn visit_i64<E: Error>(self, i: i64) -> Result<Option<Value>, E> {
        self.0.visit_i64(i).map(Some)
    }

    fn visit_u64<E: Error>(self, u: u64) -> Result<Option<Value>, E> {
        self.0.visit_u64(u).map(Some)
    }

    fn visit_f64<E: Error>(self, f: f64) -> Result<Option<Value>, E> {
        self.0.visit_f64(f).map(Some)
    }

    fn visit_str<E: Error>(self, s: &str) -> Result<Option<Value>, E> {
        self.0.visit_str(s).map(Some)
    }

    fn visit_string<E: Error>(self, s: String) -> Result<Option<Value>, E> {
        self.0.visit_string(s).map(Some)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Option<Value>, A::Error> {
        self.0.visit_seq(seq).map(Some)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<Value>, A::Error> {
        let mut map = Peeked { first: None, map };
        map.first = map.map.next_key::<String>()?;
        if map.first.as_deref() != Some("$undefined") {
            return self.0.visit_map(map).map(Some);
        }
        let payload = map.map.next_value_seed(PayloadSeed)?;
        let alone = map.map.next_key::<String>()?.is_none();
        if alone && matches!(payload, Payload::Null) {
            return Ok(None);
        }
        let text = "$undefined does not hold null alone";
        Err(self.0.faults.stop(ValueError::new(INVALID_VALUE, text)))
    }
}

/// A map whose first name was read already.
struct Peeked<A> {
    first: Option<String>,
    map: A,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Peeked<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        match self.first.take() {
            Some(first) => {
                seed.deserialize(serde::de::value::StringDeserializer::new(first)).map(Some)
            }
            None => self.map.next_key_seed(seed),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

/// An object whose fields may be undefined.
pub(super) struct PatchSeed<'f>(&'f Faults);

impl<'f> PatchSeed<'f> {
    pub(super) fn new(faults: &'f Faults) -> Self {
        PatchSeed(faults)
    }
}

impl<'de> DeserializeSeed<'de> for PatchSeed<'_> {
    type Value = Patch;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Patch, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for PatchSeed<'_> {
    type Value = Patch;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Patch, A::Error> {
        let mut seed = ValueSeed::new(Form::Encoded, self.0);
        seed.depth = 1;
        let mut fields = Patch::new();
        while let Some(name) = map.next_key::<String>()? {
            check_field_name(&name).map_err(|error| self.0.stop(error))?;
            fields.insert(name, map.next_value_seed(UndefinedSeed(seed))?);
            check_field_count(fields.len()).map_err(|error| self.0.stop(error))?;
        }
        Ok(fields)
    }
}

/// An array of values, or one object.
pub(super) struct ArgumentsSeed<'f>(&'f Faults);

impl<'f> ArgumentsSeed<'f> {
    pub(super) fn new(faults: &'f Faults) -> Self {
        ArgumentsSeed(faults)
    }
}

impl<'de> DeserializeSeed<'de> for ArgumentsSeed<'_> {
    type Value = Vec<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Value>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ArgumentsSeed<'_> {
    type Value = Vec<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of arguments or an object")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Value>, A::Error> {
        let seed = ValueSeed::new(Form::Encoded, self.0);
        let mut args = Vec::new();
        while let Some(arg) = seq.next_element_seed(seed)? {
            args.push(arg);
            check_array_length(args.len()).map_err(|error| self.0.stop(error))?;
        }
        Ok(args)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<Value>, A::Error> {
        Ok(vec![ValueSeed::new(Form::Encoded, self.0).visit_map(map)?])
    }
}
