"""Every operation of the description with every role, on a real server: none below its role gets in, none at or above it is
kept out. Generated from /openapi.json, which a unit test compares with the table of routes."""
import json
import re
import time
import unittest

from rig import Case, Failed, wait_for

ROLES = ['none', 'viewer', 'runner', 'editor', 'admin']
# they end what the others need; the last ones, and in this order
LAST = ['/api/v1/admin/pause', '/api/v1/admin/drain', '/api/v1/admin/resume']


class Roles(Case):
    def operations(self, s):
        doc = json.loads(s.raw('GET', '/openapi.json')[2])
        out = []
        for path, item in doc['paths'].items():
            for method, op in item.items():
                out.append((LAST.index(path) if path in LAST else -1, method.upper(), path, op['x-sluice-role']))
        return [x[1:] for x in sorted(out)]

    def test_each_role_may_what_the_description_says(self):
        s = self.server(args=[])  # one of its own: it is paused and drained
        tokens = {r: s.call('POST', '/admin/tokens', {'name': 'role-' + r, 'role': r}, expect=(201,))['token'] for r in ROLES[1:]}
        operations = self.operations(s)
        self.assertGreater(len(operations), 60)
        wrong, asked = [], 0
        for method, path, least in operations:
            # names that lead nowhere: nobody's run, profile or token is touched
            address = re.sub(r'\{\w+\}', '01900000-0000-7000-8000-000000000001', path)
            body = b'{}' if method in ('POST', 'PUT') else None
            if path == '/api/v1/runs/bulk':
                body = b'{"ids":[]}'  # what a runner may; a filter needs an editor
            for role in ROLES:
                headers = {'Content-Type': 'application/json'} if body else {}
                if role == 'none':
                    headers['Authorization'] = ''
                status, _, answer = s.raw(method, address, body, headers, token=tokens.get(role))
                asked += 1
                open_here = path == '/metrics'  # to this machine
                if least == 'none' or open_here:
                    ok = status not in (401, 403)
                elif role == 'none':
                    ok = status == 401
                elif ROLES.index(role) < ROLES.index(least):
                    ok = status == 403
                else:
                    ok = status not in (401, 403, 500)
                if not ok:
                    wrong.append((method, path, role, status, answer[:200]))
        self.assertEqual(wrong, [])
        for role, ok in (('runner', False), ('editor', True)):
            status = s.raw('POST', '/api/v1/runs/bulk', {'action': 'pause', 'filter': {'workflow': 'nobody'}}, token=tokens[role])[0]
            self.assertEqual(status != 403, ok, (role, status))
        print('%d operations with %d roles: %d requests' % (len(operations), len(ROLES), asked))

    def test_a_token_ends_when_it_says_and_when_it_is_revoked(self):
        s = self.server()
        for seconds in (3, 10, 30):  # on a busy machine it may have ended before it is used
            soon = time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(time.time() + seconds))
            short = s.call('POST', '/admin/tokens', {'name': 'short-%d' % seconds, 'role': 'viewer', 'expires_at': soon}, expect=(201,))
            status = s.raw('GET', '/api/v1/runs', token=short['token'])[0]
            if status == 200:
                break
        self.assertEqual(status, 200)
        other = s.call('POST', '/admin/tokens', {'name': 'other', 'role': 'viewer'}, expect=(201,))
        wait_for('it to end', lambda: s.raw('GET', '/api/v1/runs', token=short['token'])[0] == 401, 15)
        s.call('DELETE', '/admin/tokens/' + other['id'], expect=(204,))
        self.assertEqual(s.raw('GET', '/api/v1/runs', token=other['token'])[0], 401)
        past = s.call('POST', '/admin/tokens', {'name': 'past', 'role': 'viewer', 'expires_at': '2020-01-01T00:00:00Z'}, expect=(422,))
        self.assertEqual(past['errors'][0]['pointer'], '/expires_at')

    def test_a_token_has_its_limits_and_others_have_their_own(self):
        s = self.server(env={'SLUICE_RATE_REQUESTS': '120', 'SLUICE_RATE_RUNS': '10', 'SLUICE_RATE_SOCKETS': '6'})
        one, two = (s.call('POST', '/admin/tokens', {'name': n, 'role': 'runner'}, expect=(201,))['token'] for n in ('one', 'two'))

        def until_refused(ask):
            """The answers, with the first that is 429 last: the slower we ask, the more are let through."""
            got = [ask()]
            while got[-1][0] != 429 and len(got) < 200:
                got.append(ask())
            return got
        got = until_refused(lambda: s.raw('GET', '/api/v1/session', token=one))
        refused = got.pop()
        self.assertGreaterEqual(len(got), 20)
        self.assertEqual({x[0] for x in got}, {200})
        self.assertEqual(got[0][1]['X-RateLimit-Limit'], '120')
        self.assertEqual((json.loads(refused[2])['code'], refused[1]['Retry-After']), ('rate_limited', '1'))
        self.assertEqual(s.raw('GET', '/api/v1/session', token=two)[0], 200)
        body = {'definition': {'sluice': 1, 'nodes': [{'id': 'x', 'type': 'template', 'params': {'text': 'x'}}]}}
        got = [x[0] for x in until_refused(lambda: s.raw('POST', '/api/v1/runs', body, token=two))]
        self.assertEqual(got[:2] + got[-1:], [202, 202, 429])
        self.assertLess(len(got), 10)
        self.socket(s)
        with self.assertRaisesRegex(Failed, ' 429 '):
            for _ in range(10):
                self.socket(s)


if __name__ == '__main__':
    unittest.main()
