"""The way out of workflows, and what they will take, with the real binary: an allowed upstream and a canary on the same machine."""
import http.server
import json
import os
import socket
import subprocess
import threading
import unittest

from rig import SLUICE, Case, wait_for


class Upstream(http.server.ThreadingHTTPServer):
    """Answers JSON, and remembers who came."""
    daemon_threads = True

    def __init__(self, address):
        self.seen = []
        super().__init__((address, 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        body = self.rfile.read(int(self.headers.get('Content-Length', 0)))
        self.server.seen.append((self.command, self.path, dict(self.headers), body))
        text = json.dumps({'n': len(self.server.seen)}).encode()
        if self.path.startswith('/to/'):
            self.send_response(302)
            self.send_header('Location', 'http://127.0.0.1:%s/' % self.path.split('/')[2])
            text = b''
        else:
            self.send_response(200)
            self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = answer

    def log_message(self, *args):
        pass


class Canary:
    """Listens on every address of this machine and counts connections."""

    def __init__(self):
        self.sock = socket.create_server(('', 0))
        self.port = self.sock.getsockname()[1]
        self.came = 0
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            try:
                connection, _ = self.sock.accept()
            except OSError:
                return
            self.came += 1
            connection.close()


def call(url, **params):
    return {'sluice': 1, 'name': 'call', 'nodes': [{'id': 'call', 'type': 'http', 'params': {'url': url, **params}}],
            'outputs': {'n': '{{ nodes.call.json.n }}'}}


class Egress(Case):
    def setUp(self):
        super().setUp()
        self.upstream = Upstream('127.0.0.1')
        self.addCleanup(self.upstream.server_close)
        self.addCleanup(self.upstream.shutdown)
        self.canary = Canary()
        self.addCleanup(self.canary.sock.close)
        self.port = self.upstream.server_address[1]

    def test_only_the_allowed_pair_is_reached_and_every_refusal_is_counted(self):
        s = self.server(None, env={'SLUICE_EGRESS_ALLOW': '127.0.0.1:%d' % self.port, 'SLUICE_EGRESS_HTTP': '1',
                                   'SLUICE_EGRESS_PORTS': '80,443,%d,%d' % (self.canary.port, self.port)})
        run = s.wait_status(s.submit(call('http://127.0.0.1:%d/x' % self.port, method='POST', body={'a': 1})), 'succeeded')
        self.assertEqual(run['outputs'], {'n': 1})
        method, path, headers, body = self.upstream.seen[0]
        self.assertEqual((method, path, body), ('POST', '/x', b'{"a":1}'))
        self.assertEqual(len(headers['Idempotency-Key']), 64)
        forms = ['127.0.0.1', 'localhost', '127.1', '2130706433', '0x7f000001', '017700000001', '[::1]', '[::ffff:127.0.0.1]', '0.0.0.0',
                 '127.0.0.1.', 'user@127.0.0.1', '127。0。0。1', '%31%32%37.0.0.1', '[::ffff:7f00:1]', '127.0.0.2', 'localhost.localdomain']
        urls = ['http://%s:%d/' % (form, self.canary.port) for form in forms]
        urls += ['http://127.0.0.2:%d/' % self.port, 'http://127.0.0.1:%d/' % s.port, 'http://169.254.169.254/latest/meta-data/']
        for url in urls:
            failed = s.wait_status(s.submit(call(url)), 'failed')
            self.assertEqual(failed['error']['code'], 'egress_denied', url)
        chain = call('http://127.0.0.1:%d/to/%d' % (self.port, self.canary.port), follow=5)
        self.assertEqual(s.wait_status(s.submit(chain), 'failed')['error']['code'], 'egress_denied')
        metrics = s.metrics()
        denied = sum(v for k, v in metrics.items() if k.startswith('sluice_egress_denied_total'))
        self.assertEqual(denied, len(urls) + 1)
        self.assertEqual(metrics['sluice_egress_requests_total'], len(urls) + 2)
        self.assertEqual(self.canary.came, 0)
        self.assertEqual([seen[1] for seen in self.upstream.seen], ['/x', '/to/%d' % self.canary.port])

    def test_without_a_word_of_the_operator_nothing_on_this_machine_is_reached(self):
        s = self.server(None)
        for url in ('http://127.0.0.1:%d/' % self.port, 'https://127.0.0.1:%d/' % self.port, 'https://localhost/'):
            self.assertEqual(s.wait_status(s.submit(call(url)), 'failed')['error']['code'], 'egress_denied', url)
        self.assertEqual(self.upstream.seen, [])

    def test_a_pair_that_cannot_be_read_stops_the_start(self):
        out = subprocess.run([SLUICE, 'serve', '--data', os.path.join('/tmp', 'sluice-egress-%d' % os.getpid()), '--egress-allow', 'example.com',
                              '--listen', '127.0.0.1:0'], capture_output=True, text=True, timeout=120, check=False,
                             env={k: v for k, v in os.environ.items() if not k.startswith('SLUICE_')})
        subprocess.run(['rm', '-rf', '/tmp/sluice-egress-%d' % os.getpid()], check=False)
        self.assertEqual(out.returncode, 1, out.stderr)
        self.assertIn("'example.com' is not host:port", out.stdout + out.stderr)


class Estimate(Case):
    WORKFLOW = {'sluice': 1, 'name': 'forecast', 'nodes': [
        {'id': 'ask', 'type': 'llm', 'params': {'prompt': 'Say why {{ input.topic }} is good.', 'max_tokens': 400}},
        {'id': 'refine', 'type': 'loop', 'params': {'max_rounds': 3, 'until': 'loop.index > 1', 'body': {'nodes': [
            {'id': 'again', 'type': 'llm', 'params': {'prompt': 'Say it better: {{ nodes.ask.text }}'}}], 'edges': []}}}],
        'edges': [{'from': 'ask', 'to': 'refine'}]}

    def test_a_forecast_is_there_for_stored_workflows_and_for_drafts(self):
        sim = self.sim({'sim': 1, 'rules': [{'match': {}, 'answer': 'well'}]})
        s = self.server(sim)
        draft = s.call('POST', '/workflows/forecast/estimate', {'definition': self.WORKFLOW, 'inputs': {'topic': 'tea'}})
        self.assertEqual([n['path'] for n in draft['nodes']], ['ask', 'refine', 'refine/again'])
        self.assertEqual(draft['nodes'][2]['runs'], {'min': 1, 'expected': 2, 'max': 3})
        self.assertEqual(draft['nodes'][0]['profile'], 'upstream')
        for what in ('tokens', 'cost_usd'):
            self.assertTrue(draft[what]['min'] <= draft[what]['expected'] <= draft[what]['max'], draft[what])
        self.assertEqual([w['code'] for w in draft['warnings']], ['unpriced'])
        status, _, _ = s.raw('POST', '/api/v1/workflows/forecast/estimate')
        self.assertEqual(status, 404)
        s.call('POST', '/workflows', self.WORKFLOW)
        stored = s.call('POST', '/workflows/forecast/estimate', {'inputs': {'topic': 'tea'}})
        self.assertEqual(stored, draft)
        s.call('PUT', '/llm/prices', {'items': [{'model': 'test-model', 'input_usd_per_1m': 1000, 'output_usd_per_1m': 1000}]})
        dear = s.call('POST', '/workflows/forecast/estimate', {'inputs': {'topic': 'tea'}})
        self.assertEqual([w['code'] for w in dear['warnings']], ['high_cost'])
        self.assertAlmostEqual(dear['cost_usd']['expected'], dear['tokens']['expected'] / 1000, places=2)
        status, _, data = s.raw('POST', '/api/v1/workflows/forecast/estimate', {'definition': {'sluice': 1, 'nodes': [{'id': 'a', 'type': 'lm'}]}})
        self.assertEqual(status, 422)
        self.assertEqual(json.loads(data)['errors'][0]['pointer'], '/definition/nodes/0/type')
        status, _, _ = s.raw('POST', '/api/v1/workflows/forecast/estimate', {'wrong': 1})
        self.assertEqual(status, 422)
        env = {**os.environ, 'SLUICE_URL': s.url, 'SLUICE_TOKEN': s.token}
        path = os.path.join(s.data, 'forecast.json')
        with open(path, 'w', encoding='utf-8') as f:
            json.dump(self.WORKFLOW, f)
        for what in ('forecast', path):
            out = subprocess.run([SLUICE, 'estimate', what, '--input', 'topic=tea', '--json'], capture_output=True, text=True, env=env,
                                 timeout=60, check=True)
            self.assertEqual(json.loads(out.stdout), dear)
        text = subprocess.run([SLUICE, 'estimate', 'forecast'], capture_output=True, text=True, env=env, timeout=60, check=True).stdout
        self.assertIn('refine/again', text)
        self.assertIn('high_cost', text)
        # a forecast starts nothing
        self.assertEqual(s.call('GET', '/runs')['items'], [])
        self.assertEqual(sim.requests(), [])
        wait_for('it to be ready still', lambda: s.raw('GET', '/readyz')[0] == 200)


if __name__ == '__main__':
    unittest.main()
