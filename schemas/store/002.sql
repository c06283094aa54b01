-- The store of jwk-api, version 2: secrets are sealed, events signed, evidence chained. A sealed value begins with the byte 1; one that
-- does not is clear text of version 1, which the first start with a master key seals.

-- What seals values, itself sealed under a master key that the store does not hold. The latest one is in use.
CREATE TABLE data_key (
    id INTEGER PRIMARY KEY,
    master_key TEXT NOT NULL,                -- which one, by a name made from its hash
    sealed BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- What the API signs its events with.
CREATE TABLE signing_key (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kid TEXT NOT NULL UNIQUE,
    public_key TEXT NOT NULL,                -- JSON
    private_key BLOB,                        -- sealed; NULL once another has taken its place
    created_at INTEGER NOT NULL,
    activated_at INTEGER,                    -- NULL: to be used later
    accepted_until INTEGER                   -- NULL unless another has taken its place
) STRICT;

-- How much of version 1 is left: 2: values in clear text; 1: traces of them, in pages that were freed and in the log; 0: nothing.
ALTER TABLE store ADD COLUMN clear_text INTEGER NOT NULL DEFAULT 2;

-- Public JWK Set of an environment: whom private halves are sealed for and whose word counts for its replicas. NULL: nobody's.
ALTER TABLE environment ADD COLUMN keys TEXT;
-- One more whenever an environment or its keys come or go: what is sealed for all of them is to be sealed again.
ALTER TABLE store ADD COLUMN environment_generation INTEGER NOT NULL DEFAULT 1;

-- The deployments of a JWK are a chain, latest first: an index by JWK would be one more page that every change writes.
ALTER TABLE jwk ADD COLUMN deployment INTEGER; -- the latest
ALTER TABLE deployment ADD COLUMN previous INTEGER; -- of the same JWK; NULL: the first
UPDATE deployment SET previous =
    (SELECT max(older.id) FROM deployment AS older WHERE older.jwk_id = deployment.jwk_id AND older.id < deployment.id);
UPDATE jwk SET deployment = (SELECT max(deployment.id) FROM deployment WHERE jwk_id = jwk.id);
DROP INDEX deployment_jwk;

CREATE TABLE jwk_material_2 (
    jwk_id INTEGER PRIMARY KEY REFERENCES jwk (id),
    public_key TEXT,                         -- JSON; NULL for a symmetric key
    private_key BLOB,                        -- sealed JSON of the whole key; NULL when there is no private half
    envelope TEXT,                           -- the same as a JWE for the environments, as events carry it
    envelope_generation INTEGER              -- the environment_generation that it was made for
) STRICT;
INSERT INTO jwk_material_2 (jwk_id, public_key, private_key) SELECT jwk_id, public_key, CAST(private_key AS BLOB) FROM jwk_material;
DROP TABLE jwk_material;
ALTER TABLE jwk_material_2 RENAME TO jwk_material;

CREATE TABLE source_material_2 (
    source_id INTEGER NOT NULL REFERENCES source (id) ON DELETE CASCADE,
    environment_id INTEGER NOT NULL REFERENCES environment (id),
    type TEXT,                               -- of a keystore: PKCS12 or JKS
    public_material TEXT,                    -- a certificate's PEM, a key's public half
    private_material BLOB,                   -- sealed: a key's private half, a keystore's file
    password BLOB,                           -- sealed: of a keystore
    details TEXT NOT NULL,                   -- JSON: what is told of it, nothing secret
    PRIMARY KEY (source_id, environment_id)
) STRICT;
INSERT INTO source_material_2 SELECT source_id, environment_id, type, public_material, CAST(private_material AS BLOB), CAST(password AS BLOB), details
    FROM source_material;
DROP TABLE source_material;
ALTER TABLE source_material_2 RENAME TO source_material;

-- The end of the chain of evidence: in the row that each change writes anyway, so that it costs no page of its own.
ALTER TABLE store ADD COLUMN audit_sequence INTEGER NOT NULL DEFAULT 0; -- of the last line
ALTER TABLE store ADD COLUMN audit_hash TEXT NOT NULL DEFAULT '';       -- SHA-256 of it, base64url
-- What of it is not yet known to be in Kafka: the lines of one transaction a row.
CREATE TABLE audit_outbox (
    sequence INTEGER PRIMARY KEY,            -- of its last line
    lines TEXT NOT NULL                      -- JSON objects, one a line
) STRICT;
