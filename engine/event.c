/* engine/event.c */
