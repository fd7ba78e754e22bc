-- The trail is a chain: each line's hash covers the line before it, so a line that is changed, removed or put in between shows.
-- audit_head says where it ends; who can write SQL can write that, too, so note the head elsewhere (GET /admin/audit/verify).
ALTER TABLE audit ADD COLUMN hash bytea; -- NULL: written before there was a chain
CREATE TABLE audit_head (
	one  boolean PRIMARY KEY DEFAULT true CHECK (one), -- there is one row
	id   bigint NOT NULL,
	hash bytea  NOT NULL
);
CREATE FUNCTION sluice_audit_hash(before bytea, line audit) RETURNS bytea LANGUAGE sql STABLE AS $$
	SELECT sha256(coalesce(before, ''::bytea) || convert_to(jsonb_build_array(line.id, extract(epoch FROM line.at)::text,
		line.actor, line.action, line.target, line.detail)::text, 'UTF8'))
$$;
CREATE FUNCTION sluice_audit_link() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
	last audit_head;
BEGIN
	PERFORM pg_advisory_xact_lock(7365746375); -- one line after the other
	SELECT * INTO last FROM audit_head;
	NEW.id := greatest(coalesce(last.id, 0), (SELECT coalesce(max(id), 0) FROM audit)) + 1; -- the chain follows the ids
	NEW.hash := sluice_audit_hash(last.hash, NEW);
	INSERT INTO audit_head (id, hash) VALUES (NEW.id, NEW.hash)
		ON CONFLICT (one) DO UPDATE SET id = excluded.id, hash = excluded.hash;
	RETURN NEW;
END $$;
CREATE TRIGGER audit_link BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION sluice_audit_link();
CREATE FUNCTION sluice_audit_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'the audit trail is only ever appended to';
END $$;
CREATE TRIGGER audit_keep BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION sluice_audit_keep();

-- Goes over the whole chain. broken: the id of the first line that does not fit, or that is missing at the end; NULL: none.
CREATE FUNCTION sluice_audit_verify(OUT lines bigint, OUT broken bigint, OUT head bigint, OUT head_hash bytea)
LANGUAGE plpgsql STABLE AS $$
DECLARE
	line audit;
	before bytea;
	last bigint := 0;
BEGIN
	lines := 0;
	SELECT h.id, h.hash INTO head, head_hash FROM audit_head h;
	FOR line IN SELECT * FROM audit WHERE hash IS NOT NULL ORDER BY id LOOP
		IF broken IS NULL AND line.hash <> sluice_audit_hash(before, line) THEN
			broken := line.id;
		END IF;
		lines := lines + 1;
		before := line.hash;
		last := line.id;
	END LOOP;
	IF broken IS NULL AND (coalesce(head, 0) <> last OR head_hash IS DISTINCT FROM before) THEN
		broken := last + 1;
	END IF;
END $$;
