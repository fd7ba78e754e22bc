"""A start that fails: what a person at a terminal reads, and what a machine does."""
import json
import os
import pty
import select
import socket
import subprocess
import tempfile
import time
import unittest

from rig import PATIENCE, SLUICE, Case, Postgres, wait_for


class Start(Case):
    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.env = {k: v for k, v in os.environ.items() if not k.startswith('SLUICE_')}
        self.env['SLUICE_LISTEN'] = '127.0.0.1:0'

    def command(self, args):
        return [os.path.abspath(SLUICE), 'serve', '--data', os.path.join(self.folder, 'data'), *args]

    def terminal(self, *args, **env):
        """What stands on a terminal at the end, below the log."""
        ours, theirs = pty.openpty()
        p = subprocess.Popen(self.command(args), cwd=self.folder, env={**self.env, **env}, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        out = b''
        until = time.monotonic() + 100 * PATIENCE
        while time.monotonic() < until:
            if select.select([ours], [], [], 1)[0]:
                try:
                    piece = os.read(ours, 65536)
                except OSError:  # Linux' way to say that nobody holds the other end any more
                    break
                if not piece:
                    break
                out += piece
        os.close(ours)
        self.addCleanup(p.kill)
        text = out.decode('utf-8').replace('\r\n', '\n')
        self.assertEqual(p.wait(60 * PATIENCE), 1, text)
        self.assertNotIn('{"', text)
        self.assertIn('\n\nsluice serve: it could not start: ', '\n' + text)
        return text.split('sluice serve: it could not start: ')[1].split('\n')

    def machine(self, *args, **env):
        p = subprocess.run(self.command(args), cwd=self.folder, env={**self.env, **env}, capture_output=True, text=True, timeout=100 * PATIENCE)
        self.assertEqual((p.returncode, p.stdout), (1, ''), p.stderr)
        return next(line for line in map(json.loads, p.stderr.splitlines()) if line['msg'] == 'could not start')

    def test_what_can_be_seen_at_once_is_said_before_anything_is_made(self):
        self.assertEqual(self.terminal('--listen', 'nonsense'),
                         ["'nonsense' is no address to listen on; write host:port", '  now:     listen = nonsense (flag --listen)',
                          '  instead: --listen HOST:PORT, as in --listen 127.0.0.1:7070; off this machine also --tls-cert FILE and --tls-key FILE '
                          '(both PEM), or --insecure behind a proxy that has TLS', ''])
        lines = self.terminal(SLUICE_LISTEN='0.0.0.0:0')
        self.assertIn('without TLS', lines[0])
        self.assertEqual(lines[1], '  now:     listen = 0.0.0.0:0 (environment SLUICE_LISTEN)')
        lines = self.terminal('--tls-cert', 'gone.pem', '--tls-key', 'gone.key')
        self.assertEqual(lines[0], "cannot use 'gone.pem' for TLS: No such file or directory")
        self.assertEqual(lines[2:4], ['  now:     tls_cert = gone.pem (flag --tls-cert)', '  now:     tls_key = gone.key (flag --tls-key)'])
        said = self.machine('--listen', 'nonsense')
        self.assertEqual((said['level'], said['code'], said['now']), ('error', 'invalid', 'listen = nonsense (flag --listen)'))
        self.assertEqual(os.listdir(self.folder), [])

    def test_secrets_that_do_not_fit_are_named_and_not_shown(self):
        lines = self.terminal(SLUICE_SECRET_KEY='deadbeef-not-a-key')
        self.assertIn('64 hex digits', lines[0])
        self.assertEqual(lines[1], '  now:     secret_key = ***-key (environment SLUICE_SECRET_KEY)')
        lines = self.terminal('--admin-token', 'short')
        self.assertEqual(lines[1], '  now:     admin_token = *** (flag --admin-token)')
        self.assertTrue(lines[2].startswith('  instead: a longer one'), lines)

    def test_a_folder_in_use_and_one_that_cannot_be_one(self):
        s = self.server()
        lines = self.terminal('--data', s.data)
        self.assertRegex(lines[0], r'another server uses the data folder .* \(process %d\)' % s.process.proc.pid)
        self.assertEqual(lines[1:3], ['  now:     data = %s (flag --data)' % s.data,
                                      '  instead: stop the other server, or choose a folder of its own, as in --data ./data2'])
        with open(os.path.join(self.folder, 'file'), 'w', encoding='ascii') as f:
            f.write('x')
        lines = self.terminal('--data', 'file')
        self.assertEqual(lines[1:3], ['  now:     data = file (flag --data)', '  instead: a folder you may write to, as in --data ./data'])

    def test_a_database_that_will_not_do_and_an_address_in_use(self):
        pg = Postgres()
        self.things.append(pg)
        self.assertIn('the database url does not parse: ', self.terminal('--database-url', 'postgres//x')[0])
        with socket.create_server(('127.0.0.1', 0)) as taken:
            at = '127.0.0.1:%d' % taken.getsockname()[1]
            lines = self.terminal('--database-url', pg.url, '--listen', at)
        self.assertEqual(lines[:2], ['cannot listen on %s: address already in use' % at, '  now:     listen = %s (flag --listen)' % at])
        pg.sql("INSERT INTO schema_migrations (version, name, sha256) VALUES (9999, '9999_later.sql', 'x')")
        lines = self.terminal('--database-url', pg.url)
        self.assertIn('the database is newer than this binary (it has migration 9999_later.sql)', lines[0])
        self.assertTrue(lines[1].startswith('  now:     database_url = ***'), lines)
        self.assertEqual(lines[2], '  instead: start the version of Sluice that has used this database last, or name another database')
        said = self.machine(SLUICE_DATABASE_URL=pg.url)
        self.assertEqual((said['code'], said['instead']), ('conflict', lines[2][11:]))

    def test_who_cannot_have_its_port_takes_over_no_runs(self):
        c = self.cluster(1, env={'SLUICE_LEASE_S': '5'})
        run = c[0].submit({'sluice': 1, 'name': 'w', 'nodes': [{'id': 'go', 'type': 'wait_signal', 'params': {'signal': 'go'}}]})
        c[0].wait_status(run, 'waiting')
        c[0].kill()
        owned = 'SELECT owner, epoch, recoveries FROM runs'
        before = c.pg.sql(owned)
        wait_for('its lease to run out', lambda: c.pg.value('SELECT bool_and(expires_at < now()) FROM instances') == 't')
        with socket.create_server(('127.0.0.1', 0)) as taken:
            said = self.machine('--listen', '127.0.0.1:%d' % taken.getsockname()[1], SLUICE_DATABASE_URL=c.url)
        self.assertEqual(said['code'], 'unavailable')
        self.assertEqual(c.pg.sql(owned), before)
        c.add()
        c[1].call('POST', '/runs/%s/signal' % run, {'signal': 'go'})
        c[1].wait_status(run, 'succeeded')


if __name__ == '__main__':
    unittest.main()
