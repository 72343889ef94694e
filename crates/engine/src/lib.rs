//! Snapshots, transactions, commit order, and who is stale.
