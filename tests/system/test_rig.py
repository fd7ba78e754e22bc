"""The rig itself: what judges the others must be able to say no."""
import random
import subprocess
import unittest

import histcheck
import invariants
from rig import SLUICE, Postgres
from workload import ANSWER, Plan, Sink, dag, judge

RUN, OTHER = '0192a000-0000-7000-8000-000000000001', '0192a000-0000-7000-8000-000000000002'


def run(ident=RUN, status='succeeded', last=2, **more):
    row = {'id': ident, 'created_at': 'now', 'epoch': 1, 'last_seq': last, 'version': 0, 'priority': 0, 'done': status in ('succeeded', 'failed', 'cancelled'),
           'status': status, 'workflow': 'w', 'project': 'default', 'outputs': '{"a":1}' if status == 'succeeded' else None, **more}
    return 'INSERT INTO runs (%s) VALUES (%s);' % (', '.join(row), ', '.join('NULL' if v is None else "'%s'" % v for v in row.values()))


def event(seq, name, data='{}', ident=RUN, epoch=1, at='now()', once=None):
    return 'INSERT INTO run_events (run_id, at, seq, epoch, event, data, once) VALUES (\'%s\', %s, %d, %d, \'%s\', \'%s\', %s);' % (
        ident, at, seq, epoch, name, data, "'%s'" % once if once else 'NULL')


def node(seq, status, path='n', kind='llm', **more):
    return event(seq, 'node_state_change', '{"node_id":"%s","status":"%s","type":"%s"%s}' % (path, status, kind, more.pop('extra', '')), **more)


HEAD = event(0, 'head') + event(1, 'execution:created')
END = 'execution:completed'
GOOD = run(last=3) + HEAD + node(2, 'completed') + event(3, END, '{"outputs":{"a":1}}')

# (what is written, the rule that must say so)
BROKEN = [
    (GOOD, None),
    (run('0192a000-0000-7000-8000-000000000003', 'running', 1, owner=1) + HEAD.replace(RUN, '0192a000-0000-7000-8000-000000000003')
     + "INSERT INTO instances (id, expires_at, postmaster, host, pid, version) VALUES (1, now(), now(), 'h', 1, 'v');", None),
    ('', '(a)'),  # RUN is acknowledged in every case
    (run(last=3) + HEAD + node(2, 'running') + event(3, END, '{"outputs":{"a":1}}'), '(b) a run that has ended'),
    (run(last=3) + HEAD + node(2, 'pending') + event(3, END, '{"outputs":{"a":1}}'), '(b) a run that has ended'),
    (run(last=2, nodes_total=2, nodes_done=1) + HEAD + event(2, END, '{"outputs":{"a":1}}'), '(b) a run that has succeeded'),
    (run(last=4) + HEAD + node(2, 'completed') + node(3, 'completed') + event(4, END, '{"outputs":{"a":1}}'), '(c)'),
    (run(last=4) + HEAD + node(2, 'skipped') + node(3, 'failed') + event(4, END, '{"outputs":{"a":1}}'), '(c)'),
    (run(last=3, epoch=2) + HEAD + node(2, 'completed', epoch=2) + event(3, END, '{"outputs":{"a":1}}', epoch=1), '(d) a record whose'),
    (run(last=2) + HEAD + event(2, END, '{"outputs":{"a":1}}', epoch=2), '(d) a record of a lease'),
    (run(last=3) + HEAD + event(3, END, '{"outputs":{"a":1}}'), '(e) a gap'),
    (run(last=3) + HEAD + event(2, END, '{"outputs":{"a":1}}'), '(e) a gap'),
    (GOOD + event(1, 'execution:created', ident=OTHER), '(e) records of'),
    (run(last=3) + HEAD + event(2, END, '{"outputs":{"a":1}}') + node(3, 'completed'), '(e) something'),
    (run(last=2) + HEAD + event(2, END, '{"outputs":{"a":2}}'), '(f)'),
    (run(last=2) + HEAD + event(2, 'execution:failed'), '(f)'),
    (run(status='running', last=2) + HEAD + event(2, END, '{"outputs":{"a":1}}'), '(f)'),
    (GOOD + "INSERT INTO idempotency_keys VALUES ('default', 'k', '%s');" % OTHER, '(g) what is written'),
    (run(last=2) + event(0, 'head') + ''.join(event(s, 'execution:created', '{"parent":"p","parent_node":"n"}') for s in (1, 2)), '(g) two runs'),
    (run(status='running', last=1) + HEAD, '(h) a run that has not'),
    (run(status='running', last=1, owner=7) + HEAD, '(h) a run that has not'),
    (run(status='running', last=2) + HEAD + node(2, 'running', at="now() - interval '11 s'"), '(h) a run that has stood'),
    (run(status='waiting', last=2) + HEAD + node(2, 'waiting', at="now() - interval '11 s'", extra=',"due_at":"2020-01-01T00:00:00Z"'), '(h) a run that has stood'),
    (run(last=4) + HEAD + node(2, 'waiting', kind='delay', extra=',"due_at":"2999-01-01T00:00:00Z"') + node(3, 'completed', kind='delay')
     + event(4, END, '{"outputs":{"a":1}}'), '(k)'),
]


class Invariants(unittest.TestCase):
    def test_each_rule_finds_what_breaks_it_and_nothing_else_does(self):
        pg = Postgres()
        self.addCleanup(pg.close)
        made = subprocess.run([SLUICE, 'migrate', '--database-url', pg.url], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        self.assertEqual(made.returncode, 0, made.stderr + made.stdout)
        reported = set()
        for sql, rule in BROKEN:
            pg.sql('TRUNCATE runs, run_events, idempotency_keys, instances;' + sql)
            found = {name for name, _ in invariants.check(pg.url, acknowledged=[RUN] if RUN in sql or rule else [])}
            if rule is None:
                self.assertEqual(found, set(), sql)
            else:
                self.assertTrue(any(f.startswith(rule) for f in found), (rule, found, sql))
                reported |= {f for f in found if f.startswith(rule)}
        self.assertEqual(reported, {name for name, _ in invariants.rules()}, 'every rule can be broken')


class Oracle(unittest.TestCase):
    def test_a_wrong_end_is_seen(self):
        p = Plan({}, {}, {'a': 1}, nodes={'n': 'completed'})
        self.assertEqual(judge(p), 'has not ended')
        p.end = {'status': 'succeeded', 'outputs': {'a': 1}, 'nodes': [{'path': 'n', 'status': 'completed'}]}
        self.assertIsNone(judge(p))
        for end in ({'status': 'failed', 'error': {}}, {'status': 'cancelled'}, {'status': 'succeeded', 'outputs': {'a': 2}, 'nodes': []},
                    {'status': 'succeeded', 'outputs': {'a': 1}, 'nodes': [{'path': 'n', 'status': 'skipped'}]},
                    {'status': 'succeeded', 'outputs': {'a': 1}, 'nodes': []}):
            p.end = end
            self.assertIsNotNone(judge(p), end)

    def test_graphs_have_the_size_that_was_asked_for_and_everything_in_them(self):
        sink = Sink()
        self.addCleanup(sink.close)
        for seed in range(50):
            p = dag(random.Random(seed), sink)
            kinds = {n['type'] for n in p.definition['nodes']}
            self.assertEqual(len(p.definition['nodes']), 20)
            self.assertLessEqual({'llm', 'http', 'branch', 'join', 'delay', 'transform'}, kinds)
            self.assertIn('skipped', p.nodes.values())
        self.assertIn('{gist}', ANSWER)


def ops(*rows):
    """(client, name, argument, called, returned or None, result)"""
    out = []
    for client, name, arg, called, returned, result in rows:
        op = histcheck.Op(client, name, arg, called)
        if returned is not None:
            op.returned, op.result = returned, result
        out.append(op)
    return out


def register(state, op):
    if op.name == 'write':
        return [op.arg]
    return [state] if op.result is histcheck.UNKNOWN or op.result == state else []


class HistCheck(unittest.TestCase):
    def good(self, *rows):
        self.assertIsNone(histcheck.check(ops(*rows), 0, register))

    def bad(self, *rows):
        self.assertIsNotNone(histcheck.check(ops(*rows), 0, register))

    def test_what_could_have_happened_is_told_from_what_could_not(self):
        self.good(('a', 'write', 1, 0, 1, True), ('b', 'read', None, 2, 3, 1))
        self.bad(('a', 'write', 1, 0, 1, True), ('b', 'read', None, 2, 3, 0))  # old news
        self.good(('a', 'write', 1, 0, 5, True), ('b', 'read', None, 2, 3, 0), ('c', 'read', None, 2, 3, 1))  # at the same time
        self.bad(('a', 'write', 1, 0, 9, True), ('b', 'read', None, 2, 3, 1), ('c', 'read', None, 4, 5, 0))  # seen, and gone again
        # a write that nobody heard of may have happened at any time from then on, or not at all
        self.good(('a', 'write', 1, 0, None, None), ('b', 'read', None, 2, 3, 0), ('c', 'read', None, 4, 5, 1))
        self.good(('a', 'write', 1, 0, None, None), ('b', 'read', None, 2, 3, 0))
        self.bad(('a', 'write', 1, 0, None, None), ('b', 'read', None, 2, 3, 1), ('c', 'read', None, 4, 5, 0))
        self.bad(('b', 'read', None, 2, 3, 1), ('a', 'write', 1, 4, None, None))  # but not before it was asked for

    def test_long_histories_are_found_right_and_a_lie_in_them_is(self):
        for seed in range(30):
            rnd, state, rows, now = random.Random(seed), 0, [], 0.0
            for n in range(60):  # each takes effect somewhere between its call and its return; three at a time
                now += rnd.random()
                if rnd.random() < 0.5:
                    state = n
                    rows.append(('c', 'write', n, now - rnd.random(), now + rnd.random(), True))
                else:
                    rows.append(('c', 'read', None, now - rnd.random(), now + rnd.random(), state))
            self.good(*rows)
            last = max(r[4] for r in rows)
            self.bad(*rows, ('d', 'read', None, last + 1, last + 2, -1))


if __name__ == '__main__':
    unittest.main()
