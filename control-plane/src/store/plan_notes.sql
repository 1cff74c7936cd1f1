-- What the planner says of its plans: why each title is where it is, and how the day went. JSON that only pages read.
CREATE TABLE plan_notes (
    number   BIGINT NOT NULL,
    kind     TEXT   NOT NULL,
    document TEXT   NOT NULL,
    PRIMARY KEY (number, kind)
);
