-- Texts are compared byte by byte, as SQLite does.
CREATE TABLE meta (
    name  TEXT COLLATE "C" PRIMARY KEY,
    value BYTEA NOT NULL
);

CREATE TABLE account (
    id          TEXT COLLATE "C" PRIMARY KEY,
    email       TEXT COLLATE "C" NOT NULL UNIQUE,
    name        TEXT COLLATE "C",
    password    TEXT COLLATE "C" NOT NULL,
    role        TEXT COLLATE "C" NOT NULL,
    plan        TEXT COLLATE "C" NOT NULL,
    version     BIGINT NOT NULL,
    disabled_at BIGINT,
    created_at  BIGINT NOT NULL
);

-- A registration that nobody has confirmed yet. Its token confirms its own password and no other.
CREATE TABLE pending (
    id         TEXT COLLATE "C" PRIMARY KEY,
    email      TEXT COLLATE "C" NOT NULL,
    name       TEXT COLLATE "C",
    password   TEXT COLLATE "C" NOT NULL,
    token_hash BYTEA NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX pending_by_email ON pending (email, created_at);

-- A login: the family of refresh tokens that descend from it.
CREATE TABLE session (
    id         TEXT COLLATE "C" PRIMARY KEY,
    account_id TEXT COLLATE "C" NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    delivery   TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX session_by_account ON session (account_id);

CREATE TABLE refresh_token (
    hash       BYTEA PRIMARY KEY,
    session_id TEXT COLLATE "C" NOT NULL REFERENCES session (id) ON DELETE CASCADE,
    generation BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    spent_at   BIGINT,
    UNIQUE (session_id, generation)
);
CREATE INDEX refresh_token_by_expiry ON refresh_token (expires_at);

-- Read by every node in the order of `seq`; forgotten when nothing that it revokes can be alive.
CREATE TABLE revocation (
    seq        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind       TEXT COLLATE "C" NOT NULL,
    subject    TEXT COLLATE "C" NOT NULL,
    version    BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE TABLE signing_key (
    kid        TEXT COLLATE "C" PRIMARY KEY,
    algorithm  TEXT COLLATE "C" NOT NULL,
    sealed     BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    retired_at BIGINT
);

CREATE TABLE audit (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         BIGINT NOT NULL,
    action     TEXT COLLATE "C" NOT NULL,
    account_id TEXT COLLATE "C",
    client     TEXT COLLATE "C",
    request_id TEXT COLLATE "C",
    detail     TEXT COLLATE "C"
);
CREATE INDEX audit_by_time ON audit (at);
