"""The endpoints that clients of OpenAI know: byte for byte where it matters, and with OpenAI's own client."""
import http.client
import json
import os
import shutil
import subprocess
import unittest

from rig import PATIENCE, SLUICE, Case, Failed, debate, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
STORY = ' '.join('word%d' % i for i in range(2000))
SCENARIO = {'sim': 1, 'defaults': {'tps': 2000, 'first_ms': 5, 'jitter': 0}, 'rules': [
    {'match': {'user': 'please fail'}, 'fault': 'F4'},
    {'match': {'user': 'break off'}, 'answer': STORY, 'fault': 'F14', 'after': 5},
    {'match': {'user': 'a long story'}, 'answer': STORY, 'tps': 50},
    {'match': {'user': 'use the tool'}, 'answer': 'calling', 'tool_calls': [{'name': 'weather', 'arguments': {'city': 'Bern'}}]},
    {'match': {'system': 'judge'}, 'answer': 'the verdict is tea'},
    {'answer': 'one two three four five'}]}


def client_folder():
    """OpenAI's client, installed beside the build once; None: there is no Node.js or no registry."""
    if not shutil.which('node') or not shutil.which('npm'):
        return None
    folder = os.path.join(os.path.dirname(os.path.abspath(SLUICE)), 'openai-client')
    os.makedirs(folder, exist_ok=True)
    for name in ('package.json', 'package-lock.json', 'client.mjs'):
        shutil.copy(os.path.join(HERE, 'openai', name), folder)
    if not os.path.isdir(os.path.join(folder, 'node_modules', 'openai')):
        try:
            got = subprocess.run(['npm', 'ci', '--no-audit', '--no-fund', '--loglevel=error'], cwd=folder, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, check=False)
        except subprocess.TimeoutExpired:
            shutil.rmtree(os.path.join(folder, 'node_modules'), ignore_errors=True)
            return None
        if got.returncode != 0:
            print(got.stdout.decode('utf-8', 'replace'))
            return None
    return folder


def chunks_of(text):
    """The data lines of a stream; checks its form."""
    out = []
    for block in text.split('\n\n'):
        if block and not block.startswith(':'):
            assert block.startswith('data: '), block
            out.append(block[6:])
    return out


class OpenAI(Case):
    def ready(self):
        sim = self.sim(SCENARIO)
        s = self.server(sim)
        if not any(w['name'] == 'debate' for w in s.call('GET', '/workflows')['items']):
            s.call('POST', '/workflows', {**debate(), 'inputs': {'type': 'object', 'properties': {'topic': {'type': 'string'}}, 'required': ['topic']}})
        return s, sim

    def ask(self, s, model, content, **more):
        return s.raw('POST', '/v1/chat/completions', {'model': model, 'messages': [{'role': 'user', 'content': content}], **more})

    def test_a_stream_has_a_role_first_and_ends_with_its_usage_and_done(self):
        s, _ = self.ready()
        status, headers, body = self.ask(s, 'profile:upstream', 'what is {{ 1 + 1 }}?', stream=True, stream_options={'include_usage': True})
        self.assertEqual((status, headers['Content-Type']), (200, 'text/event-stream'))
        lines = chunks_of(body.decode())
        self.assertEqual(lines[-1], '[DONE]')
        chunks = [json.loads(x) for x in lines[:-1]]
        self.assertEqual(len({c['id'] for c in chunks}), 1)
        self.assertTrue(all(c['object'] == 'chat.completion.chunk' and c['model'] == 'profile:upstream' for c in chunks))
        self.assertEqual(chunks[0]['choices'][0]['delta'], {'role': 'assistant', 'content': ''})
        self.assertEqual(''.join(c['choices'][0]['delta'].get('content', '') for c in chunks[:-1]), 'one two three four five')
        self.assertEqual(chunks[-2]['choices'][0]['finish_reason'], 'stop')
        self.assertEqual((chunks[-1]['choices'], chunks[-1]['usage']['completion_tokens']), ([], 5))
        self.assertTrue(all(c['usage'] is None for c in chunks[:-1]))
        run = s.run(headers['X-Sluice-Run-Id'])  # an ordinary run, and nothing in it was read as a template
        self.assertEqual(run['inputs']['messages'][0]['content'], 'what is {{ 1 + 1 }}?')
        self.assertEqual(run['status'], 'succeeded')

    def test_a_workflow_streams_the_node_its_answer_comes_from(self):
        s, _ = self.ready()
        status, headers, body = self.ask(s, 'workflow:debate', 'tea', stream=True)
        chunks = [json.loads(x) for x in chunks_of(body.decode())[:-1]]
        self.assertEqual(''.join(c['choices'][0]['delta'].get('content', '') for c in chunks), 'the verdict is tea')
        self.assertNotIn('usage', chunks[0])
        self.assertEqual(s.run(headers['X-Sluice-Run-Id'])['inputs'], {'topic': 'tea'})

    def test_what_a_workflow_makes_of_a_conversation(self):
        s, _ = self.ready()
        cases = [
            ({'type': 'object', 'properties': {'messages': {'type': 'array'}, 'system': {'type': 'string'}, 'prompt': {'type': 'string'}}},
             {'messages': [{'role': 'system', 'content': 'be kind'}, {'role': 'user', 'content': 'first'},
                           {'role': 'assistant', 'content': 'yes'}, {'role': 'user', 'content': 'second'}], 'system': 'be kind', 'prompt': 'second'}),
            ({'type': 'object', 'properties': {'what': {'type': 'string'}, 'n': {'type': 'integer', 'default': 1}}, 'required': ['what']},
             {'what': 'second', 'n': 1}),
        ]
        conversation = [{'role': 'developer', 'content': 'be kind'}, {'role': 'user', 'content': 'first'},
                        {'role': 'assistant', 'content': 'yes'}, {'role': 'user', 'content': [{'type': 'text', 'text': 'second'}]}]
        for i, (schema, expected) in enumerate(cases):
            name = 'map%d' % i
            s.raw('DELETE', '/api/v1/workflows/' + name)
            s.call('POST', '/workflows', {'sluice': 1, 'name': name, 'inputs': schema, 'nodes': [
                {'id': 'done', 'type': 'template', 'params': {'text': 'ready'}}], 'outputs': {'other': 'no', 'answer': {'ok': True}}})
            status, headers, body = s.raw('POST', '/v1/chat/completions', {'model': 'workflow:' + name, 'messages': conversation})
            self.assertEqual(status, 200, body)
            inputs = s.run(headers['X-Sluice-Run-Id'])['inputs']
            for m in inputs.get('messages', []):
                m['content'] = m['content'] if isinstance(m['content'], str) else m['content'][0]['text']
            self.assertEqual(inputs, expected)
            self.assertEqual(json.loads(json.loads(body)['choices'][0]['message']['content']), {'ok': True})
        s.call('POST', '/workflows', {'sluice': 1, 'name': 'deaf', 'inputs': {'type': 'object', 'properties': {'n': {'type': 'integer'}}},
                                      'nodes': [{'id': 'x', 'type': 'template', 'params': {'text': 'x'}}]})
        status, _, body = self.ask(s, 'workflow:deaf', 'hello')
        self.assertEqual((status, json.loads(body)['error']['type']), (422, 'invalid_request_error'), body)

    def test_tools_are_handed_on_and_what_the_model_asks_for_comes_back(self):
        s, _ = self.ready()
        tools = [{'type': 'function', 'function': {'name': 'weather', 'parameters': {'type': 'object', 'properties': {}}}}]
        status, _, body = self.ask(s, 'profile:upstream', 'use the tool', tools=tools)
        self.assertEqual(status, 200, body)
        choice = json.loads(body)['choices'][0]
        self.assertEqual(choice['finish_reason'], 'tool_calls')
        self.assertEqual(choice['message']['tool_calls'][0]['function'], {'name': 'weather', 'arguments': '{"city":"Bern"}'})
        _, _, body = self.ask(s, 'profile:upstream', 'use the tool', tools=tools, stream=True)
        deltas = [json.loads(x)['choices'][0]['delta'] for x in chunks_of(body.decode())[:-1]]
        calls = [d['tool_calls'][0] for d in deltas if 'tool_calls' in d]
        self.assertEqual((calls[0]['index'], calls[0]['function']['name']), (0, 'weather'))

    def test_a_client_that_goes_cancels_its_run_and_closes_the_providers_socket(self):
        s, sim = self.ready()
        for stream in (True, False):
            before = sim.stats()['closed_by_client']
            c = http.client.HTTPConnection('127.0.0.1', s.port, timeout=30 * PATIENCE)
            c.request('POST', '/v1/chat/completions', json.dumps({'model': 'profile:upstream', 'stream': stream, 'messages': [
                {'role': 'user', 'content': 'a long story'}]}), {'Authorization': 'Bearer ' + s.token, 'Content-Type': 'application/json'})
            if stream:
                r = c.getresponse()
                r.read(300)
            else:
                wait_for('the call', lambda: sim.stats()['streams_open'] >= 1, 20)
            c.sock.close() if c.sock else r.close()
            c.close()
            wait_for('the provider to see it', lambda b=before: sim.stats()['closed_by_client'] > b, 10, every=0.005)
            run = s.call('GET', '/runs?limit=1')['items'][0]
            wait_for('the run to end', lambda r=run: s.run(r['id'])['status'] == 'cancelled', 10)
            self.assertEqual(s.run(run['id'])['reason'], 'the client went away')

    def test_failures_are_in_openais_form(self):
        s, _ = self.ready()
        rows = [
            (self.ask(s, 'profile:upstream', 'please fail'), 502, 'server_error', 'context_too_long'),
            (self.ask(s, 'profile:nobody', 'x'), 404, 'invalid_request_error', 'not_found'),
            (self.ask(s, 'gpt-4o', 'x'), 404, 'invalid_request_error', 'not_found'),
            (self.ask(s, 'profile:upstream', 'x', n=2), 422, 'invalid_request_error', 'invalid'),
            (self.ask(s, 'profile:upstream', 'x', temperature=9), 422, 'invalid_request_error', None),
            (s.raw('POST', '/v1/chat/completions', '{'), 400, 'invalid_request_error', 'bad_request'),
            (s.raw('POST', '/v1/chat/completions', {}, token='wrong'), 401, 'authentication_error', 'unauthorized'),
            (s.raw('GET', '/v1/nothing'), 404, 'invalid_request_error', 'not_found'),
        ]
        for (status, headers, body), want, kind, code in rows:
            error = json.loads(body)['error']
            self.assertEqual((status, error['type'], headers['Content-Type']), (want, kind, 'application/json'), body)
            if code:
                self.assertEqual(error['code'], code)
            self.assertTrue(error['message'])
        _, _, body = self.ask(s, 'profile:upstream', 'break off', stream=True)
        last = json.loads(chunks_of(body.decode())[-1])
        self.assertEqual(last['error']['code'], 'stream_truncated')  # and no [DONE]: nobody takes it for the whole answer

    def test_openais_own_client_is_content(self):
        folder = client_folder()
        if not folder:
            self.skipTest('no Node.js, or its registry cannot be reached')
        s, sim = self.ready()
        closed = sim.stats()['closed_by_client']
        got = subprocess.run(['node', 'client.mjs', s.url, s.token], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, timeout=120 * PATIENCE, check=False)
        if got.returncode != 0:
            raise Failed(got.stdout.decode() + got.stderr.decode())
        saw = {line['name']: line for line in map(json.loads, got.stdout.decode().splitlines())}
        self.assertIn('profile:upstream', saw['models']['models'])
        self.assertIn('workflow:debate', saw['models']['models'])
        self.assertEqual((saw['whole']['text'], saw['whole']['finish']), ('one two three four five', 'stop'))
        self.assertEqual(saw['whole']['usage']['total_tokens'], saw['whole']['usage']['prompt_tokens'] + 5)
        for name, text in (('profile', 'one two three four five'), ('workflow', 'the verdict is tea')):
            self.assertEqual((saw['stream ' + name]['text'], saw['stream ' + name]['finish'], saw['stream ' + name]['ids']), (text, 'stop', 1))
            self.assertGreater(saw['stream ' + name]['usage']['completion_tokens'], 0)
        self.assertEqual(saw['helper']['text'], 'one two three four five')
        self.assertEqual((saw['response']['text'], saw['response']['status']), ('the verdict is tea', 'completed'))
        self.assertEqual(saw['response stream']['deltas'], 'one two three four five')
        events = [e for i, e in enumerate(saw['response stream']['events']) if i == 0 or saw['response stream']['events'][i - 1] != e]
        self.assertEqual(events, ['response.created', 'response.in_progress', 'response.output_item.added', 'response.content_part.added',
                                  'response.output_text.delta', 'response.output_text.done', 'response.content_part.done',
                                  'response.output_item.done', 'response.completed'])
        for name, kind, code in (('no such model', 'NotFoundError', 'not_found'), ('no such profile', 'NotFoundError', 'not_found'),
                                 ('no messages', 'UnprocessableEntityError', 'invalid'), ('wrong token', 'AuthenticationError', 'unauthorized'),
                                 ('failing model', 'APIError', 'context_too_long'), ('failing stream', 'APIError', 'stream_truncated')):
            self.assertEqual((saw[name]['kind'], saw[name]['code']), (kind, code), saw[name])
        wait_for('the provider to see the client leave', lambda: sim.stats()['closed_by_client'] > closed, 10)


if __name__ == '__main__':
    unittest.main()
