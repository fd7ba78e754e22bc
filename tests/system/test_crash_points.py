"""The crash sweep: the server is ended at every test point in turn (base/point.h), with runs of every kind under way, and started again. Whatever the
point, every run ends as it must, the journal holds its invariants, what clients saw is true, and no call was made more often than the server died.

A chain of lives: each is armed with the next point, and is itself the recovery from the last one. SLUICE_SLOW=1: the first 50 passes of each
point (SLUICE_SWEEP_HITS says how many). Otherwise the first pass of each.

SLUICE_SWEEP_POINTS: names with commas between them, to look at some alone.
"""
import collections
import os
import random
import signal
import tempfile
import time
import unittest

import invariants
import points
from onlooker import Onlooker
from rig import PATIENCE, SLOW, Case, Failed, Postgres, Server, wait_for
from workload import SCENARIO, Clerk, Sink, mixed

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


class Lives:
    """A server that is ended and started, on one data folder and one PostgreSQL."""

    def __init__(self, pg, sim, sink, report):
        self.server = Server(sim, env={'SLUICE_DATABASE_URL': pg.url, 'SLUICE_LEASE_S': '5', 'SLUICE_MAX_RECOVERIES': '1000000', 'SLUICE_DRAIN_S': '0',
                                       'SLUICE_EGRESS_ALLOW': sink.allow, 'SLUICE_EGRESS_HTTP': '1', 'SLUICE_FAILPOINT_REPORT': report})
        self.deaths = 0
        self.up = True

    def where(self):
        return ('127.0.0.1', self.server.port) if self.up else None

    def dead(self):
        """Looks, and counts a death once."""
        if self.up and self.server.process.proc.poll() is not None:
            self.up = False
            self.deaths += 1
        return not self.up

    def start(self, failpoint=''):
        """False: it died before it listened."""
        s = self.server
        s.env['SLUICE_FAILPOINT'] = failpoint
        self.up = True
        try:
            s.start()
        except Failed:
            wait_for('the death of a server that does not listen', lambda: s.process.proc.poll() is not None, 5)
            self.dead()
            return False
        return True

    def end(self, sig):
        self.server.process.proc.send_signal(sig)
        self.server.process.proc.wait(40 * PATIENCE)
        self.dead()


class Sweep(Case):
    def test_every_point_is_survived(self):
        wanted = os.environ.get('SLUICE_SWEEP_POINTS', '')
        names = wanted.split(',') if wanted else list(points.listed())
        rnd = random.Random(SEED)
        pg, sink = Postgres(), Sink()
        self.things += [pg, sink]
        report = tempfile.mktemp(prefix='sluice-points-')
        self.addCleanup(lambda: os.path.exists(report) and os.unlink(report))
        sim = self.sim(SCENARIO)
        lives = Lives(pg, sim, sink, report)
        self.things.append(lives.server)
        clerk = Clerk(lives.where, lambda: lives.server.token)
        self.things.append(clerk)
        onlooker = Onlooker(lives.where, lambda: lives.server.token)
        reached, began = collections.Counter(), time.monotonic()
        order = [(name, nth) for nth in range(1, HITS + 1) for name in names]
        gone = set()  # whose first passes are all there are
        for name, nth in order:
            if name in gone:
                continue
            if len(clerk.open()) > 60:  # what is left over may not pile up
                if lives.dead():
                    lives.start()
                self.drive(clerk, onlooker, lives, 20 * PATIENCE)
            clerk.begin('%s/%d' % (name, nth), mixed(rnd, sink))
            for _ in range(3 if nth == 1 else 1):  # on a busy machine a pause may come when there is nothing left to pause
                if self.life(name, nth, clerk, onlooker, lives):
                    reached[name] += 1
                    break
                if nth == 1:
                    clerk.begin('%s/%d' % (name, nth), mixed(rnd, sink))
            else:
                gone.add(name)
            if any(p.begun and time.monotonic() - p.begun > 60 * PATIENCE for p in clerk.open()):
                break  # it stands still, and the rest would only wait with it
        if not lives.dead():
            lives.end(signal.SIGKILL)
        self.assertTrue(lives.start())
        self.drive(clerk, onlooker, lives, 60 * PATIENCE)
        self.judge(pg, sink, sim, clerk, onlooker, lives, names, reached, points.passes(report))
        print('%d lives, %d runs, %d connections of the onlooker, %.0f s, seed %d' %
              (lives.deaths, len(clerk.plans), onlooker.connects, time.monotonic() - began, SEED))

    def life(self, name, nth, clerk, onlooker, lives):
        """Ends the life there is, begins one with the point armed; says whether it died of it."""
        if name in ON_RECOVERY:  # something to find
            if lives.dead():
                lives.start()
            self.drive(clerk, onlooker, lives, 5 * PATIENCE, until=lambda: sum(1 for p in clerk.open() if p.begun) > nth)
        if not lives.dead():
            lives.end(signal.SIGKILL)
        if lives.start('%s:%d:%s' % (name, nth, 'abort' if nth % 2 else 'exit')):
            self.drive(clerk, onlooker, lives, 8 * PATIENCE, idle_ends=True)
            if name in ON_STOP and not lives.dead():
                lives.end(signal.SIGTERM)
        return lives.dead() and lives.server.process.proc.returncode in (-signal.SIGABRT, 137)

    def drive(self, clerk, onlooker, lives, seconds, until=None, idle_ends=False):
        """Until the server is dead, or everything has ended; or for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not lives.dead():
            left = clerk.step()
            for run_id in list(clerk.acknowledged):
                onlooker.watch(run_id)
            if until and until():
                return
            if not left:
                if not idle_ends:
                    return
                end = min(end, time.monotonic() + 2.2)  # a lease is renewed every 1.7 s
            time.sleep(0.01)

    def judge(self, pg, sink, sim, clerk, onlooker, lives, names, reached, passes):
        onlooker.stop()
        info = pg.url
        broken = invariants.check(info, clerk.acknowledged)
        broken += invariants.seen(info, onlooker.watchers.values())
        broken += invariants.called(sink.calls, lives.deaths + 2)
        asked = collections.Counter(r['idempotency_key'] for r in sim.requests())
        broken += invariants.called(asked, lives.deaths + 1)
        wrong = collections.Counter()
        for p, why in clerk.wrong():
            wrong[p.tag.split('/')[0] if p else ''] += 1
            broken.append(('the oracle', '%s %s %s' % (p and p.tag, p and (p.definition['name'], p.run_id, p.acts), why)))
            if p and p.run_id:
                print(why, p.run_id, *invariants.query(info, "SELECT seq, epoch, at, event, data FROM run_events WHERE run_id = '%s' ORDER BY seq" % p.run_id), sep='\n    ')
        blamed = {p.run_id: p.tag.split('/')[0] for p in clerk.plans}
        for _, row in broken:
            for run_id, tag in blamed.items():
                if run_id and run_id in row:
                    wrong[tag] += 1
        print('%-20s %10s %6s  %s' % ('point', 'passes', 'deaths', 'verdict'))
        for name in names:
            print('%-20s %10d %6d  %s' % (name, passes.get(name, 0), reached[name], 'BROKEN' if wrong[name] else 'held' if reached[name] else 'NOT REACHED'))
        self.assertEqual(broken, [])
        self.assertEqual([n for n in names if not reached[n]], [], 'points that nobody reached')
        self.assertGreater(sum(len(w.durable) for w in onlooker.watchers.values()), len(clerk.plans))


if __name__ == '__main__':
    unittest.main()
