"""Retry, fork and diff with the real server: who fails is done again, who was killed meanwhile goes on, and of two who ask at
once one gets it. Calls are counted by the provider, not by us."""
import json
import os
import subprocess
import threading
import unittest

from rig import PATIENCE, SLUICE, Case, edges, llm, wait_for


def chain():
    return {'sluice': 1, 'name': 'chain', 'inputs': {'type': 'object', 'properties': {'topic': {'type': 'string'}}}, 'nodes': [
        llm('first', 'first {{ input.topic }}'),
        {**llm('second', 'second {{ nodes.first.text }}'), 'retry': {'max': 0}},
        llm('third', 'third {{ nodes.second.text }}')],
        'edges': edges(('first', 'second'), ('second', 'third')), 'outputs': {'text': '{{ nodes.third.text }}'}}


class Rerun(Case):
    def flaky(self, times=1):
        """Refuses what the second node asks, so many times."""
        return self.sim({'sim': 1, 'defaults': {'tps': 2000, 'first_ms': 1}, 'rules': [
            {'name': 'second', 'match': {'user': 'second'}, 'answer': 'two', **({'fault': 'F1', 'times': times} if times else {})},
            {'name': 'third', 'match': {'user': 'third'}, 'answer': 'three'}, {'name': 'first', 'answer': 'one'}]})

    def prompts(self, sim):
        return sorted(r['rule'] for r in sim.requests())

    def test_what_failed_is_done_again_also_when_the_server_dies(self):
        sim = self.flaky()
        s = self.server(sim)
        run_id = s.submit(chain(), {'topic': 'tea'})
        s.wait_status(run_id, 'failed')
        s.restart()
        run = s.call('POST', '/runs/%s/retry' % run_id, {})
        self.assertIn(run['status'], ('queued', 'running', 'succeeded'))
        s.restart()  # it was acknowledged, so it is there
        run = s.wait_status(run_id, 'succeeded')
        self.assertEqual(run['outputs'], {'text': 'three'})
        self.assertNotIn('error', run)
        self.assertEqual(self.prompts(sim).count('first'), 1)
        events = [e['event'] for e in s.events(run_id)]
        self.assertEqual(events.count('execution:retried'), 1)
        # recorded once in each life of the run
        self.assertEqual(s.raw('POST', '/api/v1/runs/%s/retry' % run_id, {})[0], 409)
        trail = [t for t in s.call('GET', '/admin/audit?action=run.retry')['items'] if t['target'] == run_id]
        self.assertEqual(len(trail), 1)

    def test_a_fork_runs_what_was_edited_and_no_more(self):
        sim = self.flaky(0)
        s = self.server(sim)
        run_id = s.submit(chain(), {'topic': 'tea'})
        run = s.wait_status(run_id, 'succeeded')
        self.assertEqual(self.prompts(sim), ['first', 'second', 'third'])
        body = {'outputs': {'second': {'text': 'edited by hand'}}}
        made = s.call('POST', '/runs/%s/fork' % run_id, body, headers={'Idempotency-Key': 'k1'})
        again = s.call('POST', '/runs/%s/fork' % run_id, body, headers={'Idempotency-Key': 'k1'})
        self.assertEqual(made['id'], again['id'])
        fork = s.wait_status(made['id'], 'succeeded')
        self.assertEqual(self.prompts(sim), ['first', 'second', 'third', 'third'])
        self.assertEqual(fork['forked_from']['run'], run_id)
        listed = {r['id']: r.get('forked_from') for r in s.call('GET', '/runs')['items']}  # others, too: the server is shared
        self.assertEqual((listed[run_id], listed[fork['id']]), (None, fork['forked_from']))
        self.assertLess(fork['usage']['input_tokens'], run['usage']['input_tokens'])

        d = s.call('GET', '/runs/%s/diff?with=%s' % (run_id, fork['id']))
        self.assertEqual({n['path']: n['change'] for n in d['nodes']}, {'first': 'same', 'second': 'changed', 'third': 'same'})
        second = next(n for n in d['nodes'] if n['path'] == 'second')
        self.assertIn({'pointer': '/text', 'a': 'two', 'b': 'edited by hand'}, second['output'])
        self.assertEqual(d['tokens'], [sum(r['usage'].values()) for r in (run, fork)])

        status, _, data = s.raw('POST', '/api/v1/runs/%s/fork' % run_id, {'from': 'nobody'})
        self.assertEqual(status, 422)
        self.assertEqual(json.loads(data)['errors'][0]['pointer'], '/from')
        sock = self.socket(s)
        sock.send(cmd='fork', id=7, run_id=run_id, **{'from': 'third'})
        reply = sock.until(lambda e: e['event'] == 'ack' and e['data']['id'] == 7, 20)
        s.wait_status(reply['data']['result']['run_id'], 'succeeded')
        self.assertEqual(self.prompts(sim), ['first', 'second', 'third', 'third', 'third'])

    def test_a_fork_in_the_middle_of_a_run_that_goes_on(self):
        s = self.server(self.sim({'sim': 1, 'defaults': {'tps': 2000, 'first_ms': 1}, 'rules': [{'answer': 'x'}]}))
        wait = {'sluice': 1, 'name': 'wait', 'nodes': [llm('a', 'a'), {'id': 'ask', 'type': 'human_review', 'params': {'draft': 'd'}}],
                'edges': edges(('a', 'ask'))}
        run_id = s.submit(wait)
        s.wait_status(run_id, 'waiting')
        fork = s.call('POST', '/runs/%s/fork' % run_id, {})['id']
        s.wait_status(fork, 'waiting')
        pending = sorted((r['run_id'], r['node']) for r in s.call('GET', '/reviews')['items'])
        self.assertEqual(pending, sorted([(run_id, 'ask'), (fork, 'ask')]))  # one each, though both journals ask once or twice
        s.call('POST', '/runs/%s/review' % fork, {'node': 'ask', 'action': 'approve'})
        s.wait_status(fork, 'succeeded')
        self.assertEqual(s.run(run_id)['status'], 'waiting')

    def test_of_many_who_retry_at_once_one_gets_it(self):
        sim = self.flaky()
        c = self.cluster(2, sim)
        run_id = c[0].submit(chain(), {'topic': 'tea'})
        c[0].wait_status(run_id, 'failed')
        answers = []

        def ask(server):
            answers.append(server.raw('POST', '/api/v1/runs/%s/retry' % run_id, {})[0])
        threads = [threading.Thread(target=ask, args=(c[i % 2],)) for i in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertTrue(set(answers) <= {200, 409, 503}, answers)  # 503: the other server, which had it, was too busy to answer in time
        if 200 not in answers and 503 not in answers:  # two servers took it from each other: then it has ended as before, and may be asked for again
            wait_for('the one who retries to get it', lambda: c[0].raw('POST', '/api/v1/runs/%s/retry' % run_id, {})[0] == 200)
        c[0].wait_status(run_id, 'succeeded')
        events = [e['event'] for e in c[1].events(run_id)]
        self.assertEqual(events.count('execution:retried'), 1)
        self.assertEqual(self.prompts(sim), ['first', 'second', 'second', 'third'])

    def test_a_child_that_failed_is_gone_on_with_by_another_server(self):
        sim = self.flaky()
        c = self.cluster(2, sim)
        name = 'chain-%s' % os.urandom(4).hex()
        c[0].call('POST', '/workflows', {**chain(), 'name': name})
        run_id = c[0].submit({'sluice': 1, 'name': 'parent', 'nodes': [
            {'id': 'sub', 'type': 'subworkflow', 'params': {'workflow': name, 'inputs': {'topic': 'tea'}}}],
            'outputs': {'text': '{{ nodes.sub.text }}'}})
        c[0].wait_status(run_id, 'failed')
        child = next(e['data']['run_id'] for e in c[0].events(run_id) if e['event'] == 'subworkflow:started')
        self.assertEqual(c[0].run(child)['status'], 'failed')
        c[1].call('POST', '/runs/%s/retry' % run_id, {})
        c[1].restart()
        run = c[0].wait_status(run_id, 'succeeded')
        self.assertEqual(run['outputs'], {'text': 'three'})
        self.assertEqual(self.prompts(sim).count('first'), 1)
        self.assertEqual(c[0].run(child)['status'], 'succeeded')
        started = {e['data']['run_id'] for e in c[0].events(run_id) if e['event'] == 'subworkflow:started'}
        self.assertEqual(started, {child})
        retried = [e['data'] for e in c[0].events(child) if e['event'] == 'execution:retried']
        self.assertEqual([r['parent_generation'] for r in retried], [2])

    def test_the_command_line_does_the_same(self):
        sim = self.flaky()
        s = self.server(sim)

        def sluice(*args):
            return subprocess.run([SLUICE, *args, '--url', s.url, '--token', s.token], capture_output=True, text=True, timeout=60 * PATIENCE,
                                  check=False)
        run_id = s.submit(chain(), {'topic': 'tea'})
        s.wait_status(run_id, 'failed')
        self.assertEqual(sluice('runs', 'retry', run_id).returncode, 0)
        s.wait_status(run_id, 'succeeded')
        out = sluice('runs', 'fork', run_id, '--outputs', '{"second":{"text":"mine"}}')
        self.assertEqual(out.returncode, 0, out.stderr)
        fork = out.stdout.strip()
        s.wait_status(fork, 'succeeded')
        text = sluice('runs', 'diff', run_id, fork).stdout
        self.assertIn('+ "mine"', text)
        self.assertIn('2 of 3 nodes are the same', text)
        wait_for('the line of the trail', lambda: any(
            t['target'] == run_id for t in s.call('GET', '/admin/audit?action=run.fork')['items']), 10)


if __name__ == '__main__':
    unittest.main()
