"""The dashboard's figures and Prometheus' names: what is shown is what happened."""
import re
import unittest

from rig import Case, llm, wait_for

BOUNDS = {
    'sluice_run_queue_wait_seconds': [.01, .05, .1, .5, 1, 5, 10, 60, 300, 1800],
    'sluice_call_cancel_close_seconds': [.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .5, 2.5],
    'gen_ai_client_operation_duration_seconds': [0.01 * 2 ** i for i in range(14)],
    'gen_ai_client_operation_time_to_first_chunk_seconds': [0.01 * 2 ** i for i in range(14)],
    'gen_ai_client_operation_time_per_output_chunk_seconds': [0.01 * 2 ** i for i in range(14)],
    'gen_ai_client_token_usage': [4 ** i for i in range(14)],
    'gen_ai_server_request_duration_seconds': [0.01 * 2 ** i for i in range(14)],
    'gen_ai_server_time_to_first_token_seconds': [.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10],
    'http_server_request_duration_seconds': [.005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10],
}
SCENARIO = {'sim': 1, 'defaults': {'tps': 2000, 'first_ms': 30, 'jitter': 0}, 'rules': [
    {'match': {'user': 'please fail'}, 'fault': 'F4'}, {'answer': 'one two three four five'}]}


class Figures(Case):
    def busy(self):
        s = self.server(self.sim(SCENARIO), env={'SLUICE_WORKERS': '2'})
        s.call('PUT', '/llm/prices', {'items': [{'model': 'test', 'input_usd_per_1m': 1000, 'output_usd_per_1m': 1000}]})
        for prompt, end in (('a', 'succeeded'), ('b', 'succeeded'), ('please fail', 'failed')):
            run_id = s.submit({'sluice': 1, 'name': 'one', 'nodes': [llm('x', prompt)], 'edges': []})
            wait_for('the run to end', lambda r=run_id, e=end: s.run(r)['status'] == e)
        s.raw('POST', '/v1/chat/completions', {'model': 'profile:upstream', 'messages': [{'role': 'user', 'content': 'c'}]})
        wait_for('the last one to be let go', lambda: s.call('GET', '/stats')['now']['runs_active'] == 0)
        return s

    def test_the_dashboard_shows_what_happened(self):
        s = self.busy()
        stats = s.call('GET', '/stats')
        series = stats['series'][-2:]  # a minute may have turned meanwhile
        total = lambda key: sum(m.get(key, 0) for m in series)
        self.assertEqual((total('runs_started'), total('runs_succeeded'), total('runs_failed')), (4, 3, 1))
        self.assertEqual((total('calls'), total('errors'), total('output_tokens')), (4, 1, 15))
        (model,) = [m for m in stats['models'] if m['profile'] == 'upstream']
        self.assertEqual((model['model'], model['provider'], model['calls'], model['errors']), ('test-model', 'openai', 4, 1))
        self.assertGreaterEqual(model['ttft_p50_ms'], 25)
        self.assertGreaterEqual(model['latency_p95_ms'], model['latency_p50_ms'])
        self.assertEqual(stats['errors'], [{'code': 'context_too_long', 'count': 1}])
        now = stats['now']
        self.assertAlmostEqual(now['error_rate'], 0.25)
        runs = s.call('GET', '/runs')['items']
        self.assertAlmostEqual(now['cost_usd_today'], sum(r['cost_usd'] for r in runs), places=6)
        self.assertGreater(now['cost_usd_today'], 0)
        self.assertEqual((now['runs_today'], now['runs_active'], now['ws_clients']), (4, 0, 0))
        self.assertEqual(stats['pools']['workers'], 2)
        self.assertGreaterEqual(stats['pools']['db_connections'], 1)
        self.assertTrue(all(m['at'] >= stats['started_at'][:16] for m in stats['series']))  # nothing before there was anybody
        ws = self.socket(s)
        self.assertEqual(s.call('GET', '/stats')['now']['ws_clients'], 1)
        ws.close()

    def test_metrics_have_proper_names_and_add_up(self):
        s = self.busy()
        status, headers, data = s.raw('GET', '/metrics')
        self.assertEqual((status, headers['Content-Type'].split(';')[0]), (200, 'text/plain'))
        types, samples = {}, []
        for line in data.decode().splitlines():
            if line.startswith('# TYPE '):
                _, _, name, kind = line.split(' ')
                self.assertNotIn(name, types, 'declared twice')
                types[name] = kind
            elif not line.startswith('#'):
                m = re.match(r'([a-z_][a-z0-9_]*)(?:\{(.*)\})? (\S+)$', line)
                self.assertTrue(m, line)
                labels = dict(re.findall(r'([a-z_][a-z0-9_]*)="((?:[^"\\]|\\.)*)"', m.group(2) or ''))
                samples.append((m.group(1), labels, float(m.group(3))))
        for name, labels, _ in samples:
            base = re.sub(r'_(bucket|sum|count)$', '', name)
            base = base if types.get(base) == 'histogram' else name
            self.assertIn(base, types, 'no TYPE: ' + name)
            for value in labels.values():  # nothing that grows with runs
                self.assertFalse(re.search(r'[0-9a-f]{8}-[0-9a-f]{4}-', value), (name, labels))
        for name, kind in types.items():
            self.assertTrue(re.match(r'(sluice|gen_ai|http)_', name), name)
            self.assertEqual(kind == 'counter', name.endswith('_total'), name)
            self.assertFalse(re.search(r'_(ms|us|milliseconds|kb|mb|percent)(_|$)', name), name)
            if kind == 'histogram':
                self.check_histogram(name, [x for x in samples if x[0].startswith(name + '_')])
        self.assertTrue(set(BOUNDS) <= set(types))
        value = lambda name, **want: sum(v for n, l, v in samples if n == name and all(l.get(k) == w for k, w in want.items()))
        calls = 'gen_ai_client_operation_duration_seconds_count'
        self.assertEqual(value(calls, gen_ai_request_model='test-model', gen_ai_provider_name='openai', gen_ai_operation_name='chat'), 4)
        self.assertEqual(value(calls, error_type='_OTHER'), 1)
        self.assertEqual(value('gen_ai_client_token_usage_sum', gen_ai_token_type='output'), 15)
        self.assertEqual(value('gen_ai_server_request_duration_seconds_count'), 1)
        self.assertEqual(value('sluice_llm_errors_total', code='context_too_long'), 1)
        self.assertEqual(value('sluice_audit_events_total', event='prices.put'), 1)
        self.assertEqual(value('sluice_audit_events_total', event='profile.put'), 1)
        self.assertGreater(value('http_server_request_duration_seconds_count'), 5)
        audit = s.call('GET', '/admin/audit?limit=200')['items']
        self.assertEqual(value('sluice_audit_events_total'), len(audit))

    def check_histogram(self, name, samples):
        groups = {}
        for n, labels, v in samples:
            rest = tuple(sorted((k, w) for k, w in labels.items() if k != 'le'))
            groups.setdefault(rest, {'le': [], 'count': None, 'sum': None})
            if n.endswith('_bucket'):
                groups[rest]['le'].append((labels['le'], v))
            else:
                groups[rest][n[len(name) + 1:]] = v
        for rest, g in groups.items():
            bounds = [float(le) for le, _ in g['le'][:-1]]
            self.assertEqual(g['le'][-1][0], '+Inf', (name, rest))
            self.assertEqual(len(bounds), len(BOUNDS[name]), name)
            for have, want in zip(bounds, BOUNDS[name]):
                self.assertAlmostEqual(have, want, msg=name)
            counts = [v for _, v in g['le']]
            self.assertEqual(counts, sorted(counts), (name, rest))
            self.assertEqual(counts[-1], g['count'], (name, rest))
            self.assertIsNotNone(g['sum'])


if __name__ == '__main__':
    unittest.main()
