"""Several servers on one PostgreSQL: what one of them leaves, another goes on with."""
import json
import signal
import threading
import time
import unittest

from rig import PATIENCE, Case, edges, llm, wait_for


def chain(n):
    nodes = [llm('n%d' % i, 'step %d' % i) for i in range(n)]
    return {'sluice': 1, 'name': 'chain', 'nodes': nodes, 'edges': edges(*[('n%d' % i, 'n%d' % (i + 1)) for i in range(n - 1)]),
            'outputs': {'text': '{{ nodes.n%d.text }}' % (n - 1)}}


class Cluster(Case):
    def test_runs_of_a_killed_server_go_on_at_the_other(self):
        sim = self.sim({'sim': 1, 'defaults': {'tps': 2000, 'first_ms': 300, 'jitter': 0}, 'rules': [{'answer': 'well'}]})
        c = self.cluster(2, sim=sim)
        flow = chain(4)
        flow['nodes'].append({'id': 'go', 'type': 'wait_signal', 'params': {'signal': 'go'}})  # none has ended when the blow falls
        runs = [c[0].submit(flow) for _ in range(5)]
        wait_for('a node to be done', lambda: c[0].run(runs[0])['nodes_done'] >= 1)
        c[0].kill()
        wait_for('the other to have them', lambda: c.pg.value('SELECT count(*) FROM runs WHERE epoch = 2') == '5')
        for run in runs:
            c[1].call('POST', '/runs/%s/signal' % run, {'signal': 'go'})
        for run in runs:
            c[1].wait_status(run, 'succeeded')
        twice = c.pg.sql("SELECT run_id, once FROM run_events WHERE once IS NOT NULL GROUP BY 1, 2 HAVING count(*) > 1")
        self.assertEqual(twice, [])
        self.assertEqual(c.pg.value('SELECT count(*) FROM runs WHERE epoch = 2'), '5')


    def test_an_order_reaches_the_server_that_has_the_run(self):
        sim = self.sim({'sim': 1, 'defaults': {'tps': 10, 'first_ms': 5, 'jitter': 0}, 'rules': [{'answer': 'word ' * 300}]})
        c = self.cluster(2, sim=sim)
        mine, other = c[0], c[1]
        run = mine.submit(chain(2))
        mine.wait_status(run, 'running')
        began = time.monotonic()
        self.assertEqual(other.call('POST', '/runs/%s/pause' % run, {'mode': 'now'})['status'], 'paused')
        print('  an order to the other server took %.0f ms' % (1000 * (time.monotonic() - began)))
        self.assertEqual(mine.run(run)['status'], 'paused')
        self.assertEqual(other.call('POST', '/runs/%s/pause' % run)['status'], 'paused')  # nothing to do is no order
        self.assertEqual(other.call('POST', '/runs/%s/resume' % run)['status'], 'running')
        sock = self.socket(other)
        sock.send(cmd='cancel', id=1, run_id=run)
        self.assertEqual(sock.until(lambda e: e['event'] in ('ack', 'error'))['data']['result']['status'], 'cancelled')
        self.assertEqual(mine.run(run)['status'], 'cancelled')
        self.assertEqual([e['data'].get('by') for e in mine.events(run) if e['event'] == 'execution:paused'], ['admin'])
        other.call('POST', '/runs/%s/pause' % run, expect=(409,))
        # what a person decides: once, wherever it is said, and what is wrong with it is told
        run = mine.submit({'sluice': 1, 'name': 'r', 'nodes': [
            {'id': 'ask', 'type': 'human_review', 'params': {'draft': 'x'}},
            {'id': 'go', 'type': 'wait_signal', 'params': {'signal': 'go'}}], 'edges': edges(('ask', 'go'))})
        mine.wait_status(run, 'waiting')
        other.call('POST', '/runs/%s/review' % run, {'node': 'nobody', 'action': 'approve'}, expect=(404,))
        other.call('POST', '/runs/%s/review' % run, {'node': 'ask', 'action': 'approve'})
        other.call('POST', '/runs/%s/review' % run, {'node': 'ask', 'action': 'reject', 'reason': 'late'}, expect=(409,))
        other.call('POST', '/runs/%s/signal' % run, {'signal': 'go', 'payload': {'n': 1}})
        done = other.wait_status(run, 'succeeded')
        self.assertEqual(done['outputs']['go']['payload'], {'n': 1})
        wait_for('the table to be empty', lambda: c.pg.value('SELECT count(*) FROM run_orders') == '0')

    def test_an_order_to_a_server_that_hangs_is_answered_and_not_done_later(self):
        sim = self.sim({'sim': 1, 'defaults': {'tps': 10, 'first_ms': 5, 'jitter': 0}, 'rules': [{'answer': 'word ' * 3000}]})
        c = self.cluster(2, sim=sim, env={'SLUICE_LEASE_S': '60'})
        run = c[0].submit(chain(1))
        c[0].wait_status(run, 'running')
        c[0].process.proc.send_signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            status, headers, body = c[1].raw('POST', '/api/v1/runs/%s/cancel' % run, {})
            self.assertEqual((status, json.loads(body)['code']), (503, 'unavailable'), body)
            self.assertIn('Retry-After', headers)
            self.assertLess(time.monotonic() - began, 29 * PATIENCE)  # after 5 s; without an end of its own it would be the lease, 60 s
        finally:
            c[0].process.proc.send_signal(signal.SIGCONT)
        time.sleep(0.5)  # long enough for what was notified meanwhile
        self.assertEqual(c[0].run(run)['status'], 'running')
        c[1].call('POST', '/runs/%s/cancel' % run)
        self.assertEqual(c[0].run(run)['status'], 'cancelled')

    def test_a_pause_is_of_all_servers_and_outlives_them(self):
        sim = self.sim({'sim': 1, 'defaults': {'tps': 10, 'first_ms': 5, 'jitter': 0}, 'rules': [{'answer': 'word ' * 3000}]})
        c = self.cluster(2, sim=sim)
        runs = [s.submit(chain(1)) for s in c.servers for _ in range(3)]
        for run in runs:
            c[0].wait_status(run, 'running')
        by_hand = c[0].submit(chain(1))
        c[0].wait_status(by_hand, 'running')
        c[1].call('POST', '/runs/%s/pause' % by_hand)
        self.assertEqual(c[1].call('POST', '/admin/pause')['runs_paused'], 3)
        wait_for('all to be paused', lambda: all(c[0].run(r)['status'] == 'paused' for r in runs))
        for s in c.servers:
            wait_for('the other to refuse', lambda s=s: s.raw('POST', '/api/v1/runs', {'definition': chain(1)})[0] == 503)
            self.assertEqual(s.metrics()['sluice_paused'], 1)
        c[0].restart()
        self.assertEqual(c[0].metrics()['sluice_paused'], 1)
        third = c.add()
        self.assertEqual(third.raw('POST', '/api/v1/runs', {'definition': chain(1)})[0], 503)
        third.call('POST', '/admin/resume')
        wait_for('all to go on', lambda: all(c[1].run(r)['status'] == 'running' for r in runs))
        self.assertEqual(c[1].run(by_hand)['status'], 'paused')
        wait_for('the others to take runs', lambda: all(s.metrics()['sluice_paused'] == 0 for s in c.servers))
        for run in runs + [by_hand]:
            c[1].call('POST', '/runs/%s/cancel' % run)

    def test_a_pause_and_a_resume_of_all_at_once_end_in_what_was_written_last(self):
        sim = self.sim({'sim': 1, 'defaults': {'tps': 5, 'first_ms': 5, 'jitter': 0}, 'rules': [{'answer': 'word ' * 3000}]})
        c = self.cluster(2, sim=sim)
        runs = [s.submit(chain(1)) for s in c.servers for _ in range(3)]
        for run in runs:
            c[0].wait_status(run, 'running')
        for _ in range(12):
            orders = [threading.Thread(target=c[i % 2].call, args=('POST', '/admin/' + what))
                      for i, what in enumerate(('pause', 'resume', 'resume', 'pause'))]
            for o in orders:
                o.start()
            for o in orders:
                o.join()
            paused = json.loads(c.pg.value("SELECT value FROM settings WHERE key = 'paused'"))['paused']
            wanted = 'paused' if paused else 'running'
            wait_for('all servers to agree', lambda: all(s.metrics()['sluice_paused'] == int(paused) for s in c.servers))
            wait_for('all runs to be ' + wanted, lambda: all(c[0].run(r)['status'] == wanted for r in runs))
        for run in runs:
            c[1].call('POST', '/runs/%s/cancel' % run)

    def test_limits_reach_the_other_servers_at_once(self):
        c = self.cluster(2)
        limits = {'projects': {'p': {'rpm': 7}}, 'runs': {'max_running': 3, 'workflows': {'w': 1}}, 'workers': 5}
        c[0].call('PUT', '/admin/limits', limits)
        wait_for('the limits to be there', lambda: c[1].call('GET', '/admin/limits') == limits, 3)
        wait_for('the workers', lambda: c[1].metrics()['sluice_workers'] == 5, 3)

    def test_a_server_alone_on_its_database_tells_nobody_anything(self):
        s = self.server()

        def queries():
            return s.metrics()['sluice_db_queries_total']

        def at_rest():
            before = queries()
            time.sleep(0.5)
            return queries() == before
        wait_for('what it asks when it starts to be over', at_rest)
        before = queries()
        s.call('PUT', '/admin/limits', {})
        time.sleep(1)
        self.assertEqual(queries() - before, 1)


if __name__ == '__main__':
    unittest.main()
