//! What a caller may do: the one check, asked by every endpoint that not everybody may use.
//!
//!     principal.require(Operation::ViewData)? ─┬─ nobody, a user ─────────────► 403 BadDeployKey
//!                                              ├─ a read-only key, a change ──► 403 OperationNotPermitted
//!                                              └─ an administrator ───────────► Ok
//!
//! An endpoint names the operation, never who may do it. Whoever acts as a user through an admin key is
//! still that administrator here. Public functions need no right; but whoever shows a read-only key runs
//! queries alone (`Principal::require_call`, and once more where functions are run: `Caller::read_only`).
//! Source: spec/engine.md 17.

use functions::FunctionKind;

use super::error::{AuthCode, AuthError};
use super::{Admin, Principal};

/// Something that only an administrator may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Look at documents, tables, indexes and schemas: listings, streaming export, jobs and crons,
    /// sessions and live queries (their arguments are data).
    ViewData,
    /// Change documents, tables or indexes other than through a function; import.
    WriteData,
    /// Look at the logs of functions.
    ViewLogs,
    /// Look at figures that say nothing about the data.
    ViewMetrics,
    /// Look at environment variables, with their values.
    ViewEnvironment,
    /// Change environment variables.
    WriteEnvironment,
    /// Look at log streams and other integrations.
    ViewIntegrations,
    /// Change them.
    WriteIntegrations,
    /// List backups.
    ViewBackups,
    /// Have a backup sent to the caller.
    DownloadBackup,
    /// Make a backup on the server.
    CreateBackup,
    /// Replace the data by a backup, or remove one.
    RestoreBackup,
    /// Look at what administrators did.
    ViewAuditLog,
    /// Look at what was used.
    ViewUsage,
    /// Run a query that is internal, of a component or of the system.
    RunInternalQuery,
    /// Run a mutation of that kind.
    RunInternalMutation,
    /// Run an action of that kind.
    RunInternalAction,
    /// Run code of the caller as a query.
    RunTestQuery,
    /// Replace functions, schema, indexes, auth config or crons.
    Deploy,
    /// Stop, pause or start things: cancel scheduled functions, pause the deployment.
    Control,
}

impl Operation {
    /// All of them.
    pub const ALL: [Operation; 20] = [
        Operation::ViewData,
        Operation::WriteData,
        Operation::ViewLogs,
        Operation::ViewMetrics,
        Operation::ViewEnvironment,
        Operation::WriteEnvironment,
        Operation::ViewIntegrations,
        Operation::WriteIntegrations,
        Operation::ViewBackups,
        Operation::DownloadBackup,
        Operation::CreateBackup,
        Operation::RestoreBackup,
        Operation::ViewAuditLog,
        Operation::ViewUsage,
        Operation::RunInternalQuery,
        Operation::RunInternalMutation,
        Operation::RunInternalAction,
        Operation::RunTestQuery,
        Operation::Deploy,
        Operation::Control,
    ];

    /// Whether a read-only key allows it.
    pub fn only_looks(self) -> bool {
        match self {
            Operation::ViewData
            | Operation::ViewLogs
            | Operation::ViewMetrics
            | Operation::ViewEnvironment
            | Operation::ViewIntegrations
            | Operation::ViewBackups
            | Operation::DownloadBackup
            | Operation::ViewAuditLog
            | Operation::ViewUsage
            | Operation::RunInternalQuery
            | Operation::RunTestQuery => true,
            Operation::WriteData
            | Operation::WriteEnvironment
            | Operation::WriteIntegrations
            | Operation::CreateBackup
            | Operation::RestoreBackup
            | Operation::RunInternalMutation
            | Operation::RunInternalAction
            | Operation::Deploy
            | Operation::Control => false,
        }
    }

    /// Its name in texts and in the answer of `check_admin_key`.
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::ViewData => "deployment:data:view",
            Operation::WriteData => "deployment:data:write",
            Operation::ViewLogs => "deployment:logs:view",
            Operation::ViewMetrics => "deployment:metrics:view",
            Operation::ViewEnvironment => "deployment:environment:view",
            Operation::WriteEnvironment => "deployment:environment:write",
            Operation::ViewIntegrations => "deployment:integrations:view",
            Operation::WriteIntegrations => "deployment:integrations:write",
            Operation::ViewBackups => "deployment:backups:view",
            Operation::DownloadBackup => "deployment:backups:download",
            Operation::CreateBackup => "deployment:backups:create",
            Operation::RestoreBackup => "deployment:backups:restore",
            Operation::ViewAuditLog => "deployment:auditLog:view",
            Operation::ViewUsage => "deployment:usage:view",
            Operation::RunInternalQuery => "deployment:functions:runInternalQueries",
            Operation::RunInternalMutation => "deployment:functions:runInternalMutations",
            Operation::RunInternalAction => "deployment:functions:runInternalActions",
            Operation::RunTestQuery => "deployment:functions:runTestQuery",
            Operation::Deploy => "deployment:deploy",
            Operation::Control => "deployment:control",
        }
    }
}

impl Admin {
    /// Whether this key allows `operation`.
    pub fn may(&self, operation: Operation) -> bool {
        !self.is_read_only || operation.only_looks()
    }
}

impl Principal {
    /// Refuses whoever may not do `operation`.
    ///
    /// Errors: 403 `BadDeployKey` for a user and for nobody, 403 `OperationNotPermitted` for a
    /// read-only key.
    pub fn require(&self, operation: Operation) -> Result<&Admin, AuthError> {
        match self {
            Principal::Anonymous | Principal::User(_) => Err(AuthError::forbidden(
                AuthCode::BadDeployKey,
                "this endpoint needs an admin key",
            )),
            Principal::Admin { admin, .. } if admin.may(operation) => Ok(admin),
            Principal::Admin { .. } => {
                let message = format!("this admin key is read-only: no {}", operation.as_str());
                Err(AuthError::forbidden(AuthCode::OperationNotPermitted, message))
            }
        }
    }

    /// Refuses a read-only key that calls anything but a query. Which functions exist for whom is
    /// decided where they are looked up. Errors: 403 `OperationNotPermitted`.
    pub fn require_call(&self, kind: FunctionKind) -> Result<(), AuthError> {
        match (kind, self.is_read_only()) {
            (FunctionKind::Query, _) | (FunctionKind::Mutation | FunctionKind::Action, false) => {
                Ok(())
            }
            (FunctionKind::Mutation | FunctionKind::Action, true) => {
                let message = functions::READ_ONLY_TEXT;
                Err(AuthError::forbidden(AuthCode::OperationNotPermitted, message))
            }
        }
    }

    /// Whether a read-only key was shown, also while acting as a user.
    pub fn is_read_only(&self) -> bool {
        match self {
            Principal::Admin { admin, .. } => admin.is_read_only,
            Principal::Anonymous | Principal::User(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use functions::UserIdentity;
    use value::Timestamp;

    use super::*;
    use crate::auth::{Holder, User};

    fn admin(is_read_only: bool, acts: bool) -> Principal {
        let identity = acts.then(identity);
        let admin = Admin { holder: Holder::System, issued_s: 1, is_read_only };
        Principal::Admin { admin, acting_as: identity }
    }

    fn identity() -> Arc<UserIdentity> {
        Arc::new(UserIdentity::new("i", "s", Default::default()))
    }

    fn user() -> Principal {
        Principal::User(User { identity: identity(), valid_until: Timestamp(u64::MAX) })
    }

    #[test]
    fn operations_by_principal() {
        for operation in Operation::ALL {
            let code = |principal: &Principal| match principal.require(operation) {
                Ok(_) => "allowed",
                Err(error) => {
                    assert_eq!(error.status(), 403);
                    error.code()
                }
            };
            assert_eq!(code(&Principal::Anonymous), "BadDeployKey");
            assert_eq!(code(&user()), "BadDeployKey");
            let looks = if operation.only_looks() { "allowed" } else { "OperationNotPermitted" };
            for acts in [false, true] {
                assert_eq!(code(&admin(false, acts)), "allowed");
                assert_eq!(code(&admin(true, acts)), looks, "{operation:?}");
            }
        }
    }

    #[test]
    fn a_read_only_key_allows_the_official_list_alone() {
        let names = Operation::ALL.iter().filter(|operation| operation.only_looks());
        let names: Vec<&str> = names.map(|operation| operation.as_str()).collect();
        let expected = [
            "deployment:data:view",
            "deployment:logs:view",
            "deployment:metrics:view",
            "deployment:environment:view",
            "deployment:integrations:view",
            "deployment:backups:view",
            "deployment:backups:download",
            "deployment:auditLog:view",
            "deployment:usage:view",
            "deployment:functions:runInternalQueries",
            "deployment:functions:runTestQuery",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn calls_by_principal() {
        let kinds = [FunctionKind::Query, FunctionKind::Mutation, FunctionKind::Action];
        for kind in kinds {
            for principal in [Principal::Anonymous, user(), admin(false, false), admin(false, true)]
            {
                assert_eq!(principal.require_call(kind), Ok(()));
            }
            for acts in [false, true] {
                let refused = admin(true, acts).require_call(kind).err();
                let code = refused.as_ref().map(AuthError::code);
                let expected = (kind != FunctionKind::Query).then_some("OperationNotPermitted");
                assert_eq!(code, expected, "{kind:?}");
            }
        }
    }

    #[test]
    fn names_are_different() {
        let mut names: Vec<&str> = Operation::ALL.iter().map(|one| one.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Operation::ALL.len());
    }
}
