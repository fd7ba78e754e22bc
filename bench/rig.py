"""What the benchmarks stand on: the real server with its own PostgreSQL, the simulator as a process of its own, medians, tables.

Standard library only. A server gets a fresh data folder and port 0; what is started here is also stopped here.
"""
import http.client
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import tempfile
import threading
import time


class Broken(Exception):
    """A measurement that did not come about; the benchmark goes on with the next one and says so."""


def cores():
    return sorted(os.sched_getaffinity(0))


def pinned(core):
    """Runs in the child before it becomes the program: also what it starts stays on this core."""
    return (lambda: os.sched_setaffinity(0, {core})) if core is not None and len(cores()) > 1 else None


class Child:
    def __init__(self, args, env=None, core=None, ready=None, seconds=120):
        clean = {k: v for k, v in os.environ.items() if not k.startswith('SLUICE_') and not k.endswith('_API_KEY')}
        clean.update(env or {})
        self.lines = []
        self.found = threading.Event()
        self.ready = None
        self.started = time.monotonic()
        self.proc = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=clean,
                                     preexec_fn=pinned(core))
        self.pattern = re.compile(ready) if ready else None
        threading.Thread(target=self._read, daemon=True).start()
        if ready and not self.found.wait(seconds) or self.ready is None:
            self.kill()
            raise Broken('%s did not start:\n%s' % (' '.join(args[:2]), '\n'.join(self.lines[-20:])))

    def _read(self):
        for raw in self.proc.stdout:
            line = raw.decode('utf-8', 'replace').rstrip('\n')
            self.lines = self.lines[-200:] + [line]
            m = self.pattern and self.ready is None and self.pattern.search(line)
            if m:
                self.ready_s = time.monotonic() - self.started
                self.ready = m
                self.found.set()
        self.found.set()

    @property
    def pid(self):
        return self.proc.pid

    def kill(self):
        if self.proc.poll() is None:
            self.proc.kill()
        self.proc.wait()

    def stop(self):
        if self.proc.poll() is None:
            self.proc.send_signal(signal.SIGTERM)
            try:
                self.proc.wait(40)
            except subprocess.TimeoutExpired:
                self.kill()
                raise Broken('%s did not stop' % self.proc.args[0]) from None


class Server:
    def __init__(self, sluice, core=None, args=(), data=None):
        self.own = data is None
        self.data = data or tempfile.mkdtemp(prefix='sluice-bench-')
        os.chmod(self.data, 0o755)  # PostgreSQL may run as another user
        self.child = Child([sluice, 'serve', '--data', self.data, '--listen', '127.0.0.1:0', '--log-format', 'json', '--sim', 'off', '--drain-s', '0', *args],
                           core=core, ready=r'"msg":"listening".*127\.0\.0\.1:(\d+)')
        self.port = int(self.child.ready.group(1))
        with open(self.data + '/admin-token', encoding='ascii') as f:
            self.token = f.read().strip()
        self.postgres = postmaster(self.data)
        self.url = "host='%s/pg' port=5432 user=sluice dbname=sluice" % self.data

    pid = property(lambda self: self.child.pid)

    def call(self, method, path, body=None):
        c = http.client.HTTPConnection('127.0.0.1', self.port, timeout=30)
        c.request(method, path, json.dumps(body) if body is not None else None,
                  {'Authorization': 'Bearer ' + self.token, 'Content-Type': 'application/json'})
        r = c.getresponse()
        data = r.read()
        c.close()
        if r.status >= 300:
            raise Broken('%s %s: %d %s' % (method, path, r.status, data[:500]))
        return json.loads(data) if data else None

    def ready_after(self, started, seconds=60):
        """Seconds from `started` until /readyz says yes."""
        while time.monotonic() - started < seconds:
            try:
                self.call('GET', '/readyz')
                return time.monotonic() - started
            except (Broken, OSError):
                time.sleep(0.001)
        raise Broken('never ready')

    def sql(self, query):
        return subprocess.run(['psql', '-XAtq', self.url, '-c', query], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()

    def stop(self):
        try:
            self.child.stop()
        finally:
            self.remove()

    def drop(self):
        """The end of a measurement whose data nobody wants: no orderly stop of ten thousand runs."""
        self.child.kill()
        if self.postgres:
            os.kill(self.postgres, signal.SIGQUIT)
            while os.path.exists('/proc/%d/cmdline' % self.postgres) and open('/proc/%d/cmdline' % self.postgres, 'rb').read():
                time.sleep(0.01)
        self.remove()

    def remove(self):
        if self.own:
            shutil.rmtree(self.data, ignore_errors=True)


def postmaster(data):
    try:
        with open(data + '/pg/postmaster.pid', encoding='ascii') as f:
            return int(f.readline())
    except (OSError, ValueError):
        return 0


class Sim:
    def __init__(self, sluice, speed, tokens, first_ms=500, core=None):
        self.child = Child([sluice, 'sim', '--listen', '127.0.0.1:0', '--json', '--stamps', '--no-rules', '--jitter', '0.3', '--speed', str(speed),
                            '--tokens', str(tokens), '--first-token-ms', str(first_ms)], core=core, ready=r'"url":"(http://127\.0\.0\.1:(\d+)/v1)"')
        self.url, self.port = self.child.ready.group(1), int(self.child.ready.group(2))

    def stop(self):
        self.child.kill()


def tool(args, seconds=240, core=None):
    """Runs one of our load clients; its last line is the measurement."""
    p = subprocess.run([str(a) for a in args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=seconds, preexec_fn=pinned(core))
    if p.returncode != 0:
        raise Broken('%s: %s' % (os.path.basename(str(args[0])), p.stderr.strip()[-800:]))
    return json.loads(p.stdout.strip().split('\n')[-1])


def cpu_s(pid):
    with open('/proc/%d/stat' % pid, encoding='ascii') as f:
        fields = f.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def rss_mb(pid):
    with open('/proc/%d/status' % pid, encoding='ascii') as f:
        return int(re.search(r'VmRSS:\s+(\d+)', f.read()).group(1)) / 1024


class Cell:
    """The rounds of one place in a table."""

    def __init__(self):
        self.rounds = []
        self.broken = None

    def add(self, measure, *args):
        try:
            self.rounds.append(measure(*args))
        except (Broken, subprocess.SubprocessError, OSError, ValueError) as e:
            self.broken = str(e)
            print('  (no measurement: %s)' % e, flush=True)

    def median(self, key):
        values = [r[key] for r in self.rounds if key in r]
        return statistics.median(values) if values else float('nan')

    def text(self, key, digits=None):
        values = [r[key] for r in self.rounds if key in r]
        if not values:
            return '-'
        m = statistics.median(values)
        d = digits if digits is not None else 0 if abs(m) >= 100 else 1 if abs(m) >= 10 else 2
        return '%.*f' % (d, m) + (' [%.*f..%.*f]' % (d, min(values), d, max(values)) if len(values) > 1 else '')


def table(head, rows):
    widths = [max(len(str(r[i])) for r in [head, *rows]) for i in range(len(head))]
    for row in [head, ['-' * w for w in widths], *rows]:
        print('  ' + '  '.join(str(c).ljust(w) if i == 0 else str(c).rjust(w) for i, (c, w) in enumerate(zip(row, widths))).rstrip(), flush=True)
    print(flush=True)
