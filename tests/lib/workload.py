"""tests/lib/workload.py: runs whose right ends are known before they begin, and the clerk who brings them there through any number of crashes.

    sink, plans = Sink(), []
    clerk = Clerk(lambda: server, sink)          # server: whatever has raw(), for as long as it lives
    clerk.begin('a name', mixed(random, sink))    # or dag(random, sink), order(), ...
    clerk.drive(60)                               # submits, answers reviews, signals, pauses, resumes, unlocks, until all have ended
    clerk.wrong()                                 # [(plan, why)]: what did not end as it must

A `Plan` is a definition, its inputs, what must come out (the oracle: computed here, in Python, from the same graph), and what a person does meanwhile.
Submissions carry an Idempotency-Key and are made twice, so an answer that was lost costs nothing and a repeat that makes a second run is found.
Standard library only.
"""
import http.client
import http.server
import json
import threading
import time

BIG = 9973
ANSWER = 'The answer to {gist} is a sentence of some length, so that a stream of it can be cut in the middle.'
# What the simulator has to say for these workloads to come out right. Pace as you like.
SCENARIO = {'sim': 1, 'defaults': {'tps': 400, 'first_ms': 10, 'jitter': 0.5, 'seed': 5}, 'rules': [
    {'match': {'user': 'circle'}, 'per': 'topic', 'then': 'stay',
     'answer': ['I should look at this again. ' * 400, 'straight']},
    {'answer': ANSWER}]}


class Sink:
    """Another system: computes (5n + 3) mod BIG for POST /f, refuses the first request of each key at /flaky, counts by Idempotency-Key."""

    def __init__(self):
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
                key = self.headers['Idempotency-Key']
                with outer.lock:
                    outer.calls[key] = outer.calls.get(key, 0) + 1
                    refused = self.path == '/flaky' and key not in outer.refused
                    if refused:
                        outer.refused.add(key)
                self.answer(503 if refused else 200, {} if refused else {'value': (5 * body['n'] + 3) % BIG})

            def answer(self, status, body):
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header('Content-Type', 'application/json')
                self.send_header('Content-Length', str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args):
                pass

        self.lock, self.calls, self.refused = threading.Lock(), {}, set()
        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *args: None  # connections break here on purpose
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def allow(self):
        """For SLUICE_EGRESS_ALLOW."""
        return '127.0.0.1:%d' % self.port

    def url(self, path):
        return 'http://127.0.0.1:%d%s' % (self.port, path)

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Plan:
    """expected: the outputs; None: it must end cancelled. acts: what somebody does meanwhile, see Clerk."""

    def __init__(self, definition, inputs, expected, acts=(), nodes=None):
        self.definition, self.inputs, self.expected = definition, inputs, expected
        self.acts = list(acts)
        self.nodes = nodes or {}  # path → status it must end with
        self.tag = self.key = self.run_id = self.end = None
        self.again = False  # the submission was repeated
        self.begun = None   # when it was acknowledged
        self.ended = None


# ---- graphs with a known result ----

def llm_text(gist):
    return ANSWER.replace('{gist}', gist)


class Graph:
    """Collects nodes with the value each must have; `read` is how an expression reads it."""

    def __init__(self, random, sink):
        self.random, self.sink = random, sink
        self.nodes, self.edges = [], []
        self.values, self.read, self.status = {}, {}, {}

    def add(self, ident, kind, parents, value, read, status='completed', **rest):
        self.nodes.append({'id': ident, 'type': kind, **rest})
        for p in parents:
            self.edges.append({'from': p, 'to': ident} if isinstance(p, str) else {'from': p[0], 'to': ident, 'case': p[1]})
        self.values[ident], self.read[ident], self.status[ident] = value, read, status

    def calc(self, ident, parents, extra=7, **more):
        total = '(3 * (%s) + %d) %% %d' % (' + '.join(self.read[p] for p in parents), extra, BIG)
        self.add(ident, 'transform', parents, (3 * sum(self.values[p] for p in parents) + extra) % BIG, 'nodes.%s.value' % ident,
                 params={'expr': total}, **more)

    def llm(self, ident, parents):
        prompt = 'n%d' % sum(self.values[p] for p in parents)
        self.add(ident, 'llm', parents, len(llm_text(prompt)), '#nodes.%s.text' % ident,
                 params={'prompt': 'n{{ %s }}' % ' + '.join(self.read[p] for p in parents)})

    def http(self, ident, parents, path='/f'):
        n = sum(self.values[p] for p in parents)
        self.add(ident, 'http', parents, (5 * n + 3) % BIG, 'nodes.%s.json.value' % ident,
                 params={'method': 'POST', 'url': self.sink.url(path), 'expect': 'json',
                         'body': {'n': '{{ %s }}' % ' + '.join(self.read[p] for p in parents)}},
                 retry={'max': 20, 'backoff_ms': 20, 'factor': 1.2})

    def delay(self, ident, parents, seconds):
        self.add(ident, 'delay', parents, 1, '1', params={'seconds': seconds})

    def join(self, ident, parents, **params):
        self.add(ident, 'join', parents, len(parents), '#nodes.%s.arrived' % ident, params=params)

    def branch(self, ident, parent):
        """Four nodes: a choice by parity, its two ways, and what closes them."""
        even = self.values[parent] % 2 == 0
        way, other = ident + ('_even' if even else '_odd'), ident + ('_odd' if even else '_even')
        self.add(ident, 'branch', [parent], 1, '1', params={'cases': [{'case': 'even', 'when': '%s %% 2 == 0' % self.read[parent]}], 'default': 'odd'})
        for name in (ident + '_even', ident + '_odd'):
            self.add(name, 'template', [(ident, name.rsplit('_', 1)[1])], len(name), '#nodes.%s.text' % name, params={'text': name})
        self.status[other] = 'skipped'
        self.add(ident + '_end', 'join', [ident + '_even', ident + '_odd'], 1, '#nodes.%s_end.arrived' % ident, params={})
        return way

    def plan(self, name):
        last = [n['id'] for n in self.nodes if not any(e['from'] == n['id'] for e in self.edges)]
        outputs = {i: '{{ %s }}' % self.read[i] for i, s in self.status.items() if s == 'completed'}
        expected = {i: self.values[i] for i in outputs}
        assert last
        return Plan({'sluice': 1, 'name': name, 'nodes': self.nodes, 'edges': self.edges, 'outputs': outputs}, {'n': self.n}, expected, nodes=dict(self.status))


def dag(random, sink, nodes=20, quick=False):
    """A random graph of so many nodes: model streams, requests that fail at first, timers, branches, joins over many, and arithmetic."""
    g = Graph(random, sink)
    g.n = random.randrange(1000)
    g.values['input'], g.read['input'] = g.n, 'input.n'
    g.add('start', 'transform', [], (3 * g.n + 7) % BIG, 'nodes.start.value', params={'expr': '(3 * input.n + 7) %% %d' % BIG})
    wanted, number = ['llm', 'flaky', 'branch', 'join', 'delay'], 0  # each at least once
    while len(g.nodes) < nodes - 1:
        number += 1
        ident = 'x%d' % number
        known = [i for i in g.status if g.status[i] == 'completed' and not i.endswith(('_even', '_odd'))]
        near = known[-6:]
        parents = random.sample(near, random.randint(1, min(3, len(near))))
        kind = wanted.pop(0) if wanted else random.choice(['llm', 'llm', 'calc', 'calc', 'http', 'flaky', 'delay', 'join', 'branch'])
        if kind == 'branch' and len(g.nodes) + 4 < nodes:
            g.branch(ident, parents[0])
        elif kind == 'join' and len(near) > 1:
            g.join(ident, random.sample(near, random.randint(2, min(5, len(near)))))
        elif kind == 'llm':
            g.llm(ident, parents)
        elif kind in ('http', 'flaky'):
            g.http(ident, parents[:1], '/f' if kind == 'http' else '/flaky')
        elif kind == 'delay':
            g.delay(ident, parents, round(random.uniform(0.02, 0.1 if quick else 0.5), 3))
        else:
            g.calc(ident, parents, random.randrange(100))
    leaves = [i for i in g.status if g.status[i] == 'completed' and not any(e['from'] == i for e in g.edges)]
    g.calc('last', leaves)
    return g.plan('dag')


def rounds(random, sink):
    """A loop of three rounds with a model call in it; what is carried is known."""
    body = {'nodes': [{'id': 'say', 'type': 'llm', 'params': {'prompt': 'round {{ loop.index }}'}},
                      {'id': 'add', 'type': 'transform', 'params': {'expr': '(loop.carry or input.n) + loop.index'}}],
            'edges': [{'from': 'say', 'to': 'add'}]}
    n = random.randrange(1000)
    return Plan({'sluice': 1, 'name': 'rounds', 'nodes': [
        {'id': 'refine', 'type': 'loop', 'params': {'max_rounds': 3, 'carry': 'nodes.add.value', 'body': body}}],
        'outputs': {'rounds': '{{ nodes.refine.rounds }}', 'sum': '{{ nodes.refine.carry }}', 'said': '{{ nodes.refine.last.say.text }}'}},
        {'n': n}, {'rounds': 3, 'sum': n + 6, 'said': llm_text('round 3')})


def items(random, sink):
    """A map, two at a time, with a request for each item."""
    numbers = [random.randrange(1000) for _ in range(4)]
    body = {'nodes': [{'id': 'twice', 'type': 'transform', 'params': {'expr': '2 * item'}},
                      {'id': 'ask', 'type': 'http', 'retry': {'max': 20, 'backoff_ms': 20, 'factor': 1.2}, 'params': {
                          'method': 'POST', 'url': sink.url('/f'), 'expect': 'json', 'body': {'n': '{{ nodes.twice.value }}'}}},
                      {'id': 'end', 'type': 'transform', 'params': {'expr': 'nodes.ask.json.value'}}],
            'edges': [{'from': 'twice', 'to': 'ask'}, {'from': 'ask', 'to': 'end'}]}
    return Plan({'sluice': 1, 'name': 'items', 'nodes': [
        {'id': 'each', 'type': 'map', 'params': {'items': '{{ input.numbers }}', 'concurrency': 2, 'body': body}}],
        'outputs': {'count': '{{ nodes.each.count }}', 'values': '{{ list.map(nodes.each.items, function(x) return x.value end) }}'}},
        {'numbers': numbers}, {'count': 4, 'values': [(5 * 2 * n + 3) % BIG for n in numbers]})


def people(random, sink):
    """A person decides, a signal comes, somebody says something, and it is remembered."""
    n = random.randrange(10 ** 9)
    return Plan({'sluice': 1, 'name': 'people', 'nodes': [
        {'id': 'ask', 'type': 'human_review', 'params': {'draft': 'draft {{ input.n }}'}},
        {'id': 'wait', 'type': 'wait_signal', 'params': {'signal': 'go'}},
        {'id': 'keep', 'type': 'memory_store', 'params': {'content': 'The number {{ input.n }} was decided: {{ nodes.ask.text }}, on the word of {{ nodes.wait.payload.who }}.'}}],
        'edges': [{'from': 'ask', 'to': 'keep'}, {'from': 'wait', 'to': 'keep'}],
        'outputs': {'text': '{{ nodes.ask.text }}', 'who': '{{ nodes.wait.payload.who }}', 'kept': '{{ nodes.keep.accepted }}'}},
        {'n': n}, {'text': 'final %d' % n, 'who': 'me', 'kept': True},
        acts=['input', 'signal', 'review'])


LEAF = {'sluice': 1, 'name': 'leaf', 'nodes': [{'id': 'l', 'type': 'llm', 'params': {'prompt': 'leaf {{ input.n }}'}},
                                              {'id': 'c', 'type': 'transform', 'params': {'expr': '#nodes.l.text + input.n'}}],
        'edges': [{'from': 'l', 'to': 'c'}], 'outputs': {'value': '{{ nodes.c.value }}'}}


def child(random, sink):
    """A run that starts a run (`leaf` must be stored: Clerk does it)."""
    n = random.randrange(1000)
    return Plan({'sluice': 1, 'name': 'parent', 'nodes': [{'id': 'sub', 'type': 'subworkflow', 'params': {'workflow': 'leaf', 'inputs': {'n': '{{ input.n }}'}}}],
                 'outputs': {'value': '{{ nodes.sub.value }}'}}, {'n': n}, {'value': len(llm_text('leaf %d' % n)) + n})


def held(random, sink):
    """Paused in the middle of its streams, resumed, and right at the end all the same."""
    n = random.randrange(1000)
    return Plan({'sluice': 1, 'name': 'held', 'nodes': [
        {'id': 'a', 'type': 'llm', 'params': {'prompt': 'a {{ input.n }}'}}, {'id': 'w', 'type': 'delay', 'params': {'seconds': 0.5}},
        {'id': 'b', 'type': 'llm', 'params': {'prompt': 'b {{ #nodes.a.text }}'}}],
        'edges': [{'from': 'a', 'to': 'b'}, {'from': 'w', 'to': 'b'}], 'outputs': {'text': '{{ nodes.b.text }}'}},
        {'n': n}, {'text': llm_text('b %d' % len(llm_text('a %d' % n)))}, acts=['pause', 'resume'])


def cancelled(random, sink):
    return Plan({'sluice': 1, 'name': 'unwanted', 'nodes': [
        {'id': 'a', 'type': 'llm', 'params': {'prompt': 'a'}}, {'id': 'w', 'type': 'delay', 'params': {'seconds': 3600}}],
        'outputs': {'never': '{{ nodes.w.fired_at }}'}}, {}, None, acts=['cancel'])


def circle(random, sink):
    """Runs in circles, is locked by the run breaker, and goes on when a person says so. (Killed before it was locked, it may never be.)"""
    n = random.randrange(10 ** 9)
    return Plan({'sluice': 1, 'name': 'circle', 'nodes': [{'id': 'x', 'type': 'llm', 'params': {'prompt': 'circle %d' % n}}],
                 'outputs': {'text': '{{ nodes.x.text }}'}}, {}, {'text': 'straight'}, acts=['unlock'])


def mixed(random, sink):
    """One of each."""
    return [dag(random, sink, quick=True), rounds(random, sink), items(random, sink), people(random, sink), child(random, sink),
            held(random, sink), cancelled(random, sink), circle(random, sink)]


# ---- the clerk ----

class Clerk:
    """Brings plans to their end. Every request may fail, because the server may be gone: then it is made again, later."""

    def __init__(self, server, token, sink=None, timeout=10):
        """server: () → (host, port) or None while there is none."""
        self.server, self.token, self.sink, self.timeout = server, token, sink, timeout
        self.plans, self.acknowledged = [], {}
        self.stored = False
        self.doubled = []  # two runs for one key
        self.refused = []  # answers nobody should get
        self.number = 0
        self.connection = None

    def begin(self, tag, plans):
        for p in plans:
            p.tag = tag
            p.key = '%s-%d' % (tag.replace(' ', '-'), self.number)
            self.number += 1
            self.plans.append(p)

    def request(self, method, path, body=None, headers=None):
        """(status, document) or None: the server was not there, or went away before it answered."""
        where = self.server()
        if not where:
            return None
        for _ in range(2):  # a kept connection may have gone with an earlier life of the server
            fresh = self.connection is None or self.connection[0] != where
            if fresh:
                self.close()
                self.connection = (where, http.client.HTTPConnection(*where, timeout=self.timeout))
            c = self.connection[1]
            try:
                c.request(method, '/api/v1' + path, json.dumps(body) if body is not None else None,
                          {'Authorization': 'Bearer ' + self.token(), 'Content-Type': 'application/json', **(headers or {})})
                r = c.getresponse()
                data = r.read()
                return r.status, json.loads(data) if data else None
            except (OSError, http.client.HTTPException, ValueError):
                c.close()
                self.connection = None
                if fresh:
                    return None
        return None

    def close(self):
        if self.connection:
            self.connection[1].close()

    def open(self):
        return [p for p in self.plans if not p.end]

    def step(self):
        """One look at every plan that has not ended; says how many there are."""
        if not self.stored:
            got = self.request('POST', '/workflows', LEAF)
            self.stored = bool(got and got[0] in (200, 201, 409))
            if not self.stored:
                return len(self.open())
        for p in self.plans:
            if p.end:
                continue
            if not p.run_id or not p.again:
                if not self.submit(p):
                    break  # nobody there
            else:
                if not self.look(p):
                    break
        return len(self.open())

    def submit(self, p):
        got = self.request('POST', '/runs', {'definition': p.definition, 'inputs': p.inputs}, {'Idempotency-Key': p.key})
        if not got:
            return False
        status, doc = got
        if status in (200, 202):
            if p.run_id and p.run_id != doc['id']:
                self.doubled.append((p.key, p.run_id, doc['id']))
            p.again = p.run_id is not None
            p.run_id = doc['id']
            p.begun = p.begun or time.monotonic()
            self.acknowledged[p.run_id] = p
        elif status not in (429, 503, 409):
            self.refused.append((p.key, status, doc))
            p.end = {'status': 'refused'}
        return True

    def look(self, p):
        got = self.request('GET', '/runs/' + p.run_id)
        if not got:
            return False
        status, run = got
        if status == 404:
            self.refused.append((p.key, 404, p.run_id))
            p.end = {'status': 'lost'}
        elif status == 200 and run['status'] in ('succeeded', 'failed', 'cancelled'):
            p.end = run
            p.ended = time.monotonic()
        elif status == 200:
            self.act(p, run)
        return True

    def act(self, p, run):
        if not p.acts:
            if run['status'] == 'paused':  # the answer to a resume was lost
                p.acts = ['resume']
            return
        act, path = p.acts[0], '/runs/' + p.run_id
        waiting = [n['path'] for n in run['nodes'] if n['status'] == 'waiting']
        done = False
        if act == 'input':
            got = self.request('POST', path + '/input', {'text': 'mind the gap'})
            done = got and got[0] < 500
        elif act == 'signal' and 'wait' in waiting:
            got = self.request('POST', path + '/signal', {'signal': 'go', 'payload': {'who': 'me'}})
            done = got and got[0] < 500
        elif act == 'signal':
            done = any(n['path'] == 'wait' and n['status'] == 'completed' for n in run['nodes'])
        elif act == 'review':
            got = self.request('POST', path + '/review', {'node': 'ask', 'action': 'modify', 'content': 'final %d' % p.inputs['n']})
            done = got and got[0] in (200, 202, 409)
        elif act == 'pause':
            done = run['status'] == 'paused'  # the answer was lost
            if run['status'] in ('running', 'waiting'):
                got = self.request('POST', path + '/pause', {'mode': 'now' if len(p.key) % 2 else 'drain'})
                done = got and got[0] < 500
        elif act == 'resume':
            got = self.request('POST', path + '/resume', {})
            done = got and got[0] < 300
        elif act == 'cancel':
            got = self.request('POST', path + '/cancel', {})
            done = got and got[0] < 300
        elif act == 'unlock' and run['status'] == 'locked':
            got = self.request('POST', path + '/unlock', {'justification': 'it was seen to'})
            done = got and got[0] < 300
        if done and act != 'cancel':
            p.acts.pop(0)

    def drive(self, seconds, until=None, every=0.02):
        """Until all plans have ended, or until() says so. True: all have ended."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if not self.step():
                return True
            if until and until():
                return False
            time.sleep(every)
        return False

    def wrong(self):
        out = [(None, 'one key, two runs: %s' % (d,)) for d in self.doubled] + [(None, 'refused: %s' % (r,)) for r in self.refused]
        for p in self.plans:
            why = judge(p)
            if why:
                out.append((p, why))
        return out


def judge(p):
    """What is wrong with a plan's end; None: nothing."""
    if not p.end:
        return 'has not ended'
    if p.expected is None:
        return None if p.end['status'] == 'cancelled' else 'is %s, not cancelled' % p.end['status']
    if p.end['status'] != 'succeeded':
        return 'is %s: %s' % (p.end['status'], json.dumps(p.end.get('error')))
    if p.end['outputs'] != p.expected:
        return 'gave %s, not %s' % (json.dumps(p.end['outputs'])[:600], json.dumps(p.expected)[:600])
    there = {n['path']: n['status'] for n in p.end['nodes']}
    for path, status in p.nodes.items():
        if there.get(path) != status:
            return '%s is %s, not %s' % (path, there.get(path), status)
    return None
