"""The council at work: memory, a loop of two sides and a judge, a person, memory again; and the same facts whatever is killed.

SLUICE_SLOW=1: 50 kills. Otherwise a short version of the same.
"""
import os
import time
import unittest

from rig import SLOW, Case, edges, wait_for

KILLS = int(os.environ.get('SLUICE_KILLS', 50 if SLOW else 5))
VERDICT = {'type': 'object', 'required': ['score', 'verdict'],
           'properties': {'score': {'type': 'number'}, 'verdict': {'type': 'string'}}}


def council():
    return {'sluice': 1, 'name': 'council', 'inputs': {'type': 'object', 'required': ['topic'], 'properties': {'topic': {'type': 'string'}}},
            'nodes': [
        {'id': 'history', 'type': 'memory_retrieval', 'params': {'query': '{{ input.topic }}', 'relevance_threshold': 0.3}},
        {'id': 'refine', 'type': 'loop', 'params': {
            'max_rounds': 5, 'exit_on_score': {'value': 'nodes.judge.json.score', 'at_least': 90}, 'on_regression': {'do': 'rollback'},
            'body': {'nodes': [
                {'id': 'pro', 'type': 'llm', 'params': {'agent': 'advocate', 'prompt':
                    'For, round {{ loop.index }}: {{ input.topic }}\n{{ nodes.history.text }}\n{{ loop.last and loop.last.judge.text or "" }}'}},
                {'id': 'con', 'type': 'llm', 'params': {'agent': 'sceptic', 'prompt': 'Against, round {{ loop.index }}: {{ input.topic }}'}},
                {'id': 'both', 'type': 'join', 'params': {'merge': 'object'}},
                {'id': 'judge', 'type': 'llm', 'params': {
                    'agent': 'judge', 'prompt': 'Decide, round {{ loop.index }}: {{ nodes.both.merged }}',
                    'response_format': {'type': 'json_schema', 'schema': VERDICT}}}],
                'edges': edges(('pro', 'both'), ('con', 'both'), ('both', 'judge'))}}},
        {'id': 'review', 'type': 'human_review', 'params': {'draft': '{{ nodes.refine.last.judge.json.verdict }}'}},
        {'id': 'keep', 'type': 'memory_store', 'params': {'content': '{{ nodes.review.content }}', 'tier': 'working', 'confidence': 0.9}}],
        'edges': edges(('history', 'refine'), ('refine', 'review'))
        + [{'from': 'review', 'to': 'keep', 'when': "nodes.review.action ~= 'reject'"}],
        'outputs': {'verdict': '{{ nodes.review.content }}', 'rounds': '{{ nodes.refine.rounds }}', 'why': '{{ nodes.refine.exit_reason }}'}}


def scenario(**defaults):
    scores = [{'score': s, 'verdict': 'Cities should begin with a limited trial of quiet streets, round by round: step %d of the plan' % n}
              for n, s in enumerate((62, 55, 81, 93), 1)]
    # by the round that the prompt names, so that a call that is repeated after a kill is answered the same
    judges = [{'match': {'user': 'Decide, round %d:' % n}, 'json': v} for n, v in enumerate(scores, 1)]
    # each side says something new each round: one that repeats itself three times is locked, and rightly
    sides = [{'match': {'user': '%s, round %d:' % (side, n)}, 'answer': text % word} for side, text in
             (('For', 'Much speaks for it, first of all %s.'), ('Against', 'What nobody has answered yet is the matter of %s.'))
             for n, word in enumerate(('the noise in the evenings and what it does to sleep', 'shops, which gained wherever it was tried for long',
                                       'buses that get through at last', 'money, for it is cheap and can be undone'), 1)]
    return {'sim': 1, 'defaults': {'tps': 400, 'first_ms': 5, 'jitter': 0, **defaults}, 'rules': judges + sides}


def scores_of(events):
    return [e['data']['score'] for e in events if e['event'] == 'loop:round']


class Council(Case):
    def asked(self, s, run_id, seconds=60):
        def look():
            return [r for r in s.call('GET', '/reviews?status=pending&limit=200')['items'] if r['run_id'] == run_id]
        return wait_for('the review of %s' % run_id, look, seconds)[0]

    def check(self, s, run_id):
        run = s.wait_status(run_id, 'succeeded', seconds=60)
        events = s.events(run_id)
        self.assertEqual(run['outputs'], {'verdict': 'Cities should begin with a limited trial of quiet streets, round by round: '
                                                     'step 4 of the plan', 'rounds': 4, 'why': 'score'})
        self.assertEqual(scores_of(events), [62, 55, 81, 93])
        self.assertEqual([e['seq'] for e in events], list(range(1, len(events) + 1)))
        for node in run['nodes']:
            done = [e for e in events if e['event'] == 'node_state_change' and e['data']['node_id'] == node['path']
                    and e['data']['status'] == 'completed']
            self.assertEqual(len(done), 1, node['path'])
        self.assertEqual(len([e for e in events if e['event'] == 'human_review:requested']), 1)
        self.assertEqual(len([e for e in events if e['event'] == 'human_review:resolved']), 1)
        return run, events

    def test_a_council_argues_until_the_judge_is_content_and_remembers(self):
        sim = self.sim(scenario())
        s = self.server(sim)
        topic = {'topic': 'Cities should try quiet streets'}
        run_id = s.submit(council(), topic, project='council-once')
        self.assertIn('step 4 of the plan', self.asked(s, run_id)['draft'])
        s.wait_status(run_id, 'waiting')
        s.call('POST', '/runs/%s/review' % run_id, {'node': 'review', 'action': 'approve'})
        run, events = self.check(s, run_id)
        self.assertEqual(len([n for n in run['nodes'] if n['path'].startswith('refine#')]), 16)
        stored = s.node(run_id, 'keep')['output']
        self.assertTrue(stored['accepted'], stored)
        second = s.submit(council(), topic, project='council-once')
        self.asked(s, second)
        found = s.node(second, 'history')['output']
        self.assertEqual([i['id'] for i in found['items']], [stored['id']])
        self.assertIn('step 4 of the plan', found['text'])
        prompts = [r for r in map(str, sim.requests()) if 'For, round 1:' in r]
        self.assertNotIn('begin with a limited trial', prompts[0])
        self.assertIn('begin with a limited trial', prompts[-1])
        s.call('POST', '/runs/%s/review' % second, {'node': 'review', 'action': 'reject', 'reason': 'we know that'})
        self.assertEqual(s.wait_status(second, 'succeeded')['status'], 'succeeded')
        self.assertEqual(s.node(second, 'keep')['status'], 'skipped')

    def test_an_answer_that_is_not_the_json_asked_for_is_repaired_once(self):
        sim = self.sim({'sim': 1, 'defaults': {'tps': 2000, 'first_ms': 1, 'jitter': 0}, 'rules': [
            {'match': {'user': 'cannot be used'}, 'json': {'score': 7, 'verdict': 'mended'}},
            {'match': {'user': 'Judge'}, 'answer': 'seven, I would say', 'verbatim': True}]})
        s = self.server(sim)
        run_id = s.submit({'sluice': 1, 'name': 'repair', 'nodes': [{'id': 'j', 'type': 'llm', 'params': {
            'prompt': 'Judge', 'response_format': {'type': 'json_schema', 'schema': VERDICT}}}], 'outputs': {'v': '{{ nodes.j.json.verdict }}'}})
        self.assertEqual(s.wait_status(run_id, 'succeeded')['outputs'], {'v': 'mended'})
        self.assertEqual(s.node(run_id, 'j')['attempt'], 2)
        self.assertEqual(len(sim.requests()), 2)

    def test_killed_at_any_instant_it_comes_to_the_same(self):
        sim = self.sim(scenario(tps=120, first_ms=40))
        s = self.server(sim, env={'SLUICE_MAX_RECOVERIES': '1000'})
        kills = n = 0
        while kills < KILLS:
            n += 1
            run_id = s.submit(council(), {'topic': 'Cities should try quiet streets, case %d' % n}, project='council-%d' % n)
            waits = False
            while not waits and kills < KILLS:
                time.sleep(self.random.uniform(0.02, 0.9))
                s.kill()
                kills += 1
                s.restart()
                waits = s.run(run_id)['status'] == 'waiting'
            self.asked(s, run_id)
            s.call('POST', '/runs/%s/review' % run_id, {'node': 'review', 'action': 'approve'})
            if kills < KILLS:  # somewhere in the end of it, too
                time.sleep(self.random.uniform(0, 0.05))
                s.kill()
                kills += 1
                s.restart()
            self.check(s, run_id)
            kept = s.call('GET', '/memories?project=council-%d' % n)['items']
            self.assertEqual(len(kept), 1, kept)
        print('%d kills, %d runs' % (kills, n))


if __name__ == '__main__':
    unittest.main()
