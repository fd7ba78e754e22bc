#!/usr/bin/env python3
"""Prints the files that match a pattern, sorted: ls.py PATTERN. For meson, which has no glob."""
import glob
import sys

print('\n'.join(sorted(glob.glob(sys.argv[1]))))
