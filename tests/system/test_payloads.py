"""Payloads in pieces, through the whole server: a loop over a growing chat is killed in the middle, again and again, and has the whole chat in
the end; what is stored of it is little more than what each round added."""
import unittest

from rig import Case, wait_for

# A message of 2,000 bytes that is another one in each round, of round numbers in words of random length.
MESSAGE = """
local seed, said, n = loop.index * 7919 + 17, {}, 0
while n < 2000 do
  seed = (seed * 1103515245 + 12345) % 2147483648
  said[#said + 1] = string.format('%x', seed >> (seed % 16))
  n = n + #said[#said] + 1
end
local messages = {}
for _, m in ipairs(loop.last and loop.last.say.messages or {}) do messages[#messages + 1] = m end
messages[#messages + 1] = { role = 'user', round = loop.index, content = table.concat(said, ' ') }
return { messages = messages }
"""


def chat(rounds, seconds):
    return {'sluice': 1, 'name': 'chat', 'limits': {'breaker': False}, 'edges': [], 'outputs': {'messages': '{{ nodes.l.last.say.messages }}'},
            'nodes': [{'id': 'l', 'type': 'loop', 'params': {'max_rounds': rounds, 'body': {
                'nodes': [{'id': 'say', 'type': 'transform', 'params': {'code': MESSAGE}}, {'id': 'rest', 'type': 'delay', 'params': {'seconds': seconds}}],
                'edges': [{'from': 'say', 'to': 'rest'}]}}}]}


class Payloads(Case):
    def test_a_growing_chat_survives_kills_and_is_stored_once(self):
        rounds, kills = 40, 6
        c = self.cluster(1, env={'SLUICE_MAX_RECOVERIES': '1000'})  # it is we who kill it, and on a busy machine soon after the last time
        s = c[0]
        run = s.submit(chat(rounds, 0.15))
        for k in range(1, kills + 1):
            wait_for('round %d' % (k * 5), lambda: s.run(run)['nodes_done'] >= k * 10, seconds=60)
            s.kill()
            s.restart()
        done = s.wait_status(run, 'succeeded', seconds=120)
        said = done['outputs']['messages']
        self.assertEqual([m['round'] for m in said], list(range(1, rounds + 1)))
        self.assertEqual(len({m['content'] for m in said}), rounds)
        self.assertTrue(all(len(m['content']) >= 1990 for m in said))

        # the journal is the same over HTTP as by hand, page by page, and each round's output is whole in it
        whole = {int(seq): data for seq, data in c.pg.sql(
            "SELECT seq, md5(sluice_whole(run_id, data)) FROM run_events WHERE run_id = '%s' AND seq > 0" % run)}
        self.assertEqual(sorted(whole), [e['seq'] for e in s.events(run)])
        self.assertEqual(c.pg.value("SELECT count(*) FROM run_events WHERE run_id = '%s' AND sluice_whole(run_id, coalesce(detail, '{}')) IS NULL" % run), '0')
        sizes = [int(n) for n, in c.pg.sql(
            "SELECT octet_length(sluice_whole(run_id, detail)) FROM run_events WHERE run_id = '%s' AND once LIKE 'l#%%/say' ORDER BY seq" % run)]
        self.assertEqual(len(sizes), rounds)
        self.assertEqual(sizes, sorted(sizes))
        self.assertGreater(sum(sizes), 1600000)
        stored = int(c.pg.value("SELECT sum(length(data)) FROM run_chunks WHERE run_id = '%s'" % run))
        self.assertLess(stored, 500000)  # 80,000 are new; each round keeps the piece its chat ends in, too


if __name__ == '__main__':
    unittest.main()
