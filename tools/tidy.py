#!/usr/bin/env python3
"""Runs clang-tidy on the files named on standard input: tidy.py BUILD_FOLDER JOBS.

A file that passed is not looked at again until it, any header, .clang-tidy or its command line changes, so a second run
costs seconds. Exit 1 if any file has a finding.
"""
import concurrent.futures
import hashlib
import json
import pathlib
import subprocess
import sys


def main():
    build, jobs = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    names = [n.strip() for n in sys.stdin if n.strip()]
    commands = {}
    for entry in json.loads((build / 'compile_commands.json').read_text()):
        source = (pathlib.Path(entry['directory']) / entry['file']).resolve()
        commands[str(source)] = entry.get('command') or ' '.join(entry['arguments'])
    shared = hashlib.sha256(pathlib.Path('.clang-tidy').read_bytes())
    shared.update(subprocess.run(['clang-tidy', '--version'], capture_output=True, check=True).stdout)
    for room in sorted({n.split('/')[0] for n in names}):
        for header in sorted(pathlib.Path(room).glob('*.h')):
            shared.update(header.read_bytes())
    passed = build / 'tidy'
    passed.mkdir(exist_ok=True)

    def stamp(name):
        h = shared.copy()
        h.update(pathlib.Path(name).read_bytes())
        h.update(commands[str(pathlib.Path(name).resolve())].encode())
        return passed / h.hexdigest()

    def check(name):
        done = subprocess.run(
            ['clang-tidy', '--quiet', '-p', str(build), '--extra-arg=-Wno-unknown-warning-option', '--extra-arg=-Wno-error', '--extra-arg=-Wno-implicit-fallthrough', '--extra-arg=-Qunused-arguments', name],
            capture_output=True, text=True, check=False)
        if done.returncode == 0 and 'warning:' not in done.stdout:
            stamp(name).touch()
            return ''
        return done.stdout or done.stderr

    known = [n for n in names if str(pathlib.Path(n).resolve()) in commands]
    todo = [n for n in known if not stamp(n).exists()]
    bad = 0
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for text in pool.map(check, todo):
            if text:
                bad += 1
                print(text.strip())
    for n in sorted(set(names) - set(known)):
        print('%s: not part of the build' % n)
    print('clang-tidy: %d files, %d looked at, %d with findings' % (len(known), len(todo), bad))
    return 1 if bad or not known else 0


sys.exit(main())
