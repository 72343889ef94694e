//! A subscription, awaited; and how results are read.

use std::collections::BTreeMap;
use std::time::Duration;

use convex::{ConvexClient, FunctionResult, QuerySubscription, Value};
use futures::StreamExt as _;
use tokio::time::timeout;

/// How long a test waits for anything.
pub const WAIT_MAX: Duration = Duration::from_secs(30);

/// Arguments of a function.
pub type Args = BTreeMap<String, Value>;

/// `args([("name", "value".into())])`.
pub fn args<const N: usize>(fields: [(&str, Value); N]) -> Args {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A subscription. It delivers with every transition, changed or not, and may skip results that
/// were replaced by newer ones.
pub struct Watch {
    pub subscription: QuerySubscription,
}

impl Watch {
    pub async fn new(client: &mut ConvexClient, path: &str, args: Args) -> Watch {
        let subscription = client.subscribe(path, args).await.expect("the client lives");
        Watch { subscription }
    }

    /// The next result.
    pub async fn next(&mut self) -> FunctionResult {
        let next = timeout(WAIT_MAX, self.subscription.next()).await;
        next.expect("waited in vain for a result").expect("the client lives")
    }

    /// The first value from here on with which `accept` agrees.
    pub async fn until(&mut self, mut accept: impl FnMut(&Value) -> bool) -> Value {
        let mut last = None;
        let found = timeout(WAIT_MAX, async {
            loop {
                match self.subscription.next().await.expect("the client lives") {
                    FunctionResult::Value(value) if accept(&value) => return value,
                    other => last = Some(other),
                }
            }
        });
        found.await.unwrap_or_else(|_| panic!("waited in vain; last result: {last:?}"))
    }
}

/// A value that must be there.
pub fn value(result: FunctionResult) -> Value {
    match result {
        FunctionResult::Value(value) => value,
        other => panic!("not a value: {other:?}"),
    }
}

/// The data of an error that has some.
pub fn data(result: FunctionResult) -> Value {
    match result {
        FunctionResult::ConvexError(error) => error.data,
        other => panic!("not an error with data: {other:?}"),
    }
}

/// The text of an error without data.
pub fn error(result: FunctionResult) -> String {
    match result {
        FunctionResult::ErrorMessage(text) => text,
        other => panic!("not a plain error: {other:?}"),
    }
}

pub fn text(value: &Value) -> String {
    let Value::String(text) = value else { panic!("not a string: {value:?}") };
    text.clone()
}

pub fn array(value: &Value) -> &[Value] {
    let Value::Array(items) = value else { panic!("not an array: {value:?}") };
    items
}

pub fn field<'a>(value: &'a Value, name: &str) -> &'a Value {
    let Value::Object(fields) = value else { panic!("not an object: {value:?}") };
    fields.get(name).unwrap_or_else(|| panic!("no field {name}: {value:?}"))
}

/// The field `name` of each item, as texts.
pub fn texts(items: &Value, name: &str) -> Vec<String> {
    array(items).iter().map(|item| text(field(item, name))).collect()
}

/// Arguments of `messages:list`.
pub fn page(conversation: &str, size: f64, cursor: Option<&str>) -> Args {
    let options = args([("numItems", size.into()), ("cursor", cursor.into())]);
    args([("conversationId", conversation.into()), ("paginationOpts", Value::Object(options))])
}

/// The bodies of a page of messages.
pub fn bodies(page: &Value) -> Vec<String> {
    texts(field(page, "page"), "body")
}

/// The ids of a page of messages.
pub fn ids(page: &Value) -> Vec<String> {
    texts(field(page, "page"), "_id")
}
