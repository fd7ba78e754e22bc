"""Agents, templates, prices, the audit trail, and an operator who pauses, resumes and drains a server."""
import time
import unittest
import urllib.parse

from rig import Case, Cluster, debate, edges, llm, wait_for

LONG = ' '.join('word%d' % i for i in range(300))


class Operator(Case):
    def audit(self, s, action):
        return s.call('GET', '/admin/audit?action=%s&limit=200' % action)['items']

    def test_an_agent_speaks_for_a_node_and_its_usage_carries_its_name(self):
        sim = self.sim({'sim': 1, 'defaults': {'tps': 5000, 'first_ms': 1, 'jitter': 0}, 'rules': [
            {'match': {'system_re': 'the oracle\\.\n\nBe short'}, 'answer': 'short oracle'}, {'answer': 'somebody'}]})
        s = self.server(sim)
        names = [a['name'] for a in s.call('GET', '/agents')['items']]
        for name in ('advocate', 'judge', 'sceptic'):
            self.assertIn(name, names)
        made = s.call('PUT', '/agents/oracle', {'system': 'You are the oracle.', 'params': {'temperature': 0.25, 'max_tokens': 77}})
        self.assertEqual((made['name'], made['profile'], made['params']['max_tokens']), ('oracle', None, 77))
        run_id = s.submit({'sluice': 1, 'name': 'o', 'nodes': [llm('x', 'speak', agent='oracle', system='Be short.')], 'edges': []})
        s.wait_status(run_id, 'succeeded')
        self.assertEqual(s.node(run_id, 'x')['output']['text'], 'short oracle')  # persona first, then the node's own words
        usage = [e['data'] for e in s.events(run_id) if e['event'] == 'token_usage']
        self.assertEqual(usage[0]['agent_id'], 'oracle')
        # a restart finds it; a deleted default one stays away
        s.call('DELETE', '/agents/sceptic', expect=(204,))
        s.restart()
        self.assertEqual(s.call('GET', '/agents/oracle')['system'], 'You are the oracle.')
        s.call('GET', '/agents/sceptic', expect=(404,))
        s.call('DELETE', '/agents/oracle', expect=(204,))
        s.call('DELETE', '/agents/oracle', expect=(404,))
        run_id = s.submit({'sluice': 1, 'name': 'o', 'nodes': [llm('x', 'speak', agent='oracle')], 'edges': []})
        wait_for('the run to fail', lambda: s.run(run_id)['status'] == 'failed')
        self.assertEqual(s.run(run_id)['error']['code'], 'not_found')
        problem = s.call('PUT', '/agents/x', {'system': '', 'more': 1}, expect=(422,))
        self.assertEqual(sorted(e['pointer'] for e in problem['errors']), ['/more', '/system'])

    def test_templates_of_the_system_stay_and_own_ones_come_and_go(self):
        s = self.server()
        items = s.call('GET', '/templates')['items']
        debate_template = next(t for t in items if t['name'] == 'council-debate')
        self.assertTrue(debate_template['system'])
        self.assertEqual(debate_template['category'], 'debate')
        for t in items:  # each can be used as it is
            self.assertTrue(s.call('POST', '/workflows/validate', t['definition'])['valid'], t['name'])
        s.call('DELETE', '/templates/council-debate', expect=(403,))
        s.call('POST', '/templates', {'name': 'council-debate', 'definition': debate()}, expect=(403,))
        made = s.call('POST', '/templates', {'name': 'mine', 'title': 'Mine', 'category': 'tests', 'definition': debate()}, expect=(201,))
        self.assertFalse(made['system'])
        s.call('POST', '/templates', {'name': 'mine', 'definition': debate()}, expect=(409,))
        broken = s.call('POST', '/templates', {'name': 'b', 'definition': {'sluice': 1, 'nodes': [{'id': 'x', 'type': 'lllm'}]}}, expect=(422,))
        self.assertTrue(broken['errors'][0]['pointer'].startswith('/definition/nodes/0'), broken)
        mine = next(t for t in s.call('GET', '/templates')['items'] if t['name'] == 'mine')
        self.assertEqual((mine['title'], mine['definition']), ('Mine', debate()))
        s.call('DELETE', '/templates/mine', expect=(204,))
        s.call('DELETE', '/templates/mine', expect=(404,))
        self.assertEqual([a['action'] for a in self.audit(s, 'template.')], ['template.delete', 'template.create'])

    def test_a_price_of_the_operator_is_what_a_run_costs(self):
        sim = self.sim({'sim': 1, 'defaults': {'tps': 5000, 'first_ms': 1, 'jitter': 0}, 'rules': [{'answer': 'one two three'}]})
        s = self.server(sim)
        s.call('PUT', '/llm/prices', {'items': [{'model': 'test', 'input_usd_per_1m': 1000, 'output_usd_per_1m': 2000, 'as_of': '2026-01-31'}]})
        s.restart()
        first = s.call('GET', '/llm/prices')['items'][0]
        self.assertEqual((first['model'], first['provider'], first['source'], first['as_of']), ('test', None, 'operator', '2026-01-31'))
        run_id = s.submit({'sluice': 1, 'name': 'o', 'nodes': [llm('x', 'speak')], 'edges': []})
        run = s.wait_status(run_id, 'succeeded')
        usage = run['usage']
        self.assertAlmostEqual(run['cost_usd'], (usage['input_tokens'] * 1000 + usage['output_tokens'] * 2000) / 1e6, places=6)
        self.assertGreater(run['cost_usd'], 0)
        everything = s.call('GET', '/llm/prices')
        self.assertTrue(any(p['source'] == 'built-in' and p['model'] == 'gpt-4o' for p in everything['items']))
        again = s.call('PUT', '/llm/prices', {'items': everything['items']})  # what was read can be sent back
        self.assertEqual(again['items'], everything['items'])
        s.call('PUT', '/llm/prices', {'items': [{'model': 'm'}]}, expect=(422,))
        self.assertEqual(len(self.audit(s, 'prices.put')), 2)

    def test_each_change_of_an_operator_is_one_line_of_the_trail(self):
        s = self.server()
        token = s.call('POST', '/admin/tokens', {'name': 'clerk', 'role': 'editor'}, expect=(201,))
        before = len(s.call('GET', '/admin/audit?limit=200')['items'])
        s.raw('PUT', '/api/v1/agents/temp', {'system': 'x'}, token=token['token'])
        s.raw('DELETE', '/api/v1/agents/temp', token=token['token'])
        s.raw('DELETE', '/api/v1/agents/temp', token=token['token'])  # nothing was there: nothing was done
        s.raw('PUT', '/api/v1/llm/prices', {'items': []}, token=token['token'])  # not allowed
        mine = s.call('GET', '/admin/audit?actor=clerk')['items']
        self.assertEqual([(a['action'], a['target']) for a in mine], [('agent.delete', 'temp'), ('agent.put', 'temp')])
        self.assertEqual(len(s.call('GET', '/admin/audit?limit=200')['items']), before + 2)
        page = s.call('GET', '/admin/audit?limit=1')
        nxt = s.call('GET', '/admin/audit?limit=1&cursor=' + page['next_cursor'])
        self.assertEqual(nxt['items'][0]['id'], page['items'][0]['id'] - 1)
        s.call('GET', '/admin/audit?cursor=zz', expect=(400,))
        whole = s.call('GET', '/admin/audit/verify')
        self.assertEqual((whole['ok'], whole['head']), (True, page['items'][0]['id']), whole)

    def test_limits_are_stored_and_a_breaker_can_be_put_back(self):
        sim = self.sim({'sim': 1, 'defaults': {'tps': 5000, 'first_ms': 1, 'jitter': 0}, 'rules': [
            {'match': {'user': 'fail'}, 'fault': 'F8'}, {'answer': 'fine'}]})
        s = self.server(sim)
        limits = {'projects': {'kitchen': {'rpm': 100, 'max_cost_usd': 5, 'period': 'day'}}}
        self.assertEqual(s.call('PUT', '/admin/limits', limits)['projects']['kitchen']['max_cost_usd'], 5)
        broken = s.call('PUT', '/admin/limits', {'projects': {'kitchen': {'rpm': -1}}}, expect=(422,))
        self.assertTrue(broken['errors'][0]['pointer'].startswith('/projects/kitchen'), broken)
        s.restart()
        self.assertEqual(s.call('GET', '/admin/limits')['projects'], limits['projects'])
        s.call('PUT', '/admin/limits', {'projects': {}})
        for _ in range(30):
            run_id = s.submit({'sluice': 1, 'name': 'o', 'nodes': [llm('x', 'fail')], 'edges': []})
            wait_for('it to fail', lambda r=run_id: s.run(r)['status'] == 'failed')
            open_ones = [b for b in s.call('GET', '/admin/breakers')['breakers'] if b['state'] == 'open']
            if open_ones:
                break
        self.assertTrue(open_ones, 'thirty failures open no breaker')
        key = urllib.parse.quote(open_ones[0]['key'], safe='')
        metrics = s.metrics()
        self.assertIn(2, [v for k, v in metrics.items() if k.startswith('sluice_breaker_state')])
        state = s.call('POST', '/admin/breakers/%s/reset' % key)
        self.assertEqual([b['state'] for b in state['breakers'] if b['key'] == open_ones[0]['key']], ['closed'])
        s.call('POST', '/admin/breakers/nobody/reset', expect=(404,))
        self.assertEqual(len(self.audit(s, 'breaker.reset')), 1)
        self.assertEqual(len(self.audit(s, 'limits.put')), 2)

    def test_the_cache_is_shown_and_can_be_emptied(self):
        sim = self.sim({'sim': 1, 'defaults': {'tps': 5000, 'first_ms': 1, 'jitter': 0}, 'rules': [{'answer': 'fine'}]})
        s = self.server(sim)
        ask = {'sluice': 1, 'name': 'o', 'nodes': [llm('x', 'the same', temperature=0)], 'edges': []}
        before = s.call('GET', '/cache/stats')['caches']['response']
        for _ in range(2):
            s.wait_status(s.submit(ask), 'succeeded')
        after = s.call('GET', '/cache/stats')['caches']['response']
        self.assertEqual((after['hits'] - before['hits'], after['misses'] - before['misses']), (1, 1))
        stats = s.call('GET', '/stats')
        self.assertEqual(stats['caches']['response']['hits'], after['hits'])
        self.assertGreater(stats['now']['cache_hit_rate'], 0)
        self.assertEqual(s.metrics()['sluice_cache_hits_total{cache="response"}'], after['hits'])
        s.call('POST', '/cache/clear', {'cache': 'other'}, expect=(422,))
        self.assertEqual(s.call('POST', '/cache/clear', {'cache': 'response'})['caches']['response']['entries'], 0)
        calls = len(sim.requests())
        s.wait_status(s.submit(ask), 'succeeded')
        self.assertEqual(len(sim.requests()), calls + 1)  # it was asked for again
        self.assertEqual(len(self.audit(s, 'cache.clear')), 1)

    def test_a_cache_that_the_database_does_not_empty_is_not_said_to_be_empty(self):
        cluster = Cluster(1)
        self.things.append(cluster)
        s = cluster[0]
        cluster.pg.sql("INSERT INTO cache (key, scope, output, source, expires_at) VALUES (decode(repeat('00', 32), 'hex'), 'llm', '{}', 'r', "
                       "now() + interval '1 hour')")
        cluster.pg.sql("CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'kept'; END $$;"
                       'CREATE TRIGGER keep BEFORE DELETE ON cache EXECUTE FUNCTION keep()')
        self.assertIn('could not be deleted', s.call('POST', '/cache/clear', {}, expect=(500,))['detail'])
        cluster.pg.sql('DROP FUNCTION keep CASCADE')
        s.call('POST', '/cache/clear', {})
        self.assertEqual(cluster.pg.value('SELECT count(*) FROM cache'), '0')

    def talker(self, tps=40):
        return self.sim({'sim': 1, 'defaults': {'tps': tps, 'first_ms': 5, 'jitter': 0}, 'rules': [{'answer': LONG}]})

    def two_steps(self):
        return {'sluice': 1, 'name': 'two', 'nodes': [llm('a', 'one'), llm('b', 'two {{ nodes.a.text }}')],
                'edges': edges(('a', 'b'))}

    def test_a_paused_server_refuses_runs_and_resumes_exactly_those_it_paused(self):
        s = self.server(self.talker(tps=1))  # nothing is over before it is looked at
        self.addCleanup(lambda: s.call('POST', '/admin/resume'))
        runs = [s.submit(self.two_steps()) for _ in range(3)]
        for r in runs:
            wait_for('it to run', lambda r=r: s.node(r, 'a')['status'] == 'running', 20)
        s.call('POST', '/runs/%s/pause' % runs[0], {'mode': 'now'})  # by a person, for a reason of their own
        state = s.call('POST', '/admin/pause')
        self.assertEqual((state['paused'], state['runs_paused']), (True, 2))
        status, headers, body = s.raw('POST', '/api/v1/runs', {'definition': self.two_steps()})
        self.assertEqual(status, 503, body)
        self.assertIn('Retry-After', headers)
        for r in runs:
            self.assertEqual(s.run(r)['status'], 'paused')
        ready, _, body = s.raw('GET', '/readyz')
        self.assertEqual((ready, b'paused by an operator' in body), (200, True))
        s.restart()  # the runs are paused in the journal, the server is not
        state = s.call('POST', '/admin/resume')
        self.assertEqual((state['paused'], state['runs_resumed']), (False, 2))
        self.assertEqual(s.run(runs[0])['status'], 'paused')
        for r in runs[1:]:
            self.assertIn(s.run(r)['status'], ('running', 'succeeded'))
        self.assertEqual([a['action'] for a in self.audit(s, 'admin.')][:2], ['admin.resume', 'admin.pause'])
        for r in runs:
            s.raw('POST', '/api/v1/runs/%s/cancel' % r, {})

    def test_the_list_of_runs_says_why_one_is_paused(self):
        s = self.server(self.talker(tps=1))
        run_id = s.submit(self.two_steps())
        wait_for('it to run', lambda: s.node(run_id, 'a')['status'] == 'running', 20)
        s.call('POST', '/runs/%s/pause' % run_id, {'mode': 'now', 'reason': 'lunch'})
        self.assertEqual(next(r for r in s.call('GET', '/runs?status=paused')['items'] if r['id'] == run_id)['reason'], 'lunch')
        self.assertIn("'puased' is none of queued, running, paused,", s.call('GET', '/runs?status=running,puased', expect=(400,))['detail'])
        s.call('POST', '/runs/%s/cancel' % run_id)

    def test_a_drained_server_is_not_ready_and_finishes_what_it_has(self):
        s = self.server(self.talker())
        run_id = s.submit({'sluice': 1, 'name': 'one', 'nodes': [llm('a', 'one')], 'edges': []})
        wait_for('it to run', lambda: s.node(run_id, 'a')['status'] == 'running', 20)
        self.assertTrue(s.call('POST', '/admin/drain')['draining'])
        status, _, body = s.raw('GET', '/readyz')
        self.assertEqual(status, 503)
        self.assertIn(b'draining', body)
        status, _, body = s.raw('POST', '/api/v1/runs', {'definition': self.two_steps()})
        self.assertEqual((status, b'"draining"' in body), (503, True))
        s.wait_status(run_id, 'succeeded')
        s.call('POST', '/admin/resume')
        status, _, _ = s.raw('GET', '/readyz')
        self.assertEqual(status, 200)

    def test_instances_and_reviews_can_be_listed(self):
        s = self.server()
        mine = [i for i in s.call('GET', '/admin/instances')['items'] if i['self']]
        self.assertEqual((len(mine), mine[0]['alive'], mine[0]['pid']), (1, True, s.process.proc.pid))


if __name__ == '__main__':
    unittest.main()
