//! The kinds of faults.
//!
//! Its promise: each is in [`Kind::ALL`], and so in the table and in every run, exactly once.

/// One kind of fault, as a row of the table has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Kill,
    KillAtStart,
    KillAsItConsumes,
    KillAtCall,
    CallFails,
    CallDiskFull,
    CallTorn,
    Terminate,
    Reload,
    BrokerKill,
    BrokerFreeze,
    QueueDeleted,
    NetworkSlow,
    NetworkReset,
    NetworkClosed,
    NetworkHole,
    NetworkStuck,
    NetworkRefuses,
    ReceiverDown,
    ReceiverHangsUp,
    ReceiverHangs,
    ReceiverSlow,
    ReceiverError,
    ReceiverBusy,
    ReceiverCut,
    ReceiverTruncates,
    StateFull,
    AuditFull,
    AuditMoved,
    AuditMovedReload,
    ClockForward,
    ClockBack,
}

use Kind::{
    AuditFull, AuditMoved, AuditMovedReload, BrokerFreeze, BrokerKill, CallDiskFull, CallFails, CallTorn, ClockBack,
    ClockForward, Kill, KillAsItConsumes, KillAtCall, KillAtStart, NetworkClosed, NetworkHole, NetworkRefuses,
    NetworkReset, NetworkSlow, NetworkStuck, QueueDeleted, ReceiverBusy, ReceiverCut, ReceiverDown, ReceiverError,
    ReceiverHangs, ReceiverHangsUp, ReceiverSlow, ReceiverTruncates, Reload, StateFull, Terminate,
};

/// What befalls the daemon itself; several entries are more often.
pub(crate) const LIFE: &[Kind] = &[
    Kill,
    Kill,
    Kill,
    KillAtStart,
    KillAtStart,
    KillAsItConsumes,
    KillAsItConsumes,
    KillAtCall,
    KillAtCall,
    KillAtCall,
    CallFails,
    CallDiskFull,
    CallTorn,
    Terminate,
    Reload,
];
pub(crate) const BROKER: &[Kind] = &[BrokerKill, BrokerFreeze, BrokerFreeze, QueueDeleted];
pub(crate) const NETWORK: &[Kind] =
    &[NetworkSlow, NetworkReset, NetworkClosed, NetworkHole, NetworkStuck, NetworkRefuses];
pub(crate) const RECEIVER: &[Kind] = &[
    ReceiverDown,
    ReceiverHangsUp,
    ReceiverHangs,
    ReceiverSlow,
    ReceiverError,
    ReceiverBusy,
    ReceiverCut,
    ReceiverTruncates,
];
pub(crate) const DISK: &[Kind] = &[StateFull, AuditFull];
pub(crate) const AUDIT: &[Kind] = &[AuditMoved, AuditMovedReload];
pub(crate) const CLOCK: &[Kind] = &[ClockForward, ClockBack];

impl Kind {
    /// In the order of the table.
    pub(crate) fn all() -> Vec<Self> {
        let mut all: Vec<_> = [LIFE, BROKER, NETWORK, RECEIVER, DISK, AUDIT, CLOCK].concat();
        all.dedup();
        all
    }

    /// What the table calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kill => "cadfd: SIGKILL at any moment",
            KillAtStart => "cadfd: SIGKILL while it starts",
            KillAsItConsumes => "cadfd: SIGKILL as messages arrive",
            KillAtCall => "cadfd: SIGKILL at the N-th write, sync or send",
            CallFails => "disk: the N-th write or sync fails (EIO)",
            CallDiskFull => "disk: the N-th write or sync fails (ENOSPC)",
            CallTorn => "disk: the N-th write is torn",
            Terminate => "cadfd: SIGTERM and start",
            Reload => "cadfd: SIGHUP",
            BrokerKill => "broker: SIGKILL and start",
            BrokerFreeze => "broker: SIGSTOP, SIGCONT",
            QueueDeleted => "broker: queue deleted, declared again",
            NetworkSlow => "network: delayed",
            NetworkReset => "network: cut (RST)",
            NetworkClosed => "network: cut (FIN)",
            NetworkHole => "network: black hole",
            NetworkStuck => "network: black hole for one connection",
            NetworkRefuses => "network: refused",
            ReceiverDown => "receiver: refuses",
            ReceiverHangsUp => "receiver: hangs up",
            ReceiverHangs => "receiver: hangs",
            ReceiverSlow => "receiver: slow",
            ReceiverError => "receiver: 5xx",
            ReceiverBusy => "receiver: 429, Retry-After",
            ReceiverCut => "receiver: closes within the head",
            ReceiverTruncates => "receiver: closes within the body",
            StateFull => "disk of the state: full, full again",
            AuditFull => "disk of the audit file: full, full again",
            AuditMoved => "audit file moved",
            AuditMovedReload => "audit file moved, SIGHUP",
            ClockForward => "clock: an hour forwards, and back",
            ClockBack => "clock: an hour back, and forwards",
        }
    }
}
