//! Mutations, one after another in the order received, and actions side by side.

use value::Timestamp;

use crate::client::CallRequest;
use crate::error::{ErrorClass, SystemError};
use crate::ids::RequestId;
use crate::limits::{ACTIONS_RUNNING_MAX, MUTATIONS_QUEUED_MAX};
use crate::outgoing::Outgoing;
use crate::result::CallError;

use super::{ActionOutcome, Call, MutationOutcome, Output, Session, runnable};

/// A mutation that waits for its turn. One that can not run waits too: answers keep the order.
pub(super) struct QueuedMutation<I> {
    request: RequestId,
    call: Result<Call<I>, CallError>,
    bytes: usize,
}

/// The mutation that runs.
pub(super) struct RunningMutation {
    request: RequestId,
    /// When it was started, in Unix milliseconds.
    pub(super) since_ms: i64,
    /// Known to have committed here, and not answered yet.
    pub(super) committed: Option<Timestamp>,
}

impl<I: Clone> Session<I> {
    pub(super) fn mutation(
        &mut self,
        call: CallRequest,
        out: &mut Vec<Output<I>>,
    ) -> Result<(), SystemError> {
        if self.mutations.len() >= MUTATIONS_QUEUED_MAX {
            return Err(SystemError::new(
                ErrorClass::RateLimited,
                "TooManyConcurrentMutations",
                format!("more than {MUTATIONS_QUEUED_MAX} mutations of one client are queued"),
            ));
        }
        let (request, bytes) = (call.request, call.bytes);
        let call = self.accept(call)?;
        self.hold(bytes)?;
        self.mutations.push_back(QueuedMutation { request, call, bytes });
        self.start_mutation(out)
    }

    pub(super) fn action(
        &mut self,
        call: CallRequest,
        out: &mut Vec<Output<I>>,
    ) -> Result<(), SystemError> {
        if self.actions.len() >= ACTIONS_RUNNING_MAX {
            return Err(SystemError::new(
                ErrorClass::RateLimited,
                "TooManyInflightActionsForSingleClient",
                format!("more than {ACTIONS_RUNNING_MAX} actions of one client are running"),
            ));
        }
        let (request, bytes) = (call.request, call.bytes);
        match self.accept(call)? {
            Ok(call) => {
                self.hold(bytes)?;
                self.actions.insert(request, bytes);
                out.push(Output::Action(call));
                Ok(())
            }
            Err(error) => self.answer(request, Outgoing::action_failure(request, &error, &[]), out),
        }
    }

    pub(super) fn mutation_committed(&mut self, request: RequestId, ts: Timestamp) {
        if let Some(running) = self.mutation.as_mut().filter(|it| it.request == request) {
            running.committed = Some(ts);
        }
    }

    pub(super) fn mutation_done(
        &mut self,
        request: RequestId,
        outcome: MutationOutcome,
        out: &mut Vec<Output<I>>,
    ) -> Result<(), SystemError> {
        if self.mutation.take_if(|running| running.request == request).is_none() {
            return Ok(());
        }
        let answer = match outcome {
            MutationOutcome::Success { value, ts, log_lines } => {
                self.answered_ts = self.answered_ts.max(ts);
                Outgoing::mutation_success(request, &value, ts, &log_lines)
            }
            MutationOutcome::Failure { error, log_lines } => {
                Outgoing::mutation_failure(request, &error, &log_lines)
            }
            MutationOutcome::System(error) => return Err(error),
        };
        self.answer(request, answer, out)?;
        self.release_refresh(out);
        self.start_mutation(out)
    }

    pub(super) fn action_done(
        &mut self,
        request: RequestId,
        outcome: ActionOutcome,
        out: &mut Vec<Output<I>>,
    ) -> Result<(), SystemError> {
        let Some(bytes) = self.actions.remove(&request) else { return Ok(()) };
        self.held_bytes = self.held_bytes.saturating_sub(bytes);
        let answer = match outcome {
            ActionOutcome::Success { value, log_lines } => {
                Outgoing::action_success(request, &value, &log_lines)
            }
            ActionOutcome::Failure { error, log_lines } => {
                Outgoing::action_failure(request, &error, &log_lines)
            }
            ActionOutcome::System(error) => return Err(error),
        };
        self.answer(request, answer, out)
    }

    /// Starts the next mutation that can run, and answers those before it that can not.
    fn start_mutation(&mut self, out: &mut Vec<Output<I>>) -> Result<(), SystemError> {
        while self.mutation.is_none() {
            let Some(next) = self.mutations.pop_front() else { break };
            let QueuedMutation { request, call, bytes } = next;
            self.held_bytes = self.held_bytes.saturating_sub(bytes);
            match call {
                Ok(call) => {
                    self.mutation =
                        Some(RunningMutation { request, since_ms: self.now_ms, committed: None });
                    out.push(Output::Mutation(call));
                }
                Err(error) => {
                    let answer = Outgoing::mutation_failure(request, &error, &[]);
                    self.answer(request, answer, out)?;
                }
            }
        }
        Ok(())
    }

    /// The call under the identity of this moment, or why it can not run. Errors: a request id
    /// that is still unanswered, since no id may be answered twice.
    fn accept(&mut self, call: CallRequest) -> Result<Result<Call<I>, CallError>, SystemError> {
        let CallRequest { request, path, args, bytes: _, component } = call;
        if !self.unanswered.insert(request) {
            return Err(SystemError::internal(format!("request {request} is already running")));
        }
        let call_id = self.call_id(Some(request));
        Ok(match runnable(args, &component) {
            Ok(args) => Ok(Call {
                request,
                path,
                args,
                component,
                identity: self.identity.handle.clone(),
                session: self.session_id(),
                call_id,
            }),
            Err(detail) => Err(self.call_error(call_id, &detail)),
        })
    }
}
