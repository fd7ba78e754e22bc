/* engine/recover.c */
