-- Answers to give again, and what projects with a budget have spent.

-- Shared by all servers of this database; each keeps what it uses in memory, too. Only what succeeded is here.
CREATE TABLE cache (
	key        bytea PRIMARY KEY,             -- a hash of all that makes the answer what it is
	scope      text NOT NULL,                 -- what is cleared and counted together: 'llm', 'node'
	output     text NOT NULL,                 -- JSON, the node's output
	source     text NOT NULL,                 -- run and path that it came from
	created_at timestamptz NOT NULL DEFAULT now(),
	expires_at timestamptz NOT NULL
);
CREATE INDEX cache_expires ON cache (expires_at);

-- One row for each life of a server, project and day: totals, so that writing one twice does no harm.
CREATE TABLE spend (
	project       text NOT NULL,
	day           date NOT NULL,              -- UTC
	instance      bigint NOT NULL,            -- instances.id, also of those that are gone
	tokens        bigint NOT NULL,
	cost_microusd bigint NOT NULL,
	PRIMARY KEY (project, day, instance)
);
