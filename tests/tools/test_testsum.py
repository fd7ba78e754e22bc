"""What the sum of the tests says of a build folder: tools/testsum.py, called as `./dev test` does."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

TOOL = pathlib.Path(os.environ['SLUICE_ROOT']) / 'tools' / 'testsum.py'
RACE = 'WARNING: ThreadSanitizer: data race (pid=1)\n'


def entry(name, good, says=''):
    return {'name': 'sluice:unit / ' + name, 'result': 'OK' if good else 'FAIL', 'stdout': '', 'stderr': says}


class Sum(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        (pathlib.Path(self.folder.name) / 'meson-logs').mkdir()

    def log(self, name, *entries):
        path = pathlib.Path(self.folder.name) / 'meson-logs' / name
        path.write_text(''.join(json.dumps(e) + '\n' for e in entries))

    def run_tool(self, *args):
        done = subprocess.run([sys.executable, TOOL, *args, self.folder.name], capture_output=True, text=True)
        return done.returncode, done.stdout.strip().split('\n')

    def test_failure_counts(self):
        self.log('testlog.json', entry('a', True), entry('b', False, 'too late'))
        rc, lines = self.run_tool()
        self.assertEqual(rc, 1)
        self.assertEqual(lines[-1], '1 passed, 1 failed')
        self.assertIn('failed: sluice:unit / b (fail)', lines)

    def test_nothing_ran(self):
        rc, lines = self.run_tool()
        self.assertEqual((rc, lines[-1]), (1, '0 passed, 0 failed'))

    def test_passed_twice_afterwards(self):
        self.log('testlog.json', entry('a', True), entry('b', False, 'too late'))
        self.log('again.json', entry('b', True), entry('b', True))
        rc, lines = self.run_tool()
        self.assertEqual((rc, lines[-1]), (0, '2 passed, 0 failed'))
        self.assertTrue(lines[0].startswith('unsteady: sluice:unit / b'), lines)
        self.assertIn('too late', '\n'.join(lines))

    def test_failed_once_of_twice(self):
        self.log('testlog.json', entry('b', False))
        self.log('again.json', entry('b', True), entry('b', False))
        self.assertEqual(self.run_tool()[0], 1)

    def test_passed_but_once(self):
        self.log('testlog.json', entry('b', False))
        self.log('again.json', entry('b', True))
        self.assertEqual(self.run_tool()[0], 1)

    def test_both_lanes_count(self):
        self.log('testlog.json', entry('a', True))
        self.log('testlog-computing.json', entry('b', True), entry('c', False, 'wrong'))
        rc, lines = self.run_tool()
        self.assertEqual((rc, lines[-1]), (1, '2 passed, 1 failed'))
        self.assertIn('failed: sluice:unit / c (fail)', lines)
        self.assertEqual(self.run_tool('--again')[1], ['c'])

    def test_worth_another_try(self):
        self.log('testlog.json', entry('a', True), entry('b', False, 'too late'), entry('c', False, RACE))
        self.assertEqual(self.run_tool('--again')[1], ['b'])
        self.log('testlog.json', *(entry('b%d' % i, False) for i in range(4)))
        self.assertEqual(self.run_tool('--again')[1], [''])


if __name__ == '__main__':
    unittest.main()
