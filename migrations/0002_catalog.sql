-- What people keep on the server: workflows, model profiles, tokens, settings, and the record of who did what.

-- A workflow is a name; what it does is in its versions, which never change.
CREATE TABLE workflows (
	name        text PRIMARY KEY,
	latest      integer NOT NULL,
	description text,
	created_at  timestamptz NOT NULL DEFAULT now(),
	updated_at  timestamptz NOT NULL DEFAULT now(),
	archived_at timestamptz
);
CREATE TABLE workflow_versions (
	name       text NOT NULL REFERENCES workflows,
	version    integer NOT NULL,
	definition text NOT NULL,                 -- JSON, as it was sent
	created_at timestamptz NOT NULL DEFAULT now(),
	created_by text,
	PRIMARY KEY (name, version)
);

-- Makes the next version. how: 0 create, 1 update, 2 either. No row: the name is taken (0) or not there (1).
CREATE FUNCTION sluice_workflow_put(how integer, wf text, descr text, def text, who text)
RETURNS TABLE (version integer, created_at timestamptz) LANGUAGE plpgsql AS $$
DECLARE
	w workflows;
	v workflow_versions;
BEGIN
	LOOP
		SELECT * INTO w FROM workflows WHERE workflows.name = wf FOR UPDATE;
		EXIT WHEN FOUND;
		IF how = 1 THEN
			RETURN;
		END IF;
		INSERT INTO workflows (name, latest, description) VALUES (wf, 0, descr) ON CONFLICT DO NOTHING RETURNING * INTO w;
		EXIT WHEN FOUND; -- else somebody else made it this moment: look again
	END LOOP;
	IF w.latest > 0 THEN
		IF how = 0 AND w.archived_at IS NULL OR how = 1 AND w.archived_at IS NOT NULL THEN
			RETURN;
		END IF;
		SELECT * INTO v FROM workflow_versions x WHERE x.name = wf AND x.version = w.latest;
		IF v.definition = def AND w.archived_at IS NULL THEN
			RETURN QUERY SELECT v.version, v.created_at;
			RETURN;
		END IF;
	END IF;
	INSERT INTO workflow_versions (name, version, definition, created_by) VALUES (wf, w.latest + 1, def, who)
		RETURNING * INTO v;
	UPDATE workflows SET latest = v.version, description = descr, updated_at = now(), archived_at = NULL
		WHERE workflows.name = wf;
	RETURN QUERY SELECT v.version, v.created_at;
END $$;

-- Model profiles. secrets is sealed by the server's secret key before it comes here.
CREATE TABLE profiles (
	name       text PRIMARY KEY,
	config     text NOT NULL,                 -- JSON, without keys
	secrets    bytea,
	updated_at timestamptz NOT NULL DEFAULT now()
);

-- API tokens: only a hash, so that a copy of the database opens no door.
CREATE TABLE api_tokens (
	id         uuid PRIMARY KEY,
	name       text NOT NULL,
	role       text NOT NULL,
	hash       bytea NOT NULL UNIQUE,
	last4      text NOT NULL,
	created_at timestamptz NOT NULL DEFAULT now(),
	expires_at timestamptz,
	revoked_at timestamptz
);
CREATE UNIQUE INDEX api_tokens_name ON api_tokens (name) WHERE revoked_at IS NULL;

-- Who did what; only ever appended to.
CREATE TABLE audit (
	id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at     timestamptz NOT NULL DEFAULT now(),
	actor  text NOT NULL,
	action text NOT NULL,
	target text NOT NULL,
	detail text                               -- JSON
);

-- Small JSON documents that an operator changes while the server runs.
CREATE TABLE settings (
	key        text PRIMARY KEY,
	value      text NOT NULL,                 -- JSON
	updated_at timestamptz NOT NULL DEFAULT now()
);
