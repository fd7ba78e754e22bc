/* nodes/services.h: what the rooms below offer to node types and middleware. cmd fills it in; the engine only carries
 * it. Thread    [const] while the engine lives.
 */
#pragma once

struct sl_llm;

struct sl_services {
	struct sl_llm *llm; /* model calls */
};
