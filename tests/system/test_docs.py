"""The page of the interface, as a browser draws it under the server's own policy."""
import json
import shutil
import subprocess
import unittest

from rig import PATIENCE, Case

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
