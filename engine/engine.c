/* engine/engine.c */
