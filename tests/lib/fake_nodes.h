/* tests/lib/fake_nodes.h: node types that do what a test says, and count how often they were asked.
 *
 *   fake      its parameters say what it does, see fake_start(): answer, text, fail, fail_times, hold, …
 *   llm       the container of the real one; as a call it answers as its agent is called: yes…, no…, abstain…, s7… (a
 *             score), bad… (fails), "say …", "json …", script (a list of turns in its first message), and "hold …"
 *             before any of them
 *   external  leaves the system, and is done
 *   tool      the real one, counted
 * Owns      what is held, the counts, and the services that nodes and middleware are given.
 * Thread    the test's own. The allocations are spared by torture.
 */
#pragma once

#include "engine/node.h"
#include "llm/services.h"

struct fake_nodes;
struct sl_engine;

struct fake_nodes *fake_nodes_new(void);
void fake_nodes_free(struct fake_nodes *f);

/* Empty until the test fills it in; an engine whose nodes these are has to be given it. Lent. */
struct sl_services *fake_nodes_services(struct fake_nodes *f);

/* The table of the real types with the fakes in place of and after them; `only`, ended by NULL: of the real ones just
 * these, NULL: all. Lent until the next call. */
const struct sl_node_type *const *fake_nodes_types(const char *const *only);

/* What begins from now on belongs to this engine, only to know it again. */
void fake_nodes_serve(struct fake_nodes *f, const struct sl_engine *e);
/* What is held for that engine is forgotten. After the engine was freed. */
void fake_nodes_forget(struct fake_nodes *f, const struct sl_engine *e);

void fake_nodes_release(struct fake_nodes *f, const char *path); /* a held one ends; fails the test: there is none */
const char *fake_nodes_held(struct fake_nodes *f, size_t i);     /* its path; NULL: there are not so many */
bool fake_nodes_is_held(struct fake_nodes *f, const char *path);
/* A held one streams: the code of the append; when that is a failure, the node fails with it. */
enum sl_code fake_nodes_say(struct fake_nodes *f, const char *path, const char *text);

unsigned fake_nodes_calls(struct fake_nodes *f, const char *path); /* how often it was started, for all engines */
unsigned fake_nodes_cancels(struct fake_nodes *f, const char *path);
