-- The store: what was taken from RabbitMQ and is not yet wholly dealt with. Times are milliseconds since 1970, UTC.
-- What is there already is left as it is: a migration puts what it replaces out of the way first.

-- What outlives its rows. Counters: next_seq, checkpoint_seq (the last checkpoint's record), file_seq and log_seq (written to the audit file, to standard output),
-- file_dev and file_ino (the audit file last written, so that it is found again after a rename).
-- A blob: head, the SHA-256 of the last record's line.
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;

-- Ids of messages already taken, for as long as they are remembered: 16 bytes each, one after another, in the order they
-- came; a row for each transaction, or for a whole generation once that is sealed (seen.rs).
CREATE TABLE IF NOT EXISTS seen (
  n      INTEGER PRIMARY KEY,
  since  INTEGER NOT NULL,               -- when the first of them came, and
  until  INTEGER NOT NULL,               -- the last
  sealed INTEGER NOT NULL,
  ids    BLOB NOT NULL
);

-- Records on their way to the audit file, with the lines for standard output that go with them: those that were committed
-- together in one row (chunk.rs).
CREATE TABLE IF NOT EXISTS trail (
  last  INTEGER PRIMARY KEY,             -- the number of the last record, and
  first INTEGER NOT NULL,                -- of the first
  lines BLOB NOT NULL,
  log   TEXT NOT NULL,
  logs  INTEGER NOT NULL                 -- records that have lines in log
);

-- Deliveries that wait (state 0), were given up (1), or were discarded by hand (2, until the trail tells of it).
-- One that is done is gone: its outcome is in the trail.
CREATE TABLE IF NOT EXISTS delivery (
  n           INTEGER PRIMARY KEY,       -- the order of planning
  id          TEXT NOT NULL UNIQUE,      -- what the receiver sees
  destination TEXT NOT NULL,             -- as in the settings: slack.ops
  rule        TEXT NOT NULL,
  seq         INTEGER NOT NULL,          -- the event's record in the trail
  message_id  TEXT NOT NULL,
  event_type  TEXT NOT NULL,
  request     TEXT,                      -- JSON, as rendered when it was planned; null where the template failed
  progress    TEXT,                      -- JSON, what an action of several steps has reached
  state       INTEGER NOT NULL DEFAULT 0,
  attempts    INTEGER NOT NULL DEFAULT 0,
  created     INTEGER NOT NULL,
  due         INTEGER NOT NULL DEFAULT 0, -- not before; 0 at once, so that a clock set back delays nothing new
  ended       INTEGER,
  reason      TEXT,                      -- why it waits for another attempt, or was given up
  reply       TEXT,                      -- the first kilobyte of what the receiver answered
  bytes       INTEGER NOT NULL,          -- what it counts for in the outbox's bound
  sent        INTEGER,                   -- the time that the message itself has, if any
  steps       TEXT                       -- JSON, what is needed to plan what follows once it is done (rule/steps.rs)
);
CREATE INDEX IF NOT EXISTS delivery_due ON delivery (destination, state, due, n);
CREATE INDEX IF NOT EXISTS delivery_order ON delivery (destination, state, n);
CREATE INDEX IF NOT EXISTS delivery_given_up ON delivery (n) WHERE state = 1;

-- Messages that could not be decoded, with their bytes.
CREATE TABLE IF NOT EXISTS quarantine (
  n           INTEGER PRIMARY KEY,
  digest      TEXT NOT NULL,             -- SHA-256 of the body's kept bytes, in hexadecimal
  at          INTEGER NOT NULL,
  queue       TEXT NOT NULL,
  exchange    TEXT NOT NULL,
  routing_key TEXT NOT NULL,
  reason      TEXT NOT NULL,
  size        INTEGER NOT NULL,          -- of the whole body, in bytes
  body        BLOB NOT NULL              -- its first bytes where it was larger than the bound
);
CREATE INDEX IF NOT EXISTS quarantine_digest ON quarantine (digest);

-- What is known of Keystone's things, also of those that were deleted (name.rs). `meta` counts under names how often the
-- command line changed them.
CREATE TABLE IF NOT EXISTS name (
  kind    TEXT NOT NULL,
  id      TEXT NOT NULL,
  name    TEXT,
  domain  TEXT,                          -- the id of the domain it belongs to
  enabled INTEGER,
  members TEXT,                          -- JSON, the ids of a group's users
  how     TEXT NOT NULL,                 -- event, listing, lookup, import
  at      INTEGER NOT NULL,              -- when that was so
  deleted INTEGER,
  before  TEXT,                          -- JSON, what it was like before a change that no event has told of yet
  PRIMARY KEY (kind, id)
) WITHOUT ROWID;

-- Records that the command line asks for, until the writer gives them their places in the trail (handed.rs).
CREATE TABLE IF NOT EXISTS handed (
  n          INTEGER PRIMARY KEY,        -- the order they were handed over in
  purpose    INTEGER NOT NULL,           -- 0: a message that the trail lacks, 1: a replay
  key        BLOB NOT NULL UNIQUE,       -- 16 bytes: the message's, or those of the replay and the message
  record     BLOB NOT NULL,              -- what stands behind its place
  deliveries TEXT NOT NULL               -- JSON, what is to be delivered because of it
);

-- What was replayed, so that a replay that was interrupted goes on where it was; for as long as ids are remembered.
CREATE TABLE IF NOT EXISTS replayed (
  key BLOB PRIMARY KEY,
  at  INTEGER NOT NULL
) WITHOUT ROWID;

-- What events count for, until the correlator has dealt with it and does not need it any more (matched.rs).
CREATE TABLE IF NOT EXISTS matched (
  n          INTEGER PRIMARY KEY,        -- the order in which it came
  seq        INTEGER NOT NULL,           -- the event's record in the trail
  rule       TEXT NOT NULL,
  key        TEXT NOT NULL,              -- what it is counted by; empty for all together
  value      TEXT,                       -- of which only different ones count
  at         INTEGER NOT NULL,           -- when it was, in microseconds
  message_id TEXT NOT NULL,
  event_type TEXT NOT NULL,
  event      BLOB,                       -- its record without its place; null where it is not wanted later
  held       INTEGER NOT NULL DEFAULT 0  -- 1: it is counted, and still needed
);
CREATE INDEX IF NOT EXISTS matched_waiting ON matched (n) WHERE held = 0;

-- What the correlator knows of each rule and key: JSON, as src/correlate has it.
CREATE TABLE IF NOT EXISTS correlated (
  rule  TEXT NOT NULL,
  key   TEXT NOT NULL,
  state TEXT NOT NULL,
  PRIMARY KEY (rule, key)
) WITHOUT ROWID;

-- Written and emptied to find out whether the disk takes writes again.
CREATE TABLE IF NOT EXISTS probe (n INTEGER PRIMARY KEY, filler BLOB NOT NULL);
