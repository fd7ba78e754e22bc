-- Large texts of the journal in pieces, each kept once a run: a chat that grows by a message a round is stored by what is
-- new in it, not over and over.
--
-- A `data` or `detail` of run_events that was cut is '[bytes,"hashes"]': how long the text is, and the hashes of its pieces
-- one after the other in base64. Whatever is not cut begins with '{'. So run_events keeps its shape, and its small rows are
-- not a byte wider (a ninth column would make each of them eight bytes wider).

CREATE TABLE run_chunks (
	run_id uuid  NOT NULL,
	hash   bytea NOT NULL,                    -- BLAKE2b of the piece, 16 bytes
	data   bytea NOT NULL,                    -- not text: a cut may be within a character
	PRIMARY KEY (run_id, hash)
) PARTITION BY RANGE (run_id);
CREATE TABLE run_chunks_default PARTITION OF run_chunks DEFAULT;
-- In the row, not beside it: a piece is never read without the others around it.
ALTER TABLE run_chunks ALTER COLUMN data SET STORAGE MAIN;
ALTER TABLE run_chunks_default ALTER COLUMN data SET STORAGE MAIN;
DO $$
BEGIN
	ALTER TABLE run_chunks ALTER COLUMN data SET COMPRESSION lz4;
	ALTER TABLE run_chunks_default ALTER COLUMN data SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
	NULL;
END $$;

-- The partitions of a journal's table and what they hold, those with bounds.
CREATE FUNCTION sluice_partitions(parent regclass) RETURNS TABLE (part regclass, low uuid, high uuid)
LANGUAGE sql STABLE AS $$
	SELECT c.oid::regclass, b[1]::uuid, b[2]::uuid
	FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid,
		regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''([0-9a-f-]+)''\) TO \(''([0-9a-f-]+)''\)') b
	WHERE i.inhparent = parent AND b IS NOT NULL
$$;

-- As in 0001, of both tables: the partitions of this week and the `ahead` next ones.
CREATE OR REPLACE FUNCTION sluice_partitions_make(ahead integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
	week timestamp := date_trunc('week', now() AT TIME ZONE 'UTC');
	parent text;
	part text;
	made integer := 0;
BEGIN
	FOREACH parent IN ARRAY ARRAY['run_events', 'run_chunks'] LOOP
		FOR i IN 0..ahead LOOP
			part := parent || to_char(week + i * interval '7 days', '"_"IYYY"w"IW');
			CONTINUE WHEN to_regclass(quote_ident(part)) IS NOT NULL;
			BEGIN
				EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', part, parent);
				EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, part,
					sluice_uuid_at((week + i * interval '7 days') AT TIME ZONE 'UTC'),
					sluice_uuid_at((week + (i + 1) * interval '7 days') AT TIME ZONE 'UTC'));
				made := made + 1;
			EXCEPTION WHEN check_violation OR duplicate_table OR unique_violation THEN -- or another server makes it right now
				NULL;
			END;
		END LOOP;
	END LOOP;
	RETURN made;
END $$;

-- As in 0001, of both tables.
CREATE OR REPLACE FUNCTION sluice_retention(keep interval, most integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
	gone uuid[];
	parent text;
	p record;
BEGIN
	SELECT array_agg(id) INTO gone FROM (
		SELECT id FROM runs WHERE id < sluice_uuid_at(now() - keep) AND done AND finished_at < now() - keep
		ORDER BY id LIMIT most FOR UPDATE SKIP LOCKED) old;
	IF gone IS NOT NULL THEN
		DELETE FROM idempotency_keys WHERE run_id = ANY (gone);
		DELETE FROM run_events_default WHERE run_id = ANY (gone); -- the other partitions go as a whole, below
		DELETE FROM run_chunks_default WHERE run_id = ANY (gone);
		DELETE FROM runs WHERE id = ANY (gone);
		RETURN cardinality(gone);
	END IF;
	-- Events before chunks, the order in which everybody takes these tables: so nobody waits for the other in a circle.
	FOREACH parent IN ARRAY ARRAY['run_events', 'run_chunks'] LOOP
		FOR p IN SELECT * FROM sluice_partitions(parent::regclass) ORDER BY low LOOP
			IF sluice_uuid_time(p.high) < now() - keep
				AND NOT EXISTS (SELECT 1 FROM runs WHERE id >= p.low AND id < p.high) THEN
				EXECUTE format('DROP TABLE %s', p.part);
			END IF;
		END LOOP;
	END LOOP;
	DELETE FROM instances WHERE expires_at < now() - interval '1 day'
		AND NOT EXISTS (SELECT 1 FROM runs WHERE owner = instances.id AND NOT done);
	RETURN 0;
END $$;

-- The weeks there are already.
DO $$
DECLARE
	p record;
	part text;
BEGIN
	FOR p IN SELECT * FROM sluice_partitions('run_events') LOOP
		part := to_char(sluice_uuid_time(p.low) AT TIME ZONE 'UTC' + interval '1 hour', '"run_chunks_"IYYY"w"IW');
		CONTINUE WHEN to_regclass(quote_ident(part)) IS NOT NULL;
		EXECUTE format('CREATE TABLE %I PARTITION OF run_chunks FOR VALUES FROM (%L) TO (%L)', part, p.low, p.high);
	END LOOP;
END $$;
