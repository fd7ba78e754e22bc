"""PostgreSQL goes away and comes back under load: restarted (fast, immediate), a backend killed, and gone for a while with submissions offered.

SLUICE_SLOW=1: chaos for 10 minutes with 5,000 runs (SLUICE_CHAOS_S, SLUICE_CHAOS_RUNS), an outage of 60 s (SLUICE_OUTAGE_S) with 200 submissions a
second. Otherwise three blows and 5 s with 50.
"""
import collections
import http.client
import itertools
import json
import os
import random
import signal
import threading
import time
import unittest

import invariants
from rig import PATIENCE, SLOW, Case, Failed, wait_for
from stage import Stage
from workload import dag, items, rounds

CHAOS_S = float(os.environ.get('SLUICE_CHAOS_S', 600 if SLOW else 0))
CHAOS_RUNS = int(os.environ.get('SLUICE_CHAOS_RUNS', 5000 if SLOW else 60))
OUTAGE_S = float(os.environ.get('SLUICE_OUTAGE_S', 60 if SLOW else 8))
OFFERED = 200 if SLOW else 50
SEED = int(os.environ.get('SLUICE_TEST_SEED', 7))


class Prober(threading.Thread):
    """Asks /livez and /readyz ten times a second and notes what they say."""

    def __init__(self, where):
        super().__init__(daemon=True)
        self.where, self.seen, self.stopping = where, [], False
        self.start()

    def ask(self, path):
        c = http.client.HTTPConnection(*self.where, timeout=30 * PATIENCE)
        try:
            c.request('GET', path)
            r = c.getresponse()
            r.read()
            return r.status
        except OSError as e:
            return str(e)
        finally:
            c.close()

    def run(self):
        while not self.stopping:
            t = time.monotonic()
            self.seen.append((t, self.ask('/livez'), self.ask('/readyz')))
            time.sleep(max(0, 0.1 - (time.monotonic() - t)))

    def first(self, ready, since):
        return next((t for t, _, r in list(self.seen) if t >= since and r == ready), None)


class PostgresChaos(Case):
    def count(self, stage):
        """Records in the journal; None: PostgreSQL does not say."""
        try:
            return int(stage.pg.value('SELECT count(*) FROM run_events'))
        except Failed:
            return None

    def blow(self, stage, prober, kind, down):
        """One of the three; returns (readyz said no after, the journal went on after), in seconds; None: it was too short to be seen."""
        began, said_no = time.monotonic(), None
        if kind == 'backend':
            def one():
                rows = stage.pg.sql("SELECT pid, clock_timestamp() FROM pg_stat_activity WHERE application_name = 'sluice journal' ORDER BY random() LIMIT 1")
                return rows and rows[0]
            pid, at = wait_for('a connection of the journal', one)
            os.kill(int(pid), signal.SIGKILL)  # PostgreSQL ends all others and starts anew

            def anew():  # it takes connections for a moment, before it has noticed
                try:
                    return stage.pg.value("SELECT pg_postmaster_start_time() < '%s' AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_start < '%s')"
                                          % (at, at)) == 't'
                except Failed:
                    return False
            wait_for('PostgreSQL to be there again', anew, 30)
        else:
            stage.pg.stop(kind)
            time.sleep(down)
            if down > 1.2:
                said_no = wait_for('readyz to say no', lambda: prober.first(503, began)) - began
            stage.pg.start()
        there = time.monotonic()
        before = wait_for('PostgreSQL to say how far it is', lambda: self.count(stage))
        wait_for('the journal to go on', lambda: (self.count(stage) or 0) > before, 20, every=0.05)
        return said_no, time.monotonic() - there

    def test_every_run_succeeds_whatever_happens_to_postgresql(self):
        rnd = random.Random(SEED)
        stage = Stage(self, env={'SLUICE_LEASE_S': '60'})  # nobody dies; that a machine stalls ends no lease
        prober = Prober(stage.where())
        began, blows, no, resumed = time.monotonic(), collections.Counter(), [], []
        kinds = itertools.cycle(['fast', 'immediate', 'backend'])
        stop, failures = threading.Event(), []

        def chaos():
            try:
                while not stop.wait(rnd.uniform(5, 40) if SLOW else rnd.uniform(0.5, 1.5)):
                    kind = next(kinds)
                    said_no, went_on = self.blow(stage, prober, kind, rnd.uniform(0, 2) if SLOW else 1.5)
                    blows[kind] += 1
                    resumed.append(went_on)
                    if said_no is not None:
                        no.append(said_no)
                    if not SLOW and sum(blows.values()) == 3:
                        return
            except Exception as e:  # noqa: BLE001 - shown by the test
                failures.append(e)

        thread = threading.Thread(target=chaos, daemon=True)
        thread.start()
        made = 0
        while made < CHAOS_RUNS or thread.is_alive() and time.monotonic() - began < max(CHAOS_S, 60 * PATIENCE):
            due = made < CHAOS_RUNS * (time.monotonic() - began) / CHAOS_S if CHAOS_S else True  # evenly over the time there is
            if due and len(stage.clerk.open()) < 30:
                stage.clerk.begin('chaos', [dag(rnd, stage.sink, quick=True) if made % 3 else rounds(rnd, stage.sink), items(rnd, stage.sink)])
                made += 2
            stage.drive(0.05, until=lambda: len(stage.clerk.open()) < 20, every=0.005)
        stop.set()
        thread.join(60 * PATIENCE)
        self.assertEqual(failures, [])
        self.assertTrue(stage.drive(120 * PATIENCE), 'all runs end')
        prober.stopping = True
        lives = collections.Counter(live for _, live, _ in prober.seen)
        print('%d runs, %s; readyz said no after %s s at most; the journal went on after %.1f s at most; livez: %s; %.0f s, seed %d' %
              (made, dict(blows), '%.1f' % max(no) if no else '-', max(resumed), dict(lives), time.monotonic() - began, SEED))
        stage.check(calls=1)
        self.assertEqual(set(lives), {200})
        self.assertTrue(no)
        # all of them on a machine with nothing else to do; where others work, one of the three, and the others with what was taken from them
        self.assertLess(max(no) if SLOW else min(no), 1.0 * PATIENCE)
        self.assertLess(max(resumed) if SLOW else min(resumed), 2.0 * PATIENCE)
        self.assertLess(max(no + resumed), 30 * PATIENCE)

    def offer(self, stage, rate, until, said, definition):
        """Submissions at a steady rate, whatever the answers; said gets (moment, status, id, Retry-After, seconds)."""
        number, lock, began = itertools.count(), threading.Lock(), time.monotonic()

        def one():
            c = http.client.HTTPConnection(*stage.where(), timeout=90 * PATIENCE)
            while True:
                with lock:
                    n = next(number)
                due = began + n / rate
                if due > until[0]:
                    c.close()
                    return
                time.sleep(max(0, due - time.monotonic()))
                t = time.monotonic()
                try:
                    c.request('POST', '/api/v1/runs', json.dumps({'definition': definition, 'inputs': {'n': n}}),
                              {'Authorization': 'Bearer ' + stage.token, 'Content-Type': 'application/json'})
                    r = c.getresponse()
                    doc = json.loads(r.read())
                    said.append((t, r.status, doc.get('id'), r.headers['Retry-After'], time.monotonic() - t))
                except (OSError, http.client.HTTPException):
                    c.close()
                    said.append((t, 0, None, None, time.monotonic() - t))
        threads = [threading.Thread(target=one, daemon=True) for _ in range(64)]
        for t in threads:
            t.start()
        return threads

    def test_a_long_outage_is_told_and_nothing_is_promised(self):
        stage = Stage(self, onlooker=False)
        definition = {'sluice': 1, 'name': 'small', 'nodes': [{'id': 'n', 'type': 'transform', 'params': {'expr': 'input.n'}}], 'outputs': {'n': '{{ nodes.n.value }}'}}
        said, until = [], [9e9]
        threads = self.offer(stage, OFFERED, until, said, definition)
        time.sleep(2)
        before = stage.server.rss_kb()
        down = time.monotonic()
        stage.pg.stop('fast')
        gone = time.monotonic()
        most, away = before, gone + OUTAGE_S
        while time.monotonic() < away:
            most = max(most, stage.server.rss_kb())
            time.sleep(0.1)
        stage.pg.start()
        back = time.monotonic()
        # 5 s later all are taken in time again; a machine that is busy with something else just then gets a little more
        time.sleep(5 * PATIENCE + 3)

        def lately():
            """Of those that were offered in the last 3 s: (how many were taken within a second, how many there were)."""
            now = time.monotonic()
            then = [s == 202 and took < 1 * PATIENCE for t, s, _, _, took in list(said) if now - 3 < t]
            return sum(then), len(then)
        good, all_ = lately()
        while (good < 0.95 * all_ or all_ <= OFFERED) and not SLOW and time.monotonic() < back + 60 * PATIENCE:
            time.sleep(0.5)
            good, all_ = lately()
        until[0] = time.monotonic()
        for t in threads:
            t.join(100 * PATIENCE)
        most = max(most, stage.server.rss_kb())
        ids = {i for _, status, i, _, _ in said if status in (200, 202)}
        statuses = collections.Counter(s for _, s, _, _, _ in said)
        # one that was under way when PostgreSQL went is told, after 30 s, that nobody knows: it may still be written, and a repeat with its key tells
        unknown = [t for t, s, _, _, _ in said if s == 504]
        refused = [(s, retry) for t, s, _, retry, _ in said if s not in (200, 202, 504)]
        print('%d offered, %s; %.0f s away; memory grew by %.1f MiB; longest answer %.1f s; %d of %d taken in time 5 s after it was back' %
              (len(said), dict(statuses), back - down, (most - before) / 1024, max(took for _, _, _, _, took in said), good, all_))
        wait_for('all runs to end', lambda: int(stage.pg.value('SELECT count(*) FROM runs WHERE NOT done')) == 0, 60)
        self.assertEqual(invariants.check(stage.info, ids), [])
        self.assertLess((most - before) / 1024, 64)
        self.assertEqual({s for s, _ in refused} - {503}, set())
        self.assertTrue(all(t < gone + (1 if SLOW else 4) * PATIENCE for t in unknown), (gone, unknown))
        self.assertTrue(all(retry and int(retry) > 0 for _, retry in refused), refused[:5])
        self.assertGreater(len(refused), 0)
        self.assertGreater(all_, OFFERED)
        self.assertGreaterEqual(good, 0.95 * all_)


if __name__ == '__main__':
    unittest.main()
