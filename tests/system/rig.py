"""tests/system/rig.py: the real binary, its own PostgreSQL, real sockets: what the system tests stand on.

Standard library only. Every server gets a fresh data folder and port 0; whatever it prints is kept and shown when a test fails.
The WebSocket client is small on purpose: the tests must be able to read one byte at a time, and to vanish in the middle of a frame.
"""
import base64
import csv
import glob
import http.client
import io
import json
import os
import pwd
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest

SLUICE = os.environ.get('SLUICE_BIN', 'build/test/cmd/sluice')
ROOT = os.environ.get('SLUICE_ROOT', '.')
SLOW = os.environ.get('SLUICE_SLOW') == '1'
# sanitizers make everything slower, never wrong
PATIENCE = float(os.environ.get('SLUICE_PATIENCE', '1'))


class Failed(AssertionError):
    pass


def wait_for(what, condition, seconds=60.0, every=0.02):
    """Waits for an event by looking; the only place where a test sleeps. On a busy machine it takes longer, which is no failure: it is given up
    after a minute at the earliest. Who promises a time measures it."""
    seconds = max(seconds, 60)
    until = time.monotonic() + seconds * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            raise Failed('did not happen in %g s: %s' % (seconds * PATIENCE, what))
        time.sleep(every)


class Process:
    """A child whose JSON log lines are read as they come."""

    def __init__(self, args, env=None, cwd=None):
        full = dict(os.environ)
        for key in list(full):
            if key.endswith('_API_KEY') or key.startswith('SLUICE_') and key not in ('SLUICE_BIN', 'SLUICE_ROOT', 'SLUICE_PATIENCE'):
                del full[key]
        full.update(env or {})
        self.lines = []
        self.cond = threading.Condition()
        self.proc = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=full, cwd=cwd)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for raw in self.proc.stdout:
            line = raw.decode('utf-8', 'replace').rstrip('\n')
            with self.cond:
                self.lines.append(line)
                self.cond.notify_all()
        self.proc.stdout.close()
        with self.cond:
            self.lines.append(None)
            self.cond.notify_all()

    def wait_line(self, pattern, seconds=60):
        """The first JSON log line whose text matches; a dict."""
        until = time.monotonic() + max(seconds, 60) * PATIENCE
        at = 0
        with self.cond:
            while True:
                while at < len(self.lines):
                    line = self.lines[at]
                    at += 1
                    if line is None:
                        raise Failed('ended before %r:\n%s' % (pattern, self.log()))
                    if re.search(pattern, line):
                        return json.loads(line) if line.startswith('{') else {'msg': line}
                left = until - time.monotonic()
                if left <= 0:
                    raise Failed('no line %r:\n%s' % (pattern, self.log()))
                self.cond.wait(left)

    def log(self):
        return '\n'.join(x for x in self.lines[-80:] if x)

    def kill(self):
        self.proc.kill()
        self.proc.wait()

    def stop(self, seconds=40):
        if self.proc.poll() is None:
            self.proc.send_signal(signal.SIGTERM)
            try:
                self.proc.wait(seconds * PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill()
                raise Failed('did not stop in %d s:\n%s' % (seconds, self.log())) from None
        return self.proc.returncode


class Sim:
    """The model simulator as a process of its own: it outlives the server and remembers what it saw."""

    def __init__(self, scenario=None, args=()):
        command = [SLUICE, 'sim', '--json', '--listen', '127.0.0.1:0', *args]
        self.dir = tempfile.mkdtemp(prefix='sluice-sim-')
        if scenario is not None:
            path = os.path.join(self.dir, 'scenario.json')
            with open(path, 'w', encoding='utf-8') as f:
                json.dump(scenario, f)
            command += ['--scenario', path]
        self.process = Process(command, env={'SLUICE_LOG_FORMAT': 'json'})
        self.url = self.process.wait_line('"url"')['url']
        if not self.url.endswith('/v1'):
            self.url = self.url.rstrip('/') + '/v1'
        self.port = int(re.search(r':(\d+)', self.url.split('//')[1]).group(1))

    def get(self, path):
        c = http.client.HTTPConnection('127.0.0.1', self.port, timeout=20)
        c.request('GET', path)
        body = c.getresponse().read()
        c.close()
        return json.loads(body)

    def stats(self):
        return self.get('/sim/stats')

    def requests(self):
        return self.get('/sim/requests')['requests']

    def close(self):
        self.process.kill()
        shutil.rmtree(self.dir, ignore_errors=True)


class Postgres:
    """A throw-away PostgreSQL that several servers share. fsync is off: tests kill processes, not machines.

    `url` reaches it over TCP on 127.0.0.1 (so that a fault proxy can stand between: see at()). Settings are given by name.
    """

    def __init__(self, **settings):
        found = glob.glob('/usr/lib/postgresql/*/bin/postgres') + glob.glob('/usr/local/pgsql/bin/postgres')
        path = max(found, key=lambda p: int(re.sub(r'\D', '', p) or 0)) if found else shutil.which('postgres')
        if not path:
            raise Failed('there is no PostgreSQL on this machine')
        self.bin = os.path.dirname(path)
        self.dir = tempfile.mkdtemp(prefix='sluice-pg-')
        self.user = {}
        if os.geteuid() == 0:  # PostgreSQL does not run as root
            for name in ('postgres', 'nobody'):
                try:
                    who = pwd.getpwnam(name)
                    break
                except KeyError:
                    continue
            os.chown(self.dir, who.pw_uid, who.pw_gid)
            self.user = {'user': who.pw_uid, 'group': who.pw_gid, 'extra_groups': []}
        self.settings = {'max_connections': 300, 'fsync': 'off', 'jit': 'off', 'log_checkpoints': 'off', 'log_min_messages': 'panic',
                         'listen_addresses': '127.0.0.1', 'unix_socket_directories': self.dir, 'timezone': 'UTC', **settings}
        made = subprocess.run([self.bin + '/initdb', '-D', self.dir + '/pg', '-U', 'sluice', '--auth=trust', '--encoding=UTF8', '--locale=C',
                               '--no-sync'], cwd='/', stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **self.user)
        if made.returncode:
            raise Failed('initdb: ' + made.stderr)
        self.port = 0
        self.proc = None
        self.start()

    def start(self):
        """Also after stop() and kill(); the port stays what it was."""
        for _ in range(20):
            if not self.port:
                with socket.socket() as s:
                    s.bind(('127.0.0.1', 0))
                    port = s.getsockname()[1]
            else:
                port = self.port
            args = [x for k, v in self.settings.items() for x in ('-c', '%s=%s' % (k, v))]
            with open(self.dir + '/log', 'ab') as log:
                self.proc = subprocess.Popen([self.bin + '/postgres', '-D', self.dir + '/pg', '-p', str(port), *args], cwd='/',
                                             stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self.user)
            until = time.monotonic() + 60 * PATIENCE
            while self.proc.poll() is None and time.monotonic() < until:
                if self._psql('SELECT 1', port).returncode == 0:
                    self.port = port
                    return
                time.sleep(0.05)
            if self.proc.poll() is None:
                self.proc.kill()
                self.proc.wait()
            time.sleep(0.1)  # somebody took the port, or a killed one's children have not gone yet
        with open(self.dir + '/log', encoding='utf-8', errors='replace') as log:
            raise Failed('PostgreSQL does not start: ' + log.read()[-2000:])

    def at(self, port):
        """The address by way of another port: that of a proxy."""
        return 'postgres://sluice@127.0.0.1:%d/postgres' % port

    @property
    def url(self):
        return self.at(self.port)

    def _psql(self, sql, port):
        return subprocess.run([self.bin + '/psql', '-X', '-q', '--csv', '-t', '-v', 'ON_ERROR_STOP=1', '-h', '127.0.0.1', '-p', str(port),
                               '-U', 'sluice', '-d', 'postgres', '-c', sql], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)

    def sql(self, sql):
        """The rows, each a list of texts ('' is also NULL)."""
        done = self._psql(sql, self.port)
        if done.returncode:
            raise Failed('%s: %s' % (sql, done.stderr))
        return list(csv.reader(io.StringIO(done.stdout)))

    def value(self, sql):
        return self.sql(sql)[0][0]

    def stop(self, mode='fast'):
        """smart, fast or immediate, as pg_ctl names them."""
        self.proc.send_signal({'smart': signal.SIGTERM, 'fast': signal.SIGINT, 'immediate': signal.SIGQUIT}[mode])
        self.proc.wait(60 * PATIENCE)

    def kill(self):
        """SIGKILL to the postmaster; its children notice by themselves."""
        self.proc.kill()
        self.proc.wait()

    def close(self):
        if self.proc.poll() is None:
            self.stop('immediate')
        shutil.rmtree(self.dir, ignore_errors=True)


class Server:
    def __init__(self, sim=None, env=None, data=None, args=()):
        self.own = data is None
        self.data = data or tempfile.mkdtemp(prefix='sluice-test-')
        os.chmod(self.data, 0o755)  # PostgreSQL may run as another user
        self.env = {'SLUICE_DATA': self.data, 'SLUICE_LISTEN': '127.0.0.1:0', 'SLUICE_LOG_FORMAT': 'json', 'SLUICE_LOG': 'info'}
        self.env.update(env or {})
        self.sim = sim
        self.args = list(args)
        self.process = None
        self.start()
        self.use(sim)

    def use(self, sim):
        """Model calls without a profile of their own go to this simulator from now on."""
        self.sim = sim
        if sim:
            self.call('PUT', '/llm/profiles/upstream', {'provider': 'openai', 'model': 'test-model', 'base_url': sim.url,
                                                        'api_keys': ['sk-test-key-0001'], 'default': True}, expect=(200, 201))

    def start(self):
        for left in (2, 1, 0):
            self.process = Process([SLUICE, 'serve', *self.args], env=self.env)
            try:
                line = self.process.wait_line('listening', 90)
                break
            except Failed as e:  # between two lives somebody may be given the port of the first, even our own simulator
                if not left or 'address already in use' not in str(e):
                    raise
        self.url = line.get('url') or 'http://' + line['address']
        self.port = int(re.search(r':(\d+)', self.url.split('//')[1]).group(1))
        self.token = self.env.get('SLUICE_ADMIN_TOKEN')
        if not self.token:
            with open(os.path.join(self.data, 'admin-token'), encoding='ascii') as f:
                self.token = f.read().strip()
        # clients that come back find it where it was
        self.env['SLUICE_LISTEN'] = '127.0.0.1:%d' % self.port

    def kill(self):
        self.process.kill()

    def restart(self):
        self.kill()
        self.start()

    def close(self):
        try:
            return self.process.stop()
        finally:
            if self.own:
                shutil.rmtree(self.data, ignore_errors=True)

    def raw(self, method, path, body=None, headers=None, token=None, timeout=30):
        c = http.client.HTTPConnection('127.0.0.1', self.port, timeout=timeout * PATIENCE)
        h = {'Authorization': 'Bearer ' + (token or self.token)}
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        if body is not None:
            h['Content-Type'] = 'application/json'
        h.update(headers or {})
        try:
            c.request(method, path, body, h)
            r = c.getresponse()
            return r.status, dict(r.getheaders()), r.read()
        finally:
            c.close()

    def call(self, method, path, body=None, expect=(200, 201, 202), headers=None):
        status, _, data = self.raw(method, '/api/v1' + path, body, headers)
        if status not in expect:
            raise Failed('%s %s: %d %s' % (method, path, status, data.decode('utf-8', 'replace')[:2000]))
        return json.loads(data) if data else None

    def submit(self, definition, inputs=None, key=None, **more):
        body = {'inputs': inputs or {}, **more}
        body['workflow' if isinstance(definition, str) else 'definition'] = definition
        return self.call('POST', '/runs', body, headers={'Idempotency-Key': key} if key else None)['id']

    def run(self, run_id):
        return self.call('GET', '/runs/' + run_id)

    def node(self, run_id, path):
        return next(n for n in self.run(run_id)['nodes'] if n['path'] == path)

    def wait_status(self, run_id, *statuses, seconds=60):
        def look():
            run = self.run(run_id)
            if run['status'] in statuses:
                return run
            if run['status'] in ('succeeded', 'failed', 'cancelled'):
                raise Failed('run %s is %s: %s' % (run_id, run['status'], json.dumps(run.get('error'))))
            return None
        return wait_for('run %s to be %s' % (run_id, '/'.join(statuses)), look, seconds)

    def events(self, run_id):
        out, after = [], 0
        while True:
            page = self.call('GET', '/runs/%s/events?after_seq=%d&limit=500' % (run_id, after))
            out += page['items']
            if not page['items'] or not page.get('next_cursor') and len(page['items']) < 500:
                return out
            after = page['items'][-1]['seq']

    def metrics(self):
        status, _, data = self.raw('GET', '/metrics')
        if status != 200:
            raise Failed('metrics: %d' % status)
        out = {}
        for line in data.decode().split('\n'):
            m = re.match(r'([a-zA-Z_:][\w:]*)(\{[^}]*\})? ([-+.\deEInfNa]+)$', line)
            if m:
                out[m.group(1) + (m.group(2) or '')] = float(m.group(3))
        return out

    def rss_kb(self):
        with open('/proc/%d/status' % self.process.proc.pid, encoding='ascii') as f:
            return int(re.search(r'VmRSS:\s+(\d+)', f.read()).group(1))


class Cluster:
    """N servers on one PostgreSQL, each with its own data folder and port; admin token and secret key are the same.

        with Cluster(2, sim=sim) as c:
            run = c[0].submit(definition)
            c[0].kill()
            c[1].wait_status(run, 'succeeded')
    """

    def __init__(self, n=2, sim=None, env=None, pg=None, url=None, args=()):
        self.own_pg = pg is None
        self.pg = pg or Postgres()
        self.url = url or self.pg.url  # of a proxy in front of it, say
        self.env = {'SLUICE_ADMIN_TOKEN': 'sl_' + base64.urlsafe_b64encode(os.urandom(24)).decode(), 'SLUICE_SECRET_KEY': os.urandom(32).hex(),
                    **(env or {})}
        self.args = args
        self.sim = sim
        self.servers = []
        try:
            for _ in range(n):
                self.add()
        except BaseException:
            self.close()
            raise

    def add(self, env=None, url=None):
        """One more server; returns it."""
        first = not self.servers
        s = Server(None, env={'SLUICE_DATABASE_URL': url or self.url, 'SLUICE_SIM': 'off' if self.sim else 'auto', **self.env, **(env or {})},
                   args=self.args)
        self.servers.append(s)
        if first and self.sim:
            s.use(self.sim)  # stored in PostgreSQL: those that start later find it there
        return s

    def __getitem__(self, i):
        return self.servers[i]

    def __len__(self):
        return len(self.servers)

    def close(self):
        try:
            for s in self.servers:
                if s.process.proc.poll() is None:
                    s.close()
                else:
                    shutil.rmtree(s.data, ignore_errors=True)
        finally:
            if self.own_pg:
                self.pg.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Socket:
    """A WebSocket client of subprotocol sluice.v1."""

    def __init__(self, port, token, receive_buffer=None):
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(60 * PATIENCE)
        try:
            self._shake_hands(port, token)
        except BaseException:
            self.sock.close()
            raise

    def _shake_hands(self, port, token):
        self.sock.connect(('127.0.0.1', port))
        key = base64.b64encode(os.urandom(16)).decode()
        self.sock.sendall(('GET /ws HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
                           'Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: sluice.v1\r\n'
                           'Authorization: Bearer %s\r\n\r\n' % (port, key, token)).encode())
        self.buf = b''
        self.message, self.opcode = b'', 0
        self.events = []
        self.closed = None
        while b'\r\n\r\n' not in self.buf:
            data = self.sock.recv(4096)
            if not data:
                raise Failed('no handshake: %r' % self.buf)
            self.buf += data
        head, self.buf = self.buf.split(b'\r\n\r\n', 1)
        if b' 101 ' not in head.split(b'\r\n')[0]:
            raise Failed('handshake refused: %r' % head)

    def send(self, **command):
        self.frame(1, json.dumps(command).encode())

    def frame(self, opcode, data):
        mask = os.urandom(4)
        n = len(data)
        head = bytes([0x80 | opcode]) + (bytes([0x80 | n]) if n < 126 else
                                         bytes([0x80 | 126]) + struct.pack('>H', n) if n < 65536 else
                                         bytes([0x80 | 127]) + struct.pack('>Q', n))
        self.sock.sendall(head + mask + bytes(b ^ mask[i & 3] for i, b in enumerate(data)))

    def _parse(self):
        """Takes one whole frame off the buffer; None: not all there."""
        b = self.buf
        if len(b) < 2:
            return None
        n, at = b[1] & 127, 2
        if n == 126:
            if len(b) < 4:
                return None
            n, at = struct.unpack('>H', b[2:4])[0], 4
        elif n == 127:
            if len(b) < 10:
                return None
            n, at = struct.unpack('>Q', b[2:10])[0], 10
        if len(b) < at + n:
            return None
        self.buf = b[at + n:]
        opcode, data = b[0] & 15, b[at:at + n]
        if opcode < 8:  # a message may come in fragments, with pings between them
            self.message += data
            self.opcode = opcode or self.opcode
            if not b[0] & 0x80:
                return 0, b''
            opcode, data, self.message = self.opcode, self.message, b''
        return opcode, data

    def pump(self, timeout=0.0, at_most=65536):
        """Reads what is there (at most so many bytes); returns the events that became whole."""
        out = []
        self.sock.settimeout(timeout if timeout > 0 else 0.000001)
        try:
            data = self.sock.recv(at_most)
            if not data:
                self.closed = self.closed or 1006
            self.buf += data
        except (TimeoutError, BlockingIOError, socket.timeout):
            pass
        except (ConnectionResetError, BrokenPipeError):
            self.closed = self.closed or 1006
        while True:
            got = self._parse()
            if not got:
                return out
            opcode, data = got
            if opcode == 9:
                self.frame(10, data)
            elif opcode == 8:
                self.closed = struct.unpack('>H', data[:2])[0] if len(data) >= 2 else 1005
            elif opcode == 1:
                parsed = json.loads(data.decode('utf-8'))
                out += parsed if isinstance(parsed, list) else [parsed]

    def until(self, condition, seconds=60):
        """Pumps into self.events until condition(event) holds; returns that event."""
        end = time.monotonic() + max(seconds, 60) * PATIENCE
        at = 0
        while True:
            while at < len(self.events):
                if condition(self.events[at]):
                    return self.events[at]
                at += 1
            if self.closed:
                raise Failed('closed %s' % self.closed)
            if time.monotonic() > end:
                raise Failed('event did not come; the last ones: %s' % json.dumps(self.events[-5:])[:1500])
            self.events += self.pump(0.2)

    def close(self):
        self.sock.close()


class Watcher:
    """What a careful client holds of one run: durable events by seq, texts by (node, attempt), and where to go on.

    Checks every guarantee as it goes: seq without gap or repeat, chunks without gap or overlap.
    """

    def __init__(self, run_id):
        self.run_id = run_id
        self.seq = None
        self.seqs = []
        self.durable = {}
        self.texts = {}     # path -> bytes of the present attempt
        self.attempts = {}
        self.status = None

    def feed(self, event):
        if event.get('run_id') != self.run_id:
            return
        name, data = event['event'], event.get('data', {})
        if name == 'snapshot':
            self.seq = data['last_seq']
            self.status = data['status']
            self.texts = {}
            for path, s in data.get('streams', {}).items():
                self.attempts[path] = s['attempt']
                self.texts[path] = b''
        elif name == 'token_stream':
            path, chunk = data['node_id'], data['chunk'].encode()
            if self.attempts.get(path) != data['attempt']:
                self.attempts[path] = data['attempt']
                self.texts[path] = b''
            have = len(self.texts.setdefault(path, b''))
            if data['offset'] != have or data['end'] != have + len(chunk):
                raise Failed('chunk of %s at %d..%d after %d bytes' % (path, data['offset'], data['end'], have))
            self.texts[path] += chunk
        elif name == 'stream_reset':
            self.texts[data['node_id']] = b''
            self.attempts[data['node_id']] = data['attempt']
        if event.get('seq') is not None:
            if self.seq is not None and event['seq'] != self.seq + 1:
                raise Failed('seq %d after %d' % (event['seq'], self.seq))
            self.seq = event['seq']
            self.durable[self.seq] = (name, json.dumps(data, sort_keys=True))
            if name.startswith('execution:'):
                self.status = name.split(':')[1]

    @property
    def ended(self):
        return self.status in ('completed', 'succeeded', 'failed', 'cancelled')

    def subscribe(self, sock):
        command = {'cmd': 'subscribe', 'run_id': self.run_id}
        if self.seq is not None:
            command['after_seq'] = self.seq
            command['streams'] = {p: {'attempt': self.attempts.get(p, 1), 'offset': len(t)} for p, t in self.texts.items()}
        sock.send(**command)


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.random = random.Random(os.environ.get('SLUICE_TEST_SEED', '7'))
        self.things = []

    def sim(self, *args, **kw):
        s = Sim(*args, **kw)
        self.things.append(s)
        return s

    def cluster(self, *args, **kw):
        c = Cluster(*args, **kw)
        self.things.append(c)
        return c

    shared = None  # one server for all tests of a class that ask for nothing special: initdb takes its time

    def server(self, sim=None, **kw):
        cls = type(self)
        if kw:
            s = Server(sim, **kw)
            self.things.append(s)
            return s
        if cls.shared and cls.shared.sim and not sim:
            cls.shared.close()
            cls.shared = None
        if not cls.shared:
            cls.shared = Server(sim)
        elif sim:
            cls.shared.use(sim)
        return cls.shared

    @classmethod
    def tearDownClass(cls):
        if cls.shared:
            process = cls.shared.process
            code = cls.shared.close()
            cls.shared = None
            if code != 0:
                raise Failed('the server ended with %s:\n%s' % (code, process.log()))

    def socket(self, server, **kw):
        s = Socket(server.port, server.token, **kw)
        self.things.append(s)
        return s

    def tearDown(self):
        failed = any(t is self for t, _ in self._outcome.result.failures + self._outcome.result.errors)
        if failed and self.shared:
            print('---- server log\n' + self.shared.process.log())
        for t in reversed(self.things):
            try:
                t.close()
            finally:
                for s in [t] if isinstance(t, Server) else t.servers if isinstance(t, Cluster) else []:
                    if failed:
                        print('---- server log\n' + s.process.log())


def llm(node_id, prompt, **params):
    return {'id': node_id, 'type': 'llm', 'params': {'prompt': prompt, **params}}


def edges(*pairs):
    return [{'from': a, 'to': b} for a, b in pairs]


def debate(join=None, extra=None):
    return {'sluice': 1, 'name': 'debate', 'nodes': [
        {'id': 'pro', 'type': 'llm', 'params': {'system': 'side pro', 'prompt': 'For: {{ input.topic }}'}, **(extra or {})},
        {'id': 'con', 'type': 'llm', 'params': {'system': 'side con', 'prompt': 'Against: {{ input.topic }}'}, **(extra or {})},
        {'id': 'both', 'type': 'join', 'params': join or {}},
        {'id': 'judge', 'type': 'llm', 'params': {'system': 'the judge', 'prompt': 'Decide: {{ nodes.both.merged }}'}}],
        'edges': edges(('pro', 'both'), ('con', 'both'), ('both', 'judge')),
        'outputs': {'verdict': '{{ nodes.judge.text }}'}}


def twelve():
    """Twelve nodes: three model calls in parallel, twice, joins, a branch, transforms."""
    return {'sluice': 1, 'name': 'twelve', 'nodes': [
        {'id': 'open', 'type': 'parallel', 'params': {}},
        llm('a', 'a {{ input.n }}'), llm('b', 'b {{ input.n }}'), llm('c', 'c {{ input.n }}'),
        {'id': 'first', 'type': 'join', 'params': {'merge': 'object'}},
        {'id': 'size', 'type': 'transform', 'params': {'expr': '#nodes.a.text + #nodes.b.text + #nodes.c.text'}},
        {'id': 'pick', 'type': 'branch', 'params': {'cases': [{'case': 'some', 'when': 'nodes.size.value > 0'}], 'default': 'none'}},
        llm('d', 'd {{ nodes.a.text }}'), llm('e', 'e {{ nodes.b.text }}'),
        {'id': 'empty', 'type': 'template', 'params': {'text': 'nothing'}},
        {'id': 'second', 'type': 'join', 'params': {}},
        {'id': 'last', 'type': 'template', 'params': {'text': '{{ input.n }}: {{ nodes.d.text }} | {{ nodes.e.text }}'}}],
        'edges': edges(('open', 'a'), ('open', 'b'), ('open', 'c'), ('a', 'first'), ('b', 'first'), ('c', 'first'),
                       ('first', 'size'), ('size', 'pick'), ('d', 'second'), ('e', 'second'), ('empty', 'second'), ('second', 'last'))
        + [{'from': 'pick', 'to': 'd', 'case': 'some'}, {'from': 'pick', 'to': 'e', 'case': 'some'},
           {'from': 'pick', 'to': 'empty', 'case': 'none'}],
        'outputs': {'text': '{{ nodes.last.text }}'}}
