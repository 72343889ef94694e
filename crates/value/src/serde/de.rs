//! Values to Rust values.

use serde::de::value::{MapDeserializer, SeqDeserializer, StringDeserializer};
use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};

use super::Error;
use super::forms::VALUE_NEWTYPE;
use crate::value::Value;

pub(super) struct ValueDeserializer(pub(super) Value);

impl de::Error for Error {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Error(message.to_string())
    }
}

impl IntoDeserializer<'_, Error> for ValueDeserializer {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl ValueDeserializer {
    fn mismatch(&self, expected: &str) -> Error {
        Error(format!("expected {expected}, got {}", self.0.type_name()))
    }

    /// The float64 as an integer between `min` and `max`.
    fn integer(self, min: f64, max: f64) -> Result<i64, Error> {
        let Value::Float64(number) = self.0 else {
            return Err(self.mismatch("float64"));
        };
        if number.fract() != 0.0 || !(min..=max).contains(&number) {
            return Err(Error(format!("{number:?} is not an integer from {min} to {max}")));
        }
        Ok(number as i64)
    }

    fn int64(&self) -> Result<i64, Error> {
        self.0.as_i64().ok_or_else(|| self.mismatch("int64"))
    }
}

macro_rules! small_integers {
    ($($method:ident $visit:ident $type:ty),*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let integer = self.integer(f64::from(<$type>::MIN), f64::from(<$type>::MAX))?;
            visitor.$visit(integer as $type)
        })*
    };
}

impl<'de> Deserializer<'de> for ValueDeserializer {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Int64(i) => visitor.visit_i64(i),
            Value::Float64(f) => visitor.visit_f64(f),
            Value::Boolean(b) => visitor.visit_bool(b),
            Value::String(s) => visitor.visit_string(s),
            Value::Bytes(b) => visitor.visit_byte_buf(b),
            Value::Array(items) => {
                let mut items = SeqDeserializer::new(items.into_iter().map(ValueDeserializer));
                let value = visitor.visit_seq(&mut items)?;
                items.end().map(|()| value)
            }
            Value::Object(object) => {
                let fields = object
                    .into_iter()
                    .map(|(name, field)| (StringDeserializer::new(name), ValueDeserializer(field)));
                let mut fields = MapDeserializer::new(fields);
                let value = visitor.visit_map(&mut fields)?;
                fields.end().map(|()| value)
            }
        }
    }

    small_integers! {
        deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16, deserialize_i32 visit_i32 i32,
        deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16, deserialize_u32 visit_u32 u32
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i64(self.int64()?)
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i128(i128::from(self.int64()?))
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let i = self.int64()?;
        let unsigned = u64::try_from(i).map_err(|_| Error(format!("{i} is negative")))?;
        visitor.visit_u64(unsigned)
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let i = self.int64()?;
        let unsigned = u128::try_from(i).map_err(|_| Error(format!("{i} is negative")))?;
        visitor.visit_u128(unsigned)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_f64(self.0.as_f64().ok_or_else(|| self.mismatch("float64"))?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == VALUE_NEWTYPE {
            return visitor.visit_newtype_struct(RawDeserializer(self.0));
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let (variant, content) = match self.0 {
            Value::String(variant) => (variant, None),
            Value::Object(object) if object.len() == 1 => {
                let (variant, content) = object.into_iter().next().expect("it has one field");
                (variant, Some(content))
            }
            other => {
                let expected = "a string or an object with one field";
                return Err(ValueDeserializer(other).mismatch(expected));
            }
        };
        visitor.visit_enum(EnumDeserializer { variant, content })
    }

    serde::forward_to_deserialize_any! {
        bool char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}

struct EnumDeserializer {
    variant: String,
    content: Option<Value>,
}

impl<'de> de::EnumAccess<'de> for EnumDeserializer {
    type Error = Error;
    type Variant = VariantDeserializer;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, VariantDeserializer), Error> {
        let variant = seed.deserialize(StringDeserializer::<Error>::new(self.variant))?;
        Ok((variant, VariantDeserializer(self.content)))
    }
}

struct VariantDeserializer(Option<Value>);

impl VariantDeserializer {
    fn content(self) -> Result<ValueDeserializer, Error> {
        let content = self.0.ok_or_else(|| Error("expected an object, got string".to_owned()))?;
        Ok(ValueDeserializer(content))
    }
}

impl<'de> de::VariantAccess<'de> for VariantDeserializer {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.0 {
            None | Some(Value::Null) => Ok(()),
            Some(other) => Err(ValueDeserializer(other).mismatch("null")),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(self.content()?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.content()?.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.content()?.deserialize_any(visitor)
    }
}

/// Hands a value to [`Value`]'s own visitor: an int64 as `i128`, which JSON never uses, so that
/// the visitor can tell it from a JSON number.
struct RawDeserializer(Value);

impl IntoDeserializer<'_, Error> for RawDeserializer {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for RawDeserializer {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Int64(i) => visitor.visit_i128(i128::from(i)),
            Value::Array(items) => {
                visitor.visit_seq(SeqDeserializer::new(items.into_iter().map(RawDeserializer)))
            }
            Value::Object(object) => {
                let fields = object
                    .into_iter()
                    .map(|(name, field)| (StringDeserializer::new(name), RawDeserializer(field)));
                visitor.visit_map(MapDeserializer::new(fields))
            }
            scalar @ (Value::Null
            | Value::Float64(_)
            | Value::Boolean(_)
            | Value::String(_)
            | Value::Bytes(_)) => ValueDeserializer(scalar).deserialize_any(visitor),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        option unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}
