"""Fifty clients submit one run with one Idempotency-Key at the same moment, while the server is killed: one run for each key, everybody is told the same id,
and what is not the same request is refused. SLUICE_SLOW=1: 200 keys (SLUICE_KEYS). Otherwise 10.
"""
import collections
import http.client
import json
import os
import random
import threading
import time
import unittest

from rig import PATIENCE, SLOW, Case, wait_for
from stage import Stage

KEYS = int(os.environ.get('SLUICE_KEYS', 200 if SLOW else 10))
CLIENTS = 50
SEED = int(os.environ.get('SLUICE_TEST_SEED', 7))
DEFINITION = {'sluice': 1, 'name': 'once', 'nodes': [{'id': 'n', 'type': 'transform', 'params': {'expr': 'input.n * 2'}}], 'outputs': {'n': '{{ nodes.n.value }}'}}


class IdempotentStart(Case):
    def post(self, stage, key, inputs):
        where = stage.where()
        if not where:
            return None
        c = http.client.HTTPConnection(*where, timeout=30 * PATIENCE)
        try:
            c.request('POST', '/api/v1/runs', json.dumps({'definition': DEFINITION, 'inputs': inputs}),
                      {'Authorization': 'Bearer ' + stage.token, 'Content-Type': 'application/json', 'Idempotency-Key': key})
            r = c.getresponse()
            return r.status, json.loads(r.read())
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            c.close()

    def one(self, stage, n, answers, go):
        """A client that does not give up before it was told."""
        go.wait()
        until = time.monotonic() + 80 * PATIENCE
        while time.monotonic() < until:
            got = self.post(stage, 'key-%d' % n, {'n': n})
            answers.append(got)
            if got and got[0] in (200, 202):
                return
            time.sleep(0.01)

    def test_one_run_for_each_key_whatever_happens(self):
        rnd = random.Random(SEED)
        stage = Stage(self, onlooker=False)
        statuses, runs, began = collections.Counter(), {}, time.monotonic()
        for n in range(KEYS):
            answers, go = [], threading.Event()
            threads = [threading.Thread(target=self.one, args=(stage, n, answers, go), daemon=True) for _ in range(CLIENTS)]
            for t in threads:
                t.start()
            go.set()
            if n % 2:
                time.sleep(rnd.uniform(0, 0.06))
                stage.end()
                self.assertTrue(stage.start())
            for t in threads:
                t.join(90 * PATIENCE)
                self.assertFalse(t.is_alive())
            statuses.update(a[0] if a else 'none' for a in answers)
            ids = {a[1]['id'] for a in answers if a and a[0] in (200, 202)}
            self.assertEqual(len(ids), 1, n)
            self.assertEqual(sum(1 for a in answers if a and a[0] in (200, 202)), CLIENTS)
            runs[n] = ids.pop()
            other = wait_for('an answer', lambda n=n: (lambda a: a if a and a[0] != 503 else None)(self.post(stage, 'key-%d' % n, {'n': n + 1})))
            self.assertEqual(other[0], 422)
        self.assertLessEqual(set(statuses), {200, 202, 409, 503, 'none'})
        self.assertEqual(int(stage.pg.value('SELECT count(*) FROM runs')), KEYS)
        for n, run_id in runs.items():
            self.assertEqual(stage.server.wait_status(run_id, 'succeeded')['outputs'], {'n': 2 * n})
        stage.clerk.acknowledged = {r: None for r in runs.values()}
        print('%d keys, %d clients each, %d kills; answers: %s; %.0f s, seed %d' %
              (KEYS, CLIENTS, stage.deaths, dict(statuses), time.monotonic() - began, SEED))
        stage.check()


if __name__ == '__main__':
    unittest.main()
