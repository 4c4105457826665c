-- Sessions, their items and turns. "duologue_" because a PostgreSQL database may be shared with other programs.
-- Written in PostgreSQL's words; the runner has SQLite's for those that differ.

CREATE TABLE duologue_sessions (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    owner TEXT NOT NULL,
    created_s DOUBLE PRECISION NOT NULL,
    active_s DOUBLE PRECISION NOT NULL,
    expires_s DOUBLE PRECISION NOT NULL,
    ended_s DOUBLE PRECISION,
    token_hashes JSONB NOT NULL,
    settings JSONB NOT NULL,
    state JSONB NOT NULL
);

CREATE INDEX duologue_sessions_by_activity ON duologue_sessions (active_s);

CREATE TABLE duologue_items (
    session_id TEXT NOT NULL REFERENCES duologue_sessions (id) ON DELETE CASCADE,
    id TEXT NOT NULL,
    number BIGINT NOT NULL,
    kind TEXT NOT NULL,
    role TEXT NOT NULL,
    text TEXT NOT NULL,
    at_s DOUBLE PRECISION NOT NULL,
    status TEXT NOT NULL,
    start_ms BIGINT NOT NULL,
    end_ms BIGINT NOT NULL,
    body JSONB NOT NULL,
    PRIMARY KEY (session_id, id),
    UNIQUE (session_id, number)
);

CREATE TABLE duologue_turns (
    session_id TEXT NOT NULL REFERENCES duologue_sessions (id) ON DELETE CASCADE,
    at_s DOUBLE PRECISION NOT NULL,
    item_id TEXT NOT NULL,
    body JSONB NOT NULL,
    PRIMARY KEY (session_id, at_s, item_id)
);
