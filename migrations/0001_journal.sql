-- The journal of runs, who owns them, and how the journal grows and shrinks.
--
-- Texts that hold JSON are `text`, not `jsonb`: the server made them and has checked them, hands them back byte for byte
-- (jsonb reorders keys and drops repeated ones), and text costs no parsing on the hottest statement there is.

-- One row for each server that is or was up. A server is dead when it said so (its row is gone), when its lease ran out,
-- or when PostgreSQL was not restarted since and nobody holds its advisory lock (key: id), which every one of its
-- connections holds in shared mode.
CREATE TABLE instances (
	id         bigint PRIMARY KEY,
	started_at timestamptz NOT NULL DEFAULT now(),
	expires_at timestamptz NOT NULL,
	postmaster timestamptz NOT NULL,          -- pg_postmaster_start_time() when the lock was taken
	host       text NOT NULL,
	pid        integer NOT NULL,
	version    text NOT NULL
);

-- What lists and filters need of each run: a projection of its journal, and its lease. Kept narrow, because it is updated
-- with every batch; what is large and never changes (definition, inputs) is record 0 of the journal.
CREATE TABLE runs (
	id            uuid PRIMARY KEY,           -- UUIDv7: ordered by time of creation
	owner         bigint,                     -- instances.id; NULL: finished, or given back
	claim         bigint,                     -- the call of claim that took it, to find a claim whose reply was lost
	input_tokens  bigint NOT NULL DEFAULT 0,
	output_tokens bigint NOT NULL DEFAULT 0,
	cost_microusd bigint NOT NULL DEFAULT 0,
	created_at    timestamptz NOT NULL,
	started_at    timestamptz,
	finished_at   timestamptz,
	epoch         integer NOT NULL,           -- of the lease; every claim makes it one larger
	last_seq      integer NOT NULL,           -- of the journal; a batch must begin at last_seq + 1
	recoveries    integer NOT NULL DEFAULT 0, -- how often it was claimed from a dead owner
	version       integer NOT NULL,
	priority      integer NOT NULL,
	nodes_total   integer NOT NULL DEFAULT 0,
	nodes_done    integer NOT NULL DEFAULT 0,
	simulated     boolean NOT NULL DEFAULT false,
	done          boolean NOT NULL DEFAULT false,
	status        text NOT NULL,
	reason        text,
	workflow      text NOT NULL,
	project       text NOT NULL,
	created_by    text,
	tags          text,                       -- JSON array of strings
	outputs       text,                       -- JSON
	error         text                        -- JSON
) WITH (fillfactor = 60); -- room for HOT updates: a batch touches no index
-- Unfinished runs by owner: what a claim looks at.
CREATE INDEX runs_open ON runs (owner, id) WHERE NOT done;
-- No index by workflow, project or status: lists walk the primary key from the newest, and each index here is paid for twice
-- in the life of every run.

-- The journal itself, the truth. seq 0 (event 'head') is what the run is made of: data = inputs, detail = definition.
-- The epoch says who wrote a record: within a run it never goes down.
CREATE TABLE run_events (
	run_id uuid        NOT NULL,
	at     timestamptz NOT NULL,
	seq    integer     NOT NULL,
	epoch  integer     NOT NULL,
	event  text        NOT NULL,              -- the wire name clients see
	once   text,                              -- at most one such record in a run: 'refine#2/judge'
	data   text        NOT NULL,              -- JSON, what clients see
	detail text,                              -- JSON, internal
	PRIMARY KEY (run_id, seq)
) PARTITION BY RANGE (run_id);
CREATE UNIQUE INDEX run_events_once ON run_events (run_id, once) WHERE once IS NOT NULL;
CREATE TABLE run_events_default PARTITION OF run_events DEFAULT;

-- Cheaper for long texts, where this PostgreSQL was built with it.
DO $$
BEGIN
	ALTER TABLE run_events ALTER COLUMN data SET COMPRESSION lz4, ALTER COLUMN detail SET COMPRESSION lz4;
	ALTER TABLE run_events_default ALTER COLUMN data SET COMPRESSION lz4, ALTER COLUMN detail SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
	NULL;
END $$;

-- Which run an Idempotency-Key stands for.
CREATE TABLE idempotency_keys (
	project text NOT NULL,
	key     text NOT NULL,
	run_id  uuid NOT NULL,
	digest  bytea,                            -- of the request, to tell a repeat from a reuse
	PRIMARY KEY (project, key)
);
CREATE INDEX idempotency_keys_run ON idempotency_keys (run_id);

-- The smallest UUIDv7 of a moment, and the moment of one.
CREATE FUNCTION sluice_uuid_at(at timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE STRICT AS $$
	SELECT (lpad(to_hex(floor(extract(epoch FROM at) * 1000)::bigint), 12, '0') || '00000000000000000000')::uuid
$$;
CREATE FUNCTION sluice_uuid_time(id uuid) RETURNS timestamptz LANGUAGE sql IMMUTABLE STRICT AS $$
	SELECT to_timestamp(('x' || left(replace(id::text, '-', ''), 12))::bit(48)::bigint / 1000.0)
$$;

-- Makes the journal's partitions of this week and the `ahead` next ones; tells how many were new. A week whose rows are in
-- the default partition already (a clock that was wrong) is left there.
CREATE FUNCTION sluice_partitions_make(ahead integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
	week timestamp := date_trunc('week', now() AT TIME ZONE 'UTC');
	part text;
	made integer := 0;
BEGIN
	FOR i IN 0..ahead LOOP
		part := to_char(week + i * interval '7 days', '"run_events_"IYYY"w"IW');
		CONTINUE WHEN to_regclass(quote_ident(part)) IS NOT NULL;
		BEGIN
			EXECUTE format('CREATE TABLE %I (LIKE run_events INCLUDING ALL)', part);
			EXECUTE format('ALTER TABLE run_events ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', part,
				sluice_uuid_at((week + i * interval '7 days') AT TIME ZONE 'UTC'),
				sluice_uuid_at((week + (i + 1) * interval '7 days') AT TIME ZONE 'UTC'));
			made := made + 1;
		EXCEPTION WHEN check_violation OR duplicate_table OR unique_violation THEN -- or another server makes it right now
			NULL;
		END;
	END LOOP;
	RETURN made;
END $$;

-- Forgets runs that finished more than `keep` ago: at most `most` rows of runs, and each partition all of whose runs are
-- gone. Call it again while it returns more than 0.
CREATE FUNCTION sluice_retention(keep interval, most integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
	gone uuid[];
	part record;
BEGIN
	SELECT array_agg(id) INTO gone FROM (
		SELECT id FROM runs WHERE id < sluice_uuid_at(now() - keep) AND done AND finished_at < now() - keep
		ORDER BY id LIMIT most FOR UPDATE SKIP LOCKED) old;
	IF gone IS NOT NULL THEN
		DELETE FROM idempotency_keys WHERE run_id = ANY (gone);
		DELETE FROM run_events_default WHERE run_id = ANY (gone); -- the other partitions go as a whole, below
		DELETE FROM runs WHERE id = ANY (gone);
		RETURN cardinality(gone);
	END IF;
	FOR part IN
		SELECT c.oid::regclass AS name, b[1]::uuid AS low, b[2]::uuid AS high
		FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid,
			regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''([0-9a-f-]+)''\) TO \(''([0-9a-f-]+)''\)') b
		WHERE i.inhparent = 'run_events'::regclass AND b IS NOT NULL
	LOOP
		IF sluice_uuid_time(part.high) < now() - keep
			AND NOT EXISTS (SELECT 1 FROM runs WHERE id >= part.low AND id < part.high) THEN
			EXECUTE format('DROP TABLE %s', part.name);
		END IF;
	END LOOP;
	DELETE FROM instances WHERE expires_at < now() - interval '1 day'
		AND NOT EXISTS (SELECT 1 FROM runs WHERE owner = instances.id AND NOT done);
	RETURN 0;
END $$;

SELECT sluice_partitions_make(2);
