CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
);

CREATE TABLE account (
    id          TEXT PRIMARY KEY,
    email       TEXT NOT NULL UNIQUE,
    name        TEXT,
    password    TEXT NOT NULL,
    role        TEXT NOT NULL,
    plan        TEXT NOT NULL,
    version     BIGINT NOT NULL,
    disabled_at BIGINT,
    created_at  BIGINT NOT NULL
);

-- A registration that nobody has confirmed yet. Its token confirms its own password and no other.
CREATE TABLE pending (
    id         TEXT PRIMARY KEY,
    email      TEXT NOT NULL,
    name       TEXT,
    password   TEXT NOT NULL,
    token_hash BLOB NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX pending_by_email ON pending (email, created_at);

-- A login: the family of refresh tokens that descend from it.
CREATE TABLE session (
    id         TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    delivery   TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX session_by_account ON session (account_id);

CREATE TABLE refresh_token (
    hash       BLOB PRIMARY KEY,
    session_id TEXT NOT NULL REFERENCES session (id) ON DELETE CASCADE,
    generation BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    spent_at   BIGINT,
    UNIQUE (session_id, generation)
);
CREATE INDEX refresh_token_by_expiry ON refresh_token (expires_at);

-- Read by every node in the order of `seq`; forgotten when nothing that it revokes can be alive.
CREATE TABLE revocation (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    kind       TEXT NOT NULL,
    subject    TEXT NOT NULL,
    version    BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE TABLE signing_key (
    kid        TEXT PRIMARY KEY,
    algorithm  TEXT NOT NULL,
    sealed     BLOB NOT NULL,
    created_at BIGINT NOT NULL,
    retired_at BIGINT
);

CREATE TABLE audit (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    at         BIGINT NOT NULL,
    action     TEXT NOT NULL,
    account_id TEXT,
    client     TEXT,
    request_id TEXT,
    detail     TEXT
);
CREATE INDEX audit_by_time ON audit (at);
