"""Several servers on one PostgreSQL agree on what they keep in memory: profiles, agents, prices, tokens, the cache."""
import json
import threading
import time
import unittest

from rig import Case, Failed, llm, wait_for

ANSWERS = {'sim': 1, 'defaults': {'tps': 5000, 'first_ms': 1, 'jitter': 0}, 'rules': [{'answer': 'one two three'}]}


def one(prompt, **params):
    return {'sluice': 1, 'name': 'one', 'nodes': [llm('x', prompt, **params)], 'edges': [], 'outputs': {'text': '{{ nodes.x.text }}'}}


class Agree(Case):
    def get(self, server, path):
        """The body, or None when there is none."""
        status, _, body = server.raw('GET', '/api/v1' + path)
        return json.loads(body) if status == 200 else None

    def price(self, server, model):
        return next((p['input_usd_per_1m'] for p in self.get(server, '/llm/prices')['items'] if p['model'] == model), None)

    def system_of(self, server, agent):
        found = self.get(server, '/agents/' + agent)
        return found and found['system']

    def model_of(self, server, profile):
        found = self.get(server, '/llm/profiles/' + profile)
        return found and found['model']

    def test_a_profile_made_at_one_server_is_used_at_the_other(self):
        sim = self.sim(ANSWERS)
        a, b = self.cluster(2, sim=sim)
        body = {'provider': 'openai', 'model': 'first', 'base_url': sim.url, 'api_keys': ['sk-test-key-0002']}
        a.call('PUT', '/llm/profiles/second', body)
        wait_for('the profile to be there', lambda: self.model_of(b, 'second') == 'first')
        b.wait_status(b.submit(one('hello', profile='second')), 'succeeded')  # with the key, too
        self.assertEqual(sim.requests()[-1]['model'], 'first')
        del body['api_keys']  # the stored ones stay, whoever is asked
        b.call('PUT', '/llm/profiles/second', {**body, 'model': 'other'})
        wait_for('the change to be there', lambda: self.model_of(a, 'second') == 'other')
        self.assertEqual(len(self.get(a, '/llm/profiles/second')['keys']), 1)
        a.wait_status(a.submit(one('hello again', profile='second')), 'succeeded')
        self.assertEqual(sim.requests()[-1]['model'], 'other')
        a.call('DELETE', '/llm/profiles/second', expect=(204,))
        wait_for('the profile to be gone', lambda: self.get(b, '/llm/profiles/second') is None)
        self.assertEqual(self.model_of(b, 'upstream'), 'test-model')

    def test_agents_and_prices_are_the_same_everywhere(self):
        sim = self.sim(ANSWERS)
        a, b = self.cluster(2, sim=sim)
        a.call('PUT', '/agents/judge', {'system': 'You are strict.'})
        wait_for('the agent to be there', lambda: self.system_of(b, 'judge') == 'You are strict.')
        a.call('PUT', '/agents/judge', {'system': 'You are mild.'})
        began = time.monotonic()
        wait_for('its change to be there', lambda: self.system_of(b, 'judge') == 'You are mild.', every=0.001)
        print('  the other server followed after %.0f ms' % (1000 * (time.monotonic() - began)))
        b.call('DELETE', '/agents/judge', expect=(204,))
        wait_for('the agent to be gone', lambda: self.get(a, '/agents/judge') is None)
        a.call('PUT', '/llm/prices', {'items': [{'model': 'test', 'input_usd_per_1m': 1000, 'output_usd_per_1m': 2000}]})
        wait_for('the price to be there', lambda: self.price(b, 'test') == 1000)
        run = b.wait_status(b.submit(one('speak')), 'succeeded')
        usage = run['usage']
        self.assertAlmostEqual(run['cost_usd'], (usage['input_tokens'] * 1000 + usage['output_tokens'] * 2000) / 1e6, places=6)
        b.call('PUT', '/llm/prices', {'items': []})
        wait_for('the price to be gone', lambda: self.price(a, 'test') is None)

    def test_a_token_revoked_at_one_server_ends_at_the_other(self):
        a, b = self.cluster(2)
        made = a.call('POST', '/admin/tokens', {'name': 'ci', 'role': 'viewer'})
        self.assertEqual(b.raw('GET', '/api/v1/runs', token=made['token'])[0], 200)

        def connect():  # a handshake looks at what is in memory
            try:
                token, b.token = b.token, made['token']
                try:
                    return self.socket(b)
                finally:
                    b.token = token
            except Failed:
                return None
        sock = wait_for('the token to be known', connect)
        mine = self.socket(b)
        a.call('DELETE', '/admin/tokens/' + made['id'], expect=(204,))
        wait_for('the socket to be closed', lambda: sock.pump(0.1) is not None and sock.closed)
        self.assertEqual(sock.closed, 4001)
        self.assertEqual(b.raw('GET', '/api/v1/runs', token=made['token'])[0], 401)
        mine.send(cmd='ping', id=1)
        mine.until(lambda e: e['event'] == 'pong')
        self.assertIsNone(mine.closed)

    def wait_listening(self, c):
        """Whoever begins to listen forgets what is in memory: not in the middle of a test."""
        wait_for('all to listen', lambda: c.pg.value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sluice listens' "
                                                     "AND state = 'idle' AND query LIKE 'LISTEN%'") == str(len(c)))

    def ask(self, server):
        server.wait_status(server.submit(one('a fact, please', temperature=0)), 'succeeded')

    def entries(self, server):
        return server.call('GET', '/cache/stats')['caches']['response']['entries']

    def holds(self, server):
        """Whether the answer is in its memory, when it is asked for it."""
        self.ask(server)
        return self.entries(server) == 1

    def test_a_cache_cleared_at_one_server_is_missed_at_the_other(self):
        sim = self.sim(ANSWERS)
        c = self.cluster(2, sim=sim)
        self.wait_listening(c)

        def wait_stored():
            wait_for('the answer to be in the database', lambda: c.pg.value('SELECT count(*) FROM cache') == '1')
        self.ask(c[0])
        wait_stored()
        wait_for('the other to have it in memory', lambda: self.holds(c[1]))
        before = len(sim.requests())
        c[0].call('POST', '/cache/clear', {})
        wait_for('the memory of the other to be empty', lambda: self.entries(c[1]) == 0)
        self.ask(c[1])
        self.assertEqual(len(sim.requests()), before + 1)
        wait_stored()
        self.ask(c[0])
        self.assertEqual(len(sim.requests()), before + 1)

    def test_what_was_missed_while_postgresql_was_away_is_made_up_for(self):
        sim = self.sim(ANSWERS)
        c = self.cluster(2, sim=sim)
        self.wait_listening(c)
        c[0].call('PUT', '/agents/judge', {'system': 'You are strict.'})
        c[1].call('PUT', '/agents/gone', {'system': 'x'})
        c[0].call('PUT', '/llm/profiles/second', {'provider': 'openai', 'model': 'first', 'base_url': sim.url})
        for s in c.servers:
            wait_for('all to be there', lambda s=s: self.system_of(s, 'judge') and self.get(s, '/agents/gone') and self.model_of(s, 'second'))
        self.ask(c[0])
        wait_for('the answer to be in the database', lambda: c.pg.value('SELECT count(*) FROM cache') == '1')
        for s in c.servers:
            wait_for('the answer to be in memory', lambda s=s: self.holds(s))
        # changes that nobody tells of
        c.pg.sql("UPDATE agents SET body = '{\"system\":\"You are mild.\"}' WHERE name = 'judge'")
        c.pg.sql("DELETE FROM agents WHERE name = 'gone'")
        c.pg.sql("UPDATE profiles SET config = replace(config, '\"first\"', '\"other\"') WHERE name = 'second'")
        c.pg.sql("INSERT INTO prices (provider, model, input_nanousd, output_nanousd, as_of) VALUES ('', 'test', 1000000, 0, '2026-01-31')")
        c.pg.sql("INSERT INTO settings (key, value) VALUES ('limits', '{\"projects\":{\"p\":{\"rpm\":7}}}')")
        c.pg.sql('DELETE FROM cache')
        c.pg.stop()
        c.pg.start()
        for s in c.servers:
            wait_for('the agent', lambda s=s: self.system_of(s, 'judge') == 'You are mild.', 60)
            wait_for('the other agent to be gone', lambda s=s: self.get(s, '/agents/gone') is None)
            wait_for('the profile', lambda s=s: self.model_of(s, 'second') == 'other')
            wait_for('the price', lambda s=s: self.price(s, 'test') == 1000)
            wait_for('the limits', lambda s=s: s.call('GET', '/admin/limits')['projects'] == {'p': {'rpm': 7}})
            wait_for('the memory to be empty', lambda s=s: self.entries(s) == 0)
        # a write may find its connection gone, and is not sent twice
        wait_for('a change to be taken', lambda: c[0].raw('PUT', '/api/v1/agents/judge', {'system': 'You are told.'})[0] == 200)
        wait_for('news to come again', lambda: self.system_of(c[1], 'judge') == 'You are told.')

    def test_what_could_not_be_read_is_read_when_it_can_be(self):
        c = self.cluster(1)
        self.wait_listening(c)
        c.pg.sql('ALTER TABLE agents RENAME TO hidden')
        c.pg.sql("UPDATE hidden SET body = '{\"system\":\"You are mild.\"}' WHERE name = 'advocate'")
        c.pg.sql("SELECT pg_notify('sluice', 'agents 1')")
        c[0].process.wait_line('could not be read.*agents')
        self.assertIsNotNone(self.system_of(c[0], 'advocate'))  # what is known stays
        c.pg.sql('ALTER TABLE hidden RENAME TO agents')
        wait_for('the agent', lambda: self.system_of(c[0], 'advocate') == 'You are mild.')

    def test_changes_at_two_servers_at_once_end_in_the_same(self):
        c = self.cluster(2)
        for i in range(15):
            ways = [threading.Thread(target=s.call, args=('PUT', '/agents/judge', {'system': 'round %d of %d' % (i, n)})) for n, s in enumerate(c.servers)]
            for t in ways:
                t.start()
            for t in ways:
                t.join()
            stored = json.loads(c.pg.value("SELECT body FROM agents WHERE name = 'judge'"))['system']
            for s in c.servers:
                wait_for('what is stored to hold everywhere', lambda s=s, stored=stored: self.system_of(s, 'judge') == stored)


if __name__ == '__main__':
    unittest.main()
