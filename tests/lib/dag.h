/* tests/lib/dag.h: random graphs, and an oracle that says what must become of them. The oracle knows the rules from the
 * documents, works on its own structs and shares nothing with the engine but the decoding of journal records.
 *
 * Everything a graph depends on (conditions, chosen cases, failures) is decided when it is drawn, so the fate of every
 * node is known, but where time decides: a join with a deadline, or one that cancels the rest. For those the journal is
 * followed step by step: each thing that happened must have been allowed at that moment.
 * Thread    [any], plain values.
 */
#pragma once

#include "base/record.h"
#include "engine/run_state.h"

enum { DAG_NODES = 16, DAG_EDGES = 40, DAG_CASES = 4, DAG_NONE = -1 };

enum dag_kind { DAG_STEP, DAG_BRANCH, DAG_JOIN, DAG_PARALLEL, DAG_NAP };
enum dag_wait { DAG_ALL, DAG_ANY, DAG_QUORUM };

struct dag_edge {
	bool gone; /* the shrinker has taken it out */
	unsigned from, to;
	int kase;            /* of a branch; DAG_NONE: it carries none */
	bool has_when, when; /* not with a case */
};

struct dag_node {
	bool gone;
	enum dag_kind kind;
	bool has_when, when;
	/* a step */
	bool fails;                 /* for good, whatever is tried */
	unsigned stumbles, retries; /* it fails so often, then not; so many retries are allowed (never fewer) */
	enum sl_on_error on_error;
	bool hold;
	unsigned nap_ms;
	/* a branch */
	unsigned cases;
	int chosen, other; /* the case whose condition is true; the default. DAG_NONE */
	/* a join */
	enum dag_wait wait;
	unsigned quorum, timeout_ms;
	bool cancel_rest;
	/* a parallel */
	bool wait_all;
	unsigned limit;
};

struct dag {
	unsigned n_nodes, n_edges;
	struct dag_node nodes[DAG_NODES];
	struct dag_edge edges[DAG_EDGES];
};

/* What to draw. */
enum {
	DAG_WITH_FAILURES = 1,
	DAG_WITH_DEADLINES = 2, /* joins that time may decide */
};
void dag_draw(struct dag *d, uint64_t *seed, unsigned what);
/* Only what may differ from run to run: conditions, cases, failures. */
void dag_redraw(struct dag *d, uint64_t *seed, unsigned what);
unsigned dag_random(uint64_t *seed, unsigned below);
void dag_definition(const struct dag *d, struct sl_buf *out);
void dag_inputs(const struct dag *d, struct sl_buf *out);

/* What must become of it when nothing is cancelled and no deadline passes. */
struct dag_fate {
	bool timed; /* time may decide otherwise */
	bool fails; /* the run does; then nodes may also be cancelled or not have begun */
	enum sl_node_status nodes[DAG_NODES];
	bool absorbed[DAG_NODES]; /* a failure of it need not end the run */
	bool starved[DAG_NODES];  /* a join that failed because too few came, and none of its branches had failed */
	bool fired[DAG_NODES];    /* a join that had what it needed */
};
void dag_fate(const struct dag *d, struct dag_fate *fate);

/* Follows a journal. False: why[200] says what was not allowed. `ended`: the run must be over, as its fate says. */
bool dag_follow(const struct dag *d, const struct sl_record *records, size_t n, bool ended, char *why);
