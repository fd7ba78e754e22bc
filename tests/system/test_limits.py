"""What keeps model calls within limits, through the whole server: a run-away stream, a provider that dies, a cache that outlives the server."""
import unittest

from rig import PATIENCE, Case, Watcher, llm, wait_for


def one(prompt, **params):
    return {'sluice': 1, 'name': 'one', 'nodes': [llm('ask', prompt, **params)], 'edges': [], 'outputs': {'text': '{{ nodes.ask.text }}'}}


class Limits(Case):
    def test_a_run_away_stream_is_cut_and_the_run_locked(self):
        words = 'I should look at this again. '
        sim = self.sim({'sim': 1, 'defaults': {'tps': 150, 'first_ms': 5, 'jitter': 0}, 'rules': [
            {'match': {'user': 'circles'}, 'answer': 'Let me think about it.\n' + words * 2000},
            {'match': {}, 'answer': 'Done.'}]})
        s = self.server(sim)
        before = sim.stats()
        run_id = s.submit(one('go in circles'), {})
        run = s.wait_status(run_id, 'locked', seconds=30)
        trip = [e for e in s.events(run_id) if e['event'] == 'circuit_breaker:tripped']
        self.assertEqual([t['data']['reason'] for t in trip], ['LOOP_DETECTED'])
        self.assertEqual(trip[0]['data']['node_id'], 'ask')
        wait_for('the provider to see its socket closed', lambda: sim.stats()['closed_by_client'] == before['closed_by_client'] + 1, 5)
        # two windows of 32 sentences of 7 tokens, and what was said in the ten seconds that a busy machine may take to hear it; of 14,000
        self.assertLess(sim.stats()['tokens_sent'] - before['tokens_sent'], 2 * 32 * 8 + 150 * 10 * PATIENCE)
        self.assertEqual(run['nodes'][0]['status'], 'pending', run['nodes'])
        s.call('POST', '/runs/%s/unlock' % run_id, {}, expect=(422,))
        s.call('POST', '/runs/%s/cancel' % run_id)
        s.wait_status(run_id, 'cancelled')

    def test_tags_are_few_and_short(self):
        s = self.server(None)
        run = {'definition': {'sluice': 1, 'name': 'x', 'nodes': [{'id': 'a', 'type': 'transform', 'params': {'expr': '1'}}]}}
        s.call('POST', '/runs', {**run, 'tags': ['t%d' % i for i in range(32)]}, expect=(200, 201, 202))
        s.call('POST', '/runs', {**run, 'tags': ['x' * 128]}, expect=(200, 201, 202))
        for bad in (['t%d' % i for i in range(33)], ['x' * 129], ['']):
            s.call('POST', '/runs', {**run, 'tags': bad}, expect=(422,))

    def test_a_provider_that_dies_in_mid_stream_is_followed_by_its_fallback(self):
        answer = 'The second provider says all of it, from the first word to the last.'
        first = self.sim({'sim': 1, 'defaults': {'tps': 100, 'first_ms': 5, 'jitter': 0}, 'rules': [
            {'match': {}, 'answer': 'The first one says something else, and then ' * 20, 'fault': 'F14', 'after': 20}]})
        second = self.sim({'sim': 1, 'defaults': {'tps': 100, 'first_ms': 5, 'jitter': 0}, 'rules': [{'match': {}, 'answer': answer}]})
        s = self.server(first)
        s.call('PUT', '/llm/profiles/second', {'provider': 'openai', 'model': 'm', 'base_url': second.url, 'api_keys': ['sk-test-key-0002']},
               expect=(200, 201))
        s.call('PUT', '/llm/profiles/first', {'provider': 'openai', 'model': 'm', 'base_url': first.url, 'api_keys': ['sk-test-key-0001'],
                                              'fallbacks': ['second']}, expect=(200, 201))
        sock = self.socket(s)
        sock.send(cmd='start_run', id='1', definition=one('hello', profile='first'), inputs={})
        run_id = sock.until(lambda e: e['event'] == 'ack' and e['data']['id'] == '1')['data']['result']['run_id']
        sock.until(lambda e: e['event'] == 'execution:completed')
        w = Watcher(run_id)
        for e in sock.events:
            w.feed(e)
        self.assertEqual(w.texts['ask'].decode(), answer)
        self.assertTrue(any(e['event'] == 'stream_reset' for e in sock.events))
        run = s.wait_status(run_id, 'succeeded')
        self.assertEqual(run['outputs'], {'text': answer})
        self.assertEqual((len(first.requests()), len(second.requests())), (1, 1))
        reasons = [e['data'].get('reason') or '' for e in s.events(run_id) if e['event'] == 'node_state_change']
        self.assertIn("stream_truncated at 'first', going on with 'second'", reasons)

    def test_the_cache_outlives_the_server(self):
        sim = self.sim({'sim': 1, 'defaults': {'tps': 1000, 'first_ms': 5, 'jitter': 0}, 'rules': [{'match': {}, 'answer': 'It is a fact.'}]})
        s = self.server(sim)
        first = s.wait_status(s.submit(one('a fact, please', temperature=0), {}), 'succeeded')
        self.assertEqual(len(sim.requests()), 1)
        wait_for('the answer to be written', lambda: s.wait_status(s.submit(one('a fact, please', temperature=0), {}), 'succeeded'), 5)
        s.process.stop()
        s.start()
        run = s.wait_status(s.submit(one('a fact, please', temperature=0), {}), 'succeeded')
        self.assertEqual(len(sim.requests()), 1)
        self.assertEqual(run['outputs'], {'text': 'It is a fact.'})
        reasons = [e['data'].get('reason') or '' for e in s.events(run['id']) if e['event'] == 'node_state_change']
        self.assertTrue(any(first['id'] in r and r.startswith('cached: ') for r in reasons), reasons)
        s.wait_status(s.submit(one('a fact, please', temperature=0.5), {}), 'succeeded')
        self.assertEqual(len(sim.requests()), 2)

    def test_a_budget_is_shared_by_runs_and_outlives_the_server(self):
        sim = self.sim({'sim': 1, 'defaults': {'tps': 1000, 'first_ms': 5, 'jitter': 0}, 'rules': [
            {'match': {}, 'answer': 'An answer of about a dozen words, so that each call takes some of it. ' * 3}]})
        s = self.server(sim)
        limit = 3000
        s.call('PUT', '/admin/limits', {'projects': {'shared': {'max_tokens': limit}}})
        ids = [s.call('POST', '/runs', {'definition': one('tell me, %d' % i, max_tokens=200), 'inputs': {}, 'project': 'shared'}, expect=(202,))['id']
               for i in range(100)]
        runs = [wait_for('the end of a run', lambda i=i: (lambda r: r if r['status'] in ('succeeded', 'failed') else None)(s.call('GET', '/runs/' + i)), 60)
                for i in ids]
        taken = sum(r['usage']['input_tokens'] + r['usage']['output_tokens'] for r in runs)
        refused = [r for r in runs if r['status'] == 'failed']
        self.assertEqual({r['error']['code'] for r in refused}, {'budget_exhausted'})
        self.assertLessEqual(taken, limit)
        self.assertGreater(taken, limit - 300)

        def budget():
            return [b for b in s.call('GET', '/admin/breakers')['budgets'] if b['project'] == 'shared'][0]
        self.assertEqual((budget()['spent_tokens'], budget()['reserved_tokens'], budget()['waiting']), (taken, 0, 0))
        before = len(sim.requests())
        s.restart()  # killed: what was spent is known all the same
        self.assertEqual(budget()['spent_tokens'], taken)
        last = s.call('POST', '/runs', {'definition': one('one more', max_tokens=300), 'inputs': {}, 'project': 'shared'}, expect=(202,))['id']
        run = s.wait_status(last, 'failed')
        self.assertEqual(run['error']['code'], 'budget_exhausted')
        self.assertEqual(len(sim.requests()), before)
        other = s.call('POST', '/runs', {'definition': one('one more', max_tokens=300), 'inputs': {}, 'project': 'other'}, expect=(202,))['id']
        s.wait_status(other, 'succeeded')

    def test_the_limit_of_a_run_holds_for_all_runs_it_starts(self):
        sim = self.sim({'sim': 1, 'defaults': {'tps': 1000, 'first_ms': 20, 'jitter': 0}, 'rules': [
            {'match': {}, 'answer': 'An answer of about a dozen words, so that each call takes some of it. ' * 3}]})
        s = self.server(sim)
        limit = 1500
        s.call('POST', '/workflows', {**one('tell me', max_tokens=200), 'name': 'leaf'}, expect=(200, 201))
        s.call('POST', '/workflows', {'sluice': 1, 'name': 'twig', 'edges': [], 'nodes': [
            {'id': 'leaf', 'type': 'subworkflow', 'params': {'workflow': 'leaf'}}]}, expect=(200, 201))
        top = s.submit({'sluice': 1, 'name': 'top', 'limits': {'max_tokens': limit}, 'edges': [], 'nodes': [
            {'id': 'all', 'type': 'map', 'params': {'items': list(range(40)), 'concurrency': 12, 'on_item_error': 'continue', 'body': {'edges': [], 'nodes': [
                {'id': 'twig', 'type': 'subworkflow', 'params': {'workflow': 'twig'}}]}}}]})
        wait_for('some children to have ended', lambda: sum('child' in e['data'] for e in s.events(top)) >= 2, 60)
        s.restart()  # killed, with some of them under way
        run = s.wait_status(top, 'succeeded', seconds=120)

        def children(run_id):
            return [e['data']['run_id'] for e in s.events(run_id) if e['event'] == 'subworkflow:started']
        twigs = [s.run(i) for i in children(top)]
        leaves = [s.run(i) for t in twigs for i in children(t['id'])]
        self.assertEqual((len(twigs), len(leaves)), (40, 40))
        taken = sum(r['usage']['input_tokens'] + r['usage']['output_tokens'] for r in leaves)
        self.assertLessEqual(taken, limit)
        self.assertGreater(taken, limit - 300)
        refused = [r for r in leaves if r['status'] == 'failed']
        self.assertEqual({r['error']['code'] for r in refused}, {'budget_exhausted'})
        for r in refused:
            self.assertIn("the run %s ('top'), with the runs it has started, has taken" % top, r['error']['message'])
        total = run['total_usage']
        self.assertEqual((run['usage'], total['input_tokens'] + total['output_tokens']), ({'input_tokens': 0, 'output_tokens': 0}, taken))


if __name__ == '__main__':
    unittest.main()
