"""A thousand timers across kills: each fires once, never before its moment, and at most a second after it, or after the server that has to fire it is there
(on a machine that others use, too: half of them at most a second after it, and none much later).

SLUICE_SLOW=1: 1,000 timers of up to 60 s, 40 kills. Otherwise 300 of up to 6 s, 5 kills. (Clocks that are set are a matter of tests/unit/test_engine_timers.c,
under a clock that can be set.)
"""
import bisect
import datetime
import os
import random
import time
import unittest

import invariants
from rig import PATIENCE, SLOW, Case
from stage import Stage
from workload import Plan

TIMERS = int(os.environ.get('SLUICE_TIMERS', 1000 if SLOW else 300))
KILLS = int(os.environ.get('SLUICE_KILLS', 40 if SLOW else 5))
LONGEST = 60 if SLOW else 6
SEED = int(os.environ.get('SLUICE_TEST_SEED', 7))
LATE = 1.0 * PATIENCE


def moment(text):
    return datetime.datetime.fromisoformat(text.replace('Z', '+00:00')).timestamp()


class Timers(Case):
    def test_each_fires_once_in_time_whatever_is_killed(self):
        rnd = random.Random(SEED)
        stage = Stage(self, onlooker=False)
        plans = []
        for n in range(TIMERS // 20):
            nodes = [{'id': 't%d' % i, 'type': 'delay', 'params': {'seconds': round(rnd.uniform(0.1, LONGEST), 3)}} for i in range(20)]
            for node in nodes[10:]:  # half of them by the wall clock
                node['params'] = {'until': datetime.datetime.fromtimestamp(time.time() + rnd.uniform(1, LONGEST), datetime.timezone.utc).isoformat(
                    timespec='milliseconds').replace('+00:00', 'Z')}
            plans.append(Plan({'sluice': 1, 'name': 'timers', 'nodes': nodes, 'outputs': {'n': '{{ %d }}' % n}}, {}, {'n': n}))
        stage.clerk.begin('timers', plans)
        began = time.monotonic()
        stage.drive(30 * PATIENCE, until=lambda: all(p.again for p in plans))
        begun, ready = [0.0], [0.0]  # of each life: when its process began, and when it listened
        for _ in range(KILLS):
            time.sleep(rnd.uniform(0.2, 2.0 * LONGEST / KILLS))
            stage.end()
            time.sleep(rnd.uniform(0, 0.8))  # some are due while nobody is there
            begun.append(time.time())
            self.assertTrue(stage.start())
            ready.append(time.time())
        self.assertTrue(stage.drive((LONGEST + 30) * PATIENCE, every=0.2))
        rows = invariants.query(stage.info, "SELECT run_id, data::json ->> 'node_id', data::json ->> 'status', at, data::json ->> 'due_at' FROM run_events "
                                "WHERE event = 'node_state_change' AND data::json ->> 'type' = 'delay' ORDER BY run_id, seq;")
        due, fired, lateness = {}, {}, []
        for run_id, node, status, at, due_at in rows:
            if status == 'waiting':
                due[run_id, node] = moment(due_at)
            elif status == 'completed':
                self.assertNotIn((run_id, node), fired)
                fired[run_id, node] = moment(at)
        self.assertEqual(len(fired), TIMERS)
        for key, at in fired.items():
            if key not in due:
                continue  # one whose moment had passed when it began
            self.assertGreaterEqual(at, due[key], key)
            life = bisect.bisect_right(begun, at) - 1  # the one that fired it
            lateness.append(at - max(due[key], ready[life]))
        print('%d timers, %d kills: the latest %.0f ms late; %.0f s, seed %d' % (len(fired), stage.deaths, 1000 * max(lateness), time.monotonic() - began, SEED))
        lateness.sort()
        self.assertLessEqual(lateness[-1] if SLOW else lateness[len(lateness) // 2], LATE)
        self.assertLessEqual(lateness[-1], LATE + (0 if SLOW else 20 * PATIENCE))
        stage.check()


if __name__ == '__main__':
    unittest.main()
