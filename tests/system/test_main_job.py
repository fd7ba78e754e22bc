"""The main job, end to end: submit, watch, decide; joins that cancel; what a client may rely on."""
import http.client
import json
import threading
import unittest

from rig import PATIENCE, Case, Failed, Watcher, debate, llm, wait_for

PRO, CON = 'because tea is warm and kind', 'because coffee is sooner'


def scenario(**pro):
    return {'sim': 1, 'defaults': {'tps': 400, 'first_ms': 5, 'jitter': 0}, 'rules': [
        {'match': {'system': 'side pro'}, 'answer': PRO, **pro},
        {'match': {'system': 'side con'}, 'answer': CON},
        {'name': 'judge', 'match': {'system': 'judge', 'user': PRO, 'user_re': CON}, 'answer': 'tea wins'},
        {'name': 'judge', 'match': {'system': 'judge'}, 'answer': 'half the texts are missing'}]}


class MainJob(Case):
    def test_the_judge_runs_once_with_both_texts(self):
        sim = self.sim(scenario())
        s = self.server(sim)
        run = s.wait_status(s.submit(debate(), {'topic': 'tea'}), 'succeeded')
        self.assertEqual(run['outputs'], {'verdict': 'tea wins'})
        self.assertEqual([r['rule'] for r in sim.requests()].count('judge'), 1)
        events = s.events(run['id'])
        self.assertEqual([e['seq'] for e in events], list(range(1, len(events) + 1)))
        self.assertEqual(run['usage']['output_tokens'] > 0, True)

    def test_tokens_arrive_while_the_model_speaks(self):
        rules = scenario(tps=20)
        rules['rules'][0]['answer'] = PRO + ' and so on' * 60  # ten seconds of it
        s = self.server(self.sim(rules))
        sock = self.socket(s)
        sock.send(cmd='start_run', id='1', definition=debate(), inputs={'topic': 'tea'})
        run_id = sock.until(lambda e: e['event'] == 'ack' and e['data']['id'] == '1')['data']['result']['run_id']
        w = Watcher(run_id)
        first = sock.until(lambda e: e['event'] == 'token_stream' and e['data']['node_id'] == 'pro')
        self.assertEqual(s.node(run_id, 'pro')['status'], 'running', first)
        sock.until(lambda e: e['event'] == 'execution:completed')
        for e in sock.events:
            w.feed(e)
        self.assertEqual(w.texts['pro'].decode(), rules['rules'][0]['answer'])
        self.assertEqual(w.texts['judge'].decode(), 'tea wins')

    def test_an_any_join_closes_the_losers_socket(self):
        sim = self.sim({'sim': 1, 'defaults': {'jitter': 0, 'first_ms': 1}, 'rules': [
            {'match': {'system': 'side pro'}, 'answer': PRO, 'tps': 200},
            {'match': {'system': 'side con'}, 'answer': CON * 50, 'tps': 5},
            {'match': {'system': 'judge'}, 'answer': 'tea wins', 'tps': 200}]})
        s = self.server(sim)
        for join in ({'wait': 'any', 'cancel_rest': True}, {'wait': {'quorum': 1}, 'cancel_rest': True}):
            before = sim.stats()['closed_by_client']
            run = s.wait_status(s.submit(debate(join), {'topic': 'tea'}), 'succeeded')
            status = {n['path']: n['status'] for n in run['nodes']}
            self.assertEqual(status['con'], 'cancelled')
            self.assertEqual(status['judge'], 'completed')
            wait_for('the upstream to see the close', lambda: sim.stats()['closed_by_client'] == before + 1, 5)

    def test_bad_definitions_get_every_error_with_its_place(self):
        s = self.server()
        bad = debate()
        bad['nodes'][0]['params']['promt'] = 'x'
        bad['nodes'][1]['type'] = 'lllm'
        bad['edges'].append({'from': 'judge', 'to': 'nobody'})
        status, _, data = s.raw('POST', '/api/v1/runs', {'definition': bad, 'inputs': {}})
        problem = json.loads(data)
        self.assertEqual(status, 422)
        pointers = {e['pointer'] for e in problem['errors']}
        self.assertTrue(any(p.endswith('/nodes/0/params/promt') for p in pointers), pointers)
        self.assertTrue(any(p.endswith('/nodes/1/type') for p in pointers), pointers)
        self.assertTrue(any('/edges/3' in p for p in pointers), pointers)
        self.assertIn('prompt', json.dumps(problem))
        self.assertIn("llm", json.dumps(problem))
        answer = s.call('POST', '/workflows/validate', {'definition': bad})
        self.assertFalse(answer['valid'])

    def test_versions_are_pinned(self):
        s = self.server(self.sim(scenario(tps=30)))
        d = debate()
        s.call('POST', '/workflows', {'definition': d}, expect=(200, 201))
        old = s.submit('debate', {'topic': 'tea'})
        d['nodes'][3]['params']['prompt'] = 'New: {{ nodes.both.merged }}'
        s.call('PUT', '/workflows/debate', {'definition': d})
        new = s.submit('debate', {'topic': 'tea'})
        self.assertEqual(s.run(old)['version'], 1)
        self.assertEqual(s.run(new)['version'], 2)
        self.assertNotIn('New:', json.dumps(s.wait_status(old, 'succeeded')['definition']))
        s.wait_status(new, 'succeeded')

    def test_an_idempotency_key_gives_one_run(self):
        s = self.server(self.sim(scenario()))
        ids, failures = [], []

        def submit():
            try:
                ids.append(s.submit(debate(), {'topic': 'tea'}, key='same'))
            except Failed as e:
                failures.append(str(e))
        threads = [threading.Thread(target=submit) for _ in range(20)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(failures, [])
        self.assertEqual(len(set(ids)), 1)
        status, _, data = s.raw('POST', '/api/v1/runs', {'definition': debate(), 'inputs': {'topic': 'other'}}, {'Idempotency-Key': 'same'})
        self.assertEqual((status, json.loads(data)['code']), (422, 'idempotency_key_reused'))

    def test_a_key_over_websocket_is_the_same_key(self):
        s = self.server(self.sim(scenario()))
        run = s.submit(debate(), {'topic': 'tea'}, key='same')
        sock = self.socket(s)

        def start(**more):
            sock.send(cmd='start_run', id='1', definition=debate(), inputs={'topic': 'tea'}, **more)
            e = sock.until(lambda e: e['event'] in ('ack', 'error') and e['data'].get('id') == '1')
            sock.events.clear()
            return e['data']
        self.assertEqual(start(idempotency_key='same')['result']['run_id'], run)
        for key in (7, 'a b', 'same\0', 'x' * 256):
            said = start(idempotency_key=key)
            self.assertEqual(said.get('code'), 'invalid', (key, said))
            self.assertIn('idempotency_key', said['message'])
        self.assertEqual([r['id'] for r in s.call('GET', '/runs')['items']], [run])

    def test_a_request_is_read_alike_whatever_its_length(self):
        """Short ones are read where they arrive, longer ones by another thread."""
        s = self.server()
        add = {'sluice': 1, 'name': 'add', 'nodes': [{'id': 'n', 'type': 'transform', 'params': {'expr': 'input.n + 1'}}], 'outputs': {'n': '{{ nodes.n.value }}'}}
        s.call('POST', '/workflows', add)
        takes = {'sluice': 1, 'name': 'takes', 'nodes': [], 'inputs': {'type': 'object', 'required': ['n']}}
        cases = [(202, {'workflow': 'add', 'inputs': {'n': 1}}), (202, {'definition': add, 'inputs': {'n': 1}}), (422, {'workflow': 'none'}),
                 (422, {'workflow': 'add', 'version': 7}), (422, {'definition': takes}), (422, {'workflow': 'add', 'colour': 'red'}), (400, '{"workflow"]'), (400, '[]')]
        for i, (status, body) in enumerate(cases):
            text = body if isinstance(body, str) else json.dumps(body)
            answers = []
            for length in (len(text), 1024, 1025, 9000):
                got, _, data = s.raw('POST', '/api/v1/runs', text.ljust(length), {'Idempotency-Key': 'case-%d' % i})
                self.assertEqual(got, status, (text, length, data))
                answers.append({k: v for k, v in json.loads(data).items() if k not in ('request_id', 'status')})
            self.assertEqual(answers[1:], answers[:1] * 3)
            if status == 202:
                self.assertEqual(s.wait_status(answers[0]['id'], 'succeeded')['outputs'], {'n': 2})
        self.assertEqual(s.raw('POST', '/api/v1/runs', '{}', {'Content-Type': 'text/plain'})[0], 415)

    def test_live_events_over_sse_resume_by_id(self):
        s = self.server(self.sim(scenario(tps=100)))
        run_id = s.submit(debate(), {'topic': 'tea'})

        def read(last, stop_after):
            c = http.client.HTTPConnection('127.0.0.1', s.port, timeout=60 * PATIENCE)
            h = {'Authorization': 'Bearer ' + s.token, 'Accept': 'text/event-stream'}
            if last:
                h['Last-Event-ID'] = str(last)
            c.request('GET', '/api/v1/runs/%s/events' % run_id, headers=h)
            r = c.getresponse()
            self.assertEqual(r.status, 200)
            seqs = []
            while len(seqs) < stop_after:
                line = r.readline()
                if not line:
                    break
                if line.startswith(b'id:'):
                    seqs.append(int(line[3:]))
            c.close()
            return seqs
        first = read(None, 3)
        s.wait_status(run_id, 'succeeded')
        rest = read(first[-1], len(s.events(run_id)) - first[-1])
        self.assertEqual(first + rest, list(range(first[0], len(s.events(run_id)) + 1)))

    def test_the_simulator_says_that_it_answers(self):
        s = self.server()
        profiles = s.call('GET', '/llm/profiles')['items']
        self.assertTrue([p for p in profiles if p['simulated'] and p['default']])
        run = s.wait_status(s.submit({'sluice': 1, 'name': 'one', 'nodes': [llm('x', 'hello')], 'edges': []}), 'succeeded')
        self.assertTrue(run['simulated'])

    def test_keys_are_write_only(self):
        s = self.server()
        s.call('PUT', '/llm/profiles/p', {'provider': 'openai', 'model': 'm', 'base_url': 'http://127.0.0.1:9/v1',
                                          'api_keys': ['sk-canary-000000000000-wxyz']}, expect=(200, 201))
        for path in ('/llm/profiles', '/llm/profiles/p'):
            _, _, data = s.raw('GET', '/api/v1' + path)
            self.assertNotIn(b'canary', data)
            self.assertIn(b'wxyz', data)
        s.restart()
        self.assertIn('wxyz', json.dumps(s.call('GET', '/llm/profiles/p')))
        self.assertNotIn('canary', s.process.log())


if __name__ == '__main__':
    unittest.main()
