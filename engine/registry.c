/* engine/registry.c */
