-- The store: what was taken from RabbitMQ and is not yet wholly dealt with. Times are milliseconds since 1970, UTC.

-- Counters that outlive their rows: next_seq, file_seq and log_seq (written to the audit file, to standard output),
-- file_dev and file_ino (the audit file last written, so that it is found again after a rename).
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;

-- Messages already taken, for as long as their ids are remembered. n grows, so that the oldest are found at once.
CREATE TABLE seen (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, at INTEGER NOT NULL);

-- Records on their way to the audit file, and the lines for standard output that go with them.
CREATE TABLE trail (seq INTEGER PRIMARY KEY, line BLOB NOT NULL, log TEXT);

-- Deliveries that wait (state 0), were given up (1), or were discarded by hand (2, until the trail tells of it).
-- One that is done is gone: its outcome is in the trail.
CREATE TABLE delivery (
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
  bytes       INTEGER NOT NULL           -- what it counts for in the outbox's bound
);
CREATE INDEX delivery_due ON delivery (destination, state, due, n);
CREATE INDEX delivery_order ON delivery (destination, state, n);
CREATE INDEX delivery_given_up ON delivery (n) WHERE state = 1;

-- Messages that could not be decoded, with their bytes.
CREATE TABLE quarantine (
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
CREATE INDEX quarantine_digest ON quarantine (digest);

-- Written and emptied to find out whether the disk takes writes again.
CREATE TABLE probe (n INTEGER PRIMARY KEY, filler BLOB NOT NULL);

-- What a store of version 1 held after a kill: an id, two records that wait for the audit file, a delivery.
PRAGMA user_version = 1;
INSERT INTO meta VALUES ('next_seq', 9), ('file_seq', 6), ('log_seq', 6);
INSERT INTO seen (id, at) VALUES ('17fdb790-24d5-455d-8418-1e4946d7f690', 1795244603274);
INSERT INTO trail VALUES (7, CAST('{"seq":7,"type":"event"}' || char(10) AS BLOB), 'one line' || char(10));
INSERT INTO trail VALUES (8, CAST('{"seq":8,"type":"stop"}' || char(10) AS BLOB), NULL);
INSERT INTO delivery (id, destination, rule, seq, message_id, event_type, request, created, bytes) VALUES
  ('d', 'slack.ops', 'r', 7, '17fdb790-24d5-455d-8418-1e4946d7f690', 'identity.user.deleted', '{}', 1795244603274, 300);
