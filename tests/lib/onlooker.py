"""tests/lib/onlooker.py: a client that watches runs through everything, on a socket that it opens again whenever it breaks.

It checks as it goes (rig.Watcher: no gap, no repeat, no chunk twice) and keeps what it saw for invariants.seen().
"""
import threading
import time

from rig import Failed, Socket, Watcher

AT_ONCE = 100  # runs of one connection; the server allows 128


class Onlooker(threading.Thread):
    def __init__(self, server, token):
        """server: () → (host, port) or None while there is none; token: () → text."""
        super().__init__(daemon=True)
        self.server, self.token = server, token
        self.watchers = {}
        self.lock = threading.Lock()
        self.fresh = []
        self.stopping = False
        self.error = None
        self.connects = 0
        self.start()

    def watch(self, run_id):
        with self.lock:
            if run_id not in self.watchers:
                self.watchers[run_id] = Watcher(run_id)
                self.fresh.append(run_id)

    def stop(self):
        self.stopping = True
        self.join(30)
        if self.error:
            raise self.error

    def run(self):
        try:
            while not self.stopping:
                where = self.server()
                sock = None
                try:
                    if where:
                        sock = Socket(where[1], self.token())
                except (OSError, Failed):
                    pass
                if not sock:
                    time.sleep(0.02)
                    continue
                self.connects += 1
                try:
                    self.serve(sock)
                except OSError:
                    pass
                finally:
                    sock.close()
        except Exception as e:  # noqa: BLE001 - stop() raises it in the test
            self.error = e

    def serve(self, sock):
        active = {}
        with self.lock:
            self.fresh = [r for r, w in self.watchers.items() if not w.ended]
        while not sock.closed and not self.stopping:
            with self.lock:
                while self.fresh and len(active) < AT_ONCE:
                    run_id = self.fresh.pop(0)
                    active[run_id] = self.watchers[run_id]
                    active[run_id].subscribe(sock)
            for e in sock.pump(0.05):
                if e['event'] == 'error' and e['data'].get('code') not in ('unavailable', 'draining', 'not_found'):
                    raise Failed('an onlooker got %r' % e)
                w = active.get(e.get('run_id'))
                if w:
                    w.feed(e)
                    if w.ended:
                        sock.send(cmd='unsubscribe', run_id=w.run_id)
                        del active[w.run_id]
