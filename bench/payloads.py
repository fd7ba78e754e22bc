"""What a loop over a growing chat takes in the journal. One bench of run.py; see there.

A round returns the chat so far and about 2 KiB more: as a list of messages, and as one text. What is stored is read from PostgreSQL:
the bytes of the rows, and the growth of the partitions with their indexes. `whole` is what the texts of the journal come to when each
is counted in full.
"""
import math
import os
import time

import rig

# Prose out of a small vocabulary, seeded by the round: as compressible as people's, and never the same twice.
WORDS = ('the of and to in is that it was for on are as with they at be this from have or by one had not but what all were when we there can an '
         'your which their said if do will each about how up out them then she many some so these would other into has more her two like him see time '
         'could no make than first been its who now people my made over did down only way find use may water long little very after words called just '
         'where most know get through back much before go good new write our used me man too any day same right look think also around another came '
         'come work three word must because does part even place well such here take why things help put years different away again off went old number '
         'great tell men say small every found still between name should home big give air line set own under read last never us left end along while '
         'might next sound below saw something thought both few those always looked show large often together asked house world going want school').split()

CODE = """
local words = { %s }
local seed, said, n = loop.index * 7919 + 17, {}, 0
while n < 2000 do
  seed = (seed * 1103515245 + 12345) %% 2147483648
  local w = words[1 + (seed // 65536) %% #words]
  said[#said + 1] = w
  n = n + #w + 1
end
local text = table.concat(said, ' ')
""" % ', '.join("'%s'" % w for w in WORDS)

LISTED = CODE + """
local messages = {}
for _, m in ipairs(loop.last and loop.last.say.messages or {}) do messages[#messages + 1] = m end
messages[#messages + 1] = { role = loop.index % 2 == 1 and 'user' or 'assistant', content = text }
return { messages = messages }
"""

ONE_TEXT = CODE + """
return { chat = (loop.last and loop.last.say.chat or '') .. 'round ' .. loop.index .. ': ' .. text .. '\\n\\n' }
"""


def workflow(rounds, code):
    return {'sluice': 1, 'name': 'chat', 'limits': {'breaker': False},  # rounds that are alike are what this is about
            'nodes': [{'id': 'l', 'type': 'loop', 'params': {'max_rounds': rounds, 'body': {
                'nodes': [{'id': 'say', 'type': 'transform', 'params': {'code': code}}], 'edges': []}}}],
            'edges': [], 'outputs': {'last': '{{ nodes.l.last }}'}}


def tables(server):
    return [t for t in ('run_events', 'run_chunks') if server.sql("SELECT to_regclass('%s') IS NOT NULL" % t) == 't']


def on_disk(server):
    return sum(int(server.sql("SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('%s') WHERE isleaf" % t)) for t in tables(server))


def run_once(server, definition):
    before = on_disk(server)
    run = server.call('POST', '/api/v1/runs', {'definition': definition})['id']
    deadline = time.monotonic() + 120
    while True:
        r = server.call('GET', '/api/v1/runs/' + run)
        if r['status'] not in ('queued', 'running', 'waiting'):
            break
        if time.monotonic() > deadline:
            raise rig.Broken('a loop of %s did not end' % definition)
        time.sleep(0.02)
    if r['status'] != 'succeeded':
        raise rig.Broken('the loop ended as %s' % r)
    rows = sum(int(server.sql("SELECT coalesce(sum(pg_column_size(t.*)), 0) FROM %s t WHERE run_id = '%s'" % (t, run))) for t in tables(server))
    cut = "CASE WHEN {0} LIKE '[%' THEN ({0}::json->>0)::bigint ELSE octet_length({0}) END"
    whole = int(server.sql("SELECT sum(%s + coalesce(%s, 0)) FROM run_events WHERE run_id = '%s'" % (cut.format('data'), cut.format('detail'), run)))
    return {'stored_bytes': rows, 'disk_bytes': on_disk(server) - before, 'whole_bytes': whole}


def exponent(points):
    """Of bytes over rounds: the slope of the line through their logarithms. 1 is linear, 2 quadratic."""
    xs, ys = [math.log(x) for x, _ in points], [math.log(y) for _, y in points]
    mx, my = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((x - mx) * (y - my) for x, y in zip(xs, ys)) / sum((x - mx) ** 2 for x in xs)


def payloads(b):
    """stored bytes of a loop over a growing chat; with SLUICE_BESIDE=BINARY another build beside it"""
    rounds, rows = (10, 25, 50, 100), []
    beside = os.environ.get('SLUICE_BESIDE')
    for name, binary in [('Sluice', b.sluice)] + ([('the other build', beside)] if beside else []):
        server = rig.Server(binary)
        try:
            run_once(server, workflow(10, LISTED))  # the first pages of tables are not of a run
            for kind, code in (('a list of messages', LISTED), ('one text', ONE_TEXT)):
                cells = {}
                for n in rounds:
                    cells[n] = rig.Cell()
                    cells[n].add(run_once, server, workflow(n, code))
                    b.results.setdefault('payloads', []).append({'what': {'server': name, 'kind': kind, 'rounds': n}, 'rounds': cells[n].rounds,
                                                                 'broken': cells[n].broken})
                if any(c.broken for c in cells.values()):
                    raise rig.Broken('a loop did not end')
                for key, what in (('stored_bytes', 'rows'), ('disk_bytes', 'tables and indexes'), ('whole_bytes', 'each text in full')):
                    rows.append(['%s, %s' % (name, kind), what] + ['%.0f' % (cells[n].median(key) / 1024) for n in rounds] +
                                ['%.2f' % exponent([(n, cells[n].median(key)) for n in rounds])])
        finally:
            server.drop()
    rig.table(['KiB', 'of'] + ['%d rounds' % n for n in rounds] + ['exponent'], rows)


BENCHES = {'payloads': payloads}
