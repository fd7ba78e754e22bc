/* tests/fuzz/fuzz_anthropic.c: Anthropic's events, in any split; see answer.h. */
#include "tests/fuzz/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return fuzz_protocol(&sl_protocol_anthropic, "text/event-stream", data, size);
}
