//! Paths of functions and components.
//!
//! Source: spec/sync-protocol.md, section 3.7.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::limits::{IDENTIFIER_BYTES_MAX, quoted};
use crate::names::{NameError, check_identifier};

/// Bytes of one component of a module path, with its `.js`.
const MODULE_COMPONENT_BYTES_MAX: usize = 64;
const _: () = assert!(MODULE_COMPONENT_BYTES_MAX == IDENTIFIER_BYTES_MAX);
/// The function that is meant when a path names none.
const DEFAULT_FUNCTION: &str = "default";

/// A module and a function in it: `dir/module:function`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FunctionPath {
    module: Arc<str>,
    function: Arc<str>,
}

impl FunctionPath {
    /// Reads `dir/module:function`, `dir/module.js:function` or `dir/module`.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let (module, function) = text.rsplit_once(':').unwrap_or((text, DEFAULT_FUNCTION));
        check_identifier("function", function)?;
        let stem = module_stem(module)?;
        Ok(FunctionPath { module: stem.into(), function: function.into() })
    }

    /// The module without `.js`: `dir/module`.
    pub fn module(&self) -> &str {
        &self.module
    }

    /// The function in the module.
    pub fn function(&self) -> &str {
        &self.function
    }

    /// The form with the extension: `dir/module.js:function`.
    pub fn with_js(&self) -> String {
        format!("{}.js:{}", self.module, self.function)
    }
}

impl FromStr for FunctionPath {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

/// `dir/module:function`. The `.js` stays where the module would read as having another
/// extension without it (`a.b.js`), so that the text can be read again.
impl fmt::Display for FunctionPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let js = if extension(&self.module).is_some() { ".js" } else { "" };
        write!(f, "{}{js}:{}", self.module, self.function)
    }
}

impl fmt::Debug for FunctionPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// The module path without `.js`, checked.
fn module_stem(module: &str) -> Result<&str, NameError> {
    let stem = match extension(module) {
        None => module,
        Some("js") => &module[..module.len() - ".js".len()],
        Some(other) => {
            let (module, other) = (quoted(module), quoted(other));
            return Err(NameError(format!("module {module} has the extension {other}")));
        }
    };
    let mut components = stem.split('/').peekable();
    while let Some(component) = components.next() {
        let js = if components.peek().is_none() { ".js".len() } else { 0 };
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'.';
        // The last component has the letters of its extension.
        let has_alphanumeric = js > 0 || component.bytes().any(|b| b.is_ascii_alphanumeric());
        if component.is_empty()
            || component.len() + js > MODULE_COMPONENT_BYTES_MAX
            || !component.bytes().all(allowed)
            || !has_alphanumeric
        {
            return Err(NameError(format!(
                "module {} is not a path of letters, digits, '_' and '.' with at most \
                 {MODULE_COMPONENT_BYTES_MAX} bytes a component",
                quoted(module)
            )));
        }
    }
    Ok(stem)
}

/// What follows the last dot of the last component; none when the dot leads the component.
fn extension(module: &str) -> Option<&str> {
    let file = module.rsplit('/').next().unwrap_or(module);
    match file.rsplit_once('.') {
        Some(("", _)) | None => None,
        Some((_, extension)) => Some(extension),
    }
}

/// Where a component is mounted: names joined by `/`, empty for the application itself.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComponentPath(String);

impl ComponentPath {
    /// The application itself.
    pub const fn root() -> Self {
        ComponentPath(String::new())
    }

    /// Reads a path such as `outer/inner`.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if !text.is_empty() {
            for component in text.split('/') {
                check_identifier("component", component)?;
            }
        }
        Ok(ComponentPath(text.to_owned()))
    }

    /// Whether this is the application itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The path as text; empty for the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ComponentPath {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl fmt::Display for ComponentPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ComponentPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests;
