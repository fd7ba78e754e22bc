-- Calls that were called off before their end: the proof of a cancel, and what it had cost by then.

CREATE TABLE call_ledger (
	run_id        uuid NOT NULL,              -- no reference: a row may be written before its run's latest state is
	id            uuid NOT NULL,              -- by time; made with the row, so that writing it twice does no harm
	path          text NOT NULL,              -- of the node
	attempt       integer NOT NULL,
	kind          text NOT NULL,              -- 'llm', 'http'
	reason        text NOT NULL,              -- 'cancelled', 'paused', 'locked', 'timeout', …
	provider      text NOT NULL,              -- of an http call: the host
	profile       text NOT NULL,
	model         text NOT NULL,
	requested_at  timestamptz NOT NULL,       -- when the order came, or it was decided
	closed_at     timestamptz,                -- of the socket; NULL: there was none yet
	close_us      bigint,                     -- between the two, by the monotonic clock
	multiplexed   boolean NOT NULL,           -- a stream of a shared connection was reset
	bytes         bigint NOT NULL,            -- received until then; what came later counts nowhere
	chunks        bigint NOT NULL,
	input_tokens  bigint NOT NULL,
	output_tokens bigint NOT NULL,
	estimated     boolean NOT NULL,
	cost_microusd bigint NOT NULL,
	http_status   integer NOT NULL,           -- 0: no answer had begun
	PRIMARY KEY (run_id, id)
);

-- They go with their run, whoever forgets it.
CREATE FUNCTION sluice_forget_calls() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM call_ledger USING gone WHERE call_ledger.run_id = gone.id;
	RETURN NULL;
END $$;
CREATE TRIGGER runs_forget_calls AFTER DELETE ON runs
	REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION sluice_forget_calls();
