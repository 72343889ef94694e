//! Parameters of the export endpoints: a query string for GET, a JSON object for POST.

use std::collections::HashMap;

use axum::extract::{FromRequest, FromRequestParts as _, Request};
use axum::http::Method;
use serde_json::{Map, Value as Tree};
use value::Timestamp;

use super::selection::Selection;
use crate::errors::HttpError;
use crate::http::request::{JsonBody, QueryArgs};
use crate::service::Service;

/// What is asked. Whatever is unknown is ignored. Refuses with `BadQueryArgs`, `BadJsonBody`.
pub(super) struct Params {
    values: Map<String, Tree>,
    code: &'static str,
}

impl FromRequest<Service> for Params {
    type Rejection = HttpError;

    async fn from_request(request: Request, service: &Service) -> Result<Params, HttpError> {
        if request.method() == Method::POST {
            let JsonBody(values) = JsonBody::from_request(request, service).await?;
            return Ok(Params { values, code: "BadJsonBody" });
        }
        let (mut parts, _) = request.into_parts();
        let QueryArgs(texts) =
            QueryArgs::<HashMap<String, String>>::from_request_parts(&mut parts, service).await?;
        let values = texts.into_iter().map(|(name, text)| (name, text.into())).collect();
        Ok(Params { values, code: "BadQueryArgs" })
    }
}

impl Params {
    fn bad(&self, name: &str, expected: &str) -> HttpError {
        HttpError::bad_request(self.code, format!("parameter `{name}` is not {expected}"))
    }

    /// Absent and null are the same.
    fn get(&self, name: &str) -> Option<&Tree> {
        self.values.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, HttpError> {
        let text = |value: &'_ Tree| value.is_string();
        match self.get(name) {
            None => Ok(None),
            Some(value) if text(value) => Ok(value.as_str()),
            Some(_) => Err(self.bad(name, "a string")),
        }
    }

    /// Nanoseconds. What is below zero is older than everything.
    pub(super) fn timestamp(&self, name: &str) -> Result<Option<Timestamp>, HttpError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let nanos = match value {
            Tree::String(text) if self.code == "BadQueryArgs" => text.parse().ok(),
            other => other.as_i64(),
        };
        let nanos: i64 = nanos.ok_or_else(|| self.bad(name, "an integer of 64 bits"))?;
        Ok(Some(Timestamp(u64::try_from(nanos).unwrap_or(0))))
    }

    pub(super) fn boolean(&self, name: &str) -> Result<bool, HttpError> {
        match self.get(name) {
            None => Ok(false),
            Some(Tree::Bool(value)) => Ok(*value),
            Some(Tree::String(text)) if text == "true" => Ok(true),
            Some(Tree::String(text)) if text == "false" => Ok(false),
            Some(_) => Err(self.bad(name, "true or false")),
        }
    }

    /// The tables and columns, in any of the forms of spec/http-api.md 11.4.
    pub(super) fn selection(&self) -> Result<Selection, HttpError> {
        let bad = |message: String| HttpError::bad_request(self.code, message);
        match self.get("selection") {
            Some(tree @ Tree::Object(_)) => return Selection::read(tree).map_err(bad),
            Some(_) => return Err(self.bad("selection", "an object; it needs a POST")),
            None => {}
        }
        let component = self.text("component")?;
        if component.is_some_and(|component| !component.is_empty()) {
            let message = format!("there is no component {:?}", component.unwrap_or_default());
            return Err(HttpError::bad_request("InvalidComponentPath", message));
        }
        match self.text("tableName")?.or(self.text("table_name")?) {
            Some(table) => Ok(Selection::of_table(table)),
            None => Ok(Selection::everything()),
        }
    }
}
