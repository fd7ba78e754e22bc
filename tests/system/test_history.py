"""Eight clients pause, resume, signal, cancel and read the same runs while the server is killed, stopped for a while, and PostgreSQL restarted. What they were
told must be a story that could have happened one thing after the other (tests/lib/histcheck.py), each run a register. Then all is healed, and every
run comes to its end.

SLUICE_SLOW=1: 10 minutes, 5 s of each trouble and 5 s of peace (SLUICE_HISTORY_S). Otherwise 12 s, one second each.
"""
import collections
import http.client
import json
import os
import random
import signal
import threading
import time
import unittest

from histcheck import UNKNOWN, History, check
from rig import PATIENCE, SLOW, Case, wait_for
from stage import Stage

SECONDS = float(os.environ.get('SLUICE_HISTORY_S', 600 if SLOW else 12))
PERIOD = 5.0 if SLOW else 1.0
SEED = int(os.environ.get('SLUICE_TEST_SEED', 7))
CLIENTS, AT_ONCE, OPS = 8, 6, 24
RUN = {'sluice': 1, 'name': 'register', 'nodes': [{'id': 'wait', 'type': 'wait_signal', 'params': {'signal': 'go'}}],
       'outputs': {'value': '{{ nodes.wait.payload.v }}'}}


def step(state, op):
    """What the run is (active, paused, succeeded, cancelled) and the value it has taken: the reference. An active run with a value ends by itself; orders
    that come in one turn may still meet it as it was."""
    both = [state, ('succeeded', state[1])] if state[0] == 'active' and state[1] is not None else [state]
    return [after for s in both for after in one_step(s, op)]


def one_step(state, op):
    phase, value = state
    final = phase in ('succeeded', 'cancelled')
    if op.name == 'read':
        return [state] if op.result is UNKNOWN or op.result == (phase, value if phase == 'succeeded' else None) else []
    if op.name == 'cancel':
        after, allowed = ('cancelled', None), phase != 'succeeded'
    elif op.name == 'pause':
        after, allowed = ('paused', value), not final
    elif op.name == 'resume':
        after, allowed = ('active', value), not final
    else:  # a signal; the first one is taken, also while the run is paused
        after, allowed = (phase, value if value is not None else op.arg), not final
    if op.result is UNKNOWN:
        return [after] if allowed else [state]
    return [after] if allowed and op.result == 'ok' else [state] if not allowed and op.result == 'no' else []


class Histories(Case):
    def ask(self, connection, stage, method, path, body):
        """(status, document); None: it cannot have arrived; UNKNOWN: it may have."""
        where = stage.where()
        if not where:
            return None
        c = http.client.HTTPConnection(*where, timeout=4 * PATIENCE)
        try:
            c.connect()
        except OSError:
            return None
        try:
            c.request(method, '/api/v1' + path, json.dumps(body) if body is not None else None,
                      {'Authorization': 'Bearer ' + stage.token, 'Content-Type': 'application/json'})
            r = c.getresponse()
            return r.status, json.loads(r.read())
        except (OSError, http.client.HTTPException, ValueError):
            return UNKNOWN
        finally:
            c.close()

    def operate(self, stage, client, run, rnd):
        run_id, history = run
        name = rnd.choice(['read', 'read', 'read', 'pause', 'pause', 'resume', 'resume'] * 3 + ['signal', 'signal', 'cancel'])
        arg = '%s-%d' % (client, len(history.ops)) if name == 'signal' else None
        op = history.call(client, name, arg)
        if name == 'read':
            got = self.ask(None, stage, 'GET', '/runs/' + run_id, None)
        else:
            got = self.ask(None, stage, 'POST', '/runs/%s/%s' % (run_id, name), {'signal': 'go', 'payload': {'v': arg}} if arg else {})
        if got is None:
            op.returns(UNKNOWN)
            op.name = 'nothing'
        elif got is not UNKNOWN:
            status, doc = got
            if name == 'read' and status == 200:
                phase = {'queued': 'active', 'running': 'active', 'waiting': 'active'}.get(doc['status'], doc['status'])
                op.returns((phase, doc['outputs']['value'] if phase == 'succeeded' else None))
            elif name != 'read' and status < 300:
                op.returns('ok')
            elif name != 'read' and status == 409 and doc['detail'].startswith('a run that is'):
                op.returns('no')
            # else: it may have happened, or not

    def test_what_clients_are_told_could_have_happened(self):
        rnd = random.Random(SEED)
        stage = Stage(self, onlooker=False)
        runs, window, lock, stopping = [], [], threading.Lock(), threading.Event()
        troubles, began = collections.Counter(), time.monotonic()

        def begin():
            key = 'register-%d' % len(runs)
            while True:
                got = stage.clerk.request('POST', '/runs', {'definition': RUN, 'inputs': {}}, {'Idempotency-Key': key})
                if got and got[0] in (200, 202):
                    run = (got[1]['id'], History())
                    runs.append(run)
                    return run
                time.sleep(0.02)

        def client(name):
            mine = random.Random('%d %s' % (SEED, name))
            while not stopping.is_set():
                with lock:
                    run = mine.choice(window)
                self.operate(stage, name, run, mine)
                time.sleep(mine.uniform(0, 0.04))

        def trouble():
            what = rnd.choice(['kill', 'pause', 'fast', 'immediate'])
            troubles[what] += 1
            if what == 'kill':
                end = time.monotonic() + PERIOD
                while time.monotonic() < end:
                    stage.end()
                    self.assertTrue(stage.start())
                    time.sleep(rnd.uniform(0.05, 0.5))
            elif what == 'pause':
                stage.server.process.proc.send_signal(signal.SIGSTOP)
                time.sleep(PERIOD)
                stage.server.process.proc.send_signal(signal.SIGCONT)
            else:
                stage.pg.stop(what)
                time.sleep(PERIOD / 2)
                stage.pg.start()
                time.sleep(PERIOD / 2)

        window += [begin() for _ in range(AT_ONCE)]
        threads = [threading.Thread(target=client, args=('c%d' % i,), daemon=True) for i in range(CLIENTS)]
        for t in threads:
            t.start()
        peace = True
        nemesis = None
        def told_enough():  # a busy machine needs longer to say as much
            ops = sum(1 for _, history in runs for o in list(history.ops) if o.result is not UNKNOWN)
            return ops > 300 or time.monotonic() - began > 20 * SECONDS

        while time.monotonic() - began < SECONDS or not told_enough() or nemesis and nemesis.is_alive():
            if not nemesis or not nemesis.is_alive():
                peace = not peace
                nemesis = threading.Thread(target=time.sleep, args=(PERIOD,), daemon=True) if peace else threading.Thread(target=trouble, daemon=True)
                nemesis.start()
            for i, (_, history) in enumerate(window):
                if len(history.ops) >= OPS:
                    fresh = begin()
                    with lock:
                        window[i] = fresh
            time.sleep(0.01)
        stopping.set()
        for t in threads:
            t.join(30 * PATIENCE)
        # healed: everything comes to its end
        for run_id, history in runs:
            for name, body in (('resume', {}), ('signal', {'signal': 'go', 'payload': {'v': 'last'}})):
                until = time.monotonic() + 60 * PATIENCE
                while True:
                    op = history.call('healer', name, 'last' if name == 'signal' else None)
                    status, doc = stage.server.raw('POST', '/api/v1/runs/%s/%s' % (run_id, name), body, timeout=60)[::2]
                    if status not in (503, 504) or time.monotonic() > until:
                        break
                    time.sleep(0.1)  # PostgreSQL may have come back only now: it may have happened, or not
                self.assertIn(status, (200, 202, 409), doc)
                op.returns('ok' if status < 300 else 'no')
            run = wait_for('the end of %s' % run_id, lambda r=run_id: (lambda x: x if x['status'] in ('succeeded', 'cancelled') else None)(stage.server.run(r)))
            op = history.call('healer', 'read')
            run = stage.server.run(run_id)
            op.returns((run['status'], run['outputs']['value'] if run['status'] == 'succeeded' else None))
        told = collections.Counter()
        for run_id, history in runs:
            ops = [o for o in history.ops if o.name != 'nothing']
            told.update('%s %s' % (o.name, 'unknown' if o.result is UNKNOWN else 'told') for o in ops)
            wrong = check(ops, ('active', None), step)
            if wrong:
                print('%s\n  told so far: %s\n  and none of these can be next: %s\n  all, by their call:' % (run_id, wrong[0], wrong[1]))
                for o in sorted(ops, key=lambda o: o.called):
                    print('    %8.3f to %8.3f  %r' % (o.called - began, o.returned - began, o))
            self.assertIsNone(wrong, run_id)
        stage.clerk.acknowledged = {r: None for r, _ in runs}
        print('%d runs, %d operations (%d of unknown outcome) of %d clients; %s; %.0f s, seed %d' % (
            len(runs), sum(told.values()), sum(n for k, n in told.items() if k.endswith('unknown')), CLIENTS, dict(troubles), time.monotonic() - began, SEED))
        stage.check()
        self.assertGreater(sum(n for k, n in told.items() if k.endswith(' told')), 200)


if __name__ == '__main__':
    unittest.main()
