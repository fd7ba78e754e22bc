-- What must hold of the journal whatever was killed, cut or restarted. Each query returns what breaks it: no row is right.
-- tests/lib/invariants.py runs them, with `acknowledged`: the ids of runs that some client was told of (a 2xx).
-- The journal must be at rest (nothing running that should not be); (h) says what is not.

-- (a) a run that was acknowledged and is not there
SELECT a.id FROM acknowledged a LEFT JOIN runs r ON r.id = a.id WHERE r.id IS NULL

-- (b) a run that has ended with a node that has not
SELECT n.run_id, n.node, n.status, r.status AS run_status FROM (
	SELECT DISTINCT ON (e.run_id, e.data::json ->> 'node_id') e.run_id, e.data::json ->> 'node_id' AS node, e.data::json ->> 'status' AS status
	FROM run_events e WHERE e.event = 'node_state_change' ORDER BY e.run_id, e.data::json ->> 'node_id', e.seq DESC) n
JOIN runs r ON r.id = n.run_id
WHERE r.done AND n.status IN ('running', 'waiting', 'retrying') OR r.status = 'succeeded' AND n.status = 'pending'

-- (b) a run that has succeeded and does not count all its nodes as done
SELECT id, nodes_done, nodes_total FROM runs WHERE status = 'succeeded' AND nodes_done <> nodes_total

-- (c) more than one end of a node (in one generation: a run that was retried or forked begins another)
SELECT run_id, node, generation, count(*), string_agg(status, ',') FROM (
	SELECT e.run_id, e.event, e.data::json ->> 'node_id' AS node, e.data::json ->> 'status' AS status,
		count(*) FILTER (WHERE e.event IN ('execution:retried', 'execution:forked')) OVER (PARTITION BY e.run_id ORDER BY e.seq) AS generation
	FROM run_events e) x
WHERE event = 'node_state_change' AND status IN ('completed', 'failed', 'skipped', 'cancelled')
GROUP BY run_id, node, generation HAVING count(*) > 1

-- (d) a record whose writer's lease was older than one seen before it
SELECT run_id, seq, epoch, before FROM (
	SELECT run_id, seq, epoch, max(epoch) OVER (PARTITION BY run_id ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
	FROM run_events) x
WHERE epoch < before

-- (d) a record of a lease that was never given
SELECT e.run_id, e.seq, e.epoch, r.epoch AS newest FROM run_events e JOIN runs r ON r.id = e.run_id WHERE e.epoch > r.epoch

-- (e) a gap or a repeat in a run's sequence
SELECT r.id, r.last_seq, count(e.seq), min(e.seq), max(e.seq) FROM runs r LEFT JOIN run_events e ON e.run_id = r.id
GROUP BY r.id, r.last_seq HAVING count(e.seq) <> r.last_seq + 1 OR min(e.seq) <> 0 OR max(e.seq) <> r.last_seq

-- (e) records of a run that is not there
SELECT DISTINCT e.run_id FROM run_events e LEFT JOIN runs r ON r.id = e.run_id WHERE r.id IS NULL

-- (e) something that happened behind the end
SELECT e.run_id, e.seq, e.event FROM run_events e JOIN (
	SELECT run_id, max(seq) AS seq FROM run_events WHERE event IN ('execution:completed', 'execution:failed', 'execution:cancelled')
	GROUP BY run_id) x ON x.run_id = e.run_id AND e.seq > x.seq
JOIN runs r ON r.id = e.run_id WHERE r.done

-- (f) lists that say something else than the journal. (What nodes gave to nodes is not stored as digests; it is computed again
-- from the graph and compared, in tests/lib/workload.py.)
SELECT r.id, r.status, e.event, r.outputs, e.data FROM runs r JOIN (
	SELECT DISTINCT ON (run_id) run_id, event, data FROM run_events WHERE event IN
		('execution:created', 'execution:started', 'execution:completed', 'execution:failed', 'execution:cancelled', 'execution:retried')
	ORDER BY run_id, seq DESC) e ON e.run_id = r.id
WHERE r.done IS DISTINCT FROM (e.event IN ('execution:completed', 'execution:failed', 'execution:cancelled'))
	OR r.done AND r.status <> CASE e.event WHEN 'execution:completed' THEN 'succeeded' WHEN 'execution:failed' THEN 'failed' ELSE 'cancelled' END
	OR r.status = 'succeeded' AND r.outputs::jsonb IS DISTINCT FROM (sluice_whole(r.id, e.data)::jsonb -> 'outputs')

-- (g) what is written beside a run and has none. (There is no outbox whose rows could grow old: events are published from memory
-- after their commit, and a client that comes back reads the journal from the sequence it has.)
SELECT k.project, k.key, k.run_id FROM idempotency_keys k LEFT JOIN runs r ON r.id = k.run_id WHERE r.id IS NULL

-- (g) two runs that one node of a run has started
SELECT data::json ->> 'parent' AS parent, data::json ->> 'parent_node' AS node, count(*) FROM run_events
WHERE event = 'execution:created' AND data::json ->> 'parent' IS NOT NULL GROUP BY 1, 2 HAVING count(*) > 1

-- (h) a run that has not ended and that nobody works on
SELECT r.id, r.status, r.owner, r.reason FROM runs r WHERE NOT r.done AND (r.owner IS NULL OR NOT EXISTS (SELECT 1 FROM instances i WHERE i.id = r.owner))

-- (h) a run that has stood still for 10 s and waits for nothing
SELECT r.id, r.status, l.at, l.event FROM runs r
JOIN LATERAL (SELECT e.at, e.event FROM run_events e WHERE e.run_id = r.id ORDER BY e.seq DESC LIMIT 1) l ON true
WHERE r.status IN ('queued', 'running', 'waiting') AND l.at < now() - interval '10 s' AND NOT EXISTS (
	SELECT 1 FROM (
		SELECT DISTINCT ON (e.data::json ->> 'node_id') e.data::json ->> 'status' AS status, e.data::json ->> 'due_at' AS due, e.data::json ->> 'type' AS type
		FROM run_events e WHERE e.run_id = r.id AND e.event = 'node_state_change' ORDER BY e.data::json ->> 'node_id', e.seq DESC) n
	WHERE n.status IN ('waiting', 'retrying') AND (n.due IS NULL OR n.due::timestamptz > now()))

-- (k) a timer that fired early
SELECT e.run_id, e.data::json ->> 'node_id' AS node, e.at, w.due FROM run_events e
JOIN LATERAL (
	SELECT b.data::json ->> 'due_at' AS due FROM run_events b WHERE b.run_id = e.run_id AND b.event = 'node_state_change' AND b.seq < e.seq
		AND b.data::json ->> 'node_id' = e.data::json ->> 'node_id' AND b.data::json ->> 'status' = 'waiting'
	ORDER BY b.seq DESC LIMIT 1) w ON true
WHERE e.event = 'node_state_change' AND e.data::json ->> 'type' = 'delay' AND e.data::json ->> 'status' = 'completed'
	AND e.at < w.due::timestamptz
