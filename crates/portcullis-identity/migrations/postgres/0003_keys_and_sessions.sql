-- A key of a program. Only its SHA-256 is here; `start` is what its owner recognises it by.
CREATE TABLE api_key (
    id           TEXT PRIMARY KEY,
    account_id   TEXT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    hash         BYTEA NOT NULL UNIQUE,
    start        TEXT NOT NULL,
    name         TEXT NOT NULL,
    -- Separated by spaces; NULL for all that its owner may do.
    scopes       TEXT,
    -- NULL for its owner's.
    plan         TEXT,
    created_at   BIGINT NOT NULL,
    -- How long it was given, which a rotation gives again; NULL for ever.
    life         BIGINT,
    expires_at   BIGINT,
    last_used_at BIGINT,
    revoked_at   BIGINT
);
CREATE INDEX api_key_by_account ON api_key (account_id);

-- The cookie of a session that needs no tokens. What holds of every session stands in `session`.
CREATE TABLE server_session (
    hash       BYTEA PRIMARY KEY,
    session_id TEXT NOT NULL UNIQUE REFERENCES session (id) ON DELETE CASCADE,
    seen_at    BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX server_session_by_expiry ON server_session (expires_at);
