"""Kill storm: SIGKILL at random moments, 50 to 1500 ms after the server is ready, with 20-node runs under way: model streams, requests that fail at first,
joins over many, timers. Every run that was acknowledged ends as the oracle says, each node has one result, the journal has no gap and no writer from the
past, nothing stands still after the last start, and no call was made more often than there were kills.

SLUICE_SLOW=1: 500 kills, 200 runs at a time (SLUICE_KILLS, SLUICE_KILL_RUNS). Otherwise a short version, on a PostgreSQL of its own; and one on the
server's embedded one, which lives on when its server is killed.
"""
import os
import random
import time
import unittest

from rig import PATIENCE, SLOW, Case
from stage import Stage
from workload import SCENARIO, dag

KILLS = int(os.environ.get('SLUICE_KILLS', 500 if SLOW else 8))
RUNS = int(os.environ.get('SLUICE_KILL_RUNS', 200 if SLOW else 30))
SEED = int(os.environ.get('SLUICE_TEST_SEED', 7))


class KillStorm(Case):
    def storm(self, kills, runs, **how):
        rnd = random.Random(SEED)
        scenario = {**SCENARIO, 'defaults': {'tps': 60, 'first_ms': 100, 'jitter': 0.5, 'seed': 5}}  # streams of a second and more, so that kills find them
        stage = Stage(self, scenario=scenario, **how)
        began, starts, slowest = time.monotonic(), [], 0.0
        for kill in range(kills):
            stage.clerk.begin('life %d' % kill, [dag(rnd, stage.sink) for _ in range(runs - len(stage.clerk.open()))])
            stage.drive(rnd.uniform(0.05, 1.5))
            stage.end()
            t = time.monotonic()
            self.assertTrue(stage.start())
            starts.append(time.monotonic() - t)
        last = time.monotonic()
        ended = stage.drive(300 * PATIENCE)
        quiet = time.monotonic() - last
        for p in stage.clerk.plans:
            if p.ended and p.ended > last:
                slowest = max(slowest, p.ended - max(last, p.begun))
        starts.sort()
        requests = stage.sim.requests()
        print('%d kills, %d runs of 20 nodes, %d at a time; %d model calls for %d nodes; start: median %.0f ms, worst %.0f ms; all at rest %.1f s after the '
              'last start; %.0f s, seed %d' % (stage.deaths, len(stage.clerk.plans), runs, len(requests), len({r['idempotency_key'] for r in requests}),
                                               1000 * starts[len(starts) // 2], 1000 * starts[-1], quiet, time.monotonic() - began, SEED))
        self.assertTrue(ended, 'all runs end')
        stage.check()
        self.assertEqual(stage.deaths, kills)

    def test_of_a_server_on_a_shared_database(self):
        self.storm(KILLS, RUNS)

    def test_of_a_server_with_a_database_of_its_own(self):
        self.storm(max(3, KILLS // 10), min(RUNS, 50), embedded=True)


if __name__ == '__main__':
    unittest.main()
