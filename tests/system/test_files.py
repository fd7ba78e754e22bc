"""Files of a run over REST, and after a restart: the journal is where they are."""
import unittest

from rig import Case


def chain():
    return {'sluice': 1, 'name': 'writer', 'nodes': [
        {'id': 'a', 'type': 'template', 'params': {'text': 'first\nline', 'file': 'notes/plan.md'}},
        {'id': 'b', 'type': 'template', 'params': {'text': '{{ nodes.a.text }}\nsecond', 'file': 'notes/plan.md'}},
        {'id': 'c', 'type': 'template', 'params': {'text': '日本 ' * 3000, 'file': 'large.txt'}}],
        'edges': [{'from': 'a', 'to': 'b'}, {'from': 'b', 'to': 'c'}]}


class Files(Case):
    def test_versions_are_listed_and_read(self):
        s = self.server()
        run_id = s.submit(chain())
        run = s.wait_status(run_id, 'succeeded')
        self.assertEqual([(f['path'], f['version'], f['by']) for f in run['files']], [('notes/plan.md', 2, 'b'), ('large.txt', 1, 'c')])
        s.restart()
        listed = s.call('GET', '/runs/%s/files' % run_id)['items']
        self.assertEqual(sorted((f['path'], f['version']) for f in listed), [('large.txt', 1), ('notes/plan.md', 2)])
        self.assertNotIn('content', listed[0])
        self.assertEqual(s.call('GET', '/runs/%s/files?path=notes/plan.md' % run_id)['content'], 'first\nline\nsecond')
        self.assertEqual(s.call('GET', '/runs/%s/files?path=notes/plan.md&version=1' % run_id)['content'], 'first\nline')
        self.assertEqual(s.call('GET', '/runs/%s/files?path=large.txt' % run_id)['content'], '日本 ' * 3000)
        history = s.call('GET', '/runs/%s/files/history?path=notes/plan.md' % run_id)['items']
        self.assertEqual([(f['version'], f['by'], f['bytes']) for f in history], [(2, 'b', 17), (1, 'a', 10)])
        for path, status in (('files?path=none.md', 404), ('files?path=notes/plan.md&version=9', 404), ('files/history', 400),
                             ('files?version=1', 400), ('files?path=notes/plan.md&version=x', 400)):
            self.assertEqual(s.raw('GET', '/api/v1/runs/%s/%s' % (run_id, path))[0], status, path)
        self.assertEqual(s.raw('GET', '/api/v1/runs/%s/files' % '00000000-0000-7000-8000-000000000000')[0], 404)


if __name__ == '__main__':
    unittest.main()
