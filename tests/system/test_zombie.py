"""A zombie: of two servers on one PostgreSQL the owner of the runs is stopped (SIGSTOP) past its lease, the other takes them over, and the first wakes in
the middle of everything it was about to do. What it writes is refused, it lets go, and each run ends once, as it must.

SLUICE_SLOW=1: 100 times (SLUICE_PAUSES). Otherwise 2.
"""
import collections
import os
import random
import signal
import time
import unittest

import invariants
from onlooker import Onlooker
from rig import PATIENCE, SLOW, Case, Cluster, wait_for
from workload import SCENARIO, Clerk, Sink, dag, people, rounds

PAUSES = int(os.environ.get('SLUICE_PAUSES', 100 if SLOW else 2))
SEED = int(os.environ.get('SLUICE_TEST_SEED', 7))
LEASE = 5


class Zombie(Case):
    def test_what_a_former_owner_writes_is_refused(self):
        rnd = random.Random(SEED)
        sink = Sink()
        self.things.append(sink)
        sim = self.sim({**SCENARIO, 'defaults': {'tps': 12, 'first_ms': 200, 'jitter': 0.5, 'seed': 5}})  # slow: there is always something half done
        cluster = Cluster(2, sim=sim, env={'SLUICE_LEASE_S': str(LEASE), 'SLUICE_MAX_RECOVERIES': '100000', 'SLUICE_DRAIN_S': '0',
                                           'SLUICE_EGRESS_ALLOW': sink.allow, 'SLUICE_EGRESS_HTTP': '1'})
        self.things.append(cluster)
        token = cluster.env['SLUICE_ADMIN_TOKEN']
        at = [0]  # whom the clerk asks
        where = lambda: ('127.0.0.1', cluster[at[0]].port)  # noqa: E731
        clerk, onlooker = Clerk(where, lambda: token, timeout=3), Onlooker(where, lambda: token)
        self.things.append(clerk)
        takeovers, began = [], time.monotonic()

        def drive(seconds, until=None):
            clerk.drive(seconds, until)
            for run_id in clerk.acknowledged:
                onlooker.watch(run_id)

        def owned(instance):
            return int(cluster.pg.value("SELECT count(*) FROM runs WHERE NOT done AND owner = %s" % instance))

        def instance(server):
            return cluster.pg.value('SELECT id FROM instances WHERE pid = %d' % server.process.proc.pid)

        def refused():
            return [int(s.metrics()['sluice_fencing_rejections_total']) for s in cluster.servers]

        pauses = 0
        # where the machine is slow, it may have had nothing to write when it woke: then once more
        while pauses < PAUSES or pauses < PAUSES + 3 and not sum(refused()):
            n = pauses
            pauses += 1
            zombie, other = cluster[n % 2], cluster[1 - n % 2]
            at[0] = n % 2
            clerk.begin('pause %d' % n, [p for _ in range(3) for p in (dag(rnd, sink), rounds(rnd, sink))] + [people(rnd, sink)])
            drive(1.5)
            me = instance(zombie)
            wait_for('the one that will be stopped to own something', lambda m=me: owned(m), 20)
            zombie.process.proc.send_signal(signal.SIGSTOP)
            stopped = time.monotonic()
            at[0] = 1 - n % 2
            try:
                wait_for('the other one to take over', lambda m=me: not owned(m), 3 * LEASE, every=0.05)
                takeovers.append(time.monotonic() - stopped)
                drive(max(0, stopped + LEASE + rnd.uniform(1, 5) - time.monotonic()))
            finally:
                zombie.process.proc.send_signal(signal.SIGCONT)
            drive(1)
            if len(clerk.open()) > 30:
                drive(30 * PATIENCE)
        clerk.drive(120 * PATIENCE)
        writes = refused()
        onlooker.stop()
        broken = invariants.check(cluster.pg.url, clerk.acknowledged) + invariants.seen(cluster.pg.url, onlooker.watchers.values())
        broken += invariants.called(sink.calls, pauses + 2)
        broken += invariants.called(collections.Counter(r['idempotency_key'] for r in sim.requests()), pauses + 1)
        broken += [('the oracle', (p and p.run_id, why)) for p, why in clerk.wrong()]
        print('%d pauses of %d to %d s, %d runs; %s writes refused; taken over after %.1f to %.1f s (lease %d s); %.0f s, seed %d' %
              (pauses, LEASE + 1, LEASE + 5, len(clerk.plans), writes, min(takeovers), max(takeovers), LEASE, time.monotonic() - began, SEED))
        self.assertEqual(broken, [])
        self.assertGreater(sum(writes), 0)
        # each on a machine with nothing else to do; where others work, too, the quickest
        self.assertLess(max(takeovers) if SLOW else min(takeovers), LEASE + 1 * PATIENCE)
        self.assertLess(max(takeovers), LEASE + (1 if SLOW else 20) * PATIENCE)

    def test_a_former_owner_does_not_tell_old_news(self):
        sink = Sink()
        self.things.append(sink)
        cluster = Cluster(2, env={'SLUICE_LEASE_S': str(LEASE), 'SLUICE_DRAIN_S': '0'})
        self.things.append(cluster)
        zombie, other = cluster[0], cluster[1]
        plan = people(random.Random(1), sink)
        run_id = zombie.submit(plan.definition, plan.inputs)
        zombie.wait_status(run_id, 'waiting')
        owner = cluster.pg.value("SELECT owner FROM runs")
        zombie.process.proc.send_signal(signal.SIGSTOP)
        try:
            wait_for('the other one to take over', lambda: cluster.pg.value('SELECT owner FROM runs') != owner, 3 * LEASE)
        finally:
            zombie.process.proc.send_signal(signal.SIGCONT)
        other.call('POST', '/runs/%s/cancel' % run_id, {})
        self.assertEqual(other.run(run_id)['status'], 'cancelled')
        # it had nothing to write that would be refused, and must find out all the same
        wait_for('the former owner to say so, too', lambda: zombie.run(run_id)['status'] == 'cancelled', 2)
        wait_for('it to let go', lambda: zombie.metrics()['sluice_runs_active'] == 0)


if __name__ == '__main__':
    unittest.main()
