"""Parents at one server, their children at the other, both real and on one PostgreSQL: they stand, go on and end together, what a child came to reaches
its parent once, and either server may be killed.

How they come apart: the server that has all of them is killed while somebody holds the rows of the children (as another server does that is just
claiming), so the one that takes over gets the parents. It is stopped for the moment in which the first one comes back and finds the children.
"""
import http.client
import json
import signal
import subprocess
import time
import unittest

import invariants
from rig import Case, edges, llm, wait_for

ANSWERS = {'sim': 1, 'defaults': {'tps': 100, 'first_ms': 20, 'jitter': 0, 'seed': 3},
           'rules': [{'match': {'user': 'end 5', 'call': {'to': 1}}, 'answer': 'word ' * 3000, 'tps': 20}, {'answer': 'word ' * 30}]}
PRICE = {'items': [{'model': 'test', 'input_usd_per_1m': 1000, 'output_usd_per_1m': 2000}]}
CHILD = {'sluice': 1, 'name': 'child', 'inputs': {'type': 'object', 'properties': {'n': {'type': 'integer'}}}, 'nodes': [
    llm('x', 'begin {{ input.n }}'), {'id': 'go', 'type': 'wait_signal', 'params': {'signal': 'go'}}, llm('y', 'end {{ input.n }}')],
    'edges': edges(('x', 'go'), ('go', 'y')), 'outputs': {'n': '{{ input.n }}', 'said': '{{ nodes.go.payload }}', 'text': '{{ nodes.y.text }}'}}


def parent(n):
    """It goes on without its child when it is told `enough`; number 0 then waits, too."""
    last = {'id': 'own', 'type': 'wait_signal', 'params': {'signal': 'last'}} if n == 0 else llm('own', 'mine %d' % n)
    return {'sluice': 1, 'name': 'parent', 'nodes': [
        {'id': 'sub', 'type': 'subworkflow', 'params': {'workflow': 'child', 'inputs': {'n': n}}},
        {'id': 'enough', 'type': 'wait_signal', 'params': {'signal': 'enough'}},
        {'id': 'first', 'type': 'join', 'params': {'wait': 'any', 'cancel_rest': True}}, last],
        'edges': edges(('sub', 'first'), ('enough', 'first'), ('first', 'own')), 'outputs': {'child': '{{ nodes.sub }}'}}


def together(usages):
    usages = list(usages)
    return [sum(u[k] for u in usages) for k in ('input_tokens', 'output_tokens')] + [round(sum(u['estimated_cost_usd'] for u in usages), 6)]


class Held:
    """A transaction that holds the rows of some runs."""

    def __init__(self, pg, runs):
        self.proc = subprocess.Popen([pg.bin + '/psql', '-X', '-q', '-A', '-t', '-h', '127.0.0.1', '-p', str(pg.port), '-U', 'sluice', '-d', 'postgres'],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        ids = ','.join("'%s'" % r for r in runs)
        self.proc.stdin.write('BEGIN; SELECT id FROM runs WHERE id IN (%s) FOR UPDATE;\n' % ids)
        self.proc.stdin.flush()
        for _ in runs:
            self.proc.stdout.readline()

    def close(self):
        if self.proc.poll() is None:
            self.proc.stdin.close()  # the transaction ends with it
            self.proc.stdout.read()
            self.proc.wait()
        self.proc.stdout.close()


class TwoServers(Case):
    def owners(self, runs):
        rows = dict(self.c.pg.sql('SELECT id, owner FROM runs WHERE id IN (%s)' % ','.join("'%s'" % r for r in runs)))
        return {rows[r] for r in runs}

    def instance(self, server):
        return self.c.pg.value('SELECT id FROM instances WHERE pid = %d' % server.process.proc.pid)

    def gather(self, runs):
        """All of them are at c[0]."""
        self.c[1].kill()
        wait_for('one server to have all', lambda: self.owners(runs) == {self.instance(self.c[0])})
        self.c[1].start()

    def apart(self, parents, children):
        """All of them are at c[0]; then the parents are at c[1] and the children at c[0]."""
        for _ in range(4):  # where the machine stalls for longer than a lease, once more
            held = Held(self.c.pg, children)
            try:
                self.c[0].kill()
                b = self.instance(self.c[1])
                wait_for('the parents to be taken over', lambda b=b: self.owners(parents) == {b})
                self.c[1].process.proc.send_signal(signal.SIGSTOP)
            finally:
                held.close()
            try:
                self.c[0].start()
                a = self.instance(self.c[0])
                wait_for('the children to have a server', lambda a=a, b=b: self.owners(children) <= {a, b})
            finally:
                self.c[1].process.proc.send_signal(signal.SIGCONT)
            if self.owners(children) == {a} and self.owners(parents) == {b}:
                return
            self.gather(parents + children)
        self.fail('they cannot be brought apart')

    def stored(self, run):
        return self.c.pg.value("SELECT status FROM runs WHERE id = '%s'" % run)

    def both(self, i, *statuses):
        wait_for('parent and child %d to be %s' % (i, '/'.join(statuses)),
                 lambda: self.stored(self.parents[i]) in statuses and self.stored(self.children[i]) in statuses)

    def told(self, run, path, body):
        """A POST that comes through, however often the servers change meanwhile."""
        def once():
            for s in self.c.servers:
                try:
                    if s.raw('POST', '/api/v1/runs/%s/%s' % (run, path), body, timeout=8)[0] in (200, 202, 409):  # 409: it had come through
                        return True
                except (OSError, http.client.HTTPException):
                    pass
            return False
        wait_for('%s of %s' % (path, run), once)

    def signal(self, run, name, payload=None):
        self.told(run, 'signal', {'signal': name, 'payload': payload})

    def spent(self, *runs, only=lambda usage: True):
        """Tokens and money of the calls in their journals."""
        rows = self.c.pg.sql("SELECT data FROM run_events WHERE event = 'token_usage' AND run_id IN (%s)" % ','.join("'%s'" % r for r in runs))
        return together(u for u in (json.loads(row[0]) for row in rows) if only(u))

    def test_parents_and_children_in_two_servers(self):
        sim = self.sim(ANSWERS)
        c = self.c = self.cluster(2, sim=sim, env={'SLUICE_DRAIN_S': '0', 'SLUICE_MAX_RECOVERIES': '1000'})
        a, b = c[0], c[1]
        a.call('PUT', '/llm/prices', PRICE)
        a.call('POST', '/workflows', CHILD)
        parents = self.parents = [a.submit(parent(n)) for n in range(6)]
        began = time.monotonic()

        def started():
            rows = dict(c.pg.sql("SELECT run_id, data::json ->> 'run_id' FROM run_events WHERE event = 'subworkflow:started'"))
            return [rows[p] for p in parents] if len(rows) == len(parents) else None
        children = self.children = wait_for('the children to be there', started)
        for x in children:
            a.wait_status(x, 'waiting')
        self.apart(parents, children)
        print('  apart after %.1f s' % (time.monotonic() - began))

        # an order that nobody answers: the server of the child stands still until it has been given up
        orders = "SELECT count(*) FROM run_orders WHERE kind = 'cancel' AND taken_by IS NULL"
        a.process.proc.send_signal(signal.SIGSTOP)
        try:
            b.call('POST', '/runs/%s/signal' % parents[0], {'signal': 'enough'})
            wait_for('the order to be there', lambda: c.pg.value(orders) == '1')
            wait_for('the order to be given up', lambda: c.pg.value(orders) == '0')
            self.assertEqual(b.node(parents[0], 'sub')['status'], 'cancelled')
        finally:
            a.process.proc.send_signal(signal.SIGCONT)

        # together they stand still, go on and end, wherever that is said
        for mode in ('drain', 'now'):
            self.told(parents[1], 'pause', {'mode': mode})
            self.both(1, 'paused')
            self.told(parents[1], 'resume', {})
            self.both(1, 'running', 'waiting')
        self.told(parents[2], 'cancel', {})
        self.both(2, 'cancelled')

        # a call that a pause of the parent calls off costs, and is made again
        self.signal(children[5], 'go', 5)
        sent = sim.stats()['tokens_sent']
        wait_for('the call to be there', lambda: 'end 5' in str(sim.requests()) and sim.stats()['tokens_sent'] > sent + 5)
        self.told(parents[5], 'pause', {'mode': 'now'})
        self.both(5, 'paused')
        ledger = wait_for('the ledger to say so', lambda: a.call('GET', '/runs/%s/ledger' % children[5])['items'])

        wait_for('the child that nobody wants to find out', lambda: self.stored(children[0]) == 'cancelled')
        self.assertIn(self.stored(parents[0]), ('running', 'waiting'))
        print('  told, lost and found after %.1f s; still apart: %s' % (time.monotonic() - began, not self.owners(parents) & self.owners(children) - {''}))

        # either server is killed, whatever it is doing
        for s, some in ((a, (1, 3)), (b, (4, 5))):
            for i in some:
                if i == 5:
                    self.told(parents[i], 'resume', {})
                else:
                    self.signal(children[i], 'go', i)
            time.sleep(self.random.uniform(0, 0.5))
            s.restart()
        self.signal(parents[0], 'last')
        for i in (0, 1, 3, 4, 5):
            wait_for('parent %d to succeed' % i, lambda i=i: self.stored(parents[i]) == 'succeeded')
        print('  killed and done after %.1f s' % (time.monotonic() - began))

        for i in (1, 3, 4, 5):
            run, child = a.run(parents[i]), b.run(children[i])
            self.assertEqual(run['outputs']['child'], child['outputs'])
            self.assertEqual((child['outputs']['n'], child['outputs']['said']), (i, i))
            total = run['total_usage']
            self.assertEqual(self.spent(parents[i], children[i]), [total['input_tokens'], total['output_tokens'], round(run['total_cost_usd'], 6)])
            self.assertEqual(self.spent(children[i])[2], round(child['cost_usd'], 6))
            self.assertGreater(child['cost_usd'], 0)
        self.assertEqual(c.pg.value('SELECT count(*) FROM runs'), '12')
        self.assertEqual(invariants.check(c.pg.url, parents), [])
        self.assertEqual([row['reason'] for row in ledger], ['paused'])
        self.assertEqual(together(ledger), self.spent(children[5], only=lambda u: u.get('estimated')))


if __name__ == '__main__':
    unittest.main()
