-- Recorded sound, and what an owner's list and the retention look for.

CREATE TABLE duologue_sounds (
    session_id TEXT NOT NULL REFERENCES duologue_sessions (id) ON DELETE CASCADE,
    start_ms BIGINT NOT NULL,
    side TEXT NOT NULL,
    media_type TEXT NOT NULL,
    data BYTEA NOT NULL,
    at_s DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (session_id, start_ms, side)
);

CREATE INDEX duologue_sounds_by_age ON duologue_sounds (at_s);

CREATE INDEX duologue_sessions_by_owner ON duologue_sessions (owner, active_s);
