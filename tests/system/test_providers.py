"""Every protocol through the whole server: profiles from the environment, streams, failures that are tried again."""
import http.server
import json
import threading
import unittest

from rig import Case

PROVIDERS = ('openai', 'anthropic', 'gemini', 'ollama', 'azure')
MODELS = {'openai': 'gpt-x', 'anthropic': 'claude-sonnet-4-5', 'gemini': 'gemini-2.5-flash', 'ollama': 'llama3.2', 'azure': 'mine'}
SCENARIO = {'sim': 1, 'defaults': {'tps': 0, 'first_ms': 0, 'jitter': 0}, 'rules': [
    {'match': {'user': 'who are you'}, 'thinking': 'Hm, “who”?', 'answer': 'I am {model} – 你好.'},
    {'name': 'broken', 'match': {'user': 'break', 'call': {'to': len(PROVIDERS)}}, 'answer': 'This text is cut off in the middle.',
     'fault': 'F13', 'variant': 'overloaded', 'after': 3},
    {'name': 'whole', 'match': {'user': 'break'}, 'answer': 'All of it.'},
    {'match': {'user': 'spend'}, 'fault': 'F7'}]}


def environment(sim):
    root = 'http://127.0.0.1:%d' % sim.port
    return {'OPENAI_API_KEY': 'k1', 'OPENAI_BASE_URL': root + '/v1', 'OPENAI_MODEL': 'gpt-x',
            'ANTHROPIC_API_KEY': 'k2', 'ANTHROPIC_BASE_URL': root, 'GEMINI_API_KEY': 'k3', 'GEMINI_BASE_URL': root,
            'OLLAMA_HOST': '127.0.0.1:%d' % sim.port, 'AZURE_OPENAI_API_KEY': 'k4', 'AZURE_OPENAI_ENDPOINT': root,
            'AZURE_OPENAI_DEPLOYMENT': 'mine', 'AZURE_OPENAI_API_VERSION': '2024-10-21'}


def ask(prompt, profiles=PROVIDERS, **params):
    return {'sluice': 1, 'edges': [], 'outputs': {p: '{{ nodes.%s }}' % p for p in profiles},
            'nodes': [{'id': p, 'type': 'llm', 'params': {'profile': p, 'prompt': prompt, **params}} for p in profiles]}


class Upstream:
    """An OpenAI that keeps what it is asked and says the same each time."""
    def __init__(self, *answers):
        self.bodies = []
        upstream = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def do_POST(self):
                upstream.bodies.append(json.loads(self.rfile.read(int(self.headers['Content-Length']))))
                text = answers[min(len(upstream.bodies), len(answers)) - 1]
                out = ''.join('data: %s\n\n' % json.dumps({'choices': [{'index': 0, 'delta': d, 'finish_reason': f}]})
                              for d, f in (({'content': text}, None), ({}, 'stop'))) + 'data: [DONE]\n\n'
                self.send_response(200)
                self.send_header('Content-Type', 'text/event-stream')
                self.send_header('Content-Length', str(len(out)))
                self.end_headers()
                self.wfile.write(out.encode())

            def log_message(self, *_):
                pass
        self.http = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.url = 'http://127.0.0.1:%d/v1' % self.http.server_port
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()


class Providers(Case):
    def upstream(self, s, *answers):
        u = Upstream(*answers)
        self.things.append(u)
        s.call('PUT', '/llm/profiles/wire', {'provider': 'openai', 'model': 'm', 'base_url': u.url, 'api_keys': ['sk-test-key-0002']})
        return u

    def test_what_a_node_says_of_its_call_reaches_the_provider(self):
        s = self.server(None)
        u = self.upstream(s, 'fine')
        said = {'temperature': 0.3, 'top_p': 0.45, 'frequency_penalty': 0.5, 'presence_penalty': -0.5, 'max_tokens': 17, 'seed': 5}
        s.wait_status(s.submit(ask('x', ['wire'], stop=['END'], **said)), 'succeeded')
        got = u.bodies[0]
        got['max_tokens'] = got.pop('max_completion_tokens', got.get('max_tokens'))  # OpenAI's newer name
        self.assertEqual({k: got.get(k) for k in said}, said)
        self.assertEqual(got['stop'], ['END'])

    def test_a_vote_that_is_no_json_is_mended_once_and_then_an_abstention(self):
        s = self.server(None)
        poll = {'sluice': 1, 'name': 'poll', 'nodes': [{'id': 'panel', 'type': 'vote', 'params': {
            'voters': [{'profile': 'wire', 'name': 'one'}], 'question': 'Ship it?'}}], 'outputs': {'v': '{{ nodes.panel }}'}}
        u = self.upstream(s, 'I am for it.', '{"vote": "yes", "reason": "it is ready"}')
        out = s.wait_status(s.submit(poll), 'succeeded')['outputs']['v']
        self.assertEqual((out['passed'], out['tally'], len(u.bodies)), (True, {'yes': 1, 'no': 0, 'abstain': 0}, 2))
        self.assertEqual(u.bodies[1]['messages'][-2], {'role': 'assistant', 'content': 'I am for it.'})
        u = self.upstream(s, 'I am for it.', '{"vote": "maybe"}')
        out = s.wait_status(s.submit(poll, {}), 'succeeded')['outputs']['v']
        self.assertEqual((out['passed'], out['tally']), (False, {'yes': 0, 'no': 0, 'abstain': 1}))

    def test_profiles_of_the_environment_work_in_every_protocol(self):
        sim = self.sim(SCENARIO)
        s = self.server(None, env=environment(sim))

        with self.subTest('answers, thinking and usage'):
            run = s.wait_status(s.submit(ask('who are you?')), 'succeeded')
            for p in PROVIDERS:
                out = run['outputs'][p]
                self.assertEqual(out['text'], 'I am %s – 你好.' % MODELS[p])
                self.assertEqual(out['thinking'], 'Hm, “who”?')
                self.assertEqual((out['finish_reason'], out['model'], out['simulated']), ('stop', MODELS[p], True))
                self.assertGreater(out['usage']['output_tokens'], 10)
            self.assertEqual(sorted(r['protocol'] for r in sim.requests()), ['anthropic', 'gemini', 'ollama', 'openai', 'openai'])

        with self.subTest('an error in the middle of a stream is tried again, and the text before it is dropped'):
            run = s.wait_status(s.submit(ask('break')), 'succeeded')
            for p in PROVIDERS:
                self.assertEqual(run['outputs'][p]['text'], 'All of it.')
            rules = [r['rule'] for r in sim.requests()]
            self.assertEqual((rules.count('broken'), rules.count('whole')), (len(PROVIDERS), len(PROVIDERS)))

        with self.subTest('a schema is kept'):
            schema = {'type': 'object', 'required': ['score'], 'properties': {'score': {'type': 'integer', 'minimum': 0, 'maximum': 100}}}
            run = s.wait_status(s.submit(ask('rate it', response_format={'type': 'json_schema', 'schema': schema})), 'succeeded')
            for p in PROVIDERS:
                self.assertIsInstance(run['outputs'][p]['json']['score'], int)

        with self.subTest('an answer is cut at max_tokens, and what was to be JSON is then none'):
            run = s.wait_status(s.submit(ask('tell me', max_tokens=5)), 'succeeded')
            for p in PROVIDERS:
                out = run['outputs'][p]
                self.assertEqual((out['text'], out['finish_reason'], out['usage']['output_tokens']), ('This is the Sluice simulator', 'length', 5))
                form = ask('rate it', [p], max_tokens=3, response_format={'type': 'json_schema', 'schema': schema})
                error = s.wait_status(s.submit(form), 'failed')['error']
                self.assertEqual(error['code'], 'output_invalid', error)
                self.assertIn('cut off at its most tokens, see max_tokens: ', error['message'])

        with self.subTest('what a model cannot do is said in words'):
            run = s.wait_status(s.submit(ask('x', ['gemini'], model='gemini-2.0-flash', thinking='high')), 'failed')
            self.assertIn('does not think', run['error']['message'])

        with self.subTest('a quota is not asked again; last, because the key rests after it'):
            for p in PROVIDERS:
                before = len(sim.requests())
                run = s.wait_status(s.submit(ask('spend', [p])), 'failed')
                self.assertEqual(run['error']['code'], 'quota_exhausted', run['error'])
                self.assertEqual(len(sim.requests()) - before, 1)


if __name__ == '__main__':
    unittest.main()
