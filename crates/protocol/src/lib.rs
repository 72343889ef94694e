//! The sync protocol: frames, and the session as a state machine.
