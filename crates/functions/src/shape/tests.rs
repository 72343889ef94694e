use super::*;
use crate::{Id, PaginationOptions, ScheduledFunction, Shape};

#[derive(Serialize, Deserialize, Shape)]
#[table("conversations")]
struct Conversation {
    #[serde(rename = "memberIds")]
    member_ids: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Shape)]
#[serde(rename_all = "lowercase")]
enum Status {
    Online,
    Typing,
    #[serde(rename = "gone")]
    Offline,
}

#[derive(Serialize, Deserialize, Shape)]
#[serde(rename_all = "camelCase")]
#[table("presence")]
struct Presence {
    user_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    conversation_id: Option<Id<Conversation>>,
    status: Status,
    last_seen: f64,
    #[serde(default)]
    r#type: u8,
    #[serde(skip)]
    _cache: Vec<u8>,
}

#[derive(Serialize, Deserialize, Shape)]
struct RoomName(String);

#[derive(Serialize, Deserialize, Shape)]
#[serde(rename_all = "kebab-case")]
enum One {
    OnlyThis,
}

#[derive(Serialize, Deserialize, Shape)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Event {
    Joined,
    MessageSent { room_name: RoomName, n: Option<i64> },
    Opened(Conversation),
}

#[derive(Serialize, Deserialize, Shape)]
#[serde(untagged)]
enum NumberOrText {
    Number(f64),
    Text(String),
}

#[test]
fn validators_follow_serde() {
    fn check<T: Shape>(expected: &str) {
        assert_eq!(T::validator().to_string(), expected);
    }
    check::<Status>(r#"v.union(v.literal("online"), v.literal("typing"), v.literal("gone"))"#);
    check::<One>(r#"v.literal("only-this")"#);
    check::<RoomName>("v.string()");
    check::<NumberOrText>("v.union(v.float64(), v.string())");
    check::<Presence>(
        "v.object({conversationId: v.optional(v.id(\"conversations\")), lastSeen: v.float64(), \
         status: v.union(v.literal(\"online\"), v.literal(\"typing\"), v.literal(\"gone\")), \
         type: v.optional(v.float64()), userId: v.string()})",
    );
    check::<Event>(
        "v.union(v.object({kind: v.literal(\"joined\")}), \
         v.object({kind: v.literal(\"messageSent\"), n: v.optional(v.int64()), \
         roomName: v.string()}), \
         v.object({kind: v.literal(\"opened\"), memberIds: v.array(v.string())}))",
    );
    check::<Option<f64>>("v.union(v.float64(), v.null())");
    check::<Vec<Nullable<bool>>>("v.array(v.union(v.boolean(), v.null()))");
    check::<BTreeMap<String, i64>>("v.record(v.string(), v.int64())");
    check::<()>("v.null()");
    check::<Bytes>("v.bytes()");
    check::<crate::Doc<Conversation>>(
        "v.object({_creationTime: v.float64(), _id: v.id(\"conversations\"), \
         memberIds: v.array(v.string())})",
    );
    assert_eq!(<()>::args_validator().to_string(), "v.object({})");
    assert_eq!(Presence::NAME, "presence");
    assert_eq!(ScheduledFunction::NAME, "_scheduled_functions");
    assert_eq!(
        PaginationOptions::validator().to_string(),
        "v.object({cursor: v.union(v.string(), v.null()), \
         endCursor: v.optional(v.union(v.string(), v.null())), id: v.optional(v.float64()), \
         maximumBytesRead: v.optional(v.float64()), maximumRowsRead: v.optional(v.float64()), \
         numItems: v.float64()})"
    );
}

#[test]
fn what_serde_writes_fits_the_validator() {
    struct NoTables;
    impl value::validator::Tables for NoTables {
        fn number_of(&self, _: &value::TableName) -> Option<value::TableNumber> {
            None
        }
        fn name_of(&self, _: value::TableNumber) -> Option<value::TableName> {
            None
        }
        fn is_system(&self, _: value::TableNumber) -> bool {
            false
        }
    }
    fn check<T: Shape + Serialize + DeserializeOwned>(one: &T) {
        let value = value::serde::to_value(one).unwrap();
        T::validator().check(&value, &NoTables).unwrap();
        let again: T = value::serde::from_value(value.clone()).unwrap();
        assert_eq!(value::serde::to_value(&again).unwrap(), value);
    }
    check(&Presence {
        user_id: "ann".to_string(),
        conversation_id: None,
        status: Status::Offline,
        last_seen: 5.0,
        r#type: 3,
        _cache: vec![1],
    });
    check(&Event::Joined);
    check(&Event::MessageSent { room_name: RoomName("a".to_string()), n: Some(i64::MIN) });
    check(&Event::Opened(Conversation { member_ids: vec![] }));
    check(&NumberOrText::Text("x".to_string()));
    check(&vec![Nullable(Some(1.5)), Nullable(None)]);
    check(&Bytes(vec![0, 255]));
    check(&One::OnlyThis);
}
