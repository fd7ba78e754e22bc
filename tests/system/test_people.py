"""People in a run: reviews, signals, interjections, over REST, WebSocket and the command line."""
import json
import subprocess
import threading
import unittest

from rig import PATIENCE, SLUICE, Case, edges, llm, wait_for


def reviewed(**params):
    return {'sluice': 1, 'name': 'reviewed', 'nodes': [
        llm('draft', 'write'), {'id': 'check', 'type': 'human_review', 'params': {'draft': '{{ nodes.draft.text }}', **params}}],
        'edges': edges(('draft', 'check')), 'outputs': {'all': '{{ nodes.check }}'}}


class People(Case):
    def quick(self):
        return self.sim({'sim': 1, 'defaults': {'tps': 5000, 'first_ms': 1, 'jitter': 0}, 'rules': [
            {'match': {'user': 'be short'}, 'answer': 'heard'}, {'answer': 'a first draft'}]})

    def test_a_review_that_is_tried_again_is_asked_for_anew(self):
        s = self.server()
        run = s.submit({'sluice': 1, 'name': 'patient', 'nodes': [{'id': 'ask', 'type': 'human_review', 'timeout_s': 2,
                        'retry': {'max': 20, 'backoff_ms': 1, 'jitter': False}, 'params': {'draft': 'd'}}]})

        def asked():
            now = self.pending(s, run)
            self.assertLessEqual(len(now), 1)  # none in between
            return now and now[0]['requested_at']
        first = wait_for('a review to be asked for', asked, 30)
        wait_for('the next one', lambda: (at := asked()) and at > first, 30)
        said = [(e['event'], e['data'].get('action')) for e in s.call('GET', '/runs/%s/events?limit=200' % run)['items']
                if e['event'].startswith('human_review:')]
        self.assertEqual(said[:3], [('human_review:requested', None), ('human_review:resolved', 'expired'), ('human_review:requested', None)])
        s.call('POST', '/runs/%s/cancel' % run)
        self.assertEqual(self.pending(s, run), [])

    def pending(self, s, run_id):
        return [r for r in s.call('GET', '/reviews?status=pending&limit=200')['items'] if r['run_id'] == run_id]

    def waiting(self, s, definition, **more):
        run_id = s.submit(definition, **more)
        wait_for('a review to be asked for', lambda: self.pending(s, run_id), 30)
        return run_id

    def test_a_review_is_listed_until_it_is_answered(self):
        s = self.server(self.quick())
        run_id = self.waiting(s, reviewed(instructions='read it', allow_skip=True), project='kitchen')
        (item,) = self.pending(s, run_id)
        self.assertEqual((item['node'], item['workflow'], item['project'], item['draft'], item['instructions'], item['allow_skip']),
                         ('check', 'reviewed', 'kitchen', 'a first draft', 'read it', True))
        self.assertEqual([r['run_id'] for r in s.call('GET', '/reviews?project=kitchen')['items'] if r['run_id'] == run_id], [run_id])
        self.assertEqual(s.call('GET', '/reviews?project=garden')['items'], [])
        s.call('GET', '/reviews?status=done', expect=(400,))
        path = '/runs/%s/review' % run_id
        s.call('POST', path, {'node': 'check', 'action': 'maybe'}, expect=(422,))
        s.call('POST', path, {'node': 'nobody', 'action': 'approve'}, expect=(404,))
        s.restart()  # a review waits as long as it takes
        self.assertEqual(len(self.pending(s, run_id)), 1)
        s.call('POST', path, {'node': 'check', 'action': 'modify', 'content': 'a better one', 'reason': 'style'})
        run = s.wait_status(run_id, 'succeeded')
        self.assertEqual(self.pending(s, run_id), [])
        resolved = [e['data'] for e in s.events(run_id) if e['event'] == 'human_review:resolved']
        self.assertEqual([(r['action'], r['content'], r['reviewer']) for r in resolved], [('modify', 'a better one', 'admin')])
        self.assertIn('a better one', json.dumps(run['outputs']))
        s.call('POST', path, {'node': 'check', 'action': 'approve'}, expect=(409,))

    def test_a_review_that_was_called_off_is_not_listed_any_more(self):
        def review(node, **more):
            return {'id': node, 'type': 'human_review', 'params': {'draft': 'd'}, **more}
        s = self.server(self.quick())
        run_id = s.submit({'sluice': 1, 'name': 'off', 'nodes': [
            review('ask'), review('late', timeout_s=1, on_error='continue'), {'id': 'w', 'type': 'wait_signal', 'params': {'signal': 'go'}},
            {'id': 'j', 'type': 'join', 'params': {'wait': 'any', 'cancel_rest': True}}, review('last')],
            'edges': edges(('ask', 'j'), ('w', 'j'), ('j', 'last'))})

        def listed():
            return [r['node'] for r in self.pending(s, run_id)]
        wait_for('the first review, and the end of the other', lambda: listed() == ['ask'] and s.node(run_id, 'late')['status'] == 'completed', 30)
        s.call('POST', '/runs/%s/signal' % run_id, {'signal': 'go'})
        wait_for('the last review', lambda: 'last' in listed(), 30)
        self.assertEqual((s.node(run_id, 'ask')['status'], listed()), ('cancelled', ['last']))
        # nobody decided: the one's time was over, and of the other's nothing is said
        resolved = [(e['data']['node_id'], e['data']['action']) for e in s.events(run_id) if e['event'] == 'human_review:resolved']
        self.assertEqual(resolved, [('late', 'expired')])
        s.call('POST', '/runs/%s/review' % run_id, {'node': 'last', 'action': 'approve'})
        s.wait_status(run_id, 'succeeded')

    def test_of_many_answers_exactly_one_counts(self):
        s = self.server(self.quick())
        run_id = self.waiting(s, reviewed())
        got = []

        def answer(i):
            gate.wait(60 * PATIENCE)
            status, _, body = s.raw('POST', '/api/v1/runs/%s/review' % run_id, {'node': 'check', 'action': 'modify', 'content': 'by %d' % i})
            got.append((status, i, body))
        gate = threading.Barrier(50)
        threads = [threading.Thread(target=answer, args=(i,)) for i in range(50)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        winners = [i for status, i, _ in got if status == 200]
        self.assertEqual((len(got), len(winners), sorted(set(st for st, _, _ in got))), (50, 1, [200, 409]), got)
        for status, _, body in got:  # the others are told who was first, or that all was over by then
            if status == 409:
                self.assertRegex(json.loads(body)['detail'], "modify, by admin|is succeeded")
        run = s.wait_status(run_id, 'succeeded')
        self.assertIn('by %d' % winners[0], json.dumps(run['outputs']))
        self.assertEqual(len([e for e in s.events(run_id) if e['event'] == 'human_review:resolved']), 1)

    def test_a_socket_may_do_what_its_role_allows(self):
        s = self.server(self.quick())
        run_id = self.waiting(s, reviewed())
        token = s.call('POST', '/admin/tokens', {'name': 'looker-%s' % run_id[-4:], 'role': 'viewer'}, expect=(201,))['token']
        from rig import Socket
        looker = Socket(s.port, token)
        self.things.append(looker)
        ws = self.socket(s)
        for i, cmd in enumerate(('review', 'signal', 'user_input', 'unlock', 'pause')):
            looker.send(cmd=cmd, id=i, run_id=run_id, node='check', action='approve', signal='x', text='x', justification='x')
            answer = looker.until(lambda e, i=i: e.get('data', {}).get('id') == i or e.get('id') == i)
            self.assertEqual((answer['event'], answer['data']['code']), ('error', 'forbidden'))
        ws.send(cmd='unlock', id='u', run_id=run_id, justification='it is fine')
        answer = ws.until(lambda e: e.get('data', {}).get('id') == 'u' or e.get('id') == 'u')
        self.assertEqual((answer['event'], answer['data']['code']), ('error', 'conflict'))  # it is not locked
        ws.send(cmd='review', id='r', run_id=run_id, node='check', action='approve')
        ws.until(lambda e: e['event'] == 'ack' and (e.get('data', {}).get('id') == 'r' or e.get('id') == 'r'))
        s.wait_status(run_id, 'succeeded')
        # asked for in vain: nothing of it is in the audit trail
        self.assertEqual([a for a in s.call('GET', '/admin/audit?action=run.unlock')['items'] if a['target'] == run_id], [])

    def test_signals_and_interjections_reach_the_run(self):
        s = self.server(self.quick())
        run_id = s.submit({'sluice': 1, 'name': 'sig', 'nodes': [
            {'id': 'w', 'type': 'wait_signal', 'params': {'signal': 'go'}}, llm('x', 'speak: {{ json.encode(nodes.w) }}')],
            'edges': edges(('w', 'x')), 'outputs': {'text': '{{ nodes.x.text }}', 'w': '{{ nodes.w }}'}})
        wait_for('it to wait', lambda: s.run(run_id)['status'] == 'waiting')
        s.call('POST', '/runs/%s/input' % run_id, {'text': 'be short'})
        s.call('POST', '/runs/%s/signal' % run_id, {}, expect=(422,))
        s.call('POST', '/runs/%s/signal' % run_id, {'signal': 'go', 'payload': {'n': 7}})
        run = s.wait_status(run_id, 'succeeded')
        self.assertIn('7', json.dumps(run['outputs']['w']))
        self.assertEqual(run['outputs']['text'], 'heard')
        names = [e['event'] for e in s.events(run_id)]
        self.assertIn('signal:received', names)
        self.assertIn('user_input', names)

    def test_whoever_steers_a_run_is_in_the_trail(self):
        s = self.server(self.quick())
        secret = 'nobody-else-reads-this'
        wait = [{'id': 'w', 'type': 'wait_signal', 'params': {'signal': 'go'}}, {'id': 'r', 'type': 'human_review', 'params': {'draft': 'd'}}]
        definition = {'sluice': 1, 'name': 'steered', 'nodes': wait, 'edges': edges(('w', 'r'))}
        orders = [('pause', {'mode': 'now', 'reason': 'lunch'}, {'mode': 'now', 'reason': 'lunch'}), ('resume', {}, None),
                  ('input', {'text': secret}, None), ('signal', {'signal': 'go', 'payload': {'key': secret}}, {'signal': 'go'}),
                  ('review', {'node': 'r', 'action': 'modify', 'content': secret, 'reason': 'style'},
                   {'node': 'r', 'action': 'modify', 'reason': 'style'})]

        def lines(run_id):
            return [(a['actor'], a['action'], a['detail']) for a in reversed(s.call('GET', '/admin/audit?action=run.&limit=200')['items'])
                    if a['target'] == run_id]
        expected = [('admin', 'run.' + order, detail) for order, _, detail in orders]

        by_rest = s.submit(definition)
        s.wait_status(by_rest, 'waiting')
        for order, body, _ in orders:
            if order == 'review':
                wait_for('the review', lambda: self.pending(s, by_rest), 30)
            s.call('POST', '/runs/%s/%s' % (by_rest, order), body)
        s.wait_status(by_rest, 'succeeded')
        self.assertEqual(lines(by_rest), expected)
        s.call('POST', '/runs/%s/cancel' % by_rest, {'reason': 'too late'}, expect=(409,))
        self.assertEqual(lines(by_rest), expected)  # refused, so it was not done

        by_socket = s.submit(definition)
        s.wait_status(by_socket, 'waiting')
        ws = self.socket(s)
        for i, (order, body, _) in enumerate(orders):
            if order == 'review':
                wait_for('the review', lambda: self.pending(s, by_socket), 30)
            ws.send(cmd='user_input' if order == 'input' else order, id=i, run_id=by_socket, **body)
            ws.until(lambda e, i=i: e['event'] == 'ack' and e['data'].get('id') == i)
            wait_for('its line', lambda i=i: len(lines(by_socket)) == i + 1, 30)  # of a socket's order it is written after the answer
        self.assertEqual(lines(by_socket), expected)

        third = s.submit(definition)
        s.wait_status(third, 'waiting')
        s.call('POST', '/runs/%s/cancel' % third, {'reason': 'not needed'})
        self.assertEqual(lines(third), [('admin', 'run.cancel', {'reason': 'not needed'})])
        self.assertNotIn(secret, json.dumps(s.call('GET', '/admin/audit?limit=200')))

    def test_a_locked_run_goes_on_when_an_admin_says_why(self):
        def circles():
            return self.sim({'sim': 1, 'defaults': {'tps': 400, 'first_ms': 5, 'jitter': 0}, 'rules': [
                {'answer': 'Let me think.\n' + 'I should look at this again. ' * 2000}]})
        sim = circles()
        s = self.server(sim)
        runner = s.call('POST', '/admin/tokens', {'name': 'runner-%d' % sim.port, 'role': 'runner'}, expect=(201,))['token']
        definition = {'sluice': 1, 'name': 'c', 'nodes': [llm('x', 'go')], 'edges': [], 'outputs': {'text': '{{ nodes.x.text }}'}}
        runs = [s.submit(definition) for _ in range(2)]
        for r in runs:
            s.wait_status(r, 'locked', seconds=40)
        s.use(self.quick())  # what made it run in circles is mended
        path = '/api/v1/runs/%s/unlock' % runs[0]
        self.assertEqual(s.raw('POST', path, {'justification': 'please'}, token=runner)[0], 403)
        for body in ({}, {'justification': ' '}, {'confirmations': [True, True]}, {'confirmations': [True, False, True]}):
            self.assertEqual(s.raw('POST', path, body)[0], 422, body)
        self.assertEqual(s.run(runs[0])['status'], 'locked')
        status, _, answer = s.raw('POST', path, {'justification': 'the prompt was mended'})
        self.assertEqual((status, json.loads(answer)['status'] in ('running', 'succeeded')), (200, True), answer)
        self.assertEqual(s.wait_status(runs[0], 'succeeded')['outputs'], {'text': 'a first draft'})
        self.assertEqual(s.raw('POST', path, {'justification': 'again'})[0], 409)
        ws = self.socket(s)
        ws.send(cmd='unlock', id='u', run_id=runs[1], confirmations=[True, True, True])
        ws.until(lambda e: e['event'] == 'ack' and e['data'].get('id') == 'u')
        s.wait_status(runs[1], 'succeeded')
        def trail():
            return {a['target']: a for a in s.call('GET', '/admin/audit?action=run.unlock')['items'] if a['target'] in runs}
        lines = wait_for('both lines', lambda: len(t := trail()) == 2 and t)  # of a socket's order it is written after the answer
        self.assertEqual(lines[runs[0]]['detail'], {'justification': 'the prompt was mended'})
        self.assertEqual(lines[runs[1]]['detail'], {'confirmations': [True, True, True]})
        unlocked = [e['data'] for e in s.events(runs[0]) if e['event'] == 'circuit_breaker:unlocked']
        self.assertEqual([(u['by'], u['justification']) for u in unlocked], [('admin', 'the prompt was mended')])

    def test_a_client_of_openai_hears_that_its_run_was_stopped(self):
        s = self.server(self.sim({'sim': 1, 'defaults': {'tps': 400, 'first_ms': 5, 'jitter': 0}, 'rules': [
            {'answer': 'Let me think.\n' + 'I should look at this again. ' * 2000}]}))
        status, headers, body = s.raw('POST', '/v1/chat/completions', {'model': 'profile:upstream', 'messages': [{'role': 'user', 'content': 'x'}]})
        self.assertEqual((status, json.loads(body)['error']['code']), (422, 'limit_exceeded'), body)
        s.raw('POST', '/api/v1/runs/%s/cancel' % s.call('GET', '/runs?limit=1')['items'][0]['id'], {})

    def cli(self, s, *args):
        got = subprocess.run([SLUICE, *args, '--url', s.url, '--token', s.token], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, timeout=60 * PATIENCE, check=False)
        return got.returncode, got.stdout.decode()

    def test_the_command_line_does_the_same(self):
        s = self.server(self.quick())
        run_id = self.waiting(s, reviewed())
        code, out = self.cli(s, 'runs', 'unlock', run_id, '--justification', 'fine')
        self.assertEqual(code, 1, out)
        code, out = self.cli(s, 'runs', 'reviews')
        self.assertEqual((code, run_id in out), (0, True), out)
        code, out = self.cli(s, 'runs', 'input', run_id, 'hello there')
        self.assertEqual(code, 0, out)
        code, out = self.cli(s, 'runs', 'signal', run_id, 'go', '{"n":1}')
        self.assertEqual(code, 0, out)
        code, out = self.cli(s, 'runs', 'review', run_id, 'check', 'approve')
        self.assertEqual(code, 0, out)
        s.wait_status(run_id, 'succeeded')
        code, out = self.cli(s, 'agents', 'list')
        self.assertEqual((code, 'advocate' in out), (0, True), out)
        code, out = self.cli(s, 'agents', 'show', 'judge', '--json')
        self.assertEqual((code, json.loads(out)['name']), (0, 'judge'))

    def test_a_run_says_which_node_of_which_run_has_started_it(self):
        s = self.server(self.quick())
        s.call('POST', '/workflows', {**reviewed(), 'name': 'reviewed-child'}, expect=(201,))
        above = s.submit({'sluice': 1, 'name': 'above', 'nodes': [
            {'id': 'sub', 'type': 'subworkflow', 'params': {'workflow': 'reviewed-child', 'inputs': {}}}]})
        (child,) = wait_for('the review of the child', lambda: [
            r['run_id'] for r in s.call('GET', '/reviews?limit=200')['items'] if r['workflow'] == 'reviewed-child'], 30)
        run = s.run(child)
        self.assertEqual((run['parent'], run['parent_node']), (above, 'sub'))
        code, out = self.cli(s, 'runs', 'show', child)
        self.assertEqual((code, 'parent    %s, node sub\n' % above in out), (0, True), out)
        self.assertNotIn('parent ', self.cli(s, 'runs', 'show', above)[1])
        s.call('POST', '/runs/%s/review' % child, {'node': 'check', 'action': 'approve'})
        s.wait_status(above, 'succeeded')


if __name__ == '__main__':
    unittest.main()
