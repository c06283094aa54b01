/* The tables of the state, by version. */
#include "worker/state_internal.h"

/* clang-format off */
#define VERSION_1 \
    "CREATE TABLE replica (" \
    "  one INTEGER PRIMARY KEY CHECK (one = 1)," \
    "  environment TEXT NOT NULL," \
    "  name TEXT NOT NULL," \
    "  cluster TEXT NOT NULL DEFAULT ''," \
    "  epoch INTEGER NOT NULL DEFAULT 0," \
    "  last_contact INTEGER NOT NULL DEFAULT 0" \
    ") STRICT;" \
    "CREATE TABLE position (" \
    "  partition INTEGER PRIMARY KEY," \
    "  next_offset INTEGER NOT NULL," \
    "  sequence INTEGER NOT NULL," \
    "  generation INTEGER NOT NULL," \
    "  sweep_offset INTEGER NOT NULL DEFAULT -1," \
    "  sweep_after INTEGER NOT NULL DEFAULT 0" \
    ") STRICT;" \
    "CREATE TABLE project (" \
    "  number INTEGER PRIMARY KEY," \
    "  id TEXT NOT NULL UNIQUE," \
    "  name TEXT NOT NULL" \
    ") STRICT;" \
    "CREATE INDEX project_by_name ON project (name);" \
    "CREATE TABLE jwk (" \
    "  number INTEGER PRIMARY KEY," \
    "  id TEXT NOT NULL UNIQUE," \
    "  project INTEGER NOT NULL REFERENCES project (number)," \
    "  name TEXT NOT NULL," \
    "  type TEXT NOT NULL," \
    "  kid TEXT," \
    "  epoch INTEGER NOT NULL," \
    "  version INTEGER NOT NULL," \
    "  sequence INTEGER NOT NULL," \
    "  partition INTEGER NOT NULL," \
    "  generation INTEGER NOT NULL," \
    "  deleted INTEGER NOT NULL," \
    "  expires INTEGER," \
    "  public_key TEXT," \
    "  retiring INTEGER NOT NULL DEFAULT 0" \
    ") STRICT;" \
    /* As many rows as jwk.retiring tells, so that a JWK without any costs no look-up. */ \
    "CREATE TABLE jwk_retiring (" \
    "  jwk INTEGER NOT NULL REFERENCES jwk (number)," \
    "  place INTEGER NOT NULL," \
    "  public_key TEXT NOT NULL," \
    "  until INTEGER NOT NULL," \
    "  PRIMARY KEY (jwk, place)" \
    ") STRICT, WITHOUT ROWID;" \
    "CREATE TRIGGER jwk_removed AFTER DELETE ON jwk WHEN old.retiring > 0 BEGIN" \
    "  DELETE FROM jwk_retiring WHERE jwk = old.number;" \
    "END;" \
    /* Not unique: two JWKs that trade names may be seen in either order. */ \
    "CREATE INDEX jwk_by_name ON jwk (project, name) WHERE deleted = 0;" \
    "CREATE TABLE failing (" \
    "  jwk_id TEXT PRIMARY KEY," \
    "  deployment_id TEXT NOT NULL," \
    "  event_id TEXT NOT NULL," \
    "  event_hash TEXT NOT NULL," \
    "  traceparent TEXT," \
    "  operation INTEGER NOT NULL," \
    "  epoch INTEGER NOT NULL," \
    "  version INTEGER NOT NULL," \
    "  sequence INTEGER NOT NULL," \
    "  message TEXT NOT NULL" \
    ") STRICT, WITHOUT ROWID;"

/* Private halves are as they came, sealed: what opens them is not here. They are beside the JWKs, so that those who read public
 * keys need not skip them. */
#define VERSION_2 \
    "ALTER TABLE replica ADD COLUMN refused_by TEXT NOT NULL DEFAULT '';" \
    "ALTER TABLE jwk ADD COLUMN verified INTEGER NOT NULL DEFAULT 0;" \
    "ALTER TABLE jwk ADD COLUMN private INTEGER NOT NULL DEFAULT 0;" \
    "CREATE TABLE jwk_private (" \
    "  jwk INTEGER PRIMARY KEY REFERENCES jwk (number)," \
    "  sealed TEXT NOT NULL" \
    ") STRICT;" \
    "CREATE TRIGGER jwk_private_removed AFTER DELETE ON jwk WHEN old.private > 0 BEGIN" \
    "  DELETE FROM jwk_private WHERE jwk = old.number;" \
    "END;" \
    /* JWKs whose tombstone has come: an old event of theirs that somebody puts on the topic again must not bring them back. */ \
    "CREATE TABLE forgotten (" \
    "  id TEXT PRIMARY KEY," \
    "  epoch INTEGER NOT NULL," \
    "  version INTEGER NOT NULL" \
    ") STRICT, WITHOUT ROWID;" \
    "CREATE TABLE refused (" \
    "  jwk_id TEXT PRIMARY KEY," \
    "  event_id TEXT NOT NULL" \
    ") STRICT, WITHOUT ROWID;"

#define VERSION_3 "ALTER TABLE position ADD COLUMN done_sequence INTEGER NOT NULL DEFAULT 0;"
/* clang-format on */

const char *const state_schema[STATE_SCHEMA_VERSION] = {VERSION_1, VERSION_2, VERSION_3};
