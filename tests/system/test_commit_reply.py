"""The answer to a COMMIT is lost: a proxy in front of PostgreSQL lets one in a hundred writes of the journal be carried out, drops the answer and cuts the
connection; another one in a hundred it cuts before it is carried out. Nothing may be lost, nothing doubled, no run may fail.

SLUICE_SLOW=1: 10,000 node results (SLUICE_EXECUTIONS). Otherwise 1,000, with a higher share.
"""
import os
import random
import time
import unittest

from faultproxy import FaultProxy
from rig import PATIENCE, SLOW, Case, Postgres, wait_for
from stage import Stage
from workload import dag, items, rounds

EXECUTIONS = int(os.environ.get('SLUICE_EXECUTIONS', 11000 if SLOW else 1000))
RATE = float(os.environ.get('SLUICE_RATE', 0.01 if SLOW else 0.05))
SEED = int(os.environ.get('SLUICE_TEST_SEED', 7))
WRITES = ['create', 'append']  # the journal's statements


class CommitReply(Case):
    def test_lost_replies_are_resolved(self):
        rnd = random.Random(SEED)
        pg = Postgres()
        self.things.append(pg)
        proxy = FaultProxy('127.0.0.1', pg.port, seed=SEED, postgres=True)
        self.things.append(proxy)
        stage = Stage(self, pg=pg, url=pg.at(proxy.port), env={'SLUICE_LEASE_S': '60'})  # nobody dies; that a machine stalls ends no lease
        proxy.add('pg_write', 'up', rate=RATE, statements=WRITES)
        proxy.add('pg_write', 'up', rate=RATE, statements=WRITES, how='request')
        began, executions, under_way = time.monotonic(), 0, 0

        def enough():  # a busy machine writes more at once, and so less often
            lost = proxy.stats()
            return executions >= EXECUTIONS and min(lost['lost_replies'], lost['lost_requests']) > 3
        while not enough() and time.monotonic() - began < 900 * PATIENCE:
            plans = [dag(rnd, stage.sink, quick=True) for _ in range(8)] + [rounds(rnd, stage.sink), items(rnd, stage.sink)]
            executions += 8 * 20 + 7 + 13
            stage.clerk.begin('lost', plans)
            under_way = max(under_way, len(stage.clerk.open()))
            stage.drive(60 * PATIENCE, until=lambda: len(stage.clerk.open()) < 40)
        self.assertTrue(stage.drive(120 * PATIENCE), 'all runs end')
        proxy.clear()
        counted = proxy.stats()
        # each lost reply was of at least one batch, and each of these is recognised; the last one when it has been sent once more
        wait_for('every lost reply to be recognised',
                 lambda: stage.server.metrics()['sluice_journal_resolved_total'] >= counted['lost_replies'], 10)
        metrics = stage.server.metrics()
        done = int(pg.value("SELECT count(*) FROM run_events WHERE event = 'node_state_change' AND data::json ->> 'status' = 'completed'"))
        resolved = metrics['sluice_journal_resolved_total']
        print('%d node results, %d writes, %d replies and %d requests lost, %d batches found to be written already, %d at once, %.0f s, seed %d' %
              (done, counted['writes'], counted['lost_replies'], counted['lost_requests'], resolved, under_way, time.monotonic() - began, SEED))
        stage.check(calls=1)  # nobody died: no model was asked twice for one node
        self.assertGreaterEqual(done, EXECUTIONS * 0.8)
        self.assertGreater(counted['lost_replies'], 3)
        self.assertGreater(counted['lost_requests'], 3)
        self.assertEqual(metrics['sluice_runs_total{status="failed"}'] if 'sluice_runs_total{status="failed"}' in metrics else 0, 0)
        self.assertEqual(metrics['sluice_fencing_rejections_total'], 0)


if __name__ == '__main__':
    unittest.main()
