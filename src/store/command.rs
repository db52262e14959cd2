//! What the writing thread is asked, and how it answers.

use jiff::Timestamp;
use tokio::sync::oneshot;

use crate::name::Known;

use super::{Bounds, Entry, Follower, Kept, Last, Seal, Session, Settlement, Step, StoreError};

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the thread is asked.
#[derive(Debug)]
pub(super) enum Command {
    Put { session: Session, entries: Vec<Entry>, reply: Reply<Kept> },
    Settle { settlement: Settlement, reply: Reply<()> },
    Correlate { step: Step, reply: Reply<()> },
    Learn { names: Vec<Known>, reply: Reply<()> },
    ForgetNames { before: Timestamp, reply: Reply<()> },
    BringForward { deliveries: Vec<i64>, reply: Reply<()> },
    Expire { destination: String, before: Timestamp, reason: String, reply: Reply<usize> },
    Probe { reply: Reply<()> },
    Answer { reply: Reply<()> },
    Seal { seal: Seal, reply: Reply<()> },
    GoOn { after: Last, reply: Reply<()> },
    Written { follower: Follower, seq: u64 },
    WillWrite { follower: Follower, seq: u64, reply: Reply<()> },
    SetBounds(Bounds),
    Close,
}

impl Command {
    pub(super) fn rows(&self) -> usize {
        match self {
            Self::Put { entries, .. } => entries.len(),
            Self::Learn { names, .. } => names.len(),
            Self::Correlate { step, .. } => step.held.len() + step.released.len() + step.states.len(),
            _ => 1,
        }
    }
}

/// Something that a person wants to know, beside its record in the trail.
pub(super) struct Notice {
    /// What kind of thing it is: the same is said once in a while.
    pub(super) what: String,
    /// It, in words.
    pub(super) text: String,
}

/// A command that was carried out within the transaction, to be answered after its commit.
pub(super) enum Done {
    Put(Reply<Kept>, Result<Kept, StoreError>, Session),
    Unit(Reply<()>, Result<(), StoreError>),
    Count(Reply<usize>, usize),
    Nothing,
}

/// Tells whoever asked, after the commit.
pub(super) fn answer(done: Done, failure: Option<&StoreError>) {
    // Whoever asked may be gone; then nobody minds the answer.
    match done {
        Done::Put(reply, result, session) => {
            let result = failure.map_or(result, |error| Err(error.clone()));
            if result.is_err() {
                session.poison();
            }
            let _gone = reply.send(result);
        }
        Done::Unit(reply, result) => {
            let _gone = reply.send(failure.map_or(result, |error| Err(error.clone())));
        }
        Done::Count(reply, count) => {
            let _gone = reply.send(failure.map_or(Ok(count), |error| Err(error.clone())));
        }
        Done::Nothing => {}
    }
}

/// A command that was not carried out.
pub(super) fn refuse(command: Command) -> Done {
    match command {
        Command::Put { session, reply, .. } => Done::Put(reply, Ok(Kept::default()), session),
        Command::Expire { reply, .. } => Done::Count(reply, 0),
        Command::Settle { reply, .. }
        | Command::Correlate { reply, .. }
        | Command::Learn { reply, .. }
        | Command::ForgetNames { reply, .. }
        | Command::BringForward { reply, .. }
        | Command::Probe { reply }
        | Command::Answer { reply }
        | Command::WillWrite { reply, .. }
        | Command::Seal { reply, .. }
        | Command::GoOn { reply, .. } => Done::Unit(reply, Ok(())),
        Command::Written { .. } | Command::SetBounds(_) | Command::Close => Done::Nothing,
    }
}
