/* engine/run_state.c */
