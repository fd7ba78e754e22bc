#!/usr/bin/env python3
"""Sums up the tests of a build folder: testsum.py BUILD_FOLDER. The last line is "N passed, N failed", alone on its line.

Counts cases where a test program says which it ran (cmocka, unittest, vitest), else the program as one. A program that
ended badly counts as failed even if none of its cases did. Before it, under a line of its own, what failed and what it
said about that. Exit 1 when anything failed or nothing ran.

testsum.py --again BUILD_FOLDER lists the programs that are worth another try: none that a sanitizer stopped, and none when
many failed. Where they were run again (meson-logs/again.json), one that passed twice is named as unsteady, with what it
had said, and is not counted as failed.
"""
import json
import pathlib
import re
import sys


def count(entry):
    text = (entry.get('stdout') or '') + '\n' + (entry.get('stderr') or '')
    passed = len(re.findall(r'^\[\s+OK \]', text, re.M))
    failed = len(set(re.findall(r'^\[  FAILED  \] (?!\d+ test)(.+)$', text, re.M)))
    m = re.search(r'^Ran (\d+) tests? in', text, re.M)  # unittest
    if m and not passed and not failed:
        failed = sum(int(n) for n in re.findall(r'(?:failures|errors)=(\d+)', text))
        skipped = sum(int(n) for n in re.findall(r'skipped=(\d+)', text))
        passed = int(m.group(1)) - failed - skipped
    m = re.findall(r'^(\d+) passed, (\d+) failed$', text, re.M)
    if m and not passed and not failed:
        passed, failed = int(m[-1][0]), int(m[-1][1])
    good = entry['result'] in ('OK', 'EXPECTEDFAIL')
    if good and not passed and not failed:
        passed = 1
    if not good and not failed:
        failed = 1
    return passed, failed


SAYS = re.compile(r'ThreadSanitizer|AddressSanitizer|LeakSanitizer|runtime error:|^\[  FAILED|^\[   LINE|^(FAIL|ERROR): |^Traceback|^[A-Z]\w*Error\b|'
                  r'assertion|SIG[A-Z]{3,}')


def excerpt(entry, around=12, most=80):
    """The lines that say why, with those after them; else the last ones."""
    lines = ((entry.get('stdout') or '') + '\n' + (entry.get('stderr') or '')).splitlines()
    keep = set(range(max(0, len(lines) - 5), len(lines)))
    for i, line in enumerate(lines):
        if len(keep) < most and SAYS.search(line):
            keep.update(range(max(0, i - 2), min(len(lines), i + around)))
    if len(keep) <= 5:
        keep = set(range(max(0, len(lines) - around), len(lines)))
    return ['    ' + lines[i][:400] for i in sorted(keep)[:most]]


SANITIZER = re.compile(r'(Thread|Address|Leak|UndefinedBehavior)Sanitizer|runtime error:')
MOST_AGAIN = 3


def entries(build, *names):
    logs = [build / 'meson-logs' / name for name in names]
    return [json.loads(line) for log in logs if log.exists() for line in log.read_text(errors='replace').splitlines()]


LANES = ('testlog.json', 'testlog-computing.json')  # what ./dev test runs side by side


def again(build):
    """Names of the programs worth another try."""
    bad = [e for e in entries(build, *LANES) if e['result'] != 'SKIP' and count(e)[1]]
    if len(bad) > MOST_AGAIN:
        return []
    return [e['name'].split(' / ')[-1] for e in bad if not SANITIZER.search((e.get('stdout') or '') + (e.get('stderr') or ''))]


def main():
    if sys.argv[1] == '--again':
        print('\n'.join(again(pathlib.Path(sys.argv[2]))))
        return 0
    build = pathlib.Path(sys.argv[1])
    passed = failed = 0
    worst, unsteady = [], []
    second = {}
    for entry in entries(build, 'again.json'):
        second.setdefault(entry['name'], []).append(count(entry))
    for entry in entries(build, *LANES):
        if entry['result'] == 'SKIP':
            print('skipped: %s' % entry['name'])
            continue
        p, f = count(entry)
        tries = second.get(entry['name'], [])
        if f and len(tries) >= 2 and not any(bad for _, bad in tries):
            unsteady.append('unsteady: %s (%s at first, then passed %d times)' % (entry['name'], entry['result'].lower(), len(tries)))
            unsteady += excerpt(entry)
            p, f = tries[0]
        passed, failed = passed + p, failed + f
        if f:
            worst.append('%s (%s)' % (entry['name'], entry['result'].lower()))
            worst += excerpt(entry)
    ui = build / 'ui-tests.json'
    if ui.exists():
        report = json.loads(ui.read_text())
        passed += report['numPassedTests']
        failed += report['numFailedTests']
        if report['numFailedTests'] == 0 and not report['success']:
            failed += 1
        if not report['success']:
            worst.append('ui')
            for case in (c for f in report['testResults'] for c in f['assertionResults'] if c['status'] == 'failed'):
                text = '%s: %s' % (case['fullName'], ' '.join(case.get('failureMessages') or []))
                worst += ['    ' + line[:400] for line in text.splitlines()[:20]]
    browser = build / 'ui-e2e.count'
    if browser.exists():
        p, f = (int(n) for n in browser.read_text().split())
        passed, failed = passed + p, failed + f
        if f:
            worst.append('ui in the browser')
            said = build / 'ui-e2e.out'
            worst += ['    ' + line[:400] for line in said.read_text(errors='replace').splitlines()[-15:]] if said.exists() else []
    for line in unsteady:
        print(line)
    if worst:
        print('---- what failed')
    for line in worst:
        print(line if line.startswith('    ') else 'failed: ' + line)
    print('%d passed, %d failed' % (passed, failed))
    return 1 if failed or not passed else 0


sys.exit(main())
