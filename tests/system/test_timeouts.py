"""X06: every layer has a time of its own, an operator or an author can set it, and whoever comes first ends the wait with `timeout`."""
import contextlib
import os
import signal
import subprocess
import time
import unittest

from rig import PATIENCE, Case, edges, llm, wait_for

SILENT = {'sim': 1, 'rules': [{'match': {'user': 'never'}, 'fault': 'F11'},  # no headers ever
                              {'match': {'user': 'stops'}, 'fault': 'F12', 'after': 5},  # silence in the middle
                              {'match': {'user': 'long'}, 'answer': ' '.join('word%d' % i for i in range(5000)), 'tps': 20}]}


class Timeouts(Case):
    def took(self, began, low, high):
        t = time.monotonic() - began
        self.assertTrue(low - 0.05 <= t <= high * PATIENCE, '%.2f s, not between %g and %g' % (t, low, high))

    @contextlib.contextmanager
    def postgres_silent(self, s):
        """It takes queries and answers none."""
        with open(os.path.join(s.data, 'pg', 'postmaster.pid'), encoding='ascii') as f:
            postmaster = f.readline().strip()
        os.kill(int(postmaster), signal.SIGSTOP)  # it first: no further child is born
        pids = [postmaster, *subprocess.run(['pgrep', '-P', postmaster], capture_output=True, text=True, check=True).stdout.split()]
        for p in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(p), signal.SIGSTOP)
        try:
            yield
        finally:
            for p in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(p), signal.SIGCONT)

    # `high` is far more than it takes, and less than where whoever comes next would end it: a busy machine is late, and not wrong
    def fails(self, s, definition, code='timeout', low=0.0, high=28.0):
        began = time.monotonic()
        run_id = s.submit({'sluice': 1, 'name': 'late', **definition})
        run = wait_for('it to fail', lambda: (lambda r: r if r['status'] == 'failed' else None)(s.run(run_id)))
        self.assertEqual(run['error']['code'], code, run['error'])
        self.took(began, low, high)
        return run

    def one(self, prompt, **node):
        return {'nodes': [{**llm('x', prompt), 'retry': {'max': 0}, **node}]}

    def test_a_model_call_ends_with_the_first_of_its_layers(self):
        s = self.server(self.sim(SILENT), env={'SLUICE_LLM_TIMEOUT_S': '10'})

        def profile(**timeouts):
            s.call('PUT', '/llm/profiles/upstream', {'provider': 'openai', 'model': 'test-model', 'base_url': s.sim.url, 'default': True,
                                                     'api_keys': ['sk-test-key-0001'], 'timeouts': timeouts}, expect=(200, 201))
        # of the profile, phase by phase
        profile(first_byte_ms=700)
        self.assertIn('no first byte', self.fails(s, self.one('never'), low=.7)['error']['message'])
        profile(idle_ms=700)
        self.assertIn('silence', self.fails(s, self.one('stops'), low=.7)['error']['message'])
        profile(total_ms=800)
        self.assertIn('not finished for 800 ms', self.fails(s, self.one('long'), low=.8)['error']['message'])
        # of the operator, over all profiles
        profile(total_ms=60000)
        self.assertIn('not finished for 10000 ms', self.fails(s, self.one('long'), low=10, high=50)['error']['message'])
        # of the node, which comes first when it is shorter
        self.assertIn('no result within 1 s', self.fails(s, self.one('long', timeout_s=1), low=1)['error']['message'])
        # of the run, over all
        run = self.fails(s, {**self.one('long'), 'limits': {'timeout_s': 1}}, low=1)
        self.assertIn('the run took longer than its limit of 1 s', run['error']['message'])
        self.assertEqual([r['reason'] for r in wait_for('the row', lambda: s.call('GET', '/runs/%s/ledger' % run['id'])['items'])], ['timeout'])

    def test_a_query_ends_before_the_request_that_waits_for_it(self):
        s = self.server(env={'SLUICE_QUERY_TIMEOUT_S': '5', 'SLUICE_REQUEST_TIMEOUT_S': '40'})  # with less a busy machine may not even start
        with self.postgres_silent(s):
            began = time.monotonic()
            status, _, body = s.raw('GET', '/api/v1/runs')
            self.assertEqual(status, 503, body)
            self.took(began, 5, 28)
        wait_for('it to be back', lambda: s.raw('GET', '/api/v1/runs')[0] == 200)

    def test_a_request_ends_before_a_query_that_may_take_longer(self):
        s = self.server(env={'SLUICE_QUERY_TIMEOUT_S': '20', 'SLUICE_REQUEST_TIMEOUT_S': '1'})
        with self.postgres_silent(s):
            began = time.monotonic()
            status, _, body = s.raw('GET', '/api/v1/runs')
            self.assertEqual(status, 504, body)
            self.assertIn(b'"timeout"', body)
            self.took(began, 1, 18)
            self.assertEqual(s.raw('GET', '/livez')[0], 200)

    def test_a_search_of_memories_ends_in_its_own_time(self):
        s = self.server(self.sim(SILENT), env={'SLUICE_QUERY_TIMEOUT_S': '20', 'SLUICE_REQUEST_TIMEOUT_S': '25', 'SLUICE_MEMORY_TIMEOUT_S': '1'})
        searches = 'sluice_memory_searches_degraded_total'
        before = s.metrics()[searches]
        run_id = s.submit({'sluice': 1, 'name': 'recall', 'nodes': [
            {'id': 'd', 'type': 'delay', 'params': {'seconds': 6}},
            {'id': 'm', 'type': 'memory_retrieval', 'params': {'query': 'tea', 'on_timeout': 'empty'}},
            {'id': 't', 'type': 'template', 'params': {'text': 'after {{ nodes.d.fired_at }}'}}], 'edges': edges(('d', 'm'), ('m', 't'))})
        wait_for('it to wait', lambda: s.run(run_id)['status'] == 'waiting')
        with self.postgres_silent(s):
            # the delay ends, the search begins and ends: all in memory
            wait_for('the search to end', lambda: s.metrics()[searches] > before)
        s.wait_status(run_id, 'succeeded')
        node = s.node(run_id, 'm')
        self.assertEqual(node['output'].get('degraded'), 'timeout', node)
        events = {(e['data'].get('node_id'), e['data'].get('status')): e for e in s.events(run_id) if e['event'] == 'node_state_change'}
        began, ended = events[('d', 'completed')]['ts'], events[('m', 'completed')]['ts']
        stamp = lambda t: time.mktime(time.strptime(t[:19], '%Y-%m-%dT%H:%M:%S')) + float('0' + t[19:-1])
        self.assertTrue(0.95 <= stamp(ended) - stamp(began) <= 18, (began, ended))  # 20 s: the query's time


if __name__ == '__main__':
    unittest.main()
