-- Times are milliseconds since 1970; hours are hours since 1970; digests are their 32 bytes; whole unsigned 64-bit
-- numbers are kept as the signed number of the same bits. Nothing here is SQLite's own, so that the same tables can
-- stand in PostgreSQL (BYTEA for BLOB).

CREATE TABLE tokens (
    hash      BLOB   NOT NULL PRIMARY KEY,
    role      TEXT   NOT NULL,
    name      TEXT   NOT NULL,
    appliance TEXT,
    created   BIGINT NOT NULL
);
CREATE INDEX tokens_by_appliance ON tokens (appliance);

CREATE TABLE sites (
    id          TEXT NOT NULL PRIMARY KEY,
    region      TEXT NOT NULL,
    prefixes    TEXT NOT NULL,
    fill_window TEXT NOT NULL
);

CREATE TABLE join_tokens (
    hash      BLOB   NOT NULL PRIMARY KEY,
    appliance TEXT   NOT NULL,
    site      TEXT   NOT NULL REFERENCES sites (id),
    expires   BIGINT NOT NULL,
    presented BIGINT,
    used      BIGINT
);
CREATE INDEX join_tokens_by_appliance ON join_tokens (appliance);

CREATE TABLE appliances (
    id                   TEXT    NOT NULL PRIMARY KEY,
    site                 TEXT    NOT NULL REFERENCES sites (id),
    base_url             TEXT    NOT NULL,
    profile              TEXT    NOT NULL,
    capacity             TEXT    NOT NULL,
    joined               BIGINT  NOT NULL,
    drain                BOOLEAN NOT NULL,
    lost                 BOOLEAN NOT NULL,
    boot                 TEXT,
    seq                  BIGINT,
    last_report          BIGINT,
    status               TEXT,
    inventory_generation BIGINT,
    resync               BOOLEAN NOT NULL
);

-- Boots that a later one has followed: their late reports are ignored.
CREATE TABLE former_boots (
    appliance TEXT   NOT NULL REFERENCES appliances (id),
    boot      TEXT   NOT NULL,
    ended     BIGINT NOT NULL,
    PRIMARY KEY (appliance, boot)
);

CREATE TABLE holdings (
    appliance TEXT NOT NULL REFERENCES appliances (id),
    object    BLOB NOT NULL,
    PRIMARY KEY (appliance, object)
);

-- Every version of a title whose objects may still be asked for; one of them is current, none if the title was removed.
CREATE TABLE title_versions (
    title       TEXT    NOT NULL,
    version     TEXT    NOT NULL,
    current     BOOLEAN NOT NULL,
    name        TEXT    NOT NULL,
    duration_ms BIGINT  NOT NULL,
    hls_path    TEXT    NOT NULL,
    dash_path   TEXT    NOT NULL,
    renditions  TEXT    NOT NULL,
    hls         TEXT    NOT NULL,
    dash        TEXT    NOT NULL,
    registered  BIGINT  NOT NULL,
    PRIMARY KEY (title, version)
);

CREATE TABLE objects (
    title      TEXT   NOT NULL,
    version    TEXT   NOT NULL,
    path       TEXT   NOT NULL,
    digest     BLOB   NOT NULL,
    size       BIGINT NOT NULL,
    media_type TEXT   NOT NULL,
    role       TEXT   NOT NULL,
    rendition  TEXT,
    blocks     BLOB   NOT NULL,
    PRIMARY KEY (title, version, path),
    FOREIGN KEY (title, version) REFERENCES title_versions (title, version) ON DELETE CASCADE
);
CREATE INDEX objects_by_digest ON objects (digest);

CREATE TABLE plans (
    number     BIGINT  NOT NULL PRIMARY KEY,
    date       TEXT    NOT NULL,
    document   TEXT    NOT NULL,
    appliances BIGINT  NOT NULL,
    items      BIGINT  NOT NULL,
    bytes      BIGINT  NOT NULL,
    published  BIGINT  NOT NULL,
    active     BOOLEAN NOT NULL
);

-- What appliances counted: absolute for the boot, so a row only grows.
CREATE TABLE demand (
    appliance TEXT   NOT NULL REFERENCES appliances (id),
    boot      TEXT   NOT NULL,
    hour      BIGINT NOT NULL,
    object    BLOB   NOT NULL,
    requests  BIGINT NOT NULL,
    bytes     BIGINT NOT NULL,
    PRIMARY KEY (appliance, boot, hour, object)
);
CREATE INDEX demand_by_hour ON demand (hour);

-- What was imported.
CREATE TABLE history (
    hour     BIGINT NOT NULL,
    region   TEXT   NOT NULL,
    object   BLOB   NOT NULL,
    requests BIGINT NOT NULL,
    bytes    BIGINT NOT NULL,
    PRIMARY KEY (hour, region, object)
);

-- Steering's decisions: absolute for the boot. No site: the empty text.
CREATE TABLE steering (
    boot     TEXT   NOT NULL,
    hour     BIGINT NOT NULL,
    site     TEXT   NOT NULL,
    title    TEXT   NOT NULL,
    outcome  TEXT   NOT NULL,
    sessions BIGINT NOT NULL,
    PRIMARY KEY (boot, hour, site, title, outcome)
);
CREATE INDEX steering_by_hour ON steering (hour);
