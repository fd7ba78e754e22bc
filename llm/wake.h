/* llm/wake.h: how the modules that let people wait (limiter, gate, budgets, cache) tell somebody that it is worth
 * asking again.
 *
 * Thread    all three [any]. ref is called with the module's lock held and must do no more than count; wake and unref
 *           are called without it.
 */
#pragma once

struct sl_wake {
	void (*wake)(void *handle);
	void *(*ref)(void *handle);
	void (*unref)(void *handle);
};
