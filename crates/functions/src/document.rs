//! Typed ids and documents: what a database read gives to a function.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use engine::Document;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use value::validator::Validator;
use value::{DocumentId, Object, Value};

use crate::error::{Error, Result};
use crate::shape::{Shape, Table, build};

/// The id of a document of the table `T`. Checked to be one by `v.id("…")` on the way in.
pub struct Id<T> {
    id: DocumentId,
    table: PhantomData<fn() -> T>,
}

impl<T> Id<T> {
    /// The id without the type of its table.
    pub fn document_id(&self) -> DocumentId {
        self.id
    }

    /// An id that is known to belong to the table `T`; the database checks it again when used.
    pub fn from_document_id(id: DocumentId) -> Id<T> {
        Id { id, table: PhantomData }
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl<T> Eq for Id<T> {}

impl<T> PartialOrd for Id<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Id<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.id.cmp(&other.id)
    }
}

impl<T> Hash for Id<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl<T> fmt::Display for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)
    }
}

impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({})", self.id)
    }
}

impl<T> Serialize for Id<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.id)
    }
}

impl<'de, T> Deserialize<'de> for Id<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let id = text.parse::<DocumentId>().map_err(serde::de::Error::custom)?;
        Ok(Id::from_document_id(id))
    }
}

impl<T: Table> Shape for Id<T> {
    fn validator() -> Validator {
        build::id(T::NAME)
    }
}

impl<T> From<Id<T>> for Value {
    fn from(id: Id<T>) -> Value {
        Value::String(id.to_string())
    }
}

impl<T> From<&Id<T>> for Value {
    fn from(id: &Id<T>) -> Value {
        Value::String(id.to_string())
    }
}

/// A document of the table `T`: its fields by `Deref`, its id and creation time beside them.
///
/// It keeps the stored document; returned from a function it is exactly that one, also with
/// fields that `T` does not name.
#[derive(Clone)]
pub struct Doc<T> {
    /// `_id`
    pub id: Id<T>,
    /// `_creationTime`: milliseconds since the epoch, with a fraction.
    pub creation_time: f64,
    fields: T,
    stored: Arc<Document>,
}

impl<T> Doc<T> {
    /// The fields, without the stored document.
    pub fn into_fields(self) -> T {
        self.fields
    }

    /// The document as it is stored.
    pub fn stored(&self) -> &Arc<Document> {
        &self.stored
    }
}

impl<T> Deref for Doc<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.fields
    }
}

impl<T: fmt::Debug> fmt::Debug for Doc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Doc").field(&self.id).field(&self.fields).finish()
    }
}

impl<T> Serialize for Doc<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.stored.body().serialize(serializer)
    }
}

impl<T: Table> Shape for Doc<T> {
    fn validator() -> Validator {
        build::document(T::NAME, T::validator())
    }
}

/// A document of a table that has no Rust type.
#[derive(Clone, Debug)]
pub struct AnyDocument(Arc<Document>);

impl AnyDocument {
    /// The value of a field.
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.0.body().get(field)
    }

    /// The document as it is stored.
    pub fn stored(&self) -> &Arc<Document> {
        &self.0
    }
}

impl Deref for AnyDocument {
    type Target = Document;

    fn deref(&self) -> &Document {
        &self.0
    }
}

impl Serialize for AnyDocument {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.body().serialize(serializer)
    }
}

impl Shape for AnyDocument {
    fn validator() -> Validator {
        Object::validator()
    }
}

/// What rows of a query become.
pub trait FromDocument: Sized {
    /// Reads a stored document. Errors: it does not fit the type.
    fn from_document(document: Arc<Document>) -> Result<Self>;
}

impl FromDocument for AnyDocument {
    fn from_document(document: Arc<Document>) -> Result<Self> {
        Ok(AnyDocument(document))
    }
}

impl<T: DeserializeOwned> FromDocument for Doc<T> {
    fn from_document(document: Arc<Document>) -> Result<Self> {
        let fields = value::serde::from_object(document.body()).map_err(|error| {
            Error::coded(
                "InvalidDocument",
                format!("document {} does not fit its Rust type: {error}", document.id()),
            )
        })?;
        Ok(Doc {
            id: Id::from_document_id(document.id()),
            creation_time: document.creation_time(),
            fields,
            stored: document,
        })
    }
}

/// A typed id or a bare `DocumentId`: what names one document.
pub trait Reference {
    /// What a read of it gives.
    type Document: FromDocument;
    /// The table it must belong to, if that is known.
    const TABLE: Option<&'static str>;
    /// The id.
    fn document_id(&self) -> DocumentId;
}

impl<T: Table + DeserializeOwned> Reference for Id<T> {
    type Document = Doc<T>;
    const TABLE: Option<&'static str> = Some(T::NAME);

    fn document_id(&self) -> DocumentId {
        self.id
    }
}

impl Reference for DocumentId {
    type Document = AnyDocument;
    const TABLE: Option<&'static str> = None;

    fn document_id(&self) -> DocumentId {
        *self
    }
}

impl<R: Reference> Reference for &R {
    type Document = R::Document;
    const TABLE: Option<&'static str> = R::TABLE;

    fn document_id(&self) -> DocumentId {
        R::document_id(self)
    }
}
