/* engine/graph_parse.c */
