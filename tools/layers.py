#!/usr/bin/env python3
"""Holds the rules of the rooms: layers.py [ROOT]. Prints each breach as FILE:LINE: sentence; exit 1 if there is any.

- Includes point downward only, as in the table below; a plug-in never includes another plug-in's file.
- SQL text lives in store/ and migrations/ only, and so does libpq.
- The engine knows no node type by name.
- strcpy, strcat, sprintf, strtok, atoi and alloca are not used; nor is an include by a relative path.
A line that must break a rule says `layers: <why>` in a comment on it.
"""
import pathlib
import re
import sys

MAY_INCLUDE = {
    'base': set(),
    'store': {'base'},
    'engine': {'base'},
    'llm': {'store', 'base'},
    'memory': {'store', 'base', 'llm'},
    'nodes': {'engine', 'memory', 'llm', 'base'},
    'middleware': {'engine', 'memory', 'llm', 'base'},
    'ws': {'engine', 'base'},
    'api': {'base', 'store', 'engine', 'llm', 'memory', 'ws'},
    'cmd': {'base', 'store', 'engine', 'llm', 'memory', 'nodes', 'middleware', 'ws', 'api'},
}
ROOMS = set(MAY_INCLUDE)
BANNED = re.compile(r'\b(strcpy|strcat|sprintf|vsprintf|strtok|atoi|atol|atof|alloca|gets)\s*\(')
SQL = re.compile(r'(?<![A-Za-z])(SELECT\s+[\w*$(\']|INSERT\s+INTO\s|UPDATE\s+\w+\s+SET\s|DELETE\s+FROM\s|CREATE\s+(TABLE|INDEX|UNIQUE|EXTENSION)\s'
                 r'|ALTER\s+TABLE\s|DROP\s+(TABLE|INDEX)\s|BEGIN;|COMMIT;|ROLLBACK;)')
INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]')
# Comments, strings and characters, so that each rule looks at what it is about.
TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def split(text):
    """The text with comments and strings blanked, and the list of (line, string literal)."""
    strings = []

    def blank(m):
        s = m.group(0)
        if s[0] == '"':
            strings.append((text.count('\n', 0, m.start()) + 1, s[1:-1]))
        return re.sub(r'[^\n]', ' ', s)

    return TOKEN.sub(blank, text), strings


def plug_ins(root, room, symbol):
    """File stems of the room that define a plug-in."""
    return {p.stem for p in (root / room).glob('*.c') if re.search(symbol + r'\w+\s*=', p.read_text(errors='replace'))}


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent)
    types = set()
    for p in (root / 'nodes').glob('*.c'):
        text = p.read_text(errors='replace')
        for m in re.finditer(r'struct\s+sl_node_type\s+\w+\s*=\s*\{(.*?)\n\};', text, re.S):
            types.update(re.findall(r'\.name\s*=\s*"([^"]+)"', m.group(1)))
    # a name that expressions have for something else (`loop`, in the body of one) is not the node type's
    roots = re.search(r'sl_ref_root_names\[\] = \{(.*?)\}', (root / 'engine/expr_read.c').read_text())
    types -= set(re.findall(r'"(\w+)"', roots.group(1)) if roots else [])
    siblings = {
        'nodes': plug_ins(root, 'nodes', r'struct\s+sl_node_type\s+sl_node_type_'),
        'middleware': plug_ins(root, 'middleware', r'struct\s+sl_middleware\s+sl_middleware_'),
    }
    breaches, files = [], 0
    for room in sorted(ROOMS):
        for path in sorted((root / room).glob('**/*.[ch]')):
            files += 1
            text = path.read_text(errors='replace')
            lines = text.split('\n')
            code, strings = split(text)

            def breach(line, sentence):
                if 'layers: ' not in lines[line - 1]:
                    breaches.append('%s:%d: %s' % (path.relative_to(root), line, sentence))

            for number, line in enumerate(lines, 1):
                m = INCLUDE.match(line)
                if not m:
                    continue
                quote, name = m.groups()
                if name == 'libpq-fe.h' and room != 'store':
                    breach(number, 'libpq belongs to store')
                if quote == '<':
                    continue
                other = name.split('/')[0]
                if '/' not in name or other not in ROOMS:
                    breach(number, 'includes are written from the project root: "%s"' % name)
                elif other != room and other not in MAY_INCLUDE[room]:
                    breach(number, '%s may not include %s' % (room, other))
                elif other != room and name.endswith('_priv.h'):
                    breach(number, '%s is private to %s' % (name, other))
                elif other == room and room in siblings:
                    stem = pathlib.PurePath(name).stem
                    if stem in siblings[room] and stem != path.stem:
                        breach(number, 'a plug-in never includes another one (%s)' % name)
            for m in BANNED.finditer(code):
                breach(code.count('\n', 0, m.start()) + 1, '%s is not used here' % m.group(1))
            for number, s in strings:
                if room != 'store' and SQL.search(s):
                    breach(number, 'SQL text lives in store and migrations')
                in_lua_table = re.search(r'\{ *"%s", *\w+ *\}' % re.escape(s), lines[number - 1])  # text.join, say
                if room == 'engine' and s in types and not in_lua_table:
                    breach(number, 'the engine knows no node type by name ("%s")' % s)
    for b in breaches:
        print(b)
    if files == 0:
        print('layers: no file of ours below %s' % root)
        return 1
    print('layers: %d files, %d breaches' % (files, len(breaches)))
    return 1 if breaches else 0


sys.exit(main())
