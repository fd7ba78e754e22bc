"""bench/runs.py: what runs cost beyond their steps: small ones at 60 at a time, maps over many items, and coming back after a crash with
ten thousand unfinished ones."""
import http.client
import json
import re
import threading
import time

import rig


def three_noops():
    return {'sluice': 1, 'name': 'three-noops', 'nodes': [{'id': 'n%d' % i, 'type': 'transform', 'params': {'expr': '1'}} for i in range(3)],
            'edges': [{'from': 'n%d' % i, 'to': 'n%d' % (i + 1)} for i in range(2)], 'outputs': {'n': '{{ nodes.n2.value }}'}}


def noop(b):
    """runs of three nodes that do nothing, 60 at a time, through HTTP, engine, journal and events, beside group commit on the same PostgreSQL"""
    server = rig.Server(b.sluice)
    ours, each = rig.Cell(), rig.Cell()
    try:
        server.call('POST', '/api/v1/workflows', three_noops())
        for _ in range(b.rounds):
            each.add(rig.tool, [b.tool('pg_group'), server.url, 60, 3, 1, 'ahead', server.postgres])
            ours.add(rig.tool, [b.tool('steps_load'), server.port, server.token, 'three-noops', 60, 3, server.pid, server.postgres])
    finally:
        server.stop()
    b.keep('noop', {'server': 'Sluice'}, ours)
    b.keep('noop', {'server': 'group commit of ten steps at once'}, each)
    rig.table(['60 at a time', 'runs/s', 'p50 ms', 'p99 ms', 'p99 x p50'],
              [[name, c.text('runs_per_s'), c.text('p50_ms'), c.text('p99_ms'), '%.1f' % (c.median('p99_ms') / c.median('p50_ms'))]
               for name, c in (('Sluice, 3 no-op nodes', ours), ('group commit', each))])


def mapped(body):
    return {'sluice': 1, 'name': 'mapped', 'inputs': {'type': 'object'},
            'nodes': [{'id': 'each', 'type': 'map', 'params': {'items': '{{ input.items }}', 'concurrency': 200, 'body': {'nodes': [body]}}}],
            'outputs': {'count': '{{ nodes.each.count }}', 'failed': '{{ nodes.each.failed }}'}}


def high_water_mb(pid):
    with open('/proc/%d/status' % pid, encoding='ascii') as f:
        return int(re.search(r'VmHWM:\s+(\d+)', f.read()).group(1)) / 1024


def run_until_done(server, body):
    began = time.monotonic()
    run = server.call('POST', '/api/v1/runs', body)['id']
    while True:
        status = server.call('GET', '/api/v1/runs?limit=1')['items'][0]['status']
        if status in ('succeeded', 'failed', 'cancelled'):
            return run, status, time.monotonic() - began
        time.sleep(0.05)


BODIES = (('transform', {'id': 't', 'type': 'transform', 'params': {'expr': "{ n = item * 2, text = string.rep('x', 100) }"}}),
          ('llm, 20 tokens', {'id': 'm', 'type': 'llm', 'params': {'prompt': 'Say something about {{ item }}.', 'max_tokens': 20}}))


def one_map(b, items, body):
    sim = rig.Sim(b.sluice, 0, 20, 1)
    try:
        server = rig.Server(b.sluice)
        try:
            server.call('PUT', '/api/v1/llm/profiles/upstream', {'provider': 'openai', 'model': 'sim', 'base_url': sim.url, 'api_keys': ['sk-bench-0001'],
                                                                 'default': True})
            server.call('POST', '/api/v1/workflows', mapped(body))
            run_until_done(server, {'workflow': 'mapped', 'inputs': {'items': list(range(1, 21))}})
            before, cpu = high_water_mb(server.pid), rig.cpu_s(server.pid)
            run, status, took = run_until_done(server, {'workflow': 'mapped', 'inputs': {'items': list(range(1, items + 1))}})
            cpu = rig.cpu_s(server.pid) - cpu
            if status != 'succeeded':
                raise rig.Broken(json.dumps(server.call('GET', '/api/v1/runs?limit=1')['items'][0])[:400])
            grown = high_water_mb(server.pid) - before
            began = time.monotonic()
            view = server.call('GET', '/api/v1/runs/' + run)
            return {'seconds': took, 'items_per_s': items / took, 'cpu_us_per_item': cpu * 1e6 / items, 'grown_mb': grown,
                    'view_ms': (time.monotonic() - began) * 1e3, 'view_nodes': len(view['nodes'])}
        finally:
            server.drop()
    finally:
        sim.stop()


def many_items(b):
    """one run that maps a body over a thousand and ten thousand items, 200 at a time; memory is the growth of the process at its highest"""
    rows = []
    for name, body in BODIES:
        for items in (1000, 10000):
            cell = rig.Cell()
            for _ in range(b.rounds):
                cell.add(one_map, b, items, body)
            b.keep('map', {'items': items, 'body': name}, cell)
            rows.append([name, items, cell.text('seconds'), cell.text('items_per_s', 0), cell.text('cpu_us_per_item', 0), cell.text('grown_mb'),
                         cell.text('view_nodes', 0), cell.text('view_ms', 0)])
    rig.table(['body', 'items', 's', 'items/s', 'CPU us/item', 'MiB more at most', 'nodes shown', 'GET ms'], rows)


def waiting():
    return {'sluice': 1, 'name': 'waiting', 'inputs': {'type': 'object'},
            'nodes': [*({'id': 's%d' % i, 'type': 'transform', 'params': {'expr': "{ text = string.rep('x', 200) }"}} for i in range(5)),
                      {'id': 'w', 'type': 'wait_signal', 'params': {'signal': 'go'}}],
            'edges': [*({'from': 's%d' % i, 'to': 's%d' % (i + 1)} for i in range(4)), {'from': 's4', 'to': 'w'}]}


def submit_many(server, n):
    def some(count):
        for _ in range(count):
            server.call('POST', '/api/v1/runs', {'workflow': 'waiting', 'inputs': {}})
    threads = [threading.Thread(target=some, args=(n // 20,)) for _ in range(20)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def metric(server, name):
    c = http.client.HTTPConnection('127.0.0.1', server.port, timeout=30)
    c.request('GET', '/metrics', headers={'Authorization': 'Bearer ' + server.token})
    text = c.getresponse().read().decode()
    c.close()
    found = re.search(r'^%s (\S+)$' % re.escape(name), text, re.M)
    return float(found.group(1)) if found else 0.0


def come_back(b, runs):
    server = rig.Server(b.sluice)
    again = None
    try:
        server.call('POST', '/api/v1/workflows', waiting())
        submit_many(server, runs)
        while int(server.sql("SELECT count(*) FROM runs WHERE status = 'waiting'")) < runs:
            time.sleep(0.1)
        server.child.kill()
        began = time.monotonic()
        again = rig.Server(b.sluice, data=server.data)
        ready = again.ready_after(began)
        while metric(again, 'sluice_recovery_runs_total') < runs:
            time.sleep(0.005)
        took = time.monotonic() - began
        mb = rig.rss_mb(again.pid)
        cpu = rig.cpu_s(again.pid)
        signalled = time.monotonic()
        first = again.call('GET', '/api/v1/runs?limit=1')['items'][0]['id']
        again.call('POST', '/api/v1/runs/%s/signal' % first, {'signal': 'go'})
        return {'ready_s': ready, 'all_s': took, 'runs_per_s': runs / took, 'rss_mb': mb, 'kb_per_run': mb * 1024 / runs, 'cpu_us_per_run': cpu * 1e6 / runs,
                'answer_ms': (time.monotonic() - signalled) * 1e3}
    finally:
        (again or server).drop()
        if again:
            server.remove()


def recovery(b):
    """from SIGKILL to the moment when all unfinished runs of six nodes are in memory again and go on"""
    rows = []
    for runs in (1000, 10000):
        cell = rig.Cell()
        for _ in range(b.rounds):
            cell.add(come_back, b, runs)
        b.keep('recovery', {'runs': runs}, cell)
        rows.append([runs, cell.text('ready_s'), cell.text('all_s'), cell.text('runs_per_s', 0), cell.text('cpu_us_per_run', 0), cell.text('rss_mb', 0),
                     cell.text('kb_per_run'), cell.text('answer_ms')])
    rig.table(['unfinished runs', 'ready s', 'all taken up s', 'runs/s', 'CPU us/run', 'MiB', 'KiB/run', 'first answer ms'], rows)


BENCHES = {'noop': noop, 'map': many_items, 'recovery': recovery}
