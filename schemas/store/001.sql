-- The store of jwk-api, version 1. Times are milliseconds since 1970 UTC; uid columns are the UUIDs that the outside sees.

CREATE TABLE store (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    uid TEXT NOT NULL,                       -- the installation: source of all its events
    epoch INTEGER NOT NULL CHECK (epoch > 0), -- one more each time an older store is adopted
    partitions INTEGER NOT NULL DEFAULT 0,   -- of the events topic that JWKs are spread over; fixed when first seen
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE project (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uid TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) STRICT;

-- A removed environment stays for the history of its deployments; its name is free again.
CREATE TABLE environment (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uid TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    removed_at INTEGER
) STRICT;
CREATE UNIQUE INDEX environment_name ON environment (name) WHERE removed_at IS NULL;

-- Personal API access tokens: only the SHA-256 of each is kept.
CREATE TABLE token (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uid TEXT NOT NULL UNIQUE,
    hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    user TEXT NOT NULL,
    roles INTEGER NOT NULL,                  -- bits, see api/access.h
    all_projects INTEGER NOT NULL CHECK (all_projects IN (0, 1)),
    created_at INTEGER NOT NULL,
    expires_at INTEGER,                      -- NULL: never
    revoked_at INTEGER
) STRICT;
CREATE TABLE token_project (
    token_id INTEGER NOT NULL REFERENCES token (id),
    project_id INTEGER NOT NULL REFERENCES project (id) ON DELETE CASCADE,
    PRIMARY KEY (token_id, project_id)
) STRICT, WITHOUT ROWID;

-- A deleted JWK keeps its row, without material: its last event and its tombstone are owed to the topic.
CREATE TABLE jwk (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uid TEXT NOT NULL UNIQUE,
    project_id INTEGER NOT NULL REFERENCES project (id),
    name TEXT NOT NULL,
    description TEXT,
    type TEXT NOT NULL CHECK (type IN ('RSA', 'EC', 'OCT', 'OKP')),
    kid TEXT,
    source_type TEXT NOT NULL,
    source_id TEXT,                          -- uid of the certificate, key or keystore it is attached to
    source_url TEXT,
    version INTEGER NOT NULL CHECK (version > 0),
    partition INTEGER NOT NULL CHECK (partition >= 0), -- of the events topic; never changes
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER,
    tombstoned_at INTEGER
) STRICT;
CREATE UNIQUE INDEX jwk_name ON jwk (project_id, name) WHERE deleted_at IS NULL;
CREATE INDEX jwk_tombstone ON jwk (deleted_at) WHERE deleted_at IS NOT NULL AND tombstoned_at IS NULL;

-- Apart from jwk, so that a list never reads it and a rename never rewrites it.
CREATE TABLE jwk_material (
    jwk_id INTEGER PRIMARY KEY REFERENCES jwk (id),
    public_key TEXT,                         -- JSON; NULL for a symmetric key
    private_key TEXT                         -- JSON of the whole key; NULL when there is no private half
) STRICT;

-- One change of one JWK. id is the sequence that its event carries: the order of commits.
CREATE TABLE deployment (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uid TEXT NOT NULL UNIQUE,
    jwk_id INTEGER NOT NULL REFERENCES jwk (id),
    operation INTEGER NOT NULL,              -- enum event_operation
    epoch INTEGER NOT NULL,
    version INTEGER NOT NULL,
    jwk_name TEXT NOT NULL,                  -- after the change
    actor TEXT NOT NULL,
    event_hash TEXT NOT NULL,                -- SHA-256 of the event's value: an ack must name it
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX deployment_jwk ON deployment (jwk_id, id);

-- What is expected of each environment, and what came of it.
CREATE TABLE deployment_result (
    deployment_id INTEGER NOT NULL REFERENCES deployment (id),
    environment_id INTEGER NOT NULL REFERENCES environment (id),
    state INTEGER NOT NULL DEFAULT 0,        -- enum result_state: 0 pending, 1 succeeded, 2 failed
    message TEXT,                            -- NULL: the standard sentence of its state
    replicas TEXT,                           -- JSON {"replica": "" or its error}; NULL when nothing is to be remembered
    settled_at INTEGER,
    PRIMARY KEY (deployment_id, environment_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX deployment_result_pending ON deployment_result (environment_id, deployment_id) WHERE state = 0;

-- Events that are committed and not yet known to be in Kafka, in the order of commits.
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    partition INTEGER NOT NULL,
    key TEXT NOT NULL,
    event_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    subject TEXT NOT NULL,
    time INTEGER NOT NULL,
    traceparent TEXT,
    value TEXT                               -- NULL: a tombstone
) STRICT;

-- Where the consumer of each topic goes on: stored in the transaction of what was gathered up to there.
CREATE TABLE topic_offset (
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    PRIMARY KEY (topic, partition)
) STRICT, WITHOUT ROWID;
