"""The examples as they are shipped, with what the built-in simulator says: what a newcomer sees first has to work."""
import json
import os
import unittest

from rig import ROOT, Case, wait_for


def example(name):
    with open(os.path.join(ROOT, 'examples', name + '.json'), encoding='utf-8') as f:
        return json.load(f)


class Examples(Case):
    def start(self):
        return self.server(None, env={'SLUICE_SIM': 'on', 'SLUICE_SIM_SPEED': '0', 'SLUICE_SIM_FIRST_TOKEN_MS': '1'})

    def review(self, s, run_id, **decision):
        wait_for('somebody to be asked', lambda: s.node(run_id, 'review')['status'] == 'waiting')
        return s.call('POST', '/runs/%s/review' % run_id, {'node': 'review', **decision})

    def rounds(self, s, run_id):
        return [e['data'] for e in s.events(run_id) if e['event'] == 'loop:round']

    def test_a_proposal_gets_better_round_by_round_until_a_person_takes_it(self):
        s = self.start()
        s.call('POST', '/workflows', example('council-optimize'))
        topic = 'Should we say "yes" to \\ bicycles?'
        run_id = s.submit('council-optimize', {'topic': topic})
        asked = wait_for('a review', lambda: s.call('GET', '/reviews?status=pending')['items'], 60)
        self.assertIn(topic, asked[0]['draft'])
        self.assertIn('93 of 100 after 4 rounds', asked[0]['instructions'])
        rounds = self.rounds(s, run_id)
        self.assertEqual([r['score'] for r in rounds], [64, 78, 86, 93])
        self.assertEqual([r['decision'] for r in rounds], ['continue', 'continue', 'continue', 'exit'])
        self.assertEqual(rounds[-1]['exit_reason'], 'score')
        # each side was told what the others said
        paths = {n['path']: n for n in s.run(run_id)['nodes']}
        # a score has three parts, and weights
        judged = [paths['refine#%d/judge' % i]['output']['json'] for i in (1, 2, 3, 4)]
        self.assertEqual([(40 * j['stands'] + 30 * j['answers'] + 30 * j['clear']) / 100 for j in judged], [64, 78, 86, 93])
        self.assertTrue(all(len({j['stands'], j['answers'], j['clear']}) > 1 for j in judged))
        self.assertEqual(len({paths['refine#%d/pro' % i]['output']['text'] for i in (1, 2, 3, 4)}), 4)
        self.review(s, run_id, action='approve')
        run = s.wait_status(run_id, 'succeeded')
        self.assertEqual((run['outputs']['score'], run['outputs']['rounds'], run['outputs']['decided']), (93, 4, 'approve'))
        kept = s.call('GET', '/memories?tier=working')['items']
        self.assertEqual(len(kept), 1)
        self.assertIn(run['outputs']['proposal'], kept[0]['content'])

        # a second run on the same topic begins anew, and is given what the first one kept
        second = s.submit('council-optimize', {'topic': topic})
        self.review(s, second, action='reject', reason='not now')
        run = s.wait_status(second, 'succeeded')
        self.assertEqual([r['score'] for r in self.rounds(s, second)], [64, 78, 86, 93])
        status = {n['path']: n for n in run['nodes']}
        self.assertEqual(status['keep']['status'], 'skipped')
        self.assertEqual(status['history']['output']['count'], 1)
        self.assertEqual(len(s.call('GET', '/memories?tier=working')['items']), 1)

    def test_a_table_comes_out_in_the_order_of_its_rows(self):
        s = self.start()
        rows = [{'id': i, 'question': 'Wie groß sind %d und %d?' % (i, i)} for i in range(40)] + [{'id': 40}]
        run = s.wait_status(s.submit(example('batch'), {'rows': rows, 'column': 'question'}), 'succeeded')
        table = run['outputs']['table']
        self.assertEqual((run['outputs']['count'], [r['id'] for r in table], [r['batch_index'] for r in table]),
                         (41, list(range(41)), list(range(1, 42))))
        for r in table[:40]:
            self.assertEqual((r['metadata']['status'], r['metadata']['input_length'], r['metadata']['response_length']),
                             ('success', len(r['question']), len(r['model_response'])))
            self.assertTrue(r['model_response'])
        told = [e['data']['done'] for e in s.events(run['id']) if e['event'] == 'progress']
        self.assertEqual((told[-1], len(told)), (41, 9))

    def test_without_a_column_a_model_is_asked_for_the_whole_row(self):
        s = self.start()
        rows = [{'name': 'Zoë', 'city': '東京'}, {'name': 'Jörg', 'nested': {'x': [1, 2]}}]
        run = s.wait_status(s.submit(example('batch'), {'rows': rows}), 'succeeded')
        nodes = {n['path']: n for n in run['nodes']}
        for i, (row, r) in enumerate(zip(rows, run['outputs']['table']), 1):
            asked = nodes['each#%d/asked' % i]['output']['value']
            self.assertEqual(json.loads(asked), row)
            self.assertEqual((r['name'], r['metadata']['status'], r['metadata']['input_length']), (row['name'], 'success', len(asked)))
            self.assertTrue(r['model_response'])

    def test_a_brief_has_its_figures_looked_up_in_memory(self):
        s = self.start()
        topic = 'quiet streets'
        first = s.wait_status(s.submit(example('checked-brief'), {'topic': topic}), 'succeeded')
        self.assertEqual(first['outputs']['checked'], '0 of 4 claims verified')  # nobody has told anything yet
        kept = s.call('POST', '/memories', {'tier': 'long_term', 'content':
                      'The trial on quiet streets began in 2019 in two districts and cost $4,200,000 in its first year, says the treasurer. '
                      'A survey found that 41 percent of the residents used it every week.'}, expect=(201,))
        run_id = s.submit(example('checked-brief'), {'topic': topic})
        run = s.wait_status(run_id, 'succeeded')
        self.assertEqual(run['outputs']['brief'].count('%s' % topic), 1)
        self.assertEqual(run['outputs']['checked'], '2 of 4 claims verified')
        claims = run['outputs']['claims']
        self.assertEqual([(c['kind'], c['verified']) for c in claims],
                         [('year', True), ('money', True), ('percentage', False), ('percentage', False)])
        self.assertEqual((claims[1]['sources'][0]['source'], claims[1]['sources'][0]['id'], claims[1]['sources'][0]['verified']),
                         ('memory', kept['id'], True))
        events = s.events(run_id)
        told = [e for e in events if e['event'].startswith('factcheck:')]
        self.assertEqual([e['event'] for e in told], ['factcheck:checking', 'factcheck:result'] * 4)
        self.assertEqual([e['data']['verified'] for e in told[1::2]], [True, True, False, False])
        flagged = [e['data'] for e in events if e['event'] == 'claims:flagged']
        self.assertEqual([(f['node_id'], f['count'], f['needs_verify']) for f in flagged], [('draft#2/write', 2, True), ('draft#3/write', 4, True)])
        nodes = {n['path']: n for n in run['nodes']}
        self.assertEqual([c['mark'] for c in nodes['draft#3/write']['output']['claims']], ['2019', '$4.2 million', '37 percent', '6 percent'])
        talk = nodes['draft#3/so_far']['output']
        self.assertEqual((talk['full'], talk['shortened'], talk['dropped']), (1, 1, 0))
        self.assertIn('[round 1] ', talk['text'])

    def test_every_other_example_runs_to_its_end(self):
        s = self.start()
        inputs = {'council-debate': {'topic': 'Tea for all'}, 'triage': {'message': 'My invoice is wrong'}, 'debate': {}, 'sequence': {}, 'react': {}}
        names = {f[:-5] for f in os.listdir(os.path.join(ROOT, 'examples')) if f.endswith('.json')} - {'sim-scenario', 'council-optimize', 'checked-brief', 'batch'}
        self.assertEqual(names, set(inputs), 'an example that nobody tries')
        for name in sorted(names):
            run = s.wait_status(s.submit(example(name), inputs[name]), 'succeeded')
            self.assertTrue(all(run['outputs'].values()), run['outputs'])

    def test_a_debate_is_rolled_back_when_it_gets_worse_and_ends_when_nothing_new_comes(self):
        s = self.start()
        run_id = s.submit(example('debate'), {'topic': 'Longer breaks'})
        run = s.wait_status(run_id, 'succeeded')
        rounds = self.rounds(s, run_id)
        self.assertEqual([r['score'] for r in rounds], [52, 71, 55, 72, 73])
        self.assertEqual([r.get('note') for r in rounds], [None, None, 'rollback', None, 'stagnation'])
        self.assertEqual((run['outputs']['ended_by'], run['outputs']['rounds'], run['outputs']['settled']), ('stagnation', 5, 73))

    def test_a_sequence_tells_each_step_and_hands_on_what_was_made(self):
        s = self.start()
        run_id = s.submit(example('sequence'), {'topic': 'bees'})
        s.wait_status(run_id, 'succeeded')
        steps = [e['data']['node_id'] for e in s.events(run_id) if e['event'] == 'node_state_change' and e['data']['status'] == 'completed']
        self.assertEqual(steps, ['draft', 'notes', 'final'])

    def test_a_model_uses_tools_until_it_can_answer(self):
        s = self.start()
        run_id = s.submit(example('react'), {})
        run = s.wait_status(run_id, 'succeeded')
        self.assertIn('each of you pays 31.54', run['outputs']['answer'])
        self.assertEqual(run['outputs']['asked'], 3)
        self.assertEqual(run['outputs']['tools'], ['memory_search', 'current_time', 'calculate'])
        told = [e['data'] for e in s.events(run_id) if e['event'] == 'tool_execution']
        self.assertEqual([(t['tool'], t['ok'], t['iteration']) for t in sorted(told, key=lambda t: t['node_id'])],
                         [('memory_search', True, 1), ('current_time', True, 1), ('calculate', True, 2)])
        self.assertEqual(told[-1]['node_id'], 'helper#2/tools#1/call')
        # what cannot be calculated is said, and the run does not fail by it
        run = s.wait_status(s.submit(example('react'), {'sum': 'os.execute(1)'}), 'succeeded')
        self.assertIn("'os' is no function of the calculator", run['outputs']['answer'])

    def test_tools_are_listed_switched_and_refused(self):
        s = self.start()
        tools = {t['name']: t for t in s.call('GET', '/tools')['items']}
        self.assertEqual((tools['code_execution']['default'], tools['calculate']['default']), ('off', 'on'))
        self.assertTrue(tools['http_get']['available'] and tools['memory_search']['available'])
        self.assertFalse(tools['web_search']['available'])
        self.assertIn('no provider', tools['web_search']['reason'])
        self.assertEqual(tools['calculate']['parameters']['required'], ['expression'])
        refused = s.call('PUT', '/agents/clerk', {'system': 'x', 'tools': {'teleport': True}}, expect=(422,))
        self.assertEqual(refused['errors'][0]['pointer'], '/tools/teleport')
        s.call('PUT', '/agents/clerk', {'system': 'everyday sums', 'tools': {'current_time': False}})
        flow = example('react')
        flow['nodes'][0]['params']['agent'] = 'clerk'
        run = s.wait_status(s.submit(flow, {}), 'succeeded')
        log = {e['name']: e for e in run['nodes'][0]['output']['tool_log']}
        self.assertEqual(log['current_time']['error']['code'], 'forbidden')
        self.assertTrue(log['calculate']['ok'])
        flow['nodes'][0]['params']['tools'] = ['web_search']
        run = s.wait_status(s.submit(flow, {}), 'failed')
        self.assertEqual(run['error']['code'], 'unavailable')

    def test_each_has_a_forecast_and_is_a_template(self):
        s = self.start()
        templates = {t['name'] for t in s.call('GET', '/templates')['items']}
        for name in ('batch', 'checked-brief', 'council-debate', 'council-optimize', 'triage', 'debate', 'sequence', 'react'):
            self.assertIn(name, templates)
            forecast = s.call('POST', '/workflows/%s/estimate' % name, {'definition': example(name)})
            self.assertGreater(forecast['tokens']['expected'], 500)
        self.assertEqual({n['path']: n['runs'] for n in forecast['nodes']}['helper/ask'], {'min': 1, 'expected': 3, 'max': 5})
        forecast = s.call('POST', '/workflows/x/estimate', {'definition': example('council-optimize')})
        self.assertEqual({n['path']: n['runs'] for n in forecast['nodes']}['refine/judge'], {'min': 1, 'expected': 3, 'max': 5})


if __name__ == '__main__':
    unittest.main()
