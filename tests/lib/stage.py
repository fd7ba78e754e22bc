"""tests/lib/stage.py: everything a test that kills needs, put together: PostgreSQL, another system, the simulator, a server with many lives, the clerk
and an onlooker; and the verdict at the end.

    stage = Stage(self)                      # of a rig.Case, which closes it
    stage.clerk.begin('tag', plans)
    stage.drive(0.5); stage.kill(); stage.start(); stage.drive(60)
    stage.check()                            # asserts that nothing is broken
"""
import collections
import signal
import time

import invariants
from onlooker import Onlooker
from rig import PATIENCE, Failed, Postgres, Server, wait_for
from workload import SCENARIO, Clerk, Sink


class Stage:
    def __init__(self, case, scenario=None, env=None, embedded=False, url=None, pg=None, onlooker=True, args=()):
        """embedded: the server's own PostgreSQL. url: of a proxy before ours."""
        self.case = case
        self.sink = Sink()
        case.things.append(self.sink)
        self.pg = pg
        if not embedded and not pg:
            self.pg = Postgres()
            case.things.append(self.pg)
        self.sim = case.sim(scenario or SCENARIO)
        settings = {'SLUICE_MAX_RECOVERIES': '1000000', 'SLUICE_DRAIN_S': '0', 'SLUICE_EGRESS_ALLOW': self.sink.allow, 'SLUICE_EGRESS_HTTP': '1',
                    **(env or {})}
        if self.pg:
            settings.update({'SLUICE_DATABASE_URL': url or self.pg.url, 'SLUICE_LEASE_S': '5'})
        self.server = Server(self.sim, env=settings, args=args)
        case.things.append(self.server)
        self.token = self.server.token  # the server object has none while it starts
        self.up = True
        self.deaths = 0
        self.clerk = Clerk(self.where, lambda: self.token)
        case.things.append(self.clerk)
        self.onlooker = Onlooker(self.where, lambda: self.token) if onlooker else None

    @property
    def info(self):
        if self.pg:
            return self.pg.url
        line = self.server.process.wait_line('"socket"')
        return "host='%s' port=5432 user=sluice dbname=sluice" % line['socket']

    def where(self):
        return ('127.0.0.1', self.server.port) if self.up else None

    def dead(self):
        """Looks, and counts a death once."""
        if self.up and self.server.process.proc.poll() is not None:
            self.up = False
            self.deaths += 1
        return not self.up

    def start(self, failpoint=''):
        """Another life, with points armed. False: it died before it listened."""
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

    def end(self, sig=signal.SIGKILL):
        if not self.dead():
            self.server.process.proc.send_signal(sig)
            self.server.process.proc.wait(40 * PATIENCE)
            self.dead()

    def drive(self, seconds, until=None, linger=None, every=0.01):
        """The clerk works until all has ended, the server is dead, until() says so, or for so long. linger: and so long after the last end.
        True: all has ended."""
        end, left = time.monotonic() + seconds, 1
        while time.monotonic() < end and not self.dead():
            left = self.clerk.step()
            if self.onlooker:
                for run_id in list(self.clerk.acknowledged):
                    self.onlooker.watch(run_id)
            if until and until():
                break
            if not left:
                if linger is None:
                    break
                end = min(end, time.monotonic() + linger)
            time.sleep(every)
        return not left

    def broken(self, calls=None):
        """[(rule, what)], see invariants.py; and the oracle's."""
        most = self.deaths + 1 if calls is None else calls
        if self.onlooker:
            self.onlooker.stop()
        found = invariants.check(self.info, self.clerk.acknowledged)
        if self.onlooker:
            found += invariants.seen(self.info, self.onlooker.watchers.values())
        found += invariants.called(self.sink.calls, most + 1)  # one more was refused on purpose
        found += invariants.called(collections.Counter(r['idempotency_key'] for r in self.sim.requests()), most)
        for p, why in self.clerk.wrong():
            found.append(('the oracle', '%s %s' % (p and (p.tag, p.definition['name'], p.run_id, p.acts), why)))
            if p and p.run_id:
                print(why, *invariants.query(self.info, "SELECT seq, epoch, at, event, data FROM run_events WHERE run_id = '%s' ORDER BY seq;" % p.run_id),
                      sep='\n    ')
        return found

    def check(self, calls=None):
        self.case.assertEqual(self.broken(calls), [])
