-- What one server asks of another about a run the other one has: pause it, cancel it, decide its review. The one that was
-- asked writes a row and tells the owner (NOTIFY on the channel `sluice`, never in a transaction of the journal); the owner
-- takes it, decides as if it had been asked itself, writes the answer into the row and tells the asker, who deletes it.
--
-- Unlogged: a row lives for milliseconds, and whoever waits for one that is gone is told to ask again.
CREATE UNLOGGED TABLE run_orders (
	id         bigint PRIMARY KEY,            -- drawn by the asker
	run_id     uuid NOT NULL,
	asked_by   bigint NOT NULL,               -- instances.id
	taken_by   bigint,                        -- the owner, when it has begun; from then on it may have been done
	created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	answered   boolean NOT NULL DEFAULT false,
	kind       text NOT NULL,
	by         text NOT NULL,
	reason     text NOT NULL,
	node       text NOT NULL,
	payload    text NOT NULL,                 -- JSON, or empty
	code       text,                          -- of the answer: a wire code, or 'ok'
	status     text,                          -- of the run
	message    text
);
