"""A run is held to the definition it began with: the stored workflow is changed, archived and made anew all the time, also across kills, and every run gives
what the version it began with gives. SLUICE_SLOW=1: 1,000 changes (SLUICE_CHANGES). Otherwise 60.
"""
import os
import random
import time
import unittest

from rig import PATIENCE, SLOW, Case
from stage import Stage

CHANGES = int(os.environ.get('SLUICE_CHANGES', 1000 if SLOW else 60))
SEED = int(os.environ.get('SLUICE_TEST_SEED', 7))


def version(k):
    """Its parts change with it: what is computed, what is asked, and which nodes there are."""
    more = [{'id': 'more', 'type': 'transform', 'params': {'expr': 'nodes.times.value + 1'}}] if k % 2 else []
    last = 'more' if more else 'times'
    return {'sluice': 1, 'name': 'pinned', 'description': 'change %d' % k, 'nodes': [
        {'id': 'wait', 'type': 'delay', 'params': {'seconds': 0.3}},
        {'id': 'ask', 'type': 'llm', 'params': {'prompt': 'change %d' % k}},
        {'id': 'times', 'type': 'transform', 'params': {'expr': 'input.n * %d' % k}}, *more],
        'edges': [{'from': 'wait', 'to': 'ask'}, {'from': 'ask', 'to': 'times'}] + ([{'from': 'times', 'to': 'more'}] if more else []),
        'outputs': {'value': '{{ nodes.%s.value }}' % last, 'said': '{{ nodes.ask.text }}'}}


def expected(k, n):
    return {'value': n * k + k % 2, 'said': 'The answer to change %d is a sentence of some length, so that a stream of it can be cut in the middle.' % k}


class Pinning(Case):
    def test_running_runs_are_not_touched_by_what_becomes_of_their_workflow(self):
        rnd = random.Random(SEED)
        stage = Stage(self, onlooker=False)
        s, began, runs, archived = stage.server, time.monotonic(), {}, 0
        s.call('POST', '/workflows', version(1))
        for k in range(1, CHANGES + 1):
            n = rnd.randrange(1000)
            runs[s.submit('pinned', {'n': n})] = (k, n)
            what = rnd.random()
            if what < 0.2:  # archived while the run is under way, and there again
                s.call('DELETE', '/workflows/pinned', expect=(200, 204))
                self.assertIn(s.raw('POST', '/api/v1/runs', {'workflow': 'pinned', 'inputs': {'n': 1}})[0], (404, 409, 410, 422))
                archived += 1
                s.call('POST', '/workflows', version(k + 1))
            else:
                s.call('PUT', '/workflows/pinned', version(k + 1))
            if k % 25 == 0:
                stage.end()
                self.assertTrue(stage.start())
        for run_id, (k, n) in runs.items():
            run = s.wait_status(run_id, 'succeeded', seconds=60)
            self.assertEqual(run['outputs'], expected(k, n), run_id)
            self.assertEqual({p['path'] for p in run['nodes']}, {p['id'] for p in version(k)['nodes']})
        stage.clerk.acknowledged = {r: None for r in runs}
        print('%d changes, %d times archived, %d kills; %d runs; %.0f s, seed %d' % (CHANGES, archived, stage.deaths, len(runs), time.monotonic() - began, SEED))
        self.assertEqual(int(stage.pg.value("SELECT count(DISTINCT version) FROM runs WHERE workflow = 'pinned'")), CHANGES)
        stage.check()
        self.assertGreater(archived, 0)
        self.assertLess(time.monotonic() - began, 600 * PATIENCE)


if __name__ == '__main__':
    unittest.main()
