-- A link that was mailed to an owner and works once: to set another password, or to confirm another address.
CREATE TABLE account_link (
    hash       BLOB PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    purpose    TEXT NOT NULL,
    -- The address that is to be confirmed.
    email      TEXT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX account_link_by_account ON account_link (account_id, purpose, created_at);
CREATE INDEX account_link_by_expiry ON account_link (expires_at);

-- By what an owner recognises a session in a list.
ALTER TABLE session ADD COLUMN client TEXT;
ALTER TABLE session ADD COLUMN agent TEXT;
ALTER TABLE session ADD COLUMN last_used_at BIGINT;
