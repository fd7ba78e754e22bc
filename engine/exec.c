/* engine/exec.c */
