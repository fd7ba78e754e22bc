-- What runs have learned: three tiers, how a memory moves between them, and what retrieval may see.
--
-- The tiers are partitions, so that the retrieval role can be given two of them and not the third: raw outputs of runs
-- (quarantine) are out of its reach by the database's own rights, whatever a query says. Every move is made by one of the
-- functions below, which write its line of memory_history; a trigger refuses any other way.

CREATE TABLE memories (
	id             uuid NOT NULL,             -- UUIDv7
	tier           text NOT NULL,
	project        text NOT NULL,
	content        text NOT NULL,
	hash           bytea NOT NULL,            -- SHA-256 of the content
	simhash        bigint NOT NULL,           -- near contents have near ones (memory/similar.h)
	confidence     real NOT NULL,
	metadata       text NOT NULL,             -- JSON object
	run_id         uuid,                      -- which run made it, and where in it
	path           text,
	created_by     text,
	verified       boolean NOT NULL DEFAULT false, -- a person looked at it
	created_at     timestamptz NOT NULL DEFAULT now(),
	expires_at     timestamptz,               -- of working ones
	invalidated_at timestamptz,
	reuse_count    integer NOT NULL DEFAULT 0,
	used_at        timestamptz,
	words          tsvector GENERATED ALWAYS AS (to_tsvector('english'::regconfig, content)) STORED,
	PRIMARY KEY (id, tier),
	CHECK ((tier = 'working') = (expires_at IS NOT NULL))
) PARTITION BY LIST (tier);
CREATE TABLE memories_quarantine PARTITION OF memories FOR VALUES IN ('quarantine');
CREATE TABLE memories_working PARTITION OF memories FOR VALUES IN ('working');
CREATE TABLE memories_long_term PARTITION OF memories FOR VALUES IN ('long_term') WITH (fillfactor = 85); -- reuse is counted in place
CREATE INDEX memories_by_id ON memories (project, id DESC);
CREATE INDEX memories_by_hash ON memories (project, hash);
CREATE INDEX memories_working_recent ON memories_working (project, created_at DESC) WHERE invalidated_at IS NULL;
CREATE INDEX memories_working_expires ON memories_working (expires_at) WHERE invalidated_at IS NULL;
CREATE INDEX memories_invalid ON memories (invalidated_at) WHERE invalidated_at IS NOT NULL;
CREATE INDEX memories_long_term_recent ON memories_long_term (project, created_at DESC) WHERE invalidated_at IS NULL;
CREATE INDEX memories_long_term_near ON memories_long_term (project) INCLUDE (simhash, id) WHERE invalidated_at IS NULL;
CREATE INDEX memories_working_words ON memories_working USING gin (words);
CREATE INDEX memories_long_term_words ON memories_long_term USING gin (words);

-- One line for each move, written with it. once: the key of the call that stored it, so that a repeat finds the first.
CREATE TABLE memory_history (
	id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at        timestamptz NOT NULL DEFAULT now(),
	memory_id uuid NOT NULL,
	project   text NOT NULL,
	action    text NOT NULL,                  -- store, accept, promote, invalidate, expire
	from_tier text,
	to_tier   text,
	actor     text,
	reason    text,
	once      text
);
CREATE INDEX memory_history_memory ON memory_history (memory_id, id);
CREATE UNIQUE INDEX memory_history_once ON memory_history (once) WHERE once IS NOT NULL;

-- The words of a project's working and long-term memories: a misspelt one is looked for here, letter by letter, and then the
-- memories by the words that were meant. Comparing letters with whole memories would cost a thousand times as much.
CREATE TABLE memory_words (
	project text NOT NULL,
	word    text NOT NULL,
	PRIMARY KEY (project, word)
);

-- Counts what changes what the vectors of a project are; a cache that has seen this version has seen everything.
CREATE TABLE memory_projects (
	project text PRIMARY KEY,
	version bigint NOT NULL,
	words   integer NOT NULL DEFAULT 0        -- how many memory_words has of it
);

-- Long-term memories in pieces, and the vectors of pieces by what they say, so that the same text is embedded once a model.
CREATE TABLE memory_chunks (
	memory_id uuid NOT NULL,
	n         integer NOT NULL,
	project   text NOT NULL,
	version   bigint NOT NULL,                -- of the project, when it came or got its vector
	hash      bytea NOT NULL,                 -- SHA-256 of the content
	content   text NOT NULL,
	PRIMARY KEY (memory_id, n)
);
CREATE INDEX memory_chunks_load ON memory_chunks (project, memory_id, n);
CREATE INDEX memory_chunks_changes ON memory_chunks (project, version);
CREATE INDEX memory_chunks_hash ON memory_chunks (hash);
CREATE TABLE embeddings (
	model   text NOT NULL,
	hash    bytea NOT NULL,
	dims    integer NOT NULL,
	vector  bytea NOT NULL,                   -- dims float32, little-endian
	used_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (model, hash)
);
ALTER TABLE embeddings ALTER COLUMN vector SET STORAGE EXTERNAL; -- floats do not compress

-- Which runs were given which memories.
CREATE TABLE memory_uses (
	memory_id uuid NOT NULL,
	run_id    uuid NOT NULL,
	path      text NOT NULL,
	at        timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (memory_id, run_id, path)
);
CREATE INDEX memory_uses_run ON memory_uses (run_id);
CREATE INDEX memory_uses_at ON memory_uses (at);

-- ---- what retrieval sees ----
-- Only these views, of the project the transaction named (tiers are constants in them: who asks for one reads one table). They are built on two of the three partitions, so no row of the
-- third can come through; and what has expired is gone for them at that moment, not when the sweeper comes.

CREATE VIEW memory_retrievable AS
	SELECT id, 'working'::text AS tier, project, content, words, confidence, metadata, run_id, path, verified, created_at,
		expires_at, reuse_count
	FROM memories_working
	WHERE project = current_setting('sluice.project', true) AND invalidated_at IS NULL AND expires_at > now()
	UNION ALL
	SELECT id, 'long_term'::text, project, content, words, confidence, metadata, run_id, path, verified, created_at,
		expires_at, reuse_count
	FROM memories_long_term
	WHERE project = current_setting('sluice.project', true) AND invalidated_at IS NULL;
CREATE VIEW memory_retrievable_chunks AS
	SELECT c.memory_id, c.n, c.project, c.version, c.hash
	FROM memory_chunks c JOIN memories_long_term m ON m.id = c.memory_id AND m.invalidated_at IS NULL
	WHERE c.project = current_setting('sluice.project', true);

CREATE VIEW memory_retrievable_words AS
	SELECT word FROM memory_words WHERE project = current_setting('sluice.project', true);

-- Row security beside the rights: in a transaction that says it retrieves, quarantine has no rows, for the tables' owner
-- neither. This is what holds where the role below could not be made (a superuser is above it; there the role holds).
ALTER TABLE memories ENABLE ROW LEVEL SECURITY;
ALTER TABLE memories FORCE ROW LEVEL SECURITY;
ALTER TABLE memories_quarantine ENABLE ROW LEVEL SECURITY;
ALTER TABLE memories_quarantine FORCE ROW LEVEL SECURITY;
CREATE POLICY memories_door ON memories USING (current_setting('sluice.door', true) IS DISTINCT FROM 'retrieval');
CREATE POLICY memories_door ON memories_quarantine USING (current_setting('sluice.door', true) IS DISTINCT FROM 'retrieval');

-- ---- how a memory moves ----

CREATE FUNCTION sluice_memory_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF current_setting('sluice.transition', true) IS DISTINCT FROM 'on' THEN
		RAISE insufficient_privilege USING MESSAGE = 'memories move by the functions that write their history';
	END IF;
	IF TG_OP = 'DELETE' THEN
		RETURN OLD;
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER memories_guard BEFORE INSERT OR UPDATE OR DELETE ON memories
	FOR EACH ROW EXECUTE FUNCTION sluice_memory_guard();

-- The next version of a project. The row lock makes versions commit in their order.
CREATE FUNCTION sluice_memory_version(_project text) RETURNS bigint LANGUAGE sql AS $$
	INSERT INTO memory_projects AS p (project, version) VALUES (_project, 1)
	ON CONFLICT (project) DO UPDATE SET version = p.version + 1 RETURNING version
$$;

-- _chunks: a JSON array of texts.
CREATE FUNCTION sluice_memory_chunks(_id uuid, _project text, _chunks text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	v bigint := sluice_memory_version(_project);
BEGIN
	INSERT INTO memory_chunks (memory_id, n, project, version, hash, content)
	SELECT _id, c.n - 1, _project, v, sha256(convert_to(c.text, 'UTF8')), c.text
	FROM json_array_elements_text(_chunks::json) WITH ORDINALITY AS c(text, n)
	ON CONFLICT DO NOTHING;
END $$;

-- Notes the words of a memory that can be retrieved from now on; of one project at most 200,000 (what has a digit in it, like
-- ids, is no word). The caller holds the project's lock.
CREATE FUNCTION sluice_memory_words(_project text, _content text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	n integer;
BEGIN
	IF (SELECT words FROM memory_projects p WHERE p.project = _project) >= 200000 THEN
		RETURN;
	END IF;
	WITH fresh AS (
		INSERT INTO memory_words (project, word)
		SELECT DISTINCT _project, w FROM regexp_split_to_table(lower(_content), '[^[:alpha:]]+') AS t(w)
		WHERE length(w) BETWEEN 4 AND 40
		ON CONFLICT DO NOTHING RETURNING 1
	)
	SELECT count(*) INTO n FROM fresh;
	INSERT INTO memory_projects AS p (project, version, words) VALUES (_project, 0, n)
	ON CONFLICT (project) DO UPDATE SET words = p.words + excluded.words WHERE n > 0;
END $$;

-- The oldest working memories beyond the capacity of a project go.
CREATE FUNCTION sluice_memory_fit(_project text, _capacity integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
	n integer;
BEGIN
	WITH gone AS (
		DELETE FROM memories WHERE tier = 'working' AND id IN (
			SELECT id FROM memories_working WHERE project = _project AND invalidated_at IS NULL
			ORDER BY created_at DESC, id DESC OFFSET _capacity)
		RETURNING id
	), noted AS (
		INSERT INTO memory_history (memory_id, project, action, from_tier, actor, reason)
		SELECT id, _project, 'expire', 'working', 'server', 'capacity' FROM gone RETURNING memory_id
	), unused AS (
		DELETE FROM memory_uses WHERE memory_id IN (SELECT id FROM gone)
	)
	SELECT count(*) INTO n FROM noted;
	RETURN n;
END $$;

-- Stores a memory. outcome: stored; repeated (this call was made before: what it stored then); duplicate (a valid memory
-- of the project says just this: which one). The ingest filter has been asked before.
CREATE FUNCTION sluice_memory_store(_id uuid, _tier text, _project text, _content text, _hash bytea, _simhash bigint,
	_confidence real, _metadata text, _run uuid, _path text, _once text, _who text, _verified boolean, _ttl_s integer,
	_capacity integer, _chunks text)
RETURNS TABLE (memory_id uuid, memory_tier text, outcome text, until timestamptz) LANGUAGE plpgsql AS $$
BEGIN
	IF _once IS NOT NULL THEN
		PERFORM pg_advisory_xact_lock(hashtextextended(_once, 3));
		RETURN QUERY SELECT h.memory_id, h.to_tier, 'repeated'::text, NULL::timestamptz FROM memory_history h WHERE h.once = _once;
		IF FOUND THEN
			RETURN;
		END IF;
	END IF;
	IF _tier <> 'quarantine' THEN
		PERFORM pg_advisory_xact_lock(hashtextextended(_project, 4)); -- so that capacity is exact, and twins meet
		RETURN QUERY SELECT m.id, m.tier, 'duplicate'::text, m.expires_at FROM memories m
			WHERE m.project = _project AND m.hash = _hash AND m.tier IN ('working', 'long_term') AND m.invalidated_at IS NULL
				AND (m.expires_at IS NULL OR m.expires_at > now()) LIMIT 1;
		IF FOUND THEN
			RETURN;
		END IF;
	END IF;
	PERFORM set_config('sluice.transition', 'on', true);
	until := CASE WHEN _tier = 'working' THEN now() + _ttl_s * interval '1 second' END;
	INSERT INTO memories (id, tier, project, content, hash, simhash, confidence, metadata, run_id, path, created_by, verified,
		expires_at)
	VALUES (_id, _tier, _project, _content, _hash, _simhash, _confidence, _metadata, _run, _path, _who, _verified, until);
	INSERT INTO memory_history (memory_id, project, action, to_tier, actor, once)
	VALUES (_id, _project, CASE _tier WHEN 'quarantine' THEN 'store' WHEN 'working' THEN 'accept' ELSE 'promote' END, _tier,
		_who, _once);
	IF _tier <> 'quarantine' THEN
		PERFORM sluice_memory_words(_project, _content);
	END IF;
	IF _tier = 'working' THEN
		PERFORM sluice_memory_fit(_project, _capacity);
	ELSIF _tier = 'long_term' THEN
		PERFORM sluice_memory_chunks(_id, _project, _chunks);
	END IF;
	PERFORM set_config('sluice.transition', 'off', true);
	memory_id := _id;
	memory_tier := _tier;
	outcome := 'stored';
	RETURN NEXT;
END $$;

-- Moves a memory up: to working (accept) or to long_term (promote). outcome: moved; there (it is in that tier or above
-- already); invalid (it was invalidated, or has expired). No row: there is no such memory.
CREATE FUNCTION sluice_memory_move(_id uuid, _tier text, _who text, _reason text, _verified boolean, _ttl_s integer,
	_capacity integer, _chunks text)
RETURNS TABLE (memory_project text, memory_tier text, outcome text, until timestamptz) LANGUAGE plpgsql AS $$
DECLARE
	m memories;
BEGIN
	PERFORM pg_advisory_xact_lock(hashtextextended(x.project, 4)) FROM memories x WHERE x.id = _id;
	SELECT * INTO m FROM memories x WHERE x.id = _id FOR UPDATE;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	memory_project := m.project;
	memory_tier := m.tier;
	until := m.expires_at;
	IF m.invalidated_at IS NOT NULL OR m.expires_at <= now() THEN
		outcome := 'invalid';
	ELSIF m.tier = _tier OR m.tier = 'long_term' THEN
		outcome := 'there';
	ELSE
		PERFORM set_config('sluice.transition', 'on', true);
		until := CASE WHEN _tier = 'working' THEN now() + _ttl_s * interval '1 second' END;
		UPDATE memories x SET tier = _tier, expires_at = until, verified = x.verified OR _verified WHERE x.id = _id;
		INSERT INTO memory_history (memory_id, project, action, from_tier, to_tier, actor, reason)
		VALUES (_id, m.project, CASE _tier WHEN 'working' THEN 'accept' ELSE 'promote' END, m.tier, _tier, _who, _reason);
		PERFORM sluice_memory_words(m.project, m.content);
		IF _tier = 'working' THEN
			PERFORM sluice_memory_fit(m.project, _capacity);
		ELSE
			PERFORM sluice_memory_chunks(_id, m.project, _chunks);
		END IF;
		PERFORM set_config('sluice.transition', 'off', true);
		memory_tier := _tier;
		outcome := 'moved';
	END IF;
	RETURN NEXT;
END $$;

-- Takes memories out of use for good (they stay, for whoever asks which runs had them). One row for each that is there;
-- changed: false when it was invalid before.
CREATE FUNCTION sluice_memory_invalidate(_ids uuid[], _project text, _who text, _reason text)
RETURNS TABLE (memory_id uuid, memory_project text, memory_tier text, changed boolean) LANGUAGE plpgsql AS $$
DECLARE
	m memories;
BEGIN
	FOR m IN SELECT * FROM memories x WHERE x.id = ANY (_ids) AND (_project IS NULL OR x.project = _project)
		ORDER BY x.id FOR UPDATE LOOP
		memory_id := m.id;
		memory_project := m.project;
		memory_tier := m.tier;
		changed := m.invalidated_at IS NULL;
		IF changed THEN
			PERFORM set_config('sluice.transition', 'on', true);
			UPDATE memories x SET invalidated_at = now() WHERE x.id = m.id;
			INSERT INTO memory_history (memory_id, project, action, from_tier, actor, reason)
			VALUES (m.id, m.project, 'invalidate', m.tier, _who, _reason);
			DELETE FROM memory_chunks c WHERE c.memory_id = m.id;
			PERFORM set_config('sluice.transition', 'off', true);
		END IF;
		RETURN NEXT;
	END LOOP;
END $$;

-- Forgets at most `most` memories: expired ones, and what was invalidated a month ago; and as many leavings: uses by runs
-- that are gone, vectors that no piece has had for a month. gone: of the memories; call again while it is `most`. next: when
-- the next one expires.
CREATE FUNCTION sluice_memory_expire(most integer) RETURNS TABLE (gone integer, next timestamptz) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('sluice.transition', 'on', true);
	WITH old AS (
		SELECT id, 'ttl' AS why FROM memories_working WHERE expires_at <= now() AND invalidated_at IS NULL
		UNION ALL
		SELECT id, 'invalidated' FROM memories WHERE invalidated_at < now() - interval '30 days'
		LIMIT most
	), dead AS (
		DELETE FROM memories m USING old WHERE m.id = old.id RETURNING m.id, m.project, m.tier, old.why
	), noted AS (
		INSERT INTO memory_history (memory_id, project, action, from_tier, actor, reason)
		SELECT id, project, 'expire', tier, 'server', why FROM dead RETURNING memory_id
	), unused AS (
		DELETE FROM memory_uses WHERE memory_id IN (SELECT id FROM dead)
	)
	SELECT count(*) INTO gone FROM noted;
	PERFORM set_config('sluice.transition', 'off', true);
	DELETE FROM memory_uses WHERE ctid IN (
		SELECT u.ctid FROM memory_uses u WHERE u.at < now() - interval '1 day'
			AND NOT EXISTS (SELECT FROM runs r WHERE r.id = u.run_id) ORDER BY u.at LIMIT most);
	DELETE FROM embeddings WHERE ctid IN (
		SELECT e.ctid FROM embeddings e WHERE e.used_at < now() - interval '30 days'
			AND NOT EXISTS (SELECT FROM memory_chunks c WHERE c.hash = e.hash) LIMIT most);
	SELECT min(expires_at) INTO next FROM memories_working WHERE invalidated_at IS NULL;
	RETURN NEXT;
END $$;

-- A run was given these memories.
CREATE FUNCTION sluice_memory_used(_ids uuid[], _run uuid, _path text) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
	n integer;
BEGIN
	PERFORM set_config('sluice.transition', 'on', true);
	WITH used AS (
		INSERT INTO memory_uses (memory_id, run_id, path) SELECT id, _run, _path FROM unnest(_ids) AS i(id)
		ON CONFLICT DO NOTHING RETURNING memory_id
	)
	UPDATE memories m SET reuse_count = m.reuse_count + 1, used_at = now()
	FROM (SELECT memory_id FROM used ORDER BY memory_id) u WHERE m.id = u.memory_id AND m.tier IN ('working', 'long_term');
	GET DIAGNOSTICS n = ROW_COUNT;
	PERFORM set_config('sluice.transition', 'off', true);
	RETURN n;
END $$;

-- Keeps `n` vectors of a model: hashes (32 bytes each) and vectors (_dims float32 each) end to end. Pieces that say these
-- texts get a new version, so that caches come for them.
CREATE FUNCTION sluice_memory_embed(_model text, _dims integer, _hashes bytea, _vectors bytea) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
	p text;
	v bigint;
	n integer := length(_hashes) / 32;
	fresh bytea[];
BEGIN
	WITH put AS (
		INSERT INTO embeddings (model, hash, dims, vector)
		SELECT DISTINCT ON (1, 2) _model, substr(_hashes, 1 + 32 * i, 32), _dims, substr(_vectors, 1 + 4 * _dims * i, 4 * _dims)
		FROM generate_series(0, n - 1) AS g(i)
		ON CONFLICT (model, hash) DO UPDATE SET used_at = now(), dims = excluded.dims, vector = excluded.vector
		RETURNING hash
	)
	SELECT array_agg(hash) INTO fresh FROM put;
	FOR p IN SELECT DISTINCT c.project FROM memory_chunks c WHERE c.hash = ANY (fresh) ORDER BY 1 LOOP
		v := sluice_memory_version(p);
		UPDATE memory_chunks c SET version = v WHERE c.hash = ANY (fresh) AND c.project = p;
	END LOOP;
	RETURN coalesce(cardinality(fresh), 0);
END $$;

-- ---- what depends on where it runs ----
-- Asked at every start: makes what can be made here, and tells what could not. role: NULL when retrieval can run as
-- sluice_retrieval, else why not. trigrams: pg_trgm is there.
CREATE FUNCTION sluice_memory_prepare() RETURNS TABLE (role text, trigrams boolean) LANGUAGE plpgsql AS $$
DECLARE
	before text := current_setting('role');
BEGIN
	PERFORM pg_advisory_xact_lock(7237971053094472);
	BEGIN
		IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_trgm') THEN
			CREATE EXTENSION pg_trgm;
		END IF;
		IF to_regclass('memory_words_trigrams') IS NULL THEN
			CREATE INDEX memory_words_trigrams ON memory_words USING gin (word gin_trgm_ops);
		END IF;
		trigrams := true;
	EXCEPTION WHEN OTHERS THEN
		trigrams := false;
	END;
	BEGIN
		IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'sluice_retrieval') THEN
			BEGIN
				CREATE ROLE sluice_retrieval NOLOGIN NOSUPERUSER NOBYPASSRLS;
			EXCEPTION WHEN duplicate_object OR unique_violation THEN -- a server of another database, this moment
				NULL;
			END;
		END IF;
		IF NOT pg_has_role(current_user, 'sluice_retrieval', 'MEMBER') THEN
			EXECUTE format('GRANT sluice_retrieval TO %I', current_user);
		END IF;
		IF NOT has_table_privilege('sluice_retrieval', 'memory_retrievable', 'SELECT') THEN
			EXECUTE format('GRANT USAGE ON SCHEMA %I TO sluice_retrieval', current_schema());
			GRANT SELECT ON memory_retrievable, memory_retrievable_chunks, memory_retrievable_words, embeddings, memory_projects TO sluice_retrieval;
		END IF;
		IF has_table_privilege('sluice_retrieval', 'memories_quarantine', 'SELECT')
			OR has_table_privilege('sluice_retrieval', 'memories', 'SELECT') THEN
			RAISE EXCEPTION 'the role sluice_retrieval may read quarantine; revoke that';
		END IF;
		PERFORM set_config('role', 'sluice_retrieval', true);
		PERFORM count(*) FROM memory_retrievable;
		PERFORM set_config('role', before, true);
	EXCEPTION WHEN OTHERS THEN
		role := SQLERRM;
	END;
	RETURN NEXT;
END $$;
