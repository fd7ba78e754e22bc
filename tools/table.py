#!/usr/bin/env python3
"""Writes the table of all plug-ins of a kind from the build list: table.py OUT.c TYPE PREFIX TABLE HEADER NAME...

No constructors, no linker sections: the order is fixed and nothing is silently dropped.
"""
import sys


def main() -> None:
    out, kind, prefix, table, header, *names = sys.argv[1:]
    with open(out, 'w', encoding='ascii') as f:
        f.write('/* Made by tools/table.py from the build list. */\n#include "%s"\n\n' % header)
        for name in names:
            f.write('extern const struct %s %s%s;\n' % (kind, prefix, name))
        f.write('extern const struct %s *const %s[];\n' % (kind, table))
        f.write('const struct %s *const %s[] = {\n' % (kind, table))
        for name in names:
            f.write('\t&%s%s,\n' % (prefix, name))
        f.write('\tNULL,\n};\n')


main()
