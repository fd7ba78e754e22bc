/* engine/view.c */
