/* engine/graph.c */
