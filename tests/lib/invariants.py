"""tests/lib/invariants.py: checks a journal. The rules are in invariants.sql, one query each; here they are run, and what clients saw is compared.

    broken = check(pg.url, acknowledged=ids)                # [(rule, row)]; [] is right
    broken += seen(info, onlooker.watchers)                 # (i): what clients hold is what the journal holds
    broken += called(sink.calls, kills)                     # (j): calls for each idempotency key

`info` is a libpq connection string. Also by hand, on any database of a server at rest:

    python3 tests/lib/invariants.py 'host=127.0.0.1 port=5432 user=sluice dbname=sluice'
"""
import csv
import glob
import io
import json
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def psql():
    found = shutil.which('psql')
    return found or max(glob.glob('/usr/lib/postgresql/*/bin/psql'), key=lambda p: int(re.sub(r'\D', '', p) or 0))


def query(info, sql):
    """Rows as lists of texts; '' is also NULL. The text goes through stdin, so it may be of any size."""
    done = subprocess.run([psql(), '-X', '-q', '--csv', '-t', '-v', 'ON_ERROR_STOP=1', '-d', info, '-f', '-'], input=sql, capture_output=True,
                          text=True, check=False)
    if done.returncode:
        raise RuntimeError('%s\n%s' % (done.stderr, sql[:2000]))
    return list(csv.reader(io.StringIO(done.stdout)))


def rules():
    """[(name, sql)] of the file."""
    with open(os.path.join(HERE, 'invariants.sql'), encoding='utf-8') as f:
        parts = re.split(r'(?m)^-- (\([a-z]\) .*(?:\n-- .*)*)\n', f.read())
    return [(name[:4] + re.split(r'\.? \(|\n', name[4:])[0], sql.strip()) for name, sql in zip(parts[1::2], parts[2::2])]


def check(info, acknowledged=(), at_most=20):
    """[(rule, row as JSON)] of what is broken."""
    ids = ','.join("('%s'::uuid)" % i for i in acknowledged)
    head = 'CREATE TEMP TABLE acknowledged (id uuid);' + ('INSERT INTO acknowledged VALUES %s;' % ids if ids else '')
    all_rules = rules()
    if len(all_rules) < 10:
        raise RuntimeError('invariants.sql could not be read')
    body = ' UNION ALL '.join("(SELECT %d, row_to_json(x)::text FROM (%s) x LIMIT %d)" % (n, sql, at_most) for n, (_, sql) in enumerate(all_rules))
    return [(all_rules[int(n)][0], row) for n, row in query(info, head + body + ';')]


def seen(info, watchers):
    """(i) every event a client saw is in the journal, with the same sequence and content."""
    ids = ','.join("'%s'" % w.run_id for w in watchers)
    if not ids:
        return []
    journal = {}
    for run, seq, event, data in query(info, 'SELECT run_id, seq, event, sluice_whole(run_id, data) FROM run_events WHERE seq > 0 AND run_id IN (%s);' % ids):
        journal[run, int(seq)] = (event, json.dumps(json.loads(data), sort_keys=True))
    return [('(i) an event a client saw that is not in the journal', '%s %d %s ≠ %s' % (w.run_id, seq, what, journal.get((w.run_id, seq))))
            for w in watchers for seq, what in w.durable.items() if journal.get((w.run_id, seq)) != what]


def called(calls, most):
    """(j) calls for each idempotency key ≤ `most` (1 + the kills that could hit it, + what the other side refused)."""
    return [('(j) too many calls for a key', '%s: %d' % item) for item in calls.items() if item[1] > most]


if __name__ == '__main__':
    result = check(sys.argv[1])
    for rule, row in result:
        print(rule, row)
    print('%d rules, %d rows' % (len(rules()), len(result)))
    sys.exit(bool(result))
