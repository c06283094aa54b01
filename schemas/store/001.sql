-- The store of jwk-api, version 1. Times are milliseconds since 1970 UTC; uid columns are the UUIDs that the outside sees.

CREATE TABLE store (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    uid TEXT NOT NULL,                       -- the installation: source of all its events
    epoch INTEGER NOT NULL CHECK (epoch > 0), -- one more each time an older store is adopted
    sequence INTEGER NOT NULL DEFAULT 0,     -- the last number given to a deployment or an outgoing record
    partitions INTEGER NOT NULL DEFAULT 0,   -- of the events topic that JWKs are spread over; fixed when first seen
    republish_after INTEGER,                 -- JWKs with a higher id are to be published again; NULL: none
    -- A replica's position tells nothing of deployments up to republish_from until it has passed republish_until (NULL: not known yet): the
    -- topic was made again, and what they deployed comes again in between.
    republish_from INTEGER NOT NULL DEFAULT 0,
    republish_until INTEGER DEFAULT 0,
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

-- Who may ask for tokens with a secret of its own (client_credentials): only the SHA-256 of the secret, which is random, is kept.
CREATE TABLE client (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uid TEXT NOT NULL UNIQUE,                -- the client_id
    secret_hash BLOB NOT NULL CHECK (length(secret_hash) = 32),
    user TEXT NOT NULL,
    roles INTEGER NOT NULL,                  -- bits, see api/access.h
    all_projects INTEGER NOT NULL CHECK (all_projects IN (0, 1)),
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;
CREATE TABLE client_project (
    client_id INTEGER NOT NULL REFERENCES client (id),
    project_id INTEGER NOT NULL REFERENCES project (id) ON DELETE CASCADE,
    PRIMARY KEY (client_id, project_id)
) STRICT, WITHOUT ROWID;

-- Personal API access tokens, and those that clients were given: only the SHA-256 of each is kept.
CREATE TABLE token (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uid TEXT NOT NULL UNIQUE,
    hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    user TEXT NOT NULL,
    roles INTEGER NOT NULL,                  -- bits, see api/access.h
    all_projects INTEGER NOT NULL CHECK (all_projects IN (0, 1)),
    created_at INTEGER NOT NULL,
    expires_at INTEGER,                      -- NULL: never
    revoked_at INTEGER,
    client_id INTEGER REFERENCES client (id) -- that it was issued to; NULL: made by administration
) STRICT;
CREATE INDEX token_issued ON token (expires_at) WHERE client_id IS NOT NULL;
CREATE INDEX token_client ON token (client_id) WHERE client_id IS NOT NULL;
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
    retiring_until INTEGER,                  -- the latest of jwk_retiring; NULL: there is none, and nothing to look up
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

-- Keys that rotations have replaced and that are served beside the present one for a time: their public halves. What is over is
-- dropped with the next change of the JWK.
CREATE TABLE jwk_retiring (
    jwk_id INTEGER NOT NULL REFERENCES jwk (id),
    version INTEGER NOT NULL,                -- of the JWK, with the rotation
    public_key TEXT NOT NULL,                -- JSON
    kid TEXT,
    until INTEGER NOT NULL,                  -- whole seconds, as replicas are told it
    PRIMARY KEY (jwk_id, version)
) STRICT, WITHOUT ROWID;

-- One change of one JWK. id is the sequence that its event carries: the order of commits.
CREATE TABLE deployment (
    id INTEGER PRIMARY KEY,
    uid TEXT NOT NULL UNIQUE,
    project_id INTEGER NOT NULL,             -- of the JWK
    jwk_id INTEGER NOT NULL REFERENCES jwk (id),
    operation INTEGER NOT NULL,              -- enum event_operation
    epoch INTEGER NOT NULL,
    version INTEGER NOT NULL,
    jwk_name TEXT NOT NULL,                  -- after the change
    changed TEXT,                            -- names of the fields that an update changed, separated by commas; NULL: none
    actor TEXT NOT NULL,
    event_hash TEXT NOT NULL,                -- SHA-256 of the event's value: an ack must name it
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX deployment_jwk ON deployment (jwk_id, id);
CREATE INDEX deployment_project ON deployment (project_id, id);

-- Requests with an Idempotency-Key that recorded a change, and what was answered to the first of each.
CREATE TABLE idempotency (
    user TEXT NOT NULL,
    key TEXT NOT NULL,
    request_hash BLOB NOT NULL CHECK (length(request_hash) = 32), -- of method, path and body
    first_deployment INTEGER,                -- ids of the deployments that the request recorded; NULL: none
    last_deployment INTEGER,
    status INTEGER,                          -- of the answer; NULL until there was one
    location TEXT,
    body TEXT,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (user, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_expiry ON idempotency (expires_at);

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
CREATE INDEX deployment_result_unsettled ON deployment_result (environment_id, deployment_id) WHERE state <> 1;

-- Events that are committed and not yet known to be in Kafka, in the order of commits.
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY,                  -- from store.sequence, so never given twice
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

-- A certificate, key or keystore that JWKs are made from.
CREATE TABLE source (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uid TEXT NOT NULL UNIQUE,
    project_id INTEGER NOT NULL REFERENCES project (id),
    kind INTEGER NOT NULL,                   -- enum source_kind
    name TEXT NOT NULL,
    description TEXT,
    alias TEXT,                              -- of a certificate
    key_type TEXT,                           -- of a key: RSA, EC or OKP
    version INTEGER NOT NULL DEFAULT 1,      -- one more with each update
    attachments INTEGER NOT NULL DEFAULT 0,  -- one more with each JWK that is made from it
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX source_name ON source (project_id, kind, name);

-- What it consists of in each environment. Apart from source, so that a list never reads it.
CREATE TABLE source_material (
    source_id INTEGER NOT NULL REFERENCES source (id) ON DELETE CASCADE,
    environment_id INTEGER NOT NULL REFERENCES environment (id),
    type TEXT,                               -- of a keystore: PKCS12 or JKS
    public_material TEXT,                    -- a certificate's PEM, a key's public half
    private_material TEXT,                   -- a key's private half, a keystore's file: never shown
    password TEXT,                           -- of a keystore: never shown
    details TEXT NOT NULL,                   -- JSON: what is told of it, nothing secret
    PRIMARY KEY (source_id, environment_id)
) STRICT;

-- What a JWK is made again from while it is attached to a source.
CREATE TABLE jwk_origin (
    jwk_id INTEGER PRIMARY KEY REFERENCES jwk (id),
    attached_version INTEGER NOT NULL,       -- of the JWK: tells one attachment from a later one
    source_id INTEGER NOT NULL REFERENCES source (id),
    environment_id INTEGER REFERENCES environment (id), -- NULL: the only one, or any of a certificate
    use_type TEXT,
    algorithm TEXT,
    alias TEXT                               -- of the keystore's entry
) STRICT;
CREATE INDEX jwk_origin_source ON jwk_origin (source_id);

-- How and when a JWK that came from a URL is fetched again while it is attached to it.
CREATE TABLE jwk_url (
    jwk_id INTEGER PRIMARY KEY REFERENCES jwk (id),
    attached_version INTEGER NOT NULL,       -- of the JWK, as in jwk_origin
    kid TEXT,                                -- which key of a JWK Set; NULL: the only one
    connect_timeout INTEGER NOT NULL,        -- ms
    read_timeout INTEGER NOT NULL,           -- ms
    size_limit INTEGER NOT NULL,             -- bytes
    etag TEXT,
    last_modified TEXT,
    due_at INTEGER NOT NULL,
    checked_at INTEGER NOT NULL,
    failures INTEGER NOT NULL DEFAULT 0,     -- one after the other, up to now
    error TEXT                               -- of the last one
) STRICT;
CREATE INDEX jwk_url_due ON jwk_url (due_at);
CREATE INDEX jwk_url_failing ON jwk_url (failures) WHERE failures > 0;

-- Detaching and deleting end what was attached, whoever does it.
CREATE TRIGGER jwk_detached AFTER UPDATE OF source_id, source_url, deleted_at ON jwk
WHEN (old.source_id IS NOT NULL OR old.source_url IS NOT NULL)
    AND (new.deleted_at IS NOT NULL OR (new.source_id IS NULL AND new.source_url IS NULL))
BEGIN
    DELETE FROM jwk_origin WHERE jwk_id = old.id;
    DELETE FROM jwk_url WHERE jwk_id = old.id;
END;
