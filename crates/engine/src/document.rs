//! One version of a document, immutable and shared.

use std::sync::{Arc, OnceLock};

use value::{DocumentId, Object, Value, json};

/// A document: its fields with `_id` and `_creationTime`, and its JSON once somebody asked for it.
#[derive(Debug)]
pub struct Document {
    id: DocumentId,
    body: Object,
    size: usize,
    json: OnceLock<Arc<str>>,
}

/// The field that holds the id.
pub(crate) const ID_FIELD: &str = "_id";
/// The field that holds the creation time, in milliseconds with a fraction.
pub(crate) const CREATION_TIME_FIELD: &str = "_creationTime";

impl Document {
    /// A document of `body`, which already has its system fields.
    pub fn new(id: DocumentId, body: Object) -> Self {
        let size = body.size();
        Self { id, body, size, json: OnceLock::new() }
    }

    /// Reads a document back from its stored JSON. Errors: a text that is not one.
    pub(crate) fn from_stored(id: DocumentId, bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|e| e.to_string())?;
        match json::parse(text).map_err(|e| e.message)? {
            Value::Object(body) => {
                let document = Self::new(id, body);
                // The stored text is canonical, so it is the JSON that `json` would make.
                let _ = document.json.set(Arc::from(text));
                Ok(document)
            }
            other => Err(format!("expected an object, found {}", other.type_name())),
        }
    }

    /// The document's id.
    pub fn id(&self) -> DocumentId {
        self.id
    }

    /// All fields, with `_id` and `_creationTime`.
    pub fn body(&self) -> &Object {
        &self.body
    }

    /// The creation time in milliseconds since the epoch.
    pub fn creation_time(&self) -> f64 {
        self.body.get(CREATION_TIME_FIELD).and_then(Value::as_f64).unwrap_or_default()
    }

    /// The size by the rule of the data model, system fields included.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The canonical convex-encoded JSON, made once.
    pub fn json(&self) -> &Arc<str> {
        self.json.get_or_init(|| {
            let mut text = String::with_capacity(self.size * 2);
            json::write_object(&self.body, &mut text);
            Arc::from(text)
        })
    }
}
