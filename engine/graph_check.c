/* engine/graph_check.c */
