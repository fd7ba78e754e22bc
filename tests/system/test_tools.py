"""Models that use tools, with the real binary: the way out, crashes in the middle of a tool, limits, and models that ask for too much."""
import http.server
import threading
import time
import unittest

from rig import Case, wait_for


class Upstream(http.server.ThreadingHTTPServer):
    """Answers what its path says, and remembers who came."""
    daemon_threads = True

    def __init__(self):
        self.seen = []
        self.free = threading.Event()  # what begins with /held is answered after this
        super().__init__(('127.0.0.1', 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.seen.append(self.path)
        if self.path.startswith('/held'):
            self.server.free.wait(60)
        text = b'x' * int(self.path.split('/')[2]) if self.path.startswith('/bytes/') else b'{"page":"%s"}' % self.path.encode()
        try:
            self.send_response(404 if self.path.startswith('/gone') else 200)
            self.send_header('Content-Type', 'text/plain' if self.path.startswith('/bytes/') else 'application/json')
            self.send_header('Content-Length', str(len(text)))
            self.end_headers()
            self.wfile.write(text)
        except OSError:
            pass  # the one who asked was killed

    def log_message(self, *args):
        pass


def get(url):
    return {'name': 'http_get', 'arguments': {'url': url}}


def turns(*all_turns):
    """A simulator's rules: the n-th turn of a conversation calls these tools, or says what the last tool said."""
    return [{'match': {'turn': n + 1}, **({'tool_calls': t} if isinstance(t, list) else {'answer': t})} for n, t in enumerate(all_turns)]


def helper(tools, **params):
    return {'sluice': 1, 'name': 'tools', 'nodes': [{'id': 'helper', 'type': 'llm', 'params': {'prompt': 'help', 'tools': tools, **params}}],
            'outputs': {'text': '{{ nodes.helper.text }}', 'log': '{{ nodes.helper.tool_log }}', 'ended': '{{ nodes.helper.finish_reason }}'}}


class Tools(Case):
    def setUp(self):
        super().setUp()
        self.upstream = Upstream()
        self.addCleanup(self.upstream.server_close)
        self.addCleanup(self.upstream.shutdown)
        self.addCleanup(self.upstream.free.set)
        self.url = 'http://127.0.0.1:%d' % self.upstream.server_address[1]

    def start(self, rules):
        port = self.upstream.server_address[1]
        sim = self.sim({'sim': 1, 'defaults': {'tps': 0, 'first_ms': 0}, 'rules': rules})
        return sim, self.server(sim, env={'SLUICE_EGRESS_ALLOW': '127.0.0.1:%d' % port, 'SLUICE_EGRESS_HTTP': '1',
                                          'SLUICE_EGRESS_PORTS': '80,443,%d' % port})

    def test_a_kill_in_a_tool_repeats_that_one_and_nothing_else(self):
        sim, s = self.start(turns([get(self.url + '/one'), get(self.url + '/two')], [get(self.url + '/three'), get(self.url + '/held/four')], [get(self.url + '/five')], 'done: {tool}'))
        run_id = s.submit(helper(['http_get']))
        wait_for('one that is held', lambda: '/held/four' in self.upstream.seen)
        wait_for('the one beside it', lambda: s.node(run_id, 'helper#2/tools#1/call')['status'] == 'completed')
        s.kill()
        self.upstream.free.set()
        s.restart()
        run = s.wait_status(run_id, 'succeeded')
        self.assertIn('/five', run['outputs']['text'])
        self.assertEqual(sorted(self.upstream.seen), sorted(['/one', '/two', '/three', '/held/four', '/held/four', '/five']))
        self.assertEqual(len([r for r in sim.requests() if r['stream']]), 4)  # no turn of the model was paid for twice
        told = [e['data']['node_id'] for e in s.events(run_id) if e['event'] == 'tool_execution']
        self.assertEqual(sorted(told), ['helper#1/tools#1/call', 'helper#1/tools#2/call', 'helper#2/tools#1/call', 'helper#2/tools#2/call', 'helper#3/tools#1/call'])

    def test_what_the_network_says_is_told_to_the_model(self):
        calls = [get(self.url + '/fine'), get(self.url + '/gone'), get(self.url + '/bytes/500000'), get(self.url + '/bytes/8388608'),
                 get('http://127.0.0.1:1/'), get('http://169.254.169.254/latest/meta-data/'), get('file:///etc/passwd')]
        _, s = self.start(turns(calls, 'so'))
        run = s.wait_status(s.submit(helper(['http_get'])), 'succeeded')
        log = run['outputs']['log']
        self.assertEqual([e['ok'] for e in log], [True, True, True, False, False, False, False], log)
        self.assertIn('{"status":404', log[1]['result'])
        results = next(n for n in run['nodes'] if n['path'] == 'helper#1/tools')['output']['results']
        self.assertTrue(results[2]['truncated'])
        self.assertIn('cut: this is the beginning of', results[2]['result'])
        self.assertLess(len(results[2]['result']), 70000)
        self.assertEqual([log[n]['error']['code'] for n in (3, 4, 5, 6)], ['too_large', 'egress_denied', 'egress_denied', 'egress_denied'], log)

    def test_a_tool_that_hangs_is_given_up_and_its_socket_closed(self):
        _, s = self.start(turns([get(self.url + '/held')], 'gave up: {tool}'))
        began = time.monotonic()
        run = s.wait_status(s.submit(helper(['http_get'], tool_timeout_s=1)), 'succeeded')
        self.assertLess(time.monotonic() - began, 55)  # after a minute it would be answered
        self.assertEqual(run['outputs']['text'], 'gave up: error: timeout: no result within 1 s')

    def test_the_budget_of_the_run_ends_the_rounds(self):
        rules = [{'match': {}, 'answer': 'more', 'tool_calls': [{'name': 'current_time', 'arguments': {}}]}]
        sim, s = self.start(rules)
        flow = helper(['current_time'], max_iterations=50, max_tokens=200)
        flow['limits'] = {'max_tokens': 3000}
        run = s.wait_status(s.submit(flow), 'failed')
        self.assertEqual(run['error']['code'], 'budget_exhausted', run['error'])
        self.assertLessEqual(run['usage']['input_tokens'] + run['usage']['output_tokens'], 3000)
        asked = len(sim.requests())
        self.assertTrue(2 <= asked < 30, asked)

    def test_a_model_that_asks_for_too_much_fails_its_node_and_nothing_else(self):
        many = [{'name': 'current_time', 'arguments': {}}] * 1000
        large = [{'name': 'calculate', 'arguments': {'expression': '1' * 900000}}]
        some = [{'name': 'current_time', 'arguments': {}}] * 100
        rules = [{'match': {'user': 'many'}, 'tool_calls': many}, {'match': {'user': 'large', 'turn': 1}, 'tool_calls': large}, {'match': {'user': 'large'}, 'answer': '{tool}'},
                 {'match': {'user': 'some', 'turn': 1}, 'tool_calls': some}, {'match': {'user': 'some'}, 'answer': 'ok'}]
        _, s = self.start(rules)
        run = s.wait_status(s.submit(helper(['current_time'], prompt='many')), 'failed')
        self.assertEqual(run['error']['code'], 'malformed_response', run['error'])
        run = s.wait_status(s.submit(helper(['calculate'], prompt='large')), 'succeeded')
        self.assertEqual(run['outputs']['text'], 'error: too_large: the arguments have 900017 bytes; at most 65536 are taken')
        self.assertLess(run['usage']['input_tokens'], 5000)  # they do not go back to the model
        run = s.wait_status(s.submit(helper(['current_time'], prompt='some')), 'succeeded')
        log = run['outputs']['log']
        self.assertEqual((len(log), len([e for e in log if e['ok']])), (100, 16))
        self.assertEqual(log[99]['error']['message'], 'not run: at most 16 tools are run in one turn')


if __name__ == '__main__':
    unittest.main()
