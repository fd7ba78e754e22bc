"""What the command line says to who is new to it: what was wrong, where, and what to write instead."""
import json
import os
import subprocess
import tempfile
import unittest

from rig import PATIENCE, SLUICE, Case

GREET = {'sluice': 1, 'name': 'greet', 'nodes': [{'id': 't', 'type': 'template', 'params': {'text': 'hello {{ input.who }}'}}],
         'inputs': {'type': 'object', 'required': ['who'], 'properties': {'who': {'type': 'string'}, 'rounds': {'type': 'integer'}}}}


class Newcomer(Case):
    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.env = {}

    def file(self, name, text):
        with open(os.path.join(self.folder, name), 'w', encoding='utf-8') as f:
            f.write(text if isinstance(text, str) else json.dumps(text))
        return name

    def says(self, code, *args):
        """Its two outputs, where its exit code is that."""
        p = subprocess.run([os.path.abspath(SLUICE), *args], env={**os.environ, **self.env}, cwd=self.folder, capture_output=True, text=True,
                           timeout=120 * PATIENCE)
        self.assertEqual(p.returncode, code, p.stdout + p.stderr)
        return p.stdout + p.stderr

    def test_a_wrong_command_leads_to_the_right_one(self):
        self.assertIn('there is no command "runs shwo"; did you mean "runs show"?\ntry: sluice runs --help\n', self.says(2, 'runs', 'shwo'))
        self.assertIn('there is no command "estmate"; did you mean "estimate"?\ntry: sluice --help\n', self.says(2, 'estmate', 'x'))
        self.assertEqual(self.says(2, 'frobnicate'), 'sluice: there is no command "frobnicate"\ntry: sluice --help\n')
        self.assertEqual(self.says(2, '--url', 'x', 'runs', 'list'),
                         'sluice: options stand behind the command: sluice COMMAND --url …\ntry: sluice --help\n')
        self.assertEqual(self.says(2, 'runs', 'cancel', '--reason', 'x'),  # --json is not near
                         'sluice runs cancel: there is no option --reason\ntry: sluice runs cancel --help\n')
        self.assertEqual(self.says(0, 'help', 'runs', 'pause'), self.says(0, 'runs', 'pause', '--help'))
        self.assertEqual(self.says(0, 'help', 'runs'), self.says(0, 'runs', '--help'))
        listed = [line for line in self.says(0, 'help').split('\n') if line.startswith('  sluice ')]
        self.assertGreater(len(listed), 20)
        for line in listed:  # the summaries stand below each other, or below the name
            self.assertTrue(len(line) <= 80 and '  ' not in line[9:] or line[31] == ' ' and line[32] != ' ', line)

    def test_the_doctor_names_the_versions_of_the_libraries(self):
        libraries = next(c['found'] for c in json.loads(self.says(0, 'doctor', '--json')) if c['check'] == 'libraries')
        for library in libraries.split(', '):
            self.assertRegex(library, r'^[a-z-]+ \d+\.\d+[\w.~+-]*\w$')

    def test_the_doctor_sees_the_server_that_runs_here(self):
        s = self.server()
        said = [c['found'] for c in json.loads(self.says(0, 'doctor', '--json', '--data', s.data)) if c['check'] == 'data']
        self.assertIn('a server runs in %s (process %d)' % (s.data, s.process.proc.pid), said)
        self.assertNotIn('a server runs', self.says(0, 'doctor'))

    def test_all_that_is_wrong_is_said_once(self):
        s = self.server()
        self.env = {'SLUICE_URL': s.url, 'SLUICE_TOKEN': s.token}
        bad = self.file('bad.json', {'sim': 1, 'rules': [{'mach': {}}, {'fault': 'F99', 'answer': 'x'}]})
        self.assertRegex(self.says(1, 'sim', '--check', '--scenario', bad),
                         r'^bad.json: /rules/0/mach  [^\n]+\nbad.json: /rules/1/fault  [^\n]+\nbad.json: 2 errors\n$')
        self.assertEqual(self.says(0, 'sim', '--check', '--scenario', self.file('good.json', {'sim': 1, 'rules': [{'answer': 'x'}]})), 'good.json: valid\n')
        self.assertIn('line 1, column 1: ', self.says(1, 'sim', '--check', '--scenario', self.file('none.json', 'x')))
        said = self.says(1, 'agents', 'put', 'a', self.file('agent.json', {'system': 5, 'profil': 'x'}))
        self.assertEqual(said, 'sluice agents put: there are 2 things to mend\n  /profil  is not known; an agent has profile, system, description, '
                               'params and tools\n  /system  must be a string\n')
        self.assertIn('"x" is no id of a run\n', self.says(2, 'runs', 'diff', '01900000-0000-7000-8000-000000000000', 'x'))

    def test_what_could_not_be_written_is_no_success(self):
        good = self.file('good.json', GREET)
        with open('/dev/full', 'wb') as full:
            p = subprocess.run([os.path.abspath(SLUICE), 'validate', good], cwd=self.folder, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
        self.assertEqual((p.returncode, p.stderr), (1, 'sluice validate: the output could not be written\n'))

    def test_the_script_says_what_to_write_instead(self):
        for args, said in (('up --port', '--port needs a number up to 65535, as in --port 7071'),
                           ('up --port --once', '--port needs a number up to 65535, as in --port 7071'),
                           ('up --port 70x', '--port needs a number up to 65535, as in --port 7071, not 70x'),
                           ('up --port 65536', '--port needs a number up to 65535, as in --port 7071, not 65536'),
                           ('up --data', '--data needs a folder, as in --data /tmp/sluice'),
                           ('up --prot 1', 'there is no option --prot'),
                           ('test --suite', '--suite needs the name of a suite, as in --suite engine'),
                           ('test --without', '--without needs the name of a suite, as in --without storm'),
                           ('test --sanitize memory', '--sanitize needs a list, as in --sanitize address,undefined or --sanitize thread, not memory'),
                           ('fuzz --seconds soon', '--seconds needs a number, as in --seconds 60, not soon'),
                           ('sim --seed', '--seed needs a number, as in --seed 172'),
                           ('sim many', 'N is a number from 1, as in ./dev sim 100000, not many'),
                           ('lint engine', 'it takes no options, and so not engine'),
                           ('clean --all', 'there is no option --all; there is --data')):
            p = subprocess.run([os.path.join(os.environ['SLUICE_ROOT'], 'dev'), *args.split()], capture_output=True, text=True, timeout=60)
            self.assertEqual((p.returncode, p.stderr), (2, 'dev: %s: %s (see ./dev --help)\n' % (args.split()[0], said)), args)

    def test_a_file_that_cannot_be_read_is_named_once(self):
        s = self.server()
        self.env = {'SLUICE_URL': s.url, 'SLUICE_TOKEN': s.token}
        good = self.file('good.json', GREET)
        for name, text, said in (('comma.json', '{"a": 1,}', 'line 1, column 9: a comma too many before this'),
                                 ('list.json', '[1,\n]', 'line 2, column 1: a comma too many before this'),
                                 ('remark.json', '{\n  // not here\n}', 'line 2, column 3: JSON has no comments'),
                                 ('empty.json', ' \n', 'line 2, column 1: there is no JSON in it'),
                                 ('cut.json', '{"a": ', 'line 1, column 7: the JSON text ends too early')):
            self.file(name, text)
            self.assertEqual(self.says(1, 'run', name), 'sluice run: %s: %s\n' % (name, said))
            self.assertEqual(self.says(1, 'run', good, '--inputs', name), 'sluice run: %s: %s\n' % (name, said))
        self.assertEqual(self.says(1, 'run', 'gone.json'), 'sluice run: gone.json: No such file or directory\n')
        self.assertEqual(self.says(1, 'run', '.'), 'sluice run: .: Is a directory\n')
        self.assertEqual(self.says(1, 'validate', 'gone.json', good),  # and the others are looked at
                         'gone.json: No such file or directory\ngone.json: 1 error\ngood.json: valid\n')

    def test_what_the_server_refuses_has_its_place_in_the_file(self):
        s = self.server()
        self.env = {'SLUICE_URL': s.url, 'SLUICE_TOKEN': s.token}
        many = self.file('many.json', {'sluice': 1, 'name': 'many', 'nodes': [{'id': 'n%d' % i, 'type': 'llmm'} for i in range(15)]})
        for command in ('run', 'estimate'):
            lines = self.says(1, command, many).strip().split('\n')
            self.assertEqual((len(lines), lines[0]), (16, 'sluice %s: there are 15 things to mend' % command))
            self.assertEqual(lines[15], "  many.json: /nodes/14/type  there is no node type 'llmm'; did you mean 'llm'?")
        self.assertRegex(self.says(1, 'workflows', 'put', many), r'\n  and \d+ more\n$')
        self.assertEqual(self.says(1, 'run', self.file('list.json', '[1]')),
                         'sluice run: there is 1 thing to mend\n  list.json: a definition is an object\n')
        good = self.file('good.json', GREET)
        self.assertEqual(self.says(1, 'run', good, '--input', 'woh=you'),
                         'note: the workflow declares no input "woh"; did you mean "who"?\nsluice run: there is 1 thing to mend\n'
                         "  /inputs  'who' is missing\ninputs are given with --input KEY=VALUE; this workflow has who (required), rounds\n")
        self.assertIn('input rounds is declared as integer, so it is written as JSON', self.says(2, 'run', good, '--input', 'rounds=few'))
        self.assertEqual(self.says(1, 'runs', 'review', '01900000-0000-7000-8000-000000000000', 'ask', 'yes'),
                         'sluice runs review: /action: approve, modify, reject or skip\n')  # once

    def test_of_several_workflows_each_is_stored_or_says_why_not(self):
        s = self.server()
        self.env = {'SLUICE_URL': s.url, 'SLUICE_TOKEN': s.token}
        files = [self.file('first.json', {**GREET, 'name': 'first'}), self.file('scenario.json', {'sim': 1}), 'gone.json',
                 self.file('last.json', {**GREET, 'name': 'last'})]
        said = self.says(1, 'workflows', 'put', *files)
        for line in ('first is version 1\n', 'last is version 1\n', 'scenario.json: the definition has no "name"\n', 'gone.json: No such file'):
            self.assertIn(line, said)
        out = json.loads(self.says(1, 'workflows', 'put', *files, '--json'))
        self.assertEqual([o.get('name') or (o['file'], o['error']['code']) for o in out],
                         ['first', ('scenario.json', 'invalid'), ('gone.json', 'not_found'), 'last'])
        self.env['SLUICE_TOKEN'] = 'wrong'  # and that is said once
        self.assertEqual(self.says(1, 'workflows', 'put', *files).count('the token is not valid'), 1)

    def test_a_fork_that_cannot_be_says_how_many_things_there_are_to_mend(self):
        s = self.server()
        self.env = {'SLUICE_URL': s.url, 'SLUICE_TOKEN': s.token}
        run = s.submit(GREET, {'who': 'you'})
        s.wait_status(run, 'succeeded')
        self.assertEqual(self.says(1, 'runs', 'fork', run, '--from', 'nope'),
                         "sluice runs fork: there is 1 thing to mend\n  /from  the run has no node 'nope'\n")

    def test_a_run_that_fails_says_where_and_what_can_be_set(self):
        s = self.server()
        self.env = {'SLUICE_URL': s.url, 'SLUICE_TOKEN': s.token}
        text = {'id': 'n', 'type': 'template', 'params': {'text': 'x'}}
        for node, more, said in (
                (text, {'outputs': {'o': '{{ nodes.n.text.b.c }}'}}, 'failed: outputs of the run: /o: in {{ … }} at column 1: nodes.n.text is a text'),
                ({'id': 'n', 'type': 'subworkflow', 'params': {'workflow': 'nope'}}, {}, "there is no workflow 'nope', or not in that version"),
                ({'id': 'n', 'type': 'http', 'params': {'url': 'http://example.org/'}}, {}, 'use https (the operator can allow it: SLUICE_EGRESS_HTTP)'),
                ({'id': 'n', 'type': 'http', 'params': {'url': 'https://10.0.0.1/'}}, {}, 'the operator can allow host:port (SLUICE_EGRESS_ALLOW)')):
            self.assertIn(said, self.says(1, 'run', self.file('fails.json', {'sluice': 1, 'nodes': [node], **more})))

    def test_a_run_of_another_server_is_watched_to_its_end(self):
        c = self.cluster(2)
        self.env = {'SLUICE_URL': c[1].url, 'SLUICE_TOKEN': c[1].token}
        run = c[0].submit({'sluice': 1, 'nodes': [{'id': 'pause', 'type': 'delay', 'params': {'seconds': 1}},
                                                  {'id': 'word', 'type': 'template', 'params': {'text': 'done'}}],
                           'edges': [{'from': 'pause', 'to': 'word'}]})
        said = self.says(0, 'runs', 'watch', run)  # the journal has what this server was not told
        self.assertIn('word + completed\n', said)
        self.assertIn('\nsucceeded in ', said)

    def test_a_request_that_is_refused_says_where_in_the_request(self):
        s = self.server()

        def places(path, body):
            return sorted(e['pointer'] for e in s.call('POST', path, body, expect=(422,))['errors'])
        self.assertEqual(places('/runs', {'definition': [1], 'priority': 1000, 'x': 1}), ['/definition', '/priority', '/x'])
        self.assertEqual(places('/runs', {'definition': GREET, 'workflow': 'greet', 'tags': 1}), ['/tags', '/workflow'])
        self.assertEqual(places('/runs', {'definition': {**GREET, 'nodes': [{'id': 'n', 'type': 'llmm'}]}}), ['/definition/nodes/0/type'])
        self.assertEqual(places('/workflows/greet/estimate', {'definition': GREET, 'x': 1}), ['/x'])


if __name__ == '__main__':
    unittest.main()
