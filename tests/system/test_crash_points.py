"""The crash sweep: the server is ended at every test point in turn (base/point.h), with runs of every kind under way, and started again. Whatever the
point, every run ends as it must, the journal holds its invariants, what clients saw is true, and no call was made more often than the server died.

A chain of lives: each is armed with the next point, and is itself the recovery from the last one. SLUICE_SLOW=1: the first 50 passes of each
point (SLUICE_SWEEP_HITS says how many, SLUICE_SWEEP_S for how long). Otherwise the first pass of each.

SLUICE_SWEEP_POINTS: names with commas between them, to look at some alone.
"""
import collections
import os
import random
import signal
import tempfile
import time
import unittest

import points
from rig import PATIENCE, SLOW, Case
from stage import Stage
from workload import mixed

SECONDS = float(os.environ.get('SLUICE_SWEEP_S', 3600))  # no further passes after that
HITS = int(os.environ.get('SLUICE_SWEEP_HITS', 50 if SLOW else 1))
SEED = int(os.environ.get('SLUICE_TEST_SEED', 7))
ON_RECOVERY = ('claim.read', 'adopt.folded', 'adopt.goes_on')  # passed only when there is something to go on with
ON_STOP = ('lease.release', 'lease.released')


class Points(unittest.TestCase):
    def test_the_list_and_the_code_have_the_same_points(self):
        used = collections.Counter(points.used())
        self.assertEqual(set(used), set(points.listed()))
        self.assertEqual([n for n, times in used.items() if times != 1], [])
        self.assertGreaterEqual(len(used), 30)


class Sweep(Case):
    def test_every_point_is_survived(self):
        wanted = os.environ.get('SLUICE_SWEEP_POINTS', '')
        names = wanted.split(',') if wanted else list(points.listed())
        rnd = random.Random(SEED)
        report = tempfile.mktemp(prefix='sluice-points-')
        self.addCleanup(lambda: os.path.exists(report) and os.unlink(report))
        stage = Stage(self, env={'SLUICE_FAILPOINT_REPORT': report})
        clerk = stage.clerk
        reached, began = collections.Counter(), time.monotonic()
        order = [(name, nth) for nth in range(1, HITS + 1) for name in names]
        deepest, gone = 0, set()  # whose first passes are all there are
        for name, nth in order:
            if name in gone:
                continue
            if nth > 1 and time.monotonic() - began > SECONDS:
                break
            deepest = nth
            if len(clerk.open()) > 60:  # what is left over may not pile up
                if stage.dead():
                    stage.start()
                stage.drive(20 * PATIENCE)
            clerk.begin('%s/%d' % (name, nth), mixed(rnd, stage.sink))
            for n in range(4 if nth == 1 else 1):  # on a busy machine a pause may come when there is nothing left to pause
                if self.life(name, nth, stage, patience=1 + 3 * n):
                    reached[name] += 1
                    break
                if nth == 1:
                    clerk.begin('%s/%d' % (name, nth), mixed(rnd, stage.sink))
            else:
                gone.add(name)
            if any(p.begun and time.monotonic() - p.begun > 300 * PATIENCE for p in clerk.open()):
                break  # it stands still, and the rest would only wait with it
        stage.end()
        self.assertTrue(stage.start())
        stage.drive(300 * PATIENCE)
        self.judge(stage, names, reached, points.passes(report))
        print('%d passes deep, %d lives, %d runs, %d connections of the onlooker, %.0f s, seed %d' %
              (deepest, stage.deaths, len(clerk.plans), stage.onlooker.connects, time.monotonic() - began, SEED))

    def life(self, name, nth, stage, patience=1):
        """Ends the life there is, begins one with the point armed; says whether it died of it."""
        if name in ON_RECOVERY:  # something to find
            if stage.dead():
                stage.start()
            stage.drive(5 * PATIENCE, until=lambda: sum(1 for p in stage.clerk.open() if p.begun) > nth)
        stage.end()
        if stage.start('%s:%d:%s' % (name, nth, 'abort' if nth % 2 else 'exit')):
            stage.drive(20 * patience * PATIENCE, linger=2.2 * patience)  # a lease is renewed every 1.7 s
            if name in ON_STOP:
                stage.end(signal.SIGTERM)
        return stage.dead() and stage.server.process.proc.returncode in (-signal.SIGABRT, 137)

    def judge(self, stage, names, reached, passes):
        broken = stage.broken()
        wrong = collections.Counter()
        for _, what in broken:
            for p in stage.clerk.plans:
                if p.run_id and p.run_id in what:
                    wrong[p.tag.split('/')[0]] += 1
        print('%-20s %10s %6s  %s' % ('point', 'passes', 'deaths', 'verdict'))
        for name in names:
            print('%-20s %10d %6d  %s' % (name, passes.get(name, 0), reached[name], 'BROKEN' if wrong[name] else 'held' if reached[name] else 'NOT REACHED'))
        self.assertEqual(broken, [])
        self.assertEqual([n for n in names if not reached[n]], [], 'points that nobody reached')
        self.assertGreater(sum(len(w.durable) for w in stage.onlooker.watchers.values()), len(stage.clerk.plans))


if __name__ == '__main__':
    unittest.main()
