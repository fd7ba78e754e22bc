"""Which runs are at work, and which wait for their turn: limits set while the server runs, told to whoever asks, kept over a restart."""
import json
import os
import random
import subprocess
import threading
import time
import unittest

from rig import PATIENCE, SLUICE, Case, llm, wait_for

HELD = {'sluice': 1, 'name': 'held', 'nodes': [{'id': 'w', 'type': 'delay', 'params': {'seconds': 0.01}}, llm('x', 'talk')],
        'edges': [{'from': 'w', 'to': 'x'}]}


def talk(name):
    return {'sluice': 1, 'name': name, 'nodes': [llm('x', 'talk')]}


class Scheduling(Case):
    def slow(self, tps=1):
        """A run takes minutes: none ends by itself while it is looked at."""
        return self.sim({'sim': 1, 'defaults': {'tps': tps, 'first_ms': 5, 'jitter': 0}, 'rules': [{'answer': 'word ' * 200}]})

    def test_limits_are_in_force_at_once_and_a_queued_run_says_why(self):
        s = self.server(self.slow())
        limits = {'projects': {'p': {'rpm': 100000}}, 'runs': {'max_running': 50, 'projects': {'p': 1}}, 'workers': 3}
        self.assertEqual(s.call('PUT', '/admin/limits', limits), limits)
        self.assertEqual(s.call('GET', '/admin/limits'), limits)
        wait_for('the workers to be three', lambda: s.metrics()['sluice_workers'] == 3)
        a = s.submit(talk('a'), project='p')
        b = s.submit(talk('b'), project='p', priority=-5)
        c = s.submit(talk('c'), project='p', priority=5)
        s.wait_status(a, 'running')
        wait_for('two to be queued', lambda: s.metrics()['sluice_runs_queued'] == 2)
        self.assertEqual(s.metrics()['sluice_runs_at_work'], 1)
        for run in (b, c):
            self.assertEqual((s.run(run)['status'], s.run(run)['reason']), ('queued', "project 'p' has 1 of 1 runs at work"))
        listed = {r['id']: r for r in s.call('GET', '/runs?status=queued&project=p')['items']}
        self.assertEqual(sorted(listed), sorted([b, c]))
        self.assertEqual(listed[b]['reason'], "project 'p' has 1 of 1 runs at work")
        self.assertEqual(s.call('GET', '/stats')['now']['runs_queued'], 2)
        s.call('POST', '/runs/%s/cancel' % a)
        s.wait_status(c, 'running')
        self.assertEqual(s.run(b)['status'], 'queued')
        s.call('POST', '/runs/%s/cancel' % b)
        self.assertEqual(s.run(b)['status'], 'cancelled')
        d = s.submit(talk('d'), project='p')
        self.assertEqual(s.run(d)['status'], 'queued')
        s.call('PUT', '/admin/limits', {})
        s.wait_status(d, 'running')
        self.assertEqual(s.call('GET', '/admin/limits'), {'projects': {}, 'runs': {}})
        for run in (c, d):
            s.call('POST', '/runs/%s/cancel' % run)
        m = s.metrics()
        self.assertGreaterEqual(m['sluice_run_queue_wait_seconds_count'], 3)
        self.assertEqual(m['sluice_run_queue_wait_seconds_bucket{le="+Inf"}'], m['sluice_run_queue_wait_seconds_count'])

    def test_what_is_wrong_with_limits_is_said_with_its_place(self):
        s = self.server()
        status, _, body = s.raw('PUT', '/api/v1/admin/limits', {
            'projects': {'a': {'rpm': 0}}, 'workers': 0, 'other': 1,
            'runs': {'max_running': 0, 'per_project': 1.5, 'projects': {'x/y': -1}, 'workflows': 3, 'most': 1, 'max_unfinished': 20001}})
        self.assertEqual(status, 422, body)
        self.assertEqual(sorted(e['pointer'] for e in json.loads(body)['errors']), sorted([
            '/projects/a/rpm', '/other', '/workers', '/runs/max_running', '/runs/per_project', '/runs/projects/x~1y', '/runs/workflows',
            '/runs/most', '/runs/max_unfinished']))
        self.assertEqual(s.call('GET', '/admin/limits'), {'projects': {}, 'runs': {}})

    def test_limits_outlive_the_server_and_so_does_the_queue(self):
        s = self.server(self.slow(), env={'SLUICE_MAX_QUEUED': '500'})
        s.call('PUT', '/admin/limits', {'runs': {'max_running': 2}, 'workers': 5})
        runs = [s.submit(talk('r%d' % i)) for i in range(5)]
        for run in runs[:2]:
            s.wait_status(run, 'running')
        wait_for('three to be queued', lambda: s.metrics()['sluice_runs_queued'] == 3)
        s.restart()
        self.assertEqual(s.call('GET', '/admin/limits'), {'projects': {}, 'runs': {'max_running': 2, 'max_queued': 500}, 'workers': 5})
        wait_for('three to be queued again', lambda: s.metrics()['sluice_runs_queued'] == 3)
        for run in runs[:2]:
            s.wait_status(run, 'running')
        self.assertEqual([s.run(r)['status'] for r in runs], ['running'] * 2 + ['queued'] * 3)
        s.call('POST', '/runs/%s/cancel' % runs[1])
        s.wait_status(runs[2], 'running')
        self.assertEqual([s.run(r)['status'] for r in runs[3:]], ['queued'] * 2)
        for run in reversed(runs):
            s.raw('POST', '/api/v1/runs/%s/cancel' % run, {})

    def test_too_many_runs_are_refused_with_a_time_to_come_back(self):
        s = self.server(self.slow())
        s.call('PUT', '/admin/limits', {'runs': {'max_running': 1, 'max_queued': 2}})
        runs = [s.submit(talk('r')) for _ in range(3)]
        wait_for('two to be queued', lambda: s.metrics()['sluice_runs_queued'] == 2)
        body = {'definition': talk('r'), 'inputs': {}}
        status, headers, data = s.raw('POST', '/api/v1/runs', body)
        problem = json.loads(data)
        self.assertEqual((status, problem['code'], problem['retry_after']), (429, 'busy', 2))
        self.assertEqual({k.lower(): v for k, v in headers.items()}['retry-after'], '2')
        self.assertIn('2 runs wait for a place', problem['detail'])
        sock = self.socket(s)
        sock.send(cmd='start_run', id=7, **body)
        refused = sock.until(lambda e: e['event'] == 'error')['data']
        self.assertEqual((refused['id'], refused['code'], refused['retry_after']), (7, 'busy', 2))
        s.call('PUT', '/admin/limits', {'runs': {'max_unfinished': 3}})
        status, _, data = s.raw('POST', '/api/v1/runs', body)
        self.assertEqual((status, json.loads(data)['detail']), (429, '3 runs are unfinished, and no more may be'))
        for run in runs:
            s.call('POST', '/runs/%s/cancel' % run)
        runs.append(s.submit(talk('r')))
        s.call('POST', '/runs/%s/cancel' % runs[-1])
        s.call('PUT', '/admin/limits', {})

    def test_slow_steps_are_logged(self):
        s = self.server(self.slow(tps=100), env={'SLUICE_SLOW_MODEL_MS': '300', 'SLUICE_SLOW_STEP_MS': '20'})
        s.wait_status(s.submit(talk('slow')), 'succeeded')
        line = s.process.wait_line('"slow step".*"type":"llm"', 10)
        self.assertEqual((line['level'], line['node']), ('warn', 'x'))
        self.assertGreater(line['took_ms'], 300)
        busy = '(function() local s = 0 for i = 1, 300000 do s = s + i % 7 end return s end)()'
        run = s.submit({'sluice': 1, 'name': 'busy', 'nodes': [{'id': 'count', 'type': 'transform', 'params': {'expr': busy}}]})
        s.wait_status(run, 'succeeded')
        line = s.process.wait_line('"slow step".*"type":"transform"', 10)
        self.assertGreaterEqual(line['worked_ms'], 2)

    def test_one_order_for_all_runs_of_a_filter(self):
        s = self.server(self.slow())
        runs = [s.submit(talk('bulk'), project='b%d' % (i % 2), tags=['t']) for i in range(6)]
        for run in runs:
            s.wait_status(run, 'running')

        def bulk(action, filter_, **more):
            return s.call('POST', '/runs/bulk', {'action': action, 'filter': filter_, **more})
        same = {'workflow': 'bulk', 'project': 'b0'}
        self.assertEqual(bulk('pause', same, dry_run=True),
                         {'action': 'pause', 'matched': 3, 'done': 0, 'refused': 0, 'more': False, 'dry_run': True,
                          'refusals': [], 'refusals_cut': False})
        self.assertEqual(s.run(runs[0])['status'], 'running')
        got = bulk('pause', same, limit=2)
        self.assertEqual((got['matched'], got['done'], got['more']), (2, 2, True))
        self.assertEqual(bulk('pause', same)['done'], 1)
        self.assertEqual([s.run(r)['status'] for r in runs], ['paused', 'running'] * 3)
        self.assertEqual(bulk('resume', {'workflow': 'bulk', 'tag': 't'})['done'], 3)
        got = bulk('resume', {'workflow': 'bulk', 'status': 'running'})  # nothing to do for them is done
        self.assertEqual((got['matched'], got['done']), (6, 6))
        got = bulk('cancel', {'workflow': 'bulk', 'status': ['running', 'paused']})
        self.assertEqual((got['matched'], got['done'], got['refused']), (6, 6, 0))
        self.assertEqual({s.run(r)['status'] for r in runs}, {'cancelled'})
        self.assertEqual(bulk('cancel', {'workflow': 'bulk', 'status': 'cancelled'})['done'], 6)
        got = bulk('pause', {'workflow': 'bulk', 'status': 'cancelled'})
        self.assertEqual((got['refused'], [x['id'] for x in got['refusals']]), (6, list(reversed(runs))))  # the newest first
        self.assertEqual(bulk('retry', {'workflow': 'bulk', 'project': 'b1'})['done'], 3)

        def cli(*args, code=0):
            p = subprocess.run([SLUICE, 'runs', *args], env={**os.environ, 'SLUICE_URL': s.url, 'SLUICE_TOKEN': s.token}, capture_output=True, text=True)
            self.assertEqual(p.returncode, code, p.stderr)
            return p.stdout or p.stderr
        again = [r for i, r in enumerate(runs) if i % 2]
        for run in again:
            s.wait_status(run, 'running')
        self.assertEqual(cli('pause', '--workflow', 'bulk', '--dry-run'), '3 runs, 0 done, 0 refused\n')
        self.assertEqual(cli('pause', '--workflow', 'bulk'), '3 runs, 3 done, 0 refused\n')
        for run in again:
            s.wait_status(run, 'paused')
        self.assertEqual(cli('cancel', '--workflow', 'bulk'), '3 runs, 3 done, 0 refused\n')
        self.assertEqual(cli('retry', '--workflow', 'bulk', '--project', 'b1'), '3 runs, 3 done, 0 refused\n')
        self.assertEqual(cli('cancel', '--workflow', 'bulk'), '3 runs, 3 done, 0 refused\n')
        for order in (('pause', '--workflow', 'bulk', '--mode', 'now'), ('retry', '--workflow', 'bulk', '--from', 'x'), ('pause',), ('retry',)):
            self.assertIn('an ID', cli(*order, code=2))
        trail = wait_for('the trail', lambda: len(t := s.call('GET', '/admin/audit?action=run.bulk&limit=50')['items']) == 12 and t)
        self.assertEqual(trail[0]['detail']['done'], 3)
        filters = [(t['detail']['action'], t['detail']['filter']) for t in trail]
        self.assertEqual(filters.count(('pause', dict(same, status=['running', 'waiting']))), 2)  # those it was for, also when nobody said
        self.assertEqual(filters.count(('cancel', {'workflow': 'bulk', 'status': ['running', 'paused']})), 1)
        problem = s.call('POST', '/runs/bulk', {'action': 'stop', 'filter': {}, 'limit': 0, 'x': 1}, expect=(422,))
        self.assertEqual(sorted(e['pointer'] for e in problem['errors']), ['/action', '/filter', '/limit', '/x'])
        problem = s.call('POST', '/runs/bulk', {'action': 'pause', 'filter': {'status': 'odd', 'since': 'now', 'more': 1}}, expect=(422,))
        self.assertEqual(sorted(e['pointer'] for e in problem['errors']), ['/filter/more', '/filter/since', '/filter/status'])

    def test_one_order_for_named_runs(self):
        s = self.server(self.slow())
        wait = {'sluice': 1, 'name': 'named', 'nodes': [{'id': 'w', 'type': 'wait_signal', 'params': {'signal': 'go'}}]}
        runs = [s.submit(wait) for _ in range(3)]
        for run in runs:
            s.wait_status(run, 'waiting')
        a, b, c = runs
        nobody = '01900000-0000-7000-8000-000000000000'
        runner = s.call('POST', '/admin/tokens', {'name': 'named', 'role': 'runner'}, expect=(201,))['token']

        def bulk(body, expect=200, token=runner):
            status, _, data = s.raw('POST', '/api/v1/runs/bulk', body, token=token)
            self.assertEqual(status, expect, data)
            return json.loads(data)
        s.call('POST', '/runs/%s/cancel' % b)
        got = bulk({'action': 'pause', 'ids': [a, nobody, b, a, c]})
        self.assertEqual({k: got[k] for k in ('matched', 'done', 'refused', 'more', 'dry_run', 'refusals_cut')},
                         {'matched': 4, 'done': 2, 'refused': 2, 'more': False, 'dry_run': False, 'refusals_cut': False})
        alone = s.call('POST', '/runs/%s/pause' % b, expect=(409,))
        self.assertEqual(got['refusals'], [  # as the order for one is refused, in the order they were named in
            {'id': nobody, 'code': 'not_found', 'message': 'there is no such run'},
            {'id': b, 'state': alone['state'], 'code': alone['code'], 'message': alone['detail']}])
        self.assertEqual([s.run(r)['status'] for r in runs], ['paused', 'cancelled', 'paused'])
        got = bulk({'action': 'pause', 'ids': [a, c]})  # said again: nothing is left to do, and nobody refuses
        self.assertEqual((got['done'], got['refused'], got['refusals']), (2, 0, []))
        lines = wait_for('the trail', lambda: len(t := s.call('GET', '/admin/audit?actor=named&action=run.bulk')['items']) == 2 and t)
        (line,) = [x for x in lines if x['detail']['ids'] != [a, c]]  # they are written after the answer, and may overtake each other
        self.assertEqual((line['actor'], line['detail']['ids'], line['detail']['refused_ids'], line['detail']['done']),
                         ('named', [a, nobody, b, c], [nobody, b], 2))

        def wrong(body, *pointers):
            self.assertEqual(sorted(e['pointer'] for e in bulk(body, 422)['errors']), sorted(pointers))
        wrong({'action': 'stop', 'ids': [a, 'x', 7, c], 'limit': 5, 'dry_run': True}, '/action', '/dry_run', '/ids/1', '/ids/2', '/limit')
        wrong({'action': 'pause', 'ids': []}, '/ids')
        wrong({'action': 'pause', 'ids': a}, '/ids')
        wrong({'action': 'pause', 'ids': [a] * 201}, '/ids')
        wrong({'action': 'pause', 'ids': [a], 'filter': {'workflow': 'named'}}, '/filter')
        self.assertIn('editor', bulk({'action': 'cancel', 'filter': {'workflow': 'named'}}, 403)['detail'])
        s.call('POST', '/admin/pause')  # who takes no new runs retries none
        self.assertEqual(bulk({'action': 'retry', 'ids': [b]}, 503)['code'], 'unavailable')
        self.assertEqual(bulk({'action': 'retry', 'filter': {'workflow': 'named'}}, 503, s.token)['code'], 'unavailable')
        s.call('POST', '/admin/resume')

        def cli(code, *args):
            p = subprocess.run([SLUICE, 'runs', *args], env={**os.environ, 'SLUICE_URL': s.url, 'SLUICE_TOKEN': runner}, capture_output=True, text=True)
            self.assertEqual(p.returncode, code, p.stdout + p.stderr)
            return p.stdout, p.stderr
        self.assertEqual(cli(1, 'resume', a, b, c), ('3 runs, 2 done, 1 refused\n', 'sluice runs resume: %s: %s\n' % (
            b, s.call('POST', '/runs/%s/resume' % b, expect=(409,))['detail'])))
        self.assertEqual(json.loads(cli(1, 'pause', a, b, '--json')[0])['refusals'][0]['id'], b)
        self.assertEqual(cli(0, 'cancel', a, c)[0], '2 runs, 2 done, 0 refused\n')
        for order in (('cancel', a, 'x'), ('cancel', a, '--workflow', 'named'), ('cancel', a, '--dry-run'), ('pause', a, c, '--mode', 'now'),
                      ('retry', a, c, '--from', 'w'), ('cancel', *[a] * 201)):
            self.assertEqual(cli(2, *order)[0], '')

    def test_one_noisy_project_of_twenty_does_not_delay_the_others(self):
        sim = self.sim({'sim': 1, 'defaults': {'tps': 0, 'first_ms': 100, 'jitter': 0}, 'rules': [
            {'match': {'user': 'plug'}, 'answer': 'x ' * 2000, 'tps': 1}, {'match': {'user': 'noise'}, 'answer': 'done', 'first_ms': 400}, {'answer': 'done'}]})
        s = self.server(sim)
        noise = []

        def queued():
            return s.metrics()['sluice_runs_queued']

        def more(n):
            for _ in range(n):
                noise.append(s.submit({'sluice': 1, 'name': 'n', 'nodes': [llm('x', 'noise')]}, project='p0'))

        def quiet():
            """A run of each of the other nineteen, one after the other; how long each took."""
            took = []
            for i in range(1, 20):
                if noise:
                    more(max(0, min(40, 100 - int(queued()))))  # however long we take, it goes on
                    self.assertGreater(queued(), 0, 'the noise was over too soon')
                began = time.monotonic()
                s.wait_status(s.submit(talk('q'), project='p%d' % i), 'succeeded')
                took.append(time.monotonic() - began)
            return sorted(took)
        s.call('PUT', '/admin/limits', {'runs': {'max_running': 4}})
        alone = quiet()
        # all places are taken until the noise is all there
        plugs = [s.submit({'sluice': 1, 'name': 'plug', 'nodes': [llm('x', 'plug')]}, project='plug') for _ in range(4)]
        for run in plugs:
            s.wait_status(run, 'running')
        more(300)
        wait_for('all of the noise to be queued', lambda: queued() >= 300)  # a moment after the answer
        for run in plugs:
            s.call('POST', '/runs/%s/cancel' % run)
        beside = quiet()
        print('  others, median and slowest: alone %.0f and %.0f ms, beside the noise %.0f and %.0f ms' % tuple(
            1000 * x for x in (alone[9], alone[-1], beside[9], beside[-1])))
        # a place has to become free, one of four that are taken for 400 ms each; in the order of arrival it would be thirty seconds. And a busy
        # machine is busier with the noise
        self.assertLess(beside[9], 3 * alone[9] + 1 * PATIENCE)
        for run in noise[:20]:
            s.wait_status(run, 'succeeded')
        for run in noise[20:]:
            s.raw('POST', '/api/v1/runs/%s/cancel' % run, {})
        s.call('PUT', '/admin/limits', {})

    def test_the_pool_grows_and_shrinks_under_load(self):
        sim = self.sim({'sim': 1, 'defaults': {'tps': 0, 'first_ms': 1, 'jitter': 0}, 'rules': [{'answer': 'done'}]})
        s = self.server(sim)
        stop, runs, broken = threading.Event(), [], []

        def load():
            try:
                while not stop.is_set() and len(runs) < 5000:
                    runs.append(s.submit(HELD))
            except Exception as e:  # pylint: disable=broad-except
                broken.append(e)
        threads = [threading.Thread(target=load) for _ in range(4)]
        for t in threads:
            t.start()
        dice = random.Random(3)
        for _ in range(20):
            n = dice.choice([1, 2, 3, 8, 16, 64])
            s.call('PUT', '/admin/limits', {'workers': n})
            wait_for('%d workers' % n, lambda n=n: s.metrics()['sluice_workers'] == n)
        stop.set()
        for t in threads:
            t.join()
        self.assertEqual(broken, [])
        for run in runs:
            s.wait_status(run, 'succeeded')
        s.call('PUT', '/admin/limits', {})


if __name__ == '__main__':
    unittest.main()
