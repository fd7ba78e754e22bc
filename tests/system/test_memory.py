"""Memory, end to end: what one run stores another one finds, what nobody has looked at it does not, and a crash stores nothing twice."""
import random
import time
import unittest

from rig import Case, llm, wait_for

FACT = 'The old lighthouse of Vardberg was moved forty metres inland in the winter of 1962, on rails.'
ANSWER = {'sim': 1, 'defaults': {'tps': 0, 'first_ms': 1, 'jitter': 0}, 'rules': [
    {'name': 'teller', 'match': {'system': 'teller'}, 'answer': FACT},
    {'name': 'reader', 'match': {'system': 'reader', 'user': FACT}, 'answer': 'I have read it.'},
    {'name': 'stranger', 'match': {'system': 'reader'}, 'answer': 'I know nothing.'}]}


def learn(tier, **params):
    return {'sluice': 1, 'name': 'learn', 'nodes': [
        llm('tell', 'What do you know?', system='teller'),
        {'id': 'keep', 'type': 'memory_store', 'params': {'content': '{{ nodes.tell.text }}', 'tier': tier, **params}}],
        'edges': [{'from': 'tell', 'to': 'keep'}], 'outputs': {'kept': '{{ nodes.keep.accepted }}', 'id': '{{ nodes.keep.id }}'}}


def recall(**params):
    return {'sluice': 1, 'name': 'recall', 'nodes': [
        {'id': 'find', 'type': 'memory_retrieval', 'params': {'query': '{{ input.q }}', **params}},
        llm('read', 'Known: {{ nodes.find.text }}', system='reader')],
        'edges': [{'from': 'find', 'to': 'read'}], 'outputs': {'n': '{{ nodes.find.count }}', 'text': '{{ nodes.find.text }}'}}


QUESTION = {'q': 'When was the lighthouse of Vardberg moved?'}


class Memory(Case):
    def given(self, s, run_id):
        """The ids a run was given, as its journal tells."""
        return [item['id'] for e in s.events(run_id) if e['event'] == 'memory_retrieved' for item in e['data']['items']]

    def test_the_second_run_knows_what_the_first_has_learned(self):
        sim = self.sim(ANSWER)
        s = self.server(sim)
        first = s.wait_status(s.submit(learn('working', confidence=0.9), project='first'), 'succeeded')
        self.assertTrue(first['outputs']['kept'])
        updates = [e['data'] for e in s.events(first['id']) if e['event'] == 'knowledge:updated']
        self.assertEqual([(u['action'], u['memory_id'], u['tier']) for u in updates], [('stored', first['outputs']['id'], 'working')])
        second = s.wait_status(s.submit(recall(), QUESTION, project='first'), 'succeeded')
        self.assertEqual(second['outputs']['n'], 1)
        self.assertIn(FACT, second['outputs']['text'])
        self.assertEqual(self.given(s, second['id']), [first['outputs']['id']])
        prompt = [r for r in sim.requests() if r.get('rule') == 'reader']
        self.assertEqual(len(prompt), 1)
        other = s.wait_status(s.submit(recall(), QUESTION, project='elsewhere'), 'succeeded')
        self.assertEqual(other['outputs']['n'], 0)
        again = s.wait_status(s.submit(learn('working'), project='first'), 'succeeded')
        self.assertFalse(again['outputs']['kept'])  # it says nothing new
        declined = [e['data'] for e in s.events(again['id']) if e['event'] == 'knowledge:updated']
        self.assertEqual([(u['action'], u['reason']) for u in declined], [('declined', 'duplicate')])
        figures = s.metrics()
        self.assertGreaterEqual(figures['sluice_memory_stored_total'], 1)
        self.assertGreaterEqual(figures['sluice_memory_declined_total'], 1)
        self.assertGreaterEqual(figures['sluice_memory_searches_total'], 2)
        unsure = s.wait_status(s.submit(learn('working', confidence=0.3), project='first'), 'succeeded')
        self.assertFalse(unsure['outputs']['kept'])

    def test_what_a_run_has_stored_itself_proves_nothing_it_says(self):
        s = self.server(self.sim(ANSWER))
        check = {'id': 'check', 'type': 'fact_check', 'params': {'content': 'The lighthouse of Vardberg was moved forty metres in 1962.'}}
        alone = {'sluice': 1, 'name': 'check', 'nodes': [check], 'outputs': {'v': '{{ nodes.check }}'}}
        told = learn('working', confidence=0.9)
        told['nodes'].append(check)
        told['edges'].append({'from': 'keep', 'to': 'check'})
        told['outputs'] = {'kept': '{{ nodes.keep.accepted }}', 'v': '{{ nodes.check }}'}
        first = s.wait_status(s.submit(told, project='proof'), 'succeeded')['outputs']
        self.assertEqual((first['kept'], first['v']['verified'], first['v']['claims'][0]['reason']), (True, False, 'nothing was found'))
        second = s.wait_status(s.submit(alone, project='proof'), 'succeeded')
        claim = second['outputs']['v']['claims'][0]
        self.assertEqual((claim['verified'], claim['sources'][0]['verified']), (True, False))
        self.assertIn('1962', claim['sources'][0]['excerpt'])
        # it counts as used, like one that was retrieved
        used = s.call('GET', '/memories/' + claim['sources'][0]['id'])['used_by']
        self.assertEqual([u['run_id'] for u in used], [second['id']])
        # the projects are apart, and quarantine is out of reach
        other = s.wait_status(s.submit(alone, project='elsewhere'), 'succeeded')['outputs']['v']
        self.assertFalse(other['verified'])

    def test_quarantine_waits_for_a_person_and_invalid_memory_leads_to_its_runs(self):
        sim = self.sim(ANSWER)
        s = self.server(sim)
        s.wait_status(s.submit(learn('quarantine'), project='archive'), 'succeeded')
        s.wait_status(s.submit(learn('quarantine'), project='archive'), 'succeeded')
        blind = s.wait_status(s.submit(recall(), QUESTION, project='archive'), 'succeeded')
        self.assertEqual(blind['outputs']['n'], 0)
        insight, = s.call('GET', '/memories/digest?project=archive')['items']
        self.assertEqual((insight['count'], insight['runs']), (2, 2))
        memory = insight['id']
        moved = s.call('POST', '/memories/%s/promote' % memory, {'duplicates': insight['ids'], 'reason': 'checked in the archive'})
        self.assertEqual((moved['tier'], moved['moved']), ('long_term', True))
        self.assertEqual(s.call('GET', '/memories/digest?project=archive')['items'], [])
        runs = [s.wait_status(s.submit(recall(relevance_threshold=0.5), QUESTION, project='archive'), 'succeeded') for _ in range(3)]
        runs.append(s.wait_status(s.submit(recall(), {'q': 'What is the price of tea in China?'}, project='archive'), 'succeeded'))
        truth = sorted(r['id'] for r in runs if memory in self.given(s, r['id']))
        self.assertEqual(len(truth), 3)
        self.assertIn('(verified, long-term)', runs[0]['outputs']['text'])
        s.call('DELETE', '/memories/%s?reason=wrong' % memory, expect=(204,))
        detail = s.call('GET', '/memories/' + memory)
        self.assertEqual(sorted(u['run_id'] for u in detail['used_by']), truth)
        self.assertEqual(detail['reuse_count'], 3)
        self.assertEqual([h['action'] for h in detail['history']], ['store', 'promote', 'invalidate'])
        self.assertEqual(s.wait_status(s.submit(recall(), QUESTION, project='archive'), 'succeeded')['outputs']['n'], 0)
        self.assertEqual(s.call('POST', '/memories/%s/promote' % memory, {}, expect=(409,))['code'], 'conflict')
        def trail():
            actions = [a['action'] for a in s.call('GET', '/admin/audit')['items']]
            return actions.count('memory.promote'), actions.count('memory.invalidate')
        wait_for('one line each', lambda: all(trail()))
        self.assertEqual(trail(), (1, 1))

    def test_meaning_finds_with_an_embedding_profile(self):
        sim = self.sim(ANSWER)
        s = self.server(sim, env={'SLUICE_SIM': 'off'})  # the simulator of our own would bring a profile along
        kept = s.call('POST', '/memories', {'content': FACT, 'project': 'meaning', 'tier': 'long_term'}, expect=(201,))
        self.assertNotIn('meaning #', s.call('POST', '/memories/search', {'query': QUESTION['q'], 'project': 'meaning'})['items'][0]['why'])
        s.call('PUT', '/llm/profiles/vectors', {'provider': 'openai', 'model': 'vectors', 'kind': 'embedding', 'base_url': sim.url,
                                                'api_keys': ['sk-test-key-0002']})

        def by_meaning():
            item, = s.call('POST', '/memories/search', {'query': QUESTION['q'], 'project': 'meaning'})['items']
            return item['id'] == kept['id'] and 'meaning #1' in item['why']
        wait_for('the vector', by_meaning)

    def test_a_crash_stores_nothing_twice_and_loses_nothing(self):
        s = self.server(env={'SLUICE_MAX_RECOVERIES': '100'})
        workflow = {'sluice': 1, 'name': 'many', 'nodes': [
            {'id': 'keep', 'type': 'memory_store', 'params': {
                'tier': 'quarantine', 'content': 'Run {{ input.n }} has something to say, and it says it once and for all.'}},
            {'id': 'then', 'type': 'delay', 'params': {'seconds': 0.05}},
            {'id': 'more', 'type': 'memory_store', 'params': {
                'tier': 'quarantine', 'content': 'Run {{ input.n }} has said it: {{ nodes.keep.id }}'}}],
            'edges': [{'from': 'keep', 'to': 'then'}, {'from': 'then', 'to': 'more'}]}
        rng = random.Random(4)
        runs = []
        for storm in range(6):
            runs += [s.submit(workflow, {'n': len(runs) + i}) for i in range(8)]
            time.sleep(rng.random() * 0.12)  # the moment of the blow is the point of the test
            s.restart()
        for run in runs:
            s.wait_status(run, 'succeeded')
        items, cursor = [], ''
        while cursor is not None:
            page = s.call('GET', '/memories?project=default&limit=50' + (cursor and '&cursor=' + cursor))
            items += page['items']
            cursor = page['next_cursor']
        self.assertEqual(len(items), 2 * len(runs))
        self.assertEqual(len({(m['run_id'], m['path']) for m in items}), 2 * len(runs))
        ids = {m['id'] for m in items}
        for run in runs:  # what the node says it stored is what is there
            for path in ('keep', 'more'):
                self.assertIn(s.node(run, path)['output']['id'], ids)

    def test_roles_and_mistakes(self):
        s = self.server()
        viewer = s.call('POST', '/admin/tokens', {'role': 'viewer', 'name': 'v'}, expect=(200, 201))['token']
        runner = s.call('POST', '/admin/tokens', {'role': 'runner', 'name': 'r'}, expect=(200, 201))['token']

        def status(token, method, path, body=None):
            return s.raw(method, '/api/v1' + path, body, token=token)[0]
        self.assertEqual(status(viewer, 'POST', '/memories', {'content': FACT}), 403)
        self.assertEqual(status(runner, 'POST', '/memories', {'content': FACT, 'tier': 'working'}), 201)
        self.assertEqual(status(runner, 'POST', '/memories', {'content': FACT + ' Or so they say.', 'tier': 'long_term'}), 403)
        self.assertEqual(status(viewer, 'POST', '/memories/search', {'query': 'lighthouse'}), 200)
        memory = s.call('GET', '/memories')['items'][0]['id']
        self.assertEqual(status(runner, 'DELETE', '/memories/' + memory), 403)
        self.assertEqual(status(runner, 'POST', '/memories/%s/promote' % memory, {}), 403)
        for method, path, body, expect in (
                ('POST', '/memories', {}, 422), ('POST', '/memories', {'content': FACT, 'tier': 'gold'}, 422),
                ('POST', '/memories', {'content': FACT, 'confidence': 2}, 422), ('POST', '/memories', {'content': FACT, 'x': 1}, 422),
                ('POST', '/memories', {'content': 'a' * 200000}, 413), ('POST', '/memories/search', {'tiers': ['quarantine']}, 422),
                ('POST', '/memories/search', {'max_results': 0}, 422), ('GET', '/memories?tier=gold', None, 400),
                ('GET', '/memories?cursor=zz', None, 400), ('GET', '/memories/nothing', None, 404),
                ('GET', '/memories/01a2185c-0000-7000-8000-000000000000', None, 404),
                ('POST', '/memories/%s/promote' % memory, {'tier': 'quarantine'}, 422),
                ('POST', '/memories/%s/promote' % memory, {'duplicates': ['x']}, 422), ('GET', '/memories/digest?project=A%20B', None, 400)):
            self.assertEqual(status(s.token, method, path, body), expect, (method, path, body))
        same = {'Idempotency-Key': 'once'}
        one = s.call('POST', '/memories', {'content': 'said once'}, headers=same)
        self.assertEqual(s.call('POST', '/memories', {'content': 'said once'}, headers=same)['id'], one['id'])
        self.assertEqual(s.call('GET', '/memories?tier=quarantine')['items'][0]['content'], 'said once')


if __name__ == '__main__':
    unittest.main()
