#!/usr/bin/env python3
"""Turns files into a C table: embed.py OUT.c SYMBOL BASE_DIR FILE...

Each row has the name relative to BASE_DIR, the bytes, the length and the SHA-256 of the content (as hex), so that the
server can send a strong ETag and the migration runner a checksum without hashing at run time.
The bytes are one string literal per file: quick to compile even for megabytes.
"""
import hashlib
import os
import sys


def literal(data: bytes) -> str:
    lines = []
    for at in range(0, len(data), 60):
        lines.append('\t"' + ''.join('\\%03o' % b for b in data[at:at + 60]) + '"')
    return '\n'.join(lines) if lines else '\t""'


def main() -> None:
    out, symbol, base, *names = sys.argv[1:]
    rows = sorted((os.path.relpath(n, base), n) for n in names)
    with open(out, 'w', encoding='ascii') as f:
        f.write('/* Made by tools/embed.py. */\n#include "base/embed.h"\n\n')
        for i, (_, path) in enumerate(rows):
            with open(path, 'rb') as src:
                f.write('static const char file_%d[] =\n%s;\n' % (i, literal(src.read())))
        f.write('\nconst struct sl_embedded %s[] = {\n' % symbol)
        for i, (name, path) in enumerate(rows):
            with open(path, 'rb') as src:
                digest = hashlib.sha256(src.read()).hexdigest()
            f.write('\t{ "%s", file_%d, sizeof(file_%d) - 1, "%s" },\n' % (name, i, i, digest))
        f.write('\t{ 0 },\n};\n')


main()
