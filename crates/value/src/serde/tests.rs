//! Rust types to values and back, a line per case.

use std::collections::BTreeMap;
use std::fmt::Debug;

use ::serde::{Deserialize, Serialize};
use proptest::prelude::*;

use super::*;
use crate::{DocumentId, InternalId, TableName, TableNumber, object, samples};

fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(rust: T, value: impl Into<Value>) {
    let value = value.into();
    assert_eq!(to_value(&rust), Ok(value.clone()));
    assert_eq!(from_value::<T>(value), Ok(rust));
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
struct Presence {
    user_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    room: Option<String>,
    last_seen: f64,
    status: Status,
    data: Value,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(rename_all = "lowercase")]
enum Status {
    Online,
    Away { minutes: u32 },
    Moved(String, f64),
    Custom(String),
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Event {
    Joined { at: f64, count: i64 },
    Left,
}

struct Blob(Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

#[test]
fn numbers() {
    check(5i8, 5.0);
    check(5i16, 5.0);
    check(-5i32, -5.0);
    check(5u8, 5.0);
    check(5u16, 5.0);
    check(u32::MAX, 4_294_967_295.0);
    check(1.5f32, 1.5);
    check(1.5f64, 1.5);
    check(5i64, 5);
    check(5u64, 5);
    check(5usize, 5);
    check(-5i128, -5);
    check(5u128, 5);
}

#[test]
fn numbers_that_do_not_fit() {
    assert!(to_value(&(i64::MAX as u64 + 1)).is_err());
    assert!(to_value(&i128::MAX).is_err());
    assert!(from_value::<u32>(1.5.into()).is_err());
    assert!(from_value::<u32>((-1.0).into()).is_err());
    assert!(from_value::<u8>(256.0.into()).is_err());
    assert!(from_value::<i32>(f64::NAN.into()).is_err());
    assert!(from_value::<i32>(f64::INFINITY.into()).is_err());
    assert!(from_value::<i32>(5.into()).is_err());
    assert!(from_value::<f64>(5.into()).is_err());
    assert!(from_value::<i64>(5.0.into()).is_err());
    assert!(from_value::<u64>((-5).into()).is_err());
    assert!(from_value::<bool>(5.0.into()).is_err());
}

#[test]
fn other_scalars() {
    check((), ());
    check(true, true);
    check('x', "x");
    check("text".to_owned(), "text");
    check(None::<f64>, ());
    check(Some(1.0), 1.0);
    assert_eq!(to_value(&Blob(vec![0, 255])), Ok(Value::Bytes(vec![0, 255])));
}

#[test]
fn containers() {
    check(vec![1.0, 2.0], vec![Value::from(1.0), Value::from(2.0)]);
    check((1.0, "a".to_owned()), vec![Value::from(1.0), Value::from("a")]);
    check(BTreeMap::from([("a".to_owned(), 1i64)]), object! { "a" => 1 });
    assert!(to_value(&BTreeMap::from([(1i64, 1i64)])).is_err());
    assert!(to_value(&BTreeMap::from([("$a", 1i64)])).is_err());
    assert!(to_value(&BTreeMap::from([("é", 1i64)])).is_err());
    assert!(from_value::<(f64, f64)>(vec![Value::from(1.0)].into()).is_err());
}

#[test]
fn structs() {
    let presence = |room: Option<&str>, status| Presence {
        user_id: "u".to_owned(),
        room: room.map(str::to_owned),
        last_seen: 5.0,
        status,
        data: object! { "n" => 5, "f" => 5.0, "b" => vec![1u8] }.into(),
    };
    let data = object! { "n" => 5, "f" => 5.0, "b" => vec![1u8] };
    let mut fields = object! {
        "userId" => "u", "lastSeen" => 5.0, "status" => "online", "data" => data,
    };
    check(presence(None, Status::Online), fields.clone());
    assert_eq!(from_object(&fields), Ok(presence(None, Status::Online)));
    fields.insert("room", ());
    assert_eq!(from_object(&fields), Ok(presence(None, Status::Online)));
    fields.insert("room", "r");
    fields.insert("status", object! { "away" => object! { "minutes" => 3.0 } });
    check(presence(Some("r"), Status::Away { minutes: 3 }), fields.clone());
    fields.remove("userId");
    assert!(from_object::<Presence>(&fields).is_err());
    assert!(to_object(&5.0).is_err());
}

#[test]
fn enums() {
    check(Status::Online, "online");
    check(Status::Custom("x".to_owned()), object! { "custom" => "x" });
    check(Status::Moved("x".to_owned(), 1.0), {
        object! { "moved" => vec![Value::from("x"), Value::from(1.0)] }
    });
    check(
        Event::Joined { at: 1.0, count: 2 },
        object! {
            "kind" => "joined", "at" => 1.0, "count" => 2,
        },
    );
    check(Event::Left, object! { "kind" => "left" });
    assert!(from_value::<Status>("other".into()).is_err());
    assert!(from_value::<Status>("custom".into()).is_err());
    assert!(from_value::<Status>(object! {}.into()).is_err());
    assert!(from_value::<Status>(1.0.into()).is_err());
}

#[test]
fn our_own_types() {
    let id = DocumentId::new(TableNumber(10_001), InternalId([7; 16]));
    check(id, id.to_string());
    check(TableName::new("rooms").unwrap(), "rooms");
    assert!(from_value::<DocumentId>("x".into()).is_err());
    assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{id}\""));
    check(object! { "a" => 1 }, object! { "a" => 1 });
    assert!(from_value::<Object>(1.0.into()).is_err());
    assert_eq!(serde_json::from_str::<Value>("[5]").unwrap(), vec![Value::from(5.0)].into());
    let error = serde_json::from_str::<Value>(r#"{"$set":[]}"#).unwrap_err().to_string();
    assert!(error.starts_with("field name \"$set\" starts with '$'"), "{error}");
    let bomb = "[".repeat(10_000);
    assert!(serde_json::from_str::<Value>(&bomb).is_err());
}

proptest! {
    #[test]
    fn values_pass_through(value in samples::value()) {
        prop_assert_eq!(to_value(&value), Ok(value.clone()));
        prop_assert_eq!(from_value::<Value>(value.clone()), Ok(value.clone()));
        let list = vec![value.clone(), Value::Null];
        prop_assert_eq!(from_value::<Vec<Value>>(list.clone().into()), Ok(list));
    }

    #[test]
    fn integers_survive(i in any::<i64>(), small in any::<i32>()) {
        prop_assert_eq!(from_value::<i64>(to_value(&i).unwrap()), Ok(i));
        prop_assert_eq!(from_value::<i32>(to_value(&small).unwrap()), Ok(small));
        prop_assert_eq!(to_value(&small).unwrap(), f64::from(small).into());
    }

    #[test]
    fn any_value_is_read_without_panic(value in samples::value()) {
        let _ = from_value::<Presence>(value.clone());
        let _ = from_value::<Event>(value.clone());
        let _ = from_value::<Status>(value);
    }
}
