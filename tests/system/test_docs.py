"""The page of the interface, as a browser draws it under the server's own policy."""
import json
import shutil
import subprocess
import unittest

from rig import PATIENCE, Case, wait_for

KINDS = {'object': dict, 'array': list, 'string': str, 'boolean': bool, 'integer': int, 'number': (int, float), 'null': type(None)}


def misfits(schema, value, where):
    """What of the value is not as the schema says, and what it does not mention."""
    kinds = schema.get('type', list(KINDS))
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if not any(isinstance(value, KINDS[k]) and (k == 'boolean' or not isinstance(value, bool)) for k in kinds):
        yield '%s is %r' % (where, value)
    elif value not in schema.get('enum', [value]):
        yield '%s is %r' % (where, value)
    elif isinstance(value, dict):
        for name in schema.get('required', []):
            if name not in value:
                yield '%s has no %s' % (where, name)
        for name, member in value.items():
            if name in schema.get('properties', {}):
                yield from misfits(schema['properties'][name], member, where + '/' + name)
            elif 'properties' in schema:
                yield '%s/%s is not described' % (where, name)
    elif isinstance(value, list):
        for item in value:
            yield from misfits(schema.get('items', {}), item, where + '/*')


def node(node_id, kind, **params):
    return {'id': node_id, 'type': kind, 'params': params}


BROWSER = next((b for b in ('chromium', 'chromium-browser', 'google-chrome') if shutil.which(b)), None)


class Docs(Case):
    def test_the_descriptions_need_no_token_and_are_kept_by_their_etag(self):
        s = self.server()
        for path, kind in (('/openapi.json', 'application/json'), ('/asyncapi.json', 'application/json'), ('/docs', 'text/html; charset=utf-8')):
            status, headers, body = s.raw('GET', path, token='none')
            self.assertEqual((status, headers['Content-Type']), (200, kind))
            self.assertTrue(body)
            status, _, body = s.raw('GET', path, headers={'If-None-Match': headers['ETag']})
            self.assertEqual((status, body), (304, b''))

    def test_events_are_as_they_are_described(self):
        """What a client reads in /asyncapi.json is all there is in an event, and of that type."""
        s = self.server(env={'SLUICE_SIM_SPEED': '0', 'SLUICE_SIM_FIRST_TOKEN_MS': '0'})
        described = {m['name']: m['payload']['properties']['data']
                     for k, m in json.loads(s.raw('GET', '/asyncapi.json')[2])['components']['messages'].items() if k.startswith('event_')}
        body = {'nodes': [node('x', 'transform', expr='1')]}
        fine = [
            node('each', 'map', items=[1, 2], body=body),
            node('again', 'loop', max_rounds=2, body=body, exit_on_score={'value': 'nodes.x.value', 'at_least': 9}, carry='1',
                 on_regression={'drop': 1, 'do': 'rollback'}),
            node('open', 'parallel'), node('panel', 'vote', voters=['judge'], question='Good?'), node('nap', 'delay', seconds=0.05),
            node('fact', 'fact_check', content='It cost $5 million in 1889.', sources=['memory', 'web']), node('sum', 'tool', tool='calculate', arguments={'expression': '1+1'}),
            node('keep', 'memory_store', content='The tower has 330 metres, says the list of 1889.', tier='working'), node('drop', 'memory_store', content='ok', tier='working'),
            node('find', 'memory_retrieval', query='tower'), node('say', 'llm', prompt='hello', temperature=0, claims=True),
            node('note', 'template', text='x', file='a.md')]
        s.call('POST', '/workflows', {'sluice': 1, 'name': 'inner', 'nodes': [node('hold', 'wait_signal', signal='go')]})
        runs = [s.submit({'sluice': 1, 'nodes': fine, 'edges': [{'from': 'open', 'to': 'panel'}]}) for _ in range(2)]
        bad = s.submit({'sluice': 1, 'nodes': [{**node('a', 'delay', seconds=9), 'timeout_s': 0.05, 'retry': {'max': 1, 'backoff_ms': 1}}]})
        waits = s.submit({'sluice': 1, 'nodes': [node('ask', 'human_review', draft='x', timeout_s=1000), node('child', 'subworkflow', workflow='inner')]})
        for r in runs:
            s.wait_status(r, 'succeeded')
        s.wait_status(bad, 'failed')
        s.call('POST', '/runs/%s/retry' % bad, {'from': 'a'})
        wait_for('the review', lambda: s.call('GET', '/reviews')['items'])
        child = wait_for('the child', lambda: s.call('GET', '/runs?workflow=inner')['items'])[0]['id']
        s.wait_status(child, 'waiting')
        for order, body in (('pause', {'mode': 'now', 'reason': 'r'}), ('resume', {}), ('input', {'text': 'hi'}), ('review', {'node': 'ask', 'action': 'modify', 'content': 1, 'reason': 'r'})):
            s.call('POST', '/runs/%s/%s' % (waits, order), body)
        s.wait_status(child, 'waiting')
        s.call('POST', '/runs/%s/signal' % child, {'signal': 'go', 'payload': [1]})
        s.wait_status(waits, 'succeeded')
        fork = s.call('POST', '/runs/%s/fork' % waits, {'at_seq': 2})['id']
        s.call('POST', '/runs/%s/cancel' % fork, {'reason': 'r'})
        s.wait_status(bad, 'failed')
        wrong, seen = set(), set()
        for r in [*runs, bad, waits, child, fork]:
            for e in s.events(r):
                seen.add(e['event'])
                wrong.update('%s %s' % (e['event'], m) for m in misfits(described[e['event']], e['data'], ''))
        self.assertEqual(sorted(wrong), [])
        self.assertGreaterEqual(len(seen), 25, seen)

    @unittest.skipUnless(BROWSER, 'no browser here')
    def test_a_browser_draws_every_operation_and_message(self):
        s = self.server()
        http, socket = (json.loads(s.raw('GET', '/%s.json' % name)[2]) for name in ('openapi', 'asyncapi'))
        want = sum(len(item) for item in http['paths'].values()) + len(socket['components']['messages'])
        got = subprocess.run([BROWSER, '--headless', '--no-sandbox', '--disable-gpu', '--virtual-time-budget=20000', '--enable-logging=stderr',
                              '--dump-dom', s.url + '/docs'], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120 * PATIENCE, check=False)
        page = got.stdout.decode('utf-8', 'replace')
        self.assertEqual(page.count('<details'), want, page[:500])
        console = [line for line in got.stderr.decode('utf-8', 'replace').splitlines() if 'CONSOLE' in line]
        self.assertEqual(console, [])


if __name__ == '__main__':
    unittest.main()
