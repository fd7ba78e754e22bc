"""tests/lib/points.py: the test points of a debug build (base/point.h): which there are, and how often each was passed."""
import os
import re
import struct

ROOT = os.environ.get('SLUICE_ROOT', os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..'))
ROOMS = ('base', 'store', 'engine', 'llm', 'memory', 'nodes', 'middleware', 'ws', 'api', 'cmd')


def listed():
    """{name: what is true there}, as the header has them."""
    with open(os.path.join(ROOT, 'base', 'point.h'), encoding='utf-8') as f:
        text = f.read()
    return {name: re.sub(r'"\s*\\?\s*"', '', what) for name, what in re.findall(r'X\("([\w.]+)",\s*"((?:[^"]|"\s*\\?\s*")*)"\)', text)}


def used():
    """Names in SL_POINT(…), SL_CRASH_POINT(…) and SL_CRASH_POINT_OF(…) of all sources, once for each place."""
    names = []
    for room in ROOMS:
        for name in os.listdir(os.path.join(ROOT, room)):
            if name.endswith('.c'):
                with open(os.path.join(ROOT, room, name), encoding='utf-8') as f:
                    names += re.findall(r'SL_(?:CRASH_)?POINT(?:_OF)?\(\s*"([\w.]+)"', f.read())
    return names


def passes(path):
    """{name: passes} of a SLUICE_FAILPOINT_REPORT."""
    if not os.path.exists(path):
        return {}
    with open(path, 'rb') as f:
        data = f.read()
    return {name.rstrip(b'\0').decode(): hits for name, hits in struct.iter_unpack('56sQ', data)}
