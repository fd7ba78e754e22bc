-- The journal, readable by hand: a `data` or `detail` of run_events as it was before it was cut (0007). NULL: a piece is missing.
--     SELECT seq, event, sluice_whole(run_id, data) FROM run_events WHERE run_id = '…' ORDER BY seq
CREATE FUNCTION sluice_whole(run uuid, entry text) RETURNS text LANGUAGE sql STABLE STRICT AS $$
	SELECT CASE WHEN entry NOT LIKE '[%' THEN entry ELSE (
		SELECT CASE WHEN sum(length(c.data)) = (entry::json->>0)::bigint AND count(c.hash) = count(*)
			THEN convert_from(string_agg(c.data, ''::bytea ORDER BY i), 'UTF8') END
		FROM decode(entry::json->>1, 'base64') AS l(list) CROSS JOIN generate_series(0, length(list) / 16 - 1) AS g(i)
			LEFT JOIN run_chunks c ON c.run_id = run AND c.hash = substr(list, 1 + 16 * i, 16)) END
$$;
