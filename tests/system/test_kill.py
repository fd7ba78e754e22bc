"""SIGKILL at random instants: every run ends, every finished node was journaled once and never called again, and clients that
come back hold exactly what there is.

SLUICE_SLOW=1: 100 kills across 200 runs. Otherwise a short version of the same.
"""
import collections
import json
import os
import threading
import time
import unittest

from rig import SLOW, Case, Failed, Socket, Watcher, twelve, wait_for

RUNS = int(os.environ.get('SLUICE_KILL_RUNS', 200 if SLOW else 24))
KILLS = int(os.environ.get('SLUICE_KILLS', 100 if SLOW else 6))


class Client(threading.Thread):
    """Watches a few runs through everything, on a socket that it opens again whenever it breaks."""

    def __init__(self, server, run_ids):
        super().__init__(daemon=True)
        self.server = server
        self.watchers = {r: Watcher(r) for r in run_ids}
        self.error = None
        self.reconnects = 0

    def run(self):
        try:
            while not all(w.ended for w in self.watchers.values()):
                try:
                    sock = Socket(self.server.port, self.server.token)
                except (OSError, Failed):
                    time.sleep(0.02)
                    continue
                self.reconnects += 1
                try:
                    for w in self.watchers.values():
                        if not w.ended:
                            w.subscribe(sock)
                    while not sock.closed and not all(w.ended for w in self.watchers.values()):
                        for e in sock.pump(0.1):
                            if e['event'] == 'error' and e['data'].get('code') in ('unavailable', 'draining'):
                                raise OSError  # PostgreSQL is not there yet: once more
                            if e['event'] == 'error':
                                raise Failed(json.dumps(e))
                            if e.get('run_id') in self.watchers:
                                self.watchers[e['run_id']].feed(e)
                except OSError:
                    pass
                finally:
                    sock.close()
        except Exception as e:  # noqa: BLE001 - shown by the test
            self.error = e


class Kill(Case):
    def test_nothing_is_lost_and_nothing_finished_runs_again(self):
        sim = self.sim({'sim': 1, 'defaults': {'tps': 50, 'first_ms': 100, 'jitter': 0.5, 'seed': 11}, 'rules': [
            {'answer': 'an answer of some length to: {gist}'}]})
        # runs that are there when their server dies again and again count as poison; here it is we who kill it
        s = self.server(sim, env={'SLUICE_MAX_RECOVERIES': '1000'})
        ids = []
        for i in range(min(RUNS, 12)):
            ids.append(s.submit(twelve(), {'n': i}))
        clients = []

        def watch(some):
            if some:
                clients.append(Client(s, some))
                clients[-1].start()
        for i in range(4):
            watch(ids[i::4])
        for kill in range(KILLS):
            time.sleep(self.random.uniform(0.05, 0.6))
            s.restart()
            fresh = [s.submit(twelve(), {'n': n}) for n in range(len(ids), RUNS * (kill + 1) // KILLS)]
            ids += fresh
            watch(fresh)
        runs = {r: s.wait_status(r, 'succeeded', seconds=240) for r in ids}
        for c in clients:
            c.join(120)
            if c.error:
                raise c.error
            self.assertFalse(c.is_alive())

        # one key a node, the same on every repeat: a call that was repeated had been cut off by a kill
        asked = collections.Counter(r['idempotency_key'] for r in sim.requests())
        finished = collections.Counter(r['idempotency_key'] for r in sim.requests() if r['outcome'] == 'finished')
        repeats = sum(v - 1 for v in asked.values())
        self.assertLessEqual(max(asked.values()), 1 + KILLS)
        self.assertEqual(len(finished), 5 * RUNS)
        for i, r in enumerate(ids):
            run = runs[r]
            text = {p['path']: p.get('output', {}).get('text') for p in run['nodes']}
            self.assertEqual(run['outputs']['text'], '%d: %s | %s' % (i, text['d'], text['e']))
            events = s.events(r)
            self.assertEqual([e['seq'] for e in events], list(range(1, len(events) + 1)))
            done = collections.Counter()
            started_after = set()
            for e in events:
                if e['event'] != 'node_state_change':
                    continue
                d = e['data']
                if d['node_id'] in done and d['status'] in ('running', 'completed'):
                    started_after.add(d['node_id'])
                if d['status'] == 'completed':
                    done[d['node_id']] += 1
            self.assertEqual(started_after, set())
            self.assertEqual(set(done.values()), {1})
            self.assertEqual(len(done), 11)  # all but the branch not taken
        for c in clients:
            for r, w in c.watchers.items():
                run = s.run(r)
                for node in run['nodes']:
                    if node['type'] == 'llm':
                        self.assertEqual(w.texts[node['path']].decode(), node['output']['text'], (r, node['path']))
        print('kills %d, runs %d, model calls repeated %d, client reconnects %d' %
              (KILLS, RUNS, repeats, sum(c.reconnects for c in clients)))


if __name__ == '__main__':
    unittest.main()
