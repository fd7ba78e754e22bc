#!/usr/bin/env python3
"""The benchmarks of Sluice: the real server beside a reference of the same machine and minute. ./dev bench [NAME …]

    steps     durable ten-step workflows, closed loop, beside a bare group commit on the same PostgreSQL
    streams   model streams relayed to WebSocket subscribers, beside a plain libcurl client on the same simulator
    coalesce  one watcher of many streams, beside one frame for each token
    start     cold and warm start beside pg_ctl alone; what an idle server costs
    hub       WebSocket fan-out beside a bare epoll server (bench/hub.py)
    limiter   reserving and settling, beside a lock; cache: hits, beside a copy
    chain     model streams with limits and run breaker, beside the same without
    noop      runs of three nodes that do nothing, 60 at a time
    map       one run over 1,000 and 10,000 items: speed and memory
    recovery  from SIGKILL until 1,000 and 10,000 unfinished runs go on
    payloads  bytes stored by a loop over a growing chat, for 10 to 100 rounds
    memory    searches over 100,000 memories; vectors beside a plain AVX2 scan

Rounds are interleaved, tables show medians [min..max]; what was measured is kept in BUILD/bench-results. Absolute figures of a shared
machine drift: read the ratios.
"""
import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time

import payloads
import rig
import runs

HERE = os.path.dirname(os.path.abspath(__file__))


class Bench:
    def __init__(self, options):
        self.rounds = options.rounds
        self.build = os.path.abspath(options.build)
        self.sluice = self.build + '/cmd/sluice'
        self.results = {}

    def tool(self, name):
        return '%s/bench/%s' % (self.build, name)

    def keep(self, name, what, cell, **reference):
        self.results.setdefault(name, []).append({'what': what, 'rounds': cell.rounds, 'broken': cell.broken, **reference})


def ratio(a, b, digits=2):
    return '%.*f' % (digits, a / b) if b and a == a else '-'


# ---- steps ----

def ten_steps():
    nodes = [{'id': 's%d' % i, 'type': 'transform', 'params': {'code': (
        "return { text = 'what a small step says when it is done, in about as many words as a person would take', tokens = 42, n = %s + 1 }"
        % ('nodes.s%d.n' % (i - 1) if i else 'input.n'))}} for i in range(10)]
    return {'sluice': 1, 'name': 'ten-steps', 'nodes': nodes, 'edges': [{'from': 's%d' % i, 'to': 's%d' % (i + 1)} for i in range(9)],
            'outputs': {'n': '{{ nodes.s9.n }}'}}


def steps(b):
    """ten-step durable workflows through HTTP, engine, journal and events, beside group commit on the same PostgreSQL"""
    seconds = 3
    server = rig.Server(b.sluice)
    rows = []
    try:
        server.call('POST', '/api/v1/workflows', ten_steps())
        for runs in (1, 32, 256):
            connections = 2 if runs >= 256 else 1
            ours, each, ahead = rig.Cell(), rig.Cell(), rig.Cell()
            for _ in range(b.rounds):
                each.add(rig.tool, [b.tool('pg_group'), server.url, runs, seconds, connections, 'each', server.postgres])
                ours.add(rig.tool, [b.tool('steps_load'), server.port, server.token, 'ten-steps', runs, seconds, server.pid, server.postgres])
                ahead.add(rig.tool, [b.tool('pg_group'), server.url, runs, seconds, connections, 'ahead', server.postgres])
            for name, cell in (('Sluice', ours), ('group commit, step by step', each), ('group commit, a run at once', ahead)):
                b.keep('steps', {'runs': runs, 'server': name}, cell)
                rows.append([runs, name, cell.text('runs_per_s'), cell.text('steps_per_s'), cell.text('p50_ms'), cell.text('p99_ms'),
                             cell.text('server_cpu_us_per_step'), cell.text('postgres_cpu_us_per_step'),
                             ratio(cell.median('steps_per_s'), each.median('steps_per_s')), ratio(cell.median('p50_ms'), each.median('p50_ms'))])
    finally:
        server.stop()
    rig.table(['at a time', 'what', 'runs/s', 'steps/s', 'p50 ms', 'p99 ms', 'own us/step', 'postgres us/step', 'x reference', 'x its p50'], rows)


# ---- streams ----

def one_model():
    return {'sluice': 1, 'name': 'one-model', 'nodes': [{'id': 'a', 'type': 'llm', 'params': {'prompt': 'Say something, {{ input.n }}.'}}], 'edges': []}


FIRST_MS = 500  # the simulator's wait: long enough that a watcher is there when the first token comes


def with_streams(b, speed, tokens, server_args, measure, workflow=None, limits=None):
    """Fresh simulator and server for a round: memory is part of what is measured. Server on the first core, all else on the second."""
    cores = rig.cores()
    sim = rig.Sim(b.sluice, speed, tokens, FIRST_MS, core=cores[-1])
    try:
        server = rig.Server(b.sluice, core=cores[0], args=server_args)
        try:
            server.call('PUT', '/api/v1/llm/profiles/upstream', {'provider': 'openai', 'model': 'sim', 'base_url': sim.url, 'api_keys': ['sk-bench-0001'],
                                                                 'default': True, 'limits': limits or {}})
            server.call('POST', '/api/v1/workflows', workflow or one_model())
            return measure(server)
        finally:
            server.drop()
    finally:
        sim.stop()


def ours(b, streams, speed, sockets, starts, server_args=(), seconds=3, flush_ms=-1):
    def measure(server):
        return rig.tool([b.tool('streams_load'), server.port, server.token, 'one-model', streams, sockets, starts, 1, seconds, server.pid, FIRST_MS,
                         flush_ms], core=rig.cores()[-1])
    return with_streams(b, speed, 600 if speed >= 10 else 160, server_args, measure)


def plain(b, streams, speed, starts, seconds=3):
    cores = rig.cores()
    sim = rig.Sim(b.sluice, speed, 600 if speed >= 10 else 160, FIRST_MS, core=cores[-1])
    try:
        return rig.tool([b.tool('sse_plain'), sim.port, streams, starts, 1, seconds, FIRST_MS], core=cores[0])
    finally:
        sim.stop()


def streams(b):
    """model streams through run, middleware, journal and hub to WebSocket subscribers, beside plain libcurl + json-c"""
    rows = []
    for n, speed, starts in ((100, 50, 200), (1000, 50, 400), (2000, 50, 400), (10000, 2, 1000)):
        sockets = max(1, -(-n // 100))
        cells = {'Sluice': rig.Cell(), 'Sluice, each token at once': rig.Cell(), 'plain client': rig.Cell()}
        for _ in range(b.rounds if n < 10000 else min(b.rounds, 2)):
            cells['plain client'].add(plain, b, n, speed, starts)
            cells['Sluice'].add(ours, b, n, speed, sockets, starts)
            if n == 100:
                cells['Sluice, each token at once'].add(ours, b, n, speed, sockets, starts, ('--flush-ms', '0'))
        for name, cell in cells.items():
            if not cell.rounds and not cell.broken:
                continue
            b.keep('streams', {'streams': n, 'tokens_per_s': speed, 'server': name}, cell)
            rows.append(['%d x %d/s' % (n, speed), name, cell.text('tokens_per_s', 0), cell.text('first_added_p50_ms'), cell.text('first_added_p99_ms'),
                         cell.text('first_submit_p50_ms'), cell.text('token_p50_ms'), cell.text('token_p99_ms'), cell.text('cpu_ms_per_1000_tokens'),
                         cell.text('server_cpu'), cell.text('rss_kb_per_stream'), '%.0f' % (cell.median('rss_kb') / 1024)])
    rig.table(['streams', 'what', 'tokens/s', 'first +p50 ms', 'first +p99 ms', 'submit +p50 ms', 'token p50 ms', 'token p99 ms', 'CPU ms/1000', 'core',
               'KiB/stream', 'MiB'], rows)


def coalesce(b):
    """one watcher of many streams: tokens gathered for 25 ms beside one frame for each token, on the same server"""
    rows = []
    for n in (10, 50):
        cells = {'unwatched': rig.Cell(), 'at once': rig.Cell(), 'gathered 25 ms': rig.Cell()}
        for _ in range(b.rounds):
            cells['unwatched'].add(ours, b, n, 50, 0, 100, (), 6)
            cells['at once'].add(ours, b, n, 50, 1, 100, ('--flush-ms', '0'), 6)
            cells['gathered 25 ms'].add(ours, b, n, 50, 1, 100, ('--flush-ms', '25'), 6)
        base = cells['unwatched'].median('server_cpu')
        per_token = {}
        for name, cell in cells.items():
            b.keep('coalesce', {'streams': n, 'server': name}, cell)
            watching = (cell.median('server_cpu') - base) * 1e6 / cell.median('tokens_per_s') if name != 'unwatched' else float('nan')
            per_token[name] = watching
            rows.append([n, name, cell.text('frames_per_s', 0), cell.text('server_cpu', 3), '%.1f' % watching, cell.text('first_added_p50_ms'),
                         cell.text('token_p50_ms'), cell.text('token_p99_ms'), ratio(per_token.get('at once', 0), watching) if name.startswith('gath') else ''])
    rig.table(['streams', 'what', 'frames/s', 'core', 'us/token for watching', 'first +p50 ms', 'token p50 ms', 'token p99 ms', 'x less'], rows)


# ---- start ----

def pg_ctl(server):
    """Seconds of `pg_ctl start -w` alone on the cluster of a server that is stopped, with the arguments the server gives it."""
    bin_dir = subprocess.run(['pg_config', '--bindir'], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    pg = server.data + '/pg'
    owner = os.stat(pg).st_uid
    with open(pg + '/postmaster.opts', encoding='utf-8') as f:
        words = f.read().replace('"', '').split()
    at = words.index('-p')
    options = ' '.join(words[at:])
    as_owner = (lambda: (os.setgid(os.stat(pg).st_gid), os.setuid(owner))) if os.getuid() != owner else None

    def ctl(*args):
        subprocess.run([bin_dir + '/pg_ctl', '-D', pg, '-s', '-w', *args], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, preexec_fn=as_owner, cwd='/')
    began = time.monotonic()
    ctl('-o', options, '-l', '/dev/null', 'start')
    took = time.monotonic() - began
    ctl('-m', 'fast', 'stop')
    return took


def start(b):
    """cold start (initdb included) and warm start to ready beside pg_ctl alone; an idle server"""
    cold, warm, alone, stop, idle = rig.Cell(), rig.Cell(), rig.Cell(), rig.Cell(), rig.Cell()

    def started(data=None):
        server = rig.Server(b.sluice, data=data)
        ready = server.ready_after(server.child.started)
        return server, {'listening_s': server.child.ready_s, 'ready_s': ready}

    def idle_cost(server, seconds=20):
        """PostgreSQL's counter takes in its own housekeeping; so it is also asked which connections of the server said anything."""
        time.sleep(5)
        count = "SELECT sum(xact_commit + xact_rollback) FROM pg_stat_database WHERE datname = 'sluice'"
        server.sql(count)
        time.sleep(2)
        before, cpu, began = int(server.sql(count)), rig.cpu_s(server.pid), time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - began
        cpu = rig.cpu_s(server.pid) - cpu
        asked = int(server.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = 'sluice' AND pid <> pg_backend_pid() AND backend_type = "
                               "'client backend' AND query_start > now() - interval '%d s'" % seconds))
        after = int(server.sql(count))
        return {'rss_mb': rig.rss_mb(server.pid), 'cpu_percent': cpu / took * 100, 'transactions_per_s': max(0, after - before - 2) / took,
                'connections_that_asked': asked}

    for round_ in range(b.rounds):
        first, times = started()
        try:
            cold.add(lambda t=times: t)
            if round_ == 0:
                idle.add(idle_cost, first)
            began = time.monotonic()
            first.child.stop()
            stop.add(lambda: {'stop_s': time.monotonic() - began})
            alone.add(lambda: {'ready_s': pg_ctl(first)})
            again, times = started(first.data)
            warm.add(lambda t=times: t)
            again.stop()
            alone.add(lambda: {'ready_s': pg_ctl(first)})
        finally:
            first.stop()
    for what, cell in (('cold', cold), ('warm', warm), ('pg_ctl start', alone), ('stop', stop), ('idle', idle)):
        b.keep('start', {'what': what}, cell)
    rig.table(['', 'to listening s', 'to ready s', 'beyond pg_ctl s'], [
        ['cold: new folder, initdb included', cold.text('listening_s', 3), cold.text('ready_s', 3), ''],
        ['warm', warm.text('listening_s', 3), warm.text('ready_s', 3), '%+.3f' % (warm.median('ready_s') - alone.median('ready_s'))],
        ['pg_ctl start alone, same cluster', '', alone.text('ready_s', 3), ''],
        ['stop', '', stop.text('stop_s', 3), '']])
    rig.table(['idle', 'RSS MiB', 'CPU %', 'transactions/s of PostgreSQL', 'our connections that asked'],
              [['20 s', idle.text('rss_mb'), idle.text('cpu_percent', 3), idle.text('transactions_per_s'), idle.text('connections_that_asked', 0)]])


def hub(b):
    """WebSocket fan-out beside a bare epoll server"""
    out = subprocess.run([sys.executable, HERE + '/hub.py', '--build', b.build, '--rounds', str(b.rounds), '--seconds', '1', '--json'],
                         stdout=subprocess.PIPE, text=True, check=True, timeout=900).stdout
    rows = json.loads(out.strip().split('\n')[-1])
    b.results['hub'] = rows
    shown = []
    for r in rows:
        if 'load' not in r:
            continue
        bare = next((x for x in rows if x.get('subscribers') == r['subscribers'] and x.get('load') == r['load'] and x['server'] == 'bare'), None)
        if r.get('failed') or not bare or bare.get('failed'):
            shown.append([r['subscribers'], r['load'], r['server']] + ['-'] * 6)
            continue
        shown.append([r['subscribers'], r['load'], r['server'], '%.0f' % (r['delivered_s'] / 1000), ratio(r['delivered_s'], bare['delivered_s']),
                      '%.3f' % r['us'], ratio(r['us'], bare['us']), '%.2f' % r['p50_ms'], '%.2f' % r['p99_ms']])
    rig.table(['subscribers', 'load', 'what', 'k msg/s', 'x bare', 'us/msg', 'x bare', 'p50 ms', 'p99 ms'], shown)
    idle = [[r['server'], '%.2f' % r['kib']] for r in rows if 'idle' in r]
    rig.table(['5000 idle', 'KiB a connection'], idle)


# ---- limits ----

def limiter(b):
    """a call reserved and settled, with 1, 100 and 5000 buckets"""
    rows = []
    for n in (1, 100, 5000):
        cell = rig.Cell()
        for _ in range(b.rounds):
            cell.add(rig.tool, [b.tool('limits_load'), 'limiter', n, 1])
        b.keep('limiter', {'buckets': n}, cell)
        rows.append([n, cell.text('ns_per_call', 0), cell.text('lock_ns', 0), ratio(cell.median('ns_per_call'), cell.median('lock_ns'), 1)])
    rig.table(['buckets', 'ns a call', 'a lock, ns', 'x'], rows)


def cache(b):
    """a hit in memory: an answer of 1,500 bytes among 100 and 10,000"""
    rows = []
    for n in (100, 10000):
        cell = rig.Cell()
        for _ in range(b.rounds):
            cell.add(rig.tool, [b.tool('limits_load'), 'cache', n, 1])
        b.keep('cache', {'entries': n}, cell)
        rows.append([n, cell.text('ns_per_hit', 0), cell.text('copy_ns', 0), cell.text('hit_rate', 3)])
    rig.table(['entries', 'ns a hit', 'a copy, ns', 'hit rate'], rows)


def chain(b):
    """model streams with the run breaker and limits, beside the same without: what they cost a token"""
    watch = rig.Cell()
    for _ in range(b.rounds):
        watch.add(rig.tool, [b.tool('limits_load'), 'watch', 1000000])
    b.keep('chain', {'watch': True}, watch)
    rig.table(['token into its stream, ns', 'and watched, ns', 'watching, ns'],
              [[watch.text('append_ns', 0), watch.text('watched_ns', 0), watch.text('watch_ns', 0)]])
    free = dict(one_model(), limits={'breaker': False})
    limits = {'rpm': 1000000, 'tpm': 1000000000, 'max_concurrency': 10000}
    cells = {'without run breaker': (rig.Cell(), free, None), 'as it is': (rig.Cell(), None, None), 'with limits': (rig.Cell(), None, limits)}

    def measure(server):
        return rig.tool([b.tool('streams_load'), server.port, server.token, 'one-model', 200, 2, 200, 1, 3, server.pid, FIRST_MS, -1],
                        core=rig.cores()[-1])
    for _ in range(b.rounds):
        for cell, workflow, limit in cells.values():
            cell.add(with_streams, b, 50, 600, (), measure, workflow, limit)
    rows = []
    for name, (cell, _, _) in cells.items():
        b.keep('chain', {'server': name}, cell)
        rows.append([name, cell.text('tokens_per_s', 0), cell.text('cpu_ms_per_1000_tokens'), cell.text('first_added_p50_ms'), cell.text('token_p99_ms'),
                     ratio(cell.median('cpu_ms_per_1000_tokens'), cells['without run breaker'][0].median('cpu_ms_per_1000_tokens'))])
    rig.table(['200 x 50/s', 'tokens/s', 'CPU ms/1000', 'first +p50 ms', 'token p99 ms', 'x without'], rows)


# ---- memory ----

def memory(b):
    """searches over 100,000 memories: the nearest vectors beside a plain AVX2 scan over floats, then whole searches"""
    def lines(*args):
        out = subprocess.run([b.tool('memory'), *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True,
                             timeout=600).stdout
        return [json.loads(line) for line in out.strip().split('\n')]
    rows, found = 100000, []
    for dims in (384, 1536):
        for _ in range(b.rounds):
            ours, plain = lines('vectors', rows if dims == 384 else rows // 4, dims, 60)
            found.append([ours['rows'], dims, '%.2f' % ours['p50_ms'], '%.2f' % plain['p50_ms'], ratio(plain['p50_ms'], ours['p50_ms']),
                          ours['different']])
            b.results.setdefault('memory', []).append({'ours': ours, 'plain': plain})
    rig.table(['vectors', 'dimensions', 'ours, CPU ms', 'plain scan, CPU ms', 'x faster', 'results that differ'], found)
    server = rig.Server(b.sluice)
    try:
        lines('fill', server.url, rows, 384)
        sim = rig.Sim(b.sluice, 0, 10, 1)
        try:
            cells = lines('search', server.url, sim.url, 60)
        finally:
            sim.stop()
        b.results['memory'] += cells
        rig.table(['search of %d' % rows, 'p50 ms', 'p90 ms', 'min ms', 'without results', 'degraded'],
                  [[c['how'], '%.1f' % c['p50_ms'], '%.1f' % c['p90_ms'], '%.1f' % c['min_ms'], c['n'] - c['found'], c['degraded']] for c in cells])
    finally:
        server.stop()


BENCHES = {'steps': steps, 'streams': streams, 'coalesce': coalesce, 'start': start, 'hub': hub, 'limiter': limiter, 'cache': cache, 'chain': chain,
           'memory': memory, **runs.BENCHES, **payloads.BENCHES}


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('--build', default='build/bench')
    a.add_argument('--rounds', type=int, default=3)
    a.add_argument('names', nargs='*', metavar='NAME')
    o = a.parse_args()
    for name in o.names:
        if name not in BENCHES:
            a.error('there is no benchmark %s; there are: %s' % (name, ', '.join(BENCHES)))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is stopped on this way out, too
    b = Bench(o)
    folder = os.path.join(os.path.dirname(b.build), 'bench-results')
    os.makedirs(folder, exist_ok=True)
    failed = []
    for name in o.names or BENCHES:
        began = time.monotonic()
        print('== %s: %s' % (name, (BENCHES[name].__doc__ or name).strip().split('\n')[0]), flush=True)
        try:
            BENCHES[name](b)
        except (rig.Broken, OSError, subprocess.SubprocessError) as e:
            print('  failed: %s' % e, flush=True)
            failed.append(name)
        with open('%s/%s.json' % (folder, name), 'w', encoding='utf-8') as f:
            json.dump({'name': name, 'at': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()), 'took_s': round(time.monotonic() - began, 1),
                       'machine': {'kernel': platform.release(), 'cores': os.cpu_count()}, 'cells': b.results.get(name, [])}, f, indent=1)
    if failed:
        sys.exit('failed: ' + ', '.join(failed))


if __name__ == '__main__':
    main()
