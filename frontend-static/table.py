#!/usr/bin/env python3
"""The built UI as a C table: table.py EMBED.py OUT.c DIST. Looks at each build which files there are, because their names carry
hashes and change with every build of the UI; writes OUT.c only when it would differ. No DIST: an empty table."""
import os
import subprocess
import sys

embed, out, dist = sys.argv[1:]
names = []
for base, dirs, files in os.walk(dist):
    dirs.sort()
    names += [os.path.join(base, f) for f in sorted(files)]
fresh = out + '.new'
subprocess.run([sys.executable, embed, fresh, 'sl_embedded_ui', dist, *names], check=True)
try:
    with open(out, 'rb') as a, open(fresh, 'rb') as b:
        same = a.read() == b.read()
except FileNotFoundError:
    same = False
if same:
    os.remove(fresh)
else:
    os.replace(fresh, out)
