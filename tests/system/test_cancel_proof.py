"""G1: an order closes the provider's socket within 50 ms, and the ledger says so.

The provider (tests/lib/endless.py) is a process of its own and talks for ever; it notes when it sees each connection closed. Its clock and ours are
the same monotonic one, so the time from the moment a cancel was sent to the moment the provider knew is measured without anything of ours between.

SLUICE_SLOW=1, on a machine with nothing else to do: 99 of 100 of 500 streams (SLUICE_PROOF_STREAMS) within the 50 ms. Otherwise 100 streams on a
machine that may be busy: a quarter of them in that time and what a bare request takes just then, and none so late that it could have waited for
the provider's next word, a deadline or a look-round.
"""
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest
import urllib.request

from rig import PATIENCE, ROOT, SLOW, Case, edges, llm, wait_for

STREAMS = int(os.environ.get('SLUICE_PROOF_STREAMS', '500' if SLOW else '100'))
WITHIN = 0.05 * PATIENCE
LATEST = 12 * PATIENCE  # the provider says a word each TPS seconds; until then it hears of nothing
TPS = 1 / (4 * LATEST)


class Endless:
    def __init__(self, tps):
        self.process = subprocess.Popen([sys.executable, os.path.join(ROOT, 'tests/lib/endless.py'), '--tps', str(tps)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.port = json.loads(self.process.stdout.readline())['port']

    def log(self):
        with urllib.request.urlopen('http://127.0.0.1:%d/log' % self.port, timeout=30) as r:
            return json.load(r)

    def close(self):
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()


def talk(kind='go on', **node):
    return {'sluice': 1, 'name': 'talk', 'limits': {'breaker': False}, 'nodes': [{**llm('x', kind + ' {{ run.id }}'), 'retry': {'max': 0}, **node}]}


def p(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]


class Proof(Case):
    def start(self, tps=TPS, **env):
        self.provider = Endless(tps)
        self.things.append(self.provider)
        s = self.server(env={'SLUICE_EGRESS_ALLOW': '127.0.0.1:%d' % self.provider.port, **env})
        s.call('PUT', '/llm/profiles/endless', {'provider': 'openai', 'model': 'endless', 'api_keys': ['sk-test-key-0003'], 'default': True,
                                                'base_url': 'http://127.0.0.1:%d/v1' % self.provider.port,
                                                'price': {'input_usd_per_1m': 1000, 'output_usd_per_1m': 2000}}, expect=(200, 201))
        return s

    def streaming(self, names, chunks=1):
        """Waits until the provider talks to each of them."""
        def look():
            log = self.provider.log()
            return log if all(any(c['closed'] is None and c['chunks'] >= chunks for c in log.get(n, [])) for n in names) else None
        return wait_for('the provider to talk to all', look, 60, every=0.1)

    def heard(self, s, runs, node='x'):
        """Waits until the provider talks to each of them, and the server has heard it."""
        self.streaming(runs)
        for some in (runs[i:i + 100] for i in range(0, len(runs), 100)):
            ws, left = self.socket(s), set(some)
            for r in some:
                ws.send(cmd='subscribe', run_id=r)

            def look(ws=ws, left=left):
                for e in ws.pump(0.1):
                    data = e.get('data', {})
                    if e['event'] == 'token_stream' or e['event'] == 'snapshot' and data['streams'].get(node, {}).get('end'):
                        left.discard(e['run_id'])
                return not left
            wait_for('the server to hear all', look, 60, every=0)
            ws.close()

    def closed(self, names):
        """When the provider saw the last connection of each closed."""
        def look():
            log = self.provider.log()
            return log if all(log[n][-1]['closed'] for n in names) else None
        log = wait_for('the provider to see all closed', look, 20)
        return {n: log[n][-1] for n in names}

    def ledger(self, s, run_id, n=1):
        return wait_for('%d rows in the ledger of %s' % (n, run_id),
                        lambda: (lambda rows: rows if len(rows) >= n else None)(s.call('GET', '/runs/%s/ledger' % run_id)['items']), 20)

    def one_row(self, s, run_id, connection, reason, node='x', kind='llm'):
        rows = self.ledger(s, run_id)
        self.assertEqual(len(rows), 1, rows)
        row = rows[0]
        self.assertEqual((row['node_id'], row['reason'], row['kind'], row['closed'], row['http_status']), (node, reason, kind, 'socket', 200), row)
        self.assertTrue(0 < row['close_us'] < LATEST * 1e6, row)  # the time itself is looked at where it is measured from outside
        self.assertTrue(0 < row['bytes'] <= connection['bytes'], (row, connection))
        if kind == 'llm':
            self.assertTrue(0 < row['chunks'] <= connection['chunks'], (row, connection))
            self.assertTrue(row['estimated'] and row['input_tokens'] > 0 and row['output_tokens'] > 0, row)
            self.assertAlmostEqual(row['estimated_cost_usd'], row['input_tokens'] * 1e-3 + row['output_tokens'] * 2e-3, places=4)
        return row

    def booked(self, s, run_id, row, node='x', status='cancelled'):
        """What was cut is in the journal once, before its node ended, and in the totals of the run."""
        events = s.events(run_id)
        usage = [e for e in events if e['event'] == 'token_usage']
        ended = [e for e in events if e['event'] == 'node_state_change' and e['data']['node_id'] == node and e['data']['status'] == status]
        self.assertEqual((len(usage), len(ended)), (1, 1), events)
        self.assertLess(usage[0]['seq'], ended[0]['seq'])
        self.assertIs(usage[0]['data'].get('estimated'), True)
        self.assertEqual(usage[0]['data']['input_tokens'], row['input_tokens'])
        # a piece may have been on its way when the order came
        self.assertTrue(0 < usage[0]['data']['output_tokens'] <= row['output_tokens'], (usage, row))
        run = s.run(run_id)
        self.assertEqual(run['usage']['output_tokens'], usage[0]['data']['output_tokens'])
        self.assertGreater(run['cost_usd'], 0)

    def order(self, sock, s, run_id, name='cancel', body=b''):
        sock.sendall(b'POST /api/v1/runs/%s/%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n'
                     b'Content-Length: %d\r\n\r\n%s' % (run_id.encode(), name.encode(), s.port, s.token.encode(), len(body), body))

    def answer(self, sock):
        data = b''
        while b'\r\n\r\n' not in data:
            data += sock.recv(65536)
        head, _, body = data.partition(b'\r\n\r\n')
        length = int(head.lower().split(b'content-length:')[1].split(b'\r\n')[0])
        while len(body) < length:
            body += sock.recv(65536)
        self.assertIn(b' 200 ', head.split(b'\r\n')[0] + b' ', body)
        return json.loads(body)

    def connect(self, s):
        sock = socket.create_connection(('127.0.0.1', s.port), timeout=60 * PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.things.append(sock)
        return sock

    def bare(self, s):
        """What a request takes that asks for nothing, just now."""
        took = []
        for _ in range(5):
            began = time.monotonic()
            s.raw('GET', '/livez')
            took.append(time.monotonic() - began)
        return sorted(took)[2]

    def proof(self, s, sent, what, bare=None):
        """When the provider saw each closed. With `bare`, also whether that was in time."""
        seen = self.closed(sent)
        took = [seen[r]['closed'] - at for r, at in sent.items()]
        self.assertEqual(sum(1 for c in seen.values() if c['how'] == 'done'), 0)
        print('%s of %d streams, from the order sent to the close seen by the provider: median %.1f ms, p99 %.1f ms, worst %.1f ms'
              % (what, len(took), p(took, .5) * 1e3, p(took, .99) * 1e3, max(took) * 1e3), flush=True)
        self.assertLess(max(took), LATEST, what)
        if bare is None:
            return seen
        return seen, p(took, .99) <= WITHIN if SLOW else p(took, .25) <= WITHIN + 10 * bare

    def test_every_cancel_closes_its_socket_and_leaves_one_row(self):
        s = self.start()
        runs, seen = [], {}

        def one_after_the_other(some):
            sock, sent = self.connect(s), {}
            for r in some:
                sent[r] = time.monotonic()
                self.order(sock, s, r)
                self.assertEqual(self.answer(sock)['status'], 'cancelled')
            return sent

        def burst(some):  # all at once, each over a connection of its own
            socks, sent = {r: self.connect(s) for r in some}, {}
            for r, sock in socks.items():
                sent[r] = time.monotonic()
                self.order(sock, s, r)
            for sock in socks.values():
                self.assertEqual(self.answer(sock)['status'], 'cancelled')
            return sent

        for how in (one_after_the_other, burst):
            for _ in range(5):  # other work on this machine may hold one up, hardly five
                some = [s.submit(talk()) for _ in range(STREAMS // 2)]
                runs += some
                self.heard(s, some)
                bare = self.bare(s)
                closed, in_time = self.proof(s, how(some), how.__name__.replace('_', ' '), bare)
                seen.update(closed)
                if in_time:
                    break
            else:
                self.fail('five times, and never in time')
        for r in runs:
            row = self.one_row(s, r, seen[r], 'cancelled')
            self.booked(s, r, row)
        # nothing came after the order: the text that was kept is no longer than what had come
        for r in runs[:10]:
            ws = self.socket(s)
            ws.send(cmd='subscribe', run_id=r)
            snapshot = ws.until(lambda e: e['event'] == 'snapshot')['data']
            self.assertLessEqual(snapshot['streams']['x']['end'], seen[r]['bytes'])
            ws.close()
        m = s.metrics()
        self.assertEqual(m['sluice_call_cancel_close_seconds_count'], len(runs))
        self.assertEqual((m['sluice_call_ledger_rows_total'], m['sluice_call_ledger_lost_total']), (len(runs), 0))

    def test_no_token_is_told_after_the_cancel(self):
        s = self.start()
        run_id = s.submit(talk('fast'))
        ws = self.socket(s)
        ws.send(cmd='set', flush_ms=0)
        ws.send(cmd='subscribe', run_id=run_id)
        ws.until(lambda e: e['event'] == 'token_stream' and e['data']['end'] > 5000)
        s.call('POST', '/runs/%s/cancel' % run_id)
        ws.until(lambda e: e['event'] == 'execution:cancelled')
        ws.send(cmd='ping', id='after')
        ws.until(lambda e: e['event'] == 'pong')
        names = [e['event'] for e in ws.events]
        self.assertNotIn('token_stream', names[names.index('execution:cancelled'):])
        said = sum(len(e['data']['chunk'].encode()) for e in ws.events if e['event'] == 'token_stream')
        row = self.one_row(s, run_id, self.closed([run_id])[run_id], 'cancelled')
        self.assertLess(said, row['bytes'])  # the events around the words
        again = self.socket(s)
        again.send(cmd='subscribe', run_id=run_id)
        self.assertEqual(again.until(lambda e: e['event'] == 'snapshot')['data']['streams']['x']['end'], said)

    def test_pause_trip_timeout_join_failure_and_children_close_it_too(self):
        s = self.start(tps=20)
        sock = self.connect(s)
        # pause now: what was cut is booked, and repeated after the resume
        run_id = s.submit(talk())
        self.heard(s, [run_id])
        sent = time.monotonic()
        self.order(sock, s, run_id, 'pause', b'{"mode":"now"}')
        self.assertEqual(self.answer(sock)['status'], 'paused')
        seen = self.proof(s, {run_id: sent}, 'pause now')[run_id]
        self.booked(s, run_id, self.one_row(s, run_id, seen, 'paused'), status='pending')
        s.call('POST', '/runs/%s/resume' % run_id)
        self.streaming([run_id])
        s.call('POST', '/runs/%s/cancel' % run_id)
        rows = self.ledger(s, run_id, 2)
        self.assertEqual([(r['attempt'], r['reason']) for r in rows], [(1, 'paused'), (2, 'cancelled')])
        # the run breaker
        run_id = s.submit({**talk('circle'), 'limits': {}})
        s.wait_status(run_id, 'locked')
        self.booked(s, run_id, self.one_row(s, run_id, self.closed([run_id])[run_id], 'locked'), status='pending')
        # a timeout of the node, and one of the profile
        run_id = s.submit(talk(timeout_s=5))
        wait_for('it to fail', lambda: s.run(run_id)['status'] == 'failed')
        row = self.one_row(s, run_id, self.closed([run_id])[run_id], 'timeout')
        self.booked(s, run_id, row, status='failed')
        # a join that has enough
        run_id = s.submit({'sluice': 1, 'name': 'race', 'nodes': [llm('a', 'go on {{ run.id }}-a'), llm('w', 'go on {{ run.id }}-w'),
                                                                  {'id': 'd', 'type': 'wait_signal', 'params': {'signal': 'go'}},
                                                                  {'id': 'j', 'type': 'join', 'params': {'wait': 'any', 'cancel_rest': True}}],
                           'edges': edges(('a', 'j'), ('w', 'j'), ('d', 'j'))})
        self.streaming([run_id + '-a', run_id + '-w'])
        s.call('POST', '/runs/%s/signal' % run_id, {'signal': 'go'})
        s.wait_status(run_id, 'succeeded')
        seen = self.closed([run_id + '-a', run_id + '-w'])
        rows = sorted(self.ledger(s, run_id, 2), key=lambda r: r['node_id'])
        self.assertEqual([(r['node_id'], r['reason'], r['closed']) for r in rows], [('a', 'not_needed', 'socket'), ('w', 'not_needed', 'socket')])
        self.assertLessEqual(rows[0]['bytes'], seen[run_id + '-a']['bytes'])
        # another node's failure
        run_id = s.submit({'sluice': 1, 'name': 'fall', 'nodes': [llm('x', 'go on {{ run.id }}'), {'id': 'd', 'type': 'wait_signal', 'params': {'signal': 'go'}},
                                                                  {'id': 'f', 'type': 'transform', 'params': {'expr': 'nil + 1'}}],
                           'edges': edges(('d', 'f'))})
        self.heard(s, [run_id])
        s.call('POST', '/runs/%s/signal' % run_id, {'signal': 'go'})
        wait_for('it to fail', lambda: s.run(run_id)['status'] == 'failed')
        self.booked(s, run_id, self.one_row(s, run_id, self.closed([run_id])[run_id], 'run_failed'))
        # a child run, over its parent: once the parent's end is committed, not before, or it could lose its child to an order nobody remembers
        s.call('POST', '/workflows', {**talk(), 'name': 'child-%s' % run_id[-6:]})
        run_id = s.submit({'sluice': 1, 'name': 'parent', 'nodes': [
            {'id': 'sub', 'type': 'subworkflow', 'params': {'workflow': 'child-%s' % run_id[-6:], 'inputs': {}}}], 'edges': []})
        child = wait_for('the child', lambda: next((e['data'] for e in s.events(run_id) if e['event'] == 'subworkflow:started'), None))
        child = child.get('run') or child['run_id']
        self.heard(s, [child])
        sent = time.monotonic()
        self.order(sock, s, run_id)
        self.assertEqual(self.answer(sock)['status'], 'cancelled')
        seen = self.proof(s, {child: sent}, 'cancel of the parent')[child]
        s.wait_status(child, 'cancelled')
        self.booked(s, child, self.one_row(s, child, seen, 'cancelled'))
        # a request of a workflow
        run_id = s.submit({'sluice': 1, 'name': 'web', 'nodes': [
            {'id': 'h', 'type': 'http', 'params': {'url': 'http://127.0.0.1:%d/go/{{ run.id }}' % self.provider.port}}], 'edges': []})
        self.streaming([run_id], chunks=60)  # three seconds of it: the server has heard some
        sent = time.monotonic()
        self.order(sock, s, run_id)
        self.assertEqual(self.answer(sock)['status'], 'cancelled')
        row = self.one_row(s, run_id, self.proof(s, {run_id: sent}, 'http node')[run_id], 'cancelled', node='h', kind='http')
        self.assertEqual(row['provider'], '127.0.0.1')
        # who comes to the end leaves no row
        run_id = s.submit(talk('short'))
        s.wait_status(run_id, 'succeeded')
        self.assertEqual(s.call('GET', '/runs/%s/ledger' % run_id)['items'], [])
        s.call('GET', '/runs/00000000-0000-7000-8000-000000000000/ledger', expect=(404,))

    def test_rows_outlive_a_database_that_is_away_and_a_server_that_stops(self):
        s = self.start()
        runs = [s.submit(talk()) for _ in range(5)]
        self.heard(s, runs)
        with open(os.path.join(s.data, 'pg', 'postmaster.pid'), encoding='ascii') as f:
            postmaster = int(f.readline())
        # PostgreSQL answers nothing for a while: the sockets are closed all the same, and the answers wait
        os.kill(postmaster, signal.SIGSTOP)
        children = subprocess.run(['pgrep', '-P', str(postmaster)], capture_output=True, text=True, check=True).stdout.split()
        for c in children:
            os.kill(int(c), signal.SIGSTOP)
        try:
            sent, socks = {}, []
            for r in runs[:3]:
                socks.append(self.connect(s))
                sent[r] = time.monotonic()
                self.order(socks[-1], s, r)
            seen = self.proof(s, sent, 'PostgreSQL away')
            time.sleep(3)
        finally:
            for c in [*children, str(postmaster)]:
                os.kill(int(c), signal.SIGCONT)
        for sock in socks:
            self.assertEqual(self.answer(sock)['status'], 'cancelled')
        for r in sent:
            self.one_row(s, r, seen[r], 'cancelled')
        # a proper stop writes what it cut; the runs go on
        s.process.stop()
        seen = self.closed(runs[3:])
        s.start()
        for r in runs[3:]:
            self.assertEqual([(x['reason'], x['attempt'], x['closed']) for x in self.ledger(s, r)], [('stopping', 1, 'socket')])
        self.streaming(runs[3:])
        for r in runs[3:]:
            s.call('POST', '/runs/%s/cancel' % r)
            self.assertEqual([(x['reason'], x['attempt']) for x in self.ledger(s, r, 2)], [('stopping', 1), ('cancelled', 2)])


if __name__ == '__main__':
    unittest.main()
