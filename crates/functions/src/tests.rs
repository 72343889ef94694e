//! Functions on a real engine with the store in memory.
