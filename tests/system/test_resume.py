"""Clients that vanish and come back, and clients that hardly read."""
import socket
import time
import unittest

from rig import PATIENCE, SLOW, Case, Failed, Socket, Watcher, debate, llm, wait_for

WORDS = ' '.join('word%d' % i for i in range(400))


class Resume(Case):
    def slow_talker(self, tps=150):
        return self.sim({'sim': 1, 'defaults': {'tps': tps, 'first_ms': 5, 'jitter': 0.5}, 'rules': [
            {'match': {'system': 'judge'}, 'answer': 'done, caf\u00e9 \u6c34 \U0001f600'},
            {'answer': WORDS + ' \u00e9\u6c34\U0001f600', 'thinking': 'let me think about that'}]})

    def test_fifty_disconnects_leave_no_gap(self):
        s = self.server(self.slow_talker(tps=60))
        cuts = 0
        while cuts < 50:  # in one run, but where connecting takes long
            cuts += self.disconnects(s, 50 - cuts)

    def disconnects(self, s, most):
        """As many as there is time for in one run; says how many that was."""
        run_id = s.submit(debate(), {'topic': 'tea'})
        whole, broken = Watcher(run_id), Watcher(run_id)
        steady = self.socket(s)
        whole.subscribe(steady)
        sock, cuts = None, 0
        while not broken.ended:
            if sock is None:
                sock = Socket(s.port, s.token)
                broken.subscribe(sock)
                cut_at = time.monotonic() + self.random.uniform(0.0, 0.08) if cuts < most else float('inf')
            for e in sock.pump(0.01, at_most=self.random.choice((1, 40, 500, 65536))):
                broken.feed(e)
            for e in steady.pump():
                whole.feed(e)
            if sock.closed:
                raise Failed('closed %s' % sock.closed)
            if time.monotonic() > cut_at and not broken.ended:
                sock.close()
                sock = None
                cuts += 1
        if sock:
            sock.close()
        while not whole.ended:
            for e in steady.pump(0.1):
                whole.feed(e)
        self.assertGreater(cuts, 0)
        self.assertEqual(whole.texts, broken.texts)
        common = set(whole.durable) & set(broken.durable)
        self.assertTrue(common)
        self.assertEqual({k: whole.durable[k] for k in common}, {k: broken.durable[k] for k in common})
        run = s.run(run_id)
        for n in run['nodes']:
            if n['type'] == 'llm':
                want = n['output'].get('thinking', '') + n['output']['text']
                self.assertEqual(whole.texts[n['path']].decode(), want)
        return cuts

    def test_a_finished_run_can_be_watched_from_the_start_after_a_restart(self):
        s = self.server(self.slow_talker(tps=2000))
        run_id = s.submit(debate(), {'topic': 'tea'})
        live = Watcher(run_id)
        sock = self.socket(s)
        live.subscribe(sock)
        while not live.ended:
            for e in sock.pump(0.1):
                live.feed(e)
        s.restart()
        late = Watcher(run_id)
        sock = self.socket(s)
        late.subscribe(sock)
        want = {p: len(t) for p, t in live.texts.items()}

        def all_there():
            for e in sock.pump(0.05):
                late.feed(e)
            return {p: len(t) for p, t in late.texts.items()} == want
        wait_for('all the text', all_there, 20)
        self.assertEqual(late.texts, live.texts)

    def test_a_reader_of_one_kilobyte_a_second_costs_constant_memory(self):
        sim = self.sim({'sim': 1, 'defaults': {'tps': 4000, 'first_ms': 1, 'jitter': 0, 'tokens': 6000}, 'rules': []})
        s = self.server(sim)
        # no breaker: on a slow machine these streams take more than 5 s, and are quicker than it holds for right
        d = {'sluice': 1, 'name': 'much', 'limits': {'breaker': False}, 'nodes': [llm('n%d' % i, 'go on %d' % i) for i in range(4)], 'edges': []}
        sockets = []
        run_id = s.submit(d)
        for _ in range(20 if SLOW else 5):
            sock = Socket(s.port, s.token, receive_buffer=4096)
            self.things.append(sock)
            w = Watcher(run_id)
            w.subscribe(sock)
            sockets.append((sock, w))
        before = s.rss_kb()
        most = before
        last = time.monotonic()
        while s.run(run_id)['status'] in ('queued', 'running'):
            for sock, w in sockets:
                for e in sock.pump(at_most=256):
                    w.feed(e)
            most = max(most, s.rss_kb())
            time.sleep(max(0, 0.25 - (time.monotonic() - last)))
            last = time.monotonic()
        run = s.run(run_id)
        self.assertEqual(run['status'], 'succeeded')
        produced = sum(len(n['output']['text']) for n in run['nodes'])
        self.assertGreater(produced, 100000)
        # what the run itself holds is allowed: its text, in a few forms; not a copy for each reader
        if PATIENCE == 1:  # a sanitizer keeps what was freed
            self.assertLess((most - before) * 1024, 6 * produced + (8 << 20))
        want = {n['path']: len(n['output']['text'].encode()) for n in run['nodes']}
        for sock, _ in sockets:  # let go of the brake: everything comes, nothing is missing
            sock.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        until = time.monotonic() + 60 * PATIENCE
        while any({p: len(t) for p, t in w.texts.items()} != want for _, w in sockets):
            self.assertLess(time.monotonic(), until)
            for sock, w in sockets:
                for e in sock.pump():
                    w.feed(e)
                self.assertIsNone(sock.closed)
            time.sleep(0.002)
        for _, w in sockets:
            for n in run['nodes']:
                self.assertEqual(w.texts[n['path']].decode(), n['output']['text'])


if __name__ == '__main__':
    unittest.main()
