"""G7: a pause cuts a stream between two pieces of text; what had come is kept, shown and paid for once, also over a restart."""
import time
import unittest

from rig import PATIENCE, Case, Watcher, llm, wait_for

TEXT = ' '.join('word%03d' % i for i in range(200))
PRICE = {'input_usd_per_1m': 1000, 'output_usd_per_1m': 2000}


class Prefix(Case):
    def watch(self, s, w):
        ws = self.socket(s)
        ws.send(cmd='set', flush_ms=0)
        w.subscribe(ws)
        return ws

    def feed(self, ws, w, until, seconds=60):
        end = time.monotonic() + seconds * PATIENCE
        while not until():
            for e in ws.pump(0.2):
                w.feed(e)
            self.assertIsNone(ws.closed)
            self.assertLess(time.monotonic(), end, 'it did not come')

    def shown(self, s, run_id):
        """The text as somebody sees it who comes now."""
        w = Watcher(run_id)
        ws = self.watch(s, w)
        snapshot = {}

        def whole():
            for e in ws.pump(0.2):
                w.feed(e)
                if e['event'] == 'snapshot':
                    snapshot.update(e['data']['streams'].get('x', {}))
            return snapshot and len(w.texts.get('x', b'')) >= snapshot['end']
        wait_for('the text that the snapshot tells of', whole)
        status = s.run(run_id)['status']
        time.sleep(0.3)  # nothing comes that it does not tell of
        for e in ws.pump(0.2):
            w.feed(e)
        ws.close()
        return status, w.attempts.get('x'), w.texts.get('x', b'').decode()

    def pause_and_resume(self, restart):
        sim = self.sim({'sim': 1, 'rules': [{'match': {}, 'answer': TEXT, 'tps': 20, 'first_ms': 5, 'jitter': 0}]})
        s = self.server(sim)
        s.call('PUT', '/llm/profiles/upstream', {'provider': 'openai', 'model': 'test-model', 'base_url': sim.url, 'default': True,
                                                 'api_keys': ['sk-test-key-0001'], 'price': PRICE}, expect=(200, 201))
        run_id = s.submit({'sluice': 1, 'name': 'talk', 'nodes': [llm('x', 'talk')], 'outputs': {'text': '{{ nodes.x.text }}'}})
        w = Watcher(run_id)
        ws = self.watch(s, w)
        self.feed(ws, w, lambda: len(w.texts.get('x', b'')) > 200)
        s.call('POST', '/runs/%s/pause' % run_id, {'mode': 'now'})
        wait_for('the socket to close', lambda: sim.stats()['closed_by_client'] == 1, 5)
        self.feed(ws, w, lambda: w.status == 'paused')
        before = self.shown(s, run_id)
        prefix = before[2]
        self.assertEqual(before[:2], ('paused', 1))
        # between two pieces: whole words, as they came, and no less than whoever watched has
        self.assertTrue(200 < len(prefix) < len(TEXT) and TEXT.startswith(prefix), prefix)
        self.assertTrue(prefix.startswith(w.texts['x'].decode()), (prefix, w.texts['x']))
        self.feed(ws, w, lambda: len(w.texts['x']) == len(prefix))
        if restart:
            ws.close()
            s.restart()
            self.assertEqual(self.shown(s, run_id), before)  # the prefix is kept
            ws = self.watch(s, w)
        paid = s.run(run_id)
        (usage,) = [e['data'] for e in s.events(run_id) if e['event'] == 'token_usage']
        (row,) = wait_for('the row', lambda: s.call('GET', '/runs/%s/ledger' % run_id)['items'])
        self.assertEqual((row['reason'], usage['estimated'], paid['usage']['output_tokens']), ('paused', True, usage['output_tokens']))
        self.assertAlmostEqual(paid['cost_usd'], usage['input_tokens'] * 1e-3 + usage['output_tokens'] * 2e-3, places=4)
        # what goes on is a new attempt: the prefix is taken back, and nothing is there twice
        s.call('POST', '/runs/%s/resume' % run_id)
        self.feed(ws, w, lambda: w.ended)
        run = s.wait_status(run_id, 'succeeded')
        self.feed(ws, w, lambda: len(w.texts['x']) >= len(TEXT))
        self.assertEqual((run['outputs']['text'], w.texts['x'].decode(), w.attempts['x']), (TEXT, TEXT, 2))
        self.assertEqual([e['data']['attempt'] for e in s.events(run_id) if e['event'] == 'stream_reset'], [2])
        first, second = [e['data'] for e in s.events(run_id) if e['event'] == 'token_usage']
        self.assertEqual((first, second.get('estimated')), (usage, None))
        self.assertEqual(run['usage']['output_tokens'], first['output_tokens'] + second['output_tokens'])  # the repeat costs, and says so
        self.assertEqual(len(s.call('GET', '/runs/%s/ledger' % run_id)['items']), 1)

    def test_the_prefix_is_kept_and_nothing_is_there_twice(self):
        self.pause_and_resume(restart=False)

    def test_the_same_over_a_kill_of_the_server(self):
        self.pause_and_resume(restart=True)


if __name__ == '__main__':
    unittest.main()
