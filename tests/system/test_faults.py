"""What a bad network does to model calls and requests: a proxy between the server and its upstream spoils what passes."""
import http.server
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
import unittest

from faultproxy import FaultProxy
from rig import ROOT, SLOW, Case, llm, wait_for

OTHERS = 120000  # ms: of the deadlines that are not meant, and far more than anything takes on a busy machine
TEXT = ' '.join('word%03d' % i for i in range(120))
CUTS = 200 if SLOW else 60
# codes with which a call may end that got no whole answer
BROKEN = {'stream_truncated', 'provider_unreachable', 'malformed_response', 'timeout'}


models = itertools.count(1)


def one(retries=0, **node):
    """One call. Each asks for a model of its own, or the breaker, which is kept by model, would end what is broken on purpose."""
    return {'sluice': 1, 'name': 'one', 'nodes': [{**llm('x', 'go on', model='m%d' % next(models)), 'retry': {'max': retries, 'backoff_ms': 50}, **node}],
            'outputs': {'text': '{{ nodes.x.text }}'}}


class Faults(Case):
    def start(self, scenario=None, **timeouts):
        """A server whose default profile reaches the simulator through the proxy."""
        self.up = self.sim(scenario or {'sim': 1, 'defaults': {'tps': 0, 'first_ms': 0, 'jitter': 0}, 'rules': [{'match': {}, 'answer': TEXT}]})
        self.proxy = FaultProxy('127.0.0.1', self.up.port)
        self.things.append(self.proxy)
        s = self.server(None)
        s.call('PUT', '/llm/profiles/spoilt', {
            'provider': 'openai', 'model': 'm', 'base_url': 'http://127.0.0.1:%d/v1' % self.proxy.port, 'api_keys': ['sk-test-key-0002'],
            'default': True, 'timeouts': timeouts}, expect=(200, 201))
        return s

    def finish(self, s, definition, seconds=60):
        run_id = s.submit(definition)
        return wait_for('an end', lambda: (lambda r: r if r['status'] in ('succeeded', 'failed') else None)(s.run(run_id)), seconds)

    def whole(self, s):
        """One call that nobody spoils. The deadlines are short here, so a busy machine may need another."""
        for _ in range(5):
            run = self.finish(s, one())
            if run['status'] == 'succeeded':
                break
        self.assertEqual(run.get('outputs'), {'text': TEXT}, run.get('error'))

    def nothing_is_open(self):
        wait_for('the sockets to be closed', lambda: self.proxy.stats()['open'] == 0, 5)

    def fails_in_time(self, s, seconds, **toxic):
        """The call ends with `timeout` after so many seconds, not before and by no other deadline, and its socket is closed."""
        self.proxy.add(**toxic)
        began = time.monotonic()
        run = self.finish(s, one())
        took = time.monotonic() - began
        self.proxy.clear()
        self.assertEqual((run['status'], run['error']['code']), ('failed', 'timeout'), run.get('error'))
        self.assertGreaterEqual(took, seconds - 0.05)
        self.assertLess(took, OTHERS / 2000)
        self.nothing_is_open()
        # the way is free again
        self.whole(s)
        self.proxy.cut('close')
        self.nothing_is_open()

    def test_silence_ends_at_the_deadline_of_its_phase(self):
        s = self.start(connect_ms=10000, first_byte_ms=1500, idle_ms=1500, total_ms=OTHERS)
        self.fails_in_time(s, 1.5, kind='black_hole', stream='up')  # taken and never answered
        self.fails_in_time(s, 1.5, kind='black_hole', stream='down')
        self.fails_in_time(s, 1.5, kind='limit', stream='down', bytes=30, then='hold')  # headers that never end
        self.fails_in_time(s, 1.5, kind='limit', stream='down', bytes=700, then='hold')  # silence in the middle
        self.fails_in_time(s, 1.5, kind='slicer', stream='down', size=600, pause_ms=OTHERS)

    def test_a_trickle_ends_at_the_total_deadline(self):
        s = self.start(connect_ms=10000, first_byte_ms=OTHERS, idle_ms=OTHERS, total_ms=3000)
        self.fails_in_time(s, 3.0, kind='slicer', stream='down', size=40, pause_ms=300)
        self.fails_in_time(s, 3.0, kind='slicer', stream='down', size=1, pause_ms=100)  # headers, byte by byte

    def test_a_long_wait_for_the_first_byte_is_allowed_where_it_is_configured(self):
        s = self.start(connect_ms=10000, first_byte_ms=OTHERS, idle_ms=OTHERS, total_ms=OTHERS)
        self.proxy.add('latency', 'down', ms=2500, times=1)
        run = self.finish(s, one())
        self.assertEqual(run['outputs'], {'text': TEXT})
        self.assertGreaterEqual(run['nodes'][0]['output']['first_token_ms'], 2400)

    def test_a_stream_cut_anywhere_is_never_a_short_answer(self):
        s = self.start(connect_ms=10000, first_byte_ms=1000, idle_ms=1000, total_ms=20000)
        for _ in range(5):
            before = self.proxy.stats()['down']
            if self.finish(s, one())['status'] == 'succeeded':
                break
        whole = self.proxy.stats()['down'] - before
        self.assertGreater(whole, 2000)
        ends, short = {}, 0
        for i in range(CUTS):
            self.proxy.cut('close')  # no connection is used twice, so that the bytes count from an answer's first
            self.nothing_is_open()
            at = self.random.randrange(whole + 40)
            how = ('half_close', 'close', 'rst', 'hold')[i % 4]
            self.proxy.add('limit', 'down', bytes=at, then=how)
            run = self.finish(s, one())
            self.proxy.clear()
            if run['status'] == 'succeeded':
                self.assertEqual(run['outputs'], {'text': TEXT}, (at, how))
                self.assertGreater(at, whole - 120)  # behind the marker
            else:
                self.assertIn(run['error']['code'], BROKEN, (at, how, run['error']))
                ends[run['error']['code']] = ends.get(run['error']['code'], 0) + 1
                short += 1
        self.assertGreater(short, CUTS * 3 // 4, ends)

    def test_an_attempt_that_was_cut_is_made_again_and_the_text_is_whole(self):
        s = self.start(connect_ms=10000, first_byte_ms=8000, idle_ms=8000, total_ms=OTHERS)
        for how in ('half_close', 'rst', 'hold'):
            self.proxy.cut('close')
            self.nothing_is_open()
            self.proxy.add('limit', 'down', bytes=1500, then=how, times=1)
            run = self.finish(s, one(retries=3))
            self.proxy.clear()
            self.assertEqual(run['outputs'], {'text': TEXT}, how)
            self.assertEqual(run['nodes'][0]['attempt'], 2)

    def test_slices_and_a_slow_line_change_nothing(self):
        s = self.start(first_byte_ms=OTHERS, idle_ms=OTHERS, total_ms=OTHERS)
        self.proxy.add('slicer', 'down', size=7)
        self.proxy.add('slicer', 'up', size=3)
        self.assertEqual(self.finish(s, one())['outputs'], {'text': TEXT})
        self.proxy.clear()
        self.proxy.add('bandwidth', 'down', bytes_per_s=60000)
        self.assertEqual(self.finish(s, one())['outputs'], {'text': TEXT})

    def test_a_request_whose_answer_was_lost_comes_again_with_the_same_key(self):
        class Shop(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers['Content-Length']))
                self.server.keys.append(self.headers['Idempotency-Key'])
                self.send_response(201)
                self.send_header('Content-Length', '2')
                self.end_headers()
                self.wfile.write(b'ok')

            def log_message(self, *args):
                pass

        shop = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Shop)
        shop.daemon_threads, shop.keys = True, []
        threading.Thread(target=shop.serve_forever, daemon=True).start()
        self.addCleanup(shop.server_close)
        self.addCleanup(shop.shutdown)
        proxy = FaultProxy('127.0.0.1', shop.server_address[1])
        self.things.append(proxy)
        s = self.server(None, env={'SLUICE_EGRESS_ALLOW': '127.0.0.1:%d' % proxy.port})
        proxy.add('drop_reply', 'down', times=2)
        run = self.finish(s, {'sluice': 1, 'name': 'order', 'nodes': [
            {'id': 'order', 'type': 'http', 'retry': {'max': 3, 'backoff_ms': 50},
             'params': {'method': 'POST', 'url': 'http://127.0.0.1:%d/orders' % proxy.port, 'body': {'item': 'tea'}}}]})
        self.assertEqual(run['status'], 'succeeded', run.get('error'))
        self.assertEqual(len(shop.keys), 3)
        self.assertEqual(len(set(shop.keys)), 1)
        self.assertEqual(run['nodes'][0]['attempt'], 3)


class TheProxyItself(unittest.TestCase):
    """Its promises, because everything above stands on them."""

    def setUp(self):
        self.server = socket.create_server(('127.0.0.1', 0))
        self.addCleanup(self.server.close)
        self.proxy = FaultProxy('127.0.0.1', self.server.getsockname()[1])
        self.addCleanup(self.proxy.close)

    def connect(self):
        client = socket.create_connection(('127.0.0.1', self.proxy.port), 10)
        upstream, _ = self.server.accept()
        upstream.settimeout(10)
        self.addCleanup(client.close)
        self.addCleanup(upstream.close)
        return client, upstream

    def test_without_toxics_everything_passes_both_ways_and_ends_as_it_ends(self):
        client, upstream = self.connect()
        client.sendall(b'question')
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(upstream.recv(100), b'question')
        self.assertEqual(upstream.recv(100), b'')
        upstream.sendall(b'answer')
        upstream.close()
        self.assertEqual(client.recv(100), b'answer')
        self.assertEqual(client.recv(100), b'')

    def test_a_limit_passes_so_many_bytes_and_then_does_what_it_says(self):
        for how, error in (('half_close', None), ('close', None), ('rst', ConnectionResetError)):
            self.proxy.clear()
            self.proxy.add('limit', 'down', bytes=4, then=how)
            client, upstream = self.connect()
            upstream.sendall(b'ans')
            self.assertEqual(client.recv(100), b'ans')
            upstream.sendall(b'wer')
            if error:
                with self.assertRaises(error):
                    while client.recv(100):
                        pass
            else:
                self.assertEqual(client.recv(100), b'w')
                self.assertEqual(client.recv(100), b'')

    def test_half_of_a_closed_connection_goes_on(self):
        self.proxy.add('limit', 'down', bytes=1, then='half_close')
        client, upstream = self.connect()
        upstream.sendall(b'ab')
        self.assertEqual(client.recv(100), b'a')
        self.assertEqual(client.recv(100), b'')
        client.sendall(b'still here')
        self.assertEqual(upstream.recv(100), b'still here')

    def test_a_hole_swallows_and_keeps_the_connection(self):
        self.proxy.add('black_hole', 'up')
        client, upstream = self.connect()
        client.sendall(b'question')
        upstream.settimeout(0.3)
        with self.assertRaises(TimeoutError):
            upstream.recv(100)
        self.proxy.clear()
        client.sendall(b'another')
        upstream.settimeout(10)
        self.assertEqual(upstream.recv(100), b'another')

    def test_delay_slices_and_bandwidth_take_their_time(self):
        client, upstream = self.connect()
        for toxic, seconds in (({'kind': 'latency', 'ms': 200}, 0.2), ({'kind': 'bandwidth', 'bytes_per_s': 50}, 0.2),
                               ({'kind': 'slicer', 'size': 2, 'pause_ms': 50}, 0.2)):
            self.proxy.clear()
            self.proxy.add(stream='down', **toxic)
            began = time.monotonic()
            upstream.sendall(b'0123456789')
            got = b''
            while len(got) < 10:
                got += client.recv(100)
            self.assertGreaterEqual(time.monotonic() - began, seconds - 0.01, toxic)
            self.assertEqual(got, b'0123456789')

    def test_it_refuses_for_as_many_connections_as_it_was_told(self):
        self.proxy.add('refuse', times=1)
        with self.assertRaises(OSError):
            client = socket.create_connection(('127.0.0.1', self.proxy.port), 10)
            self.addCleanup(client.close)
            client.sendall(b'x')
            if client.recv(1) == b'':
                raise OSError
        client, upstream = self.connect()
        client.sendall(b'x')
        self.assertEqual(upstream.recv(1), b'x')

    def test_as_a_process_it_is_told_over_its_control_port(self):
        process = subprocess.Popen([sys.executable, os.path.join(ROOT, 'tests/lib/faultproxy.py'), '--to',
                                    '127.0.0.1:%d' % self.server.getsockname()[1]], stdout=subprocess.PIPE)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        ports = json.loads(process.stdout.readline())
        with socket.create_connection(('127.0.0.1', ports['control']), 10) as control, control.makefile('rw') as lines:
            def tell(**order):
                lines.write(json.dumps(order) + '\n')
                lines.flush()
                return json.loads(lines.readline())
            self.assertEqual(tell(cmd='add', kind='limit', stream='down', bytes=2, then='close'), {'ok': True, 'id': 1})
            self.assertFalse(tell(cmd='add', kind='limit', stream='down', bytes=2)['ok'])
            self.assertFalse(tell(cmd='dance')['ok'])
            with socket.create_connection(('127.0.0.1', ports['port']), 10) as client:
                upstream, _ = self.server.accept()
                upstream.sendall(b'abcd')
                self.assertEqual(client.recv(10), b'ab')
                self.assertEqual(client.recv(10), b'')
                upstream.close()
            self.assertTrue(tell(cmd='remove', id=1)['ok'])
            self.assertEqual(tell(cmd='stats')['accepted'], 1)


if __name__ == '__main__':
    unittest.main()
