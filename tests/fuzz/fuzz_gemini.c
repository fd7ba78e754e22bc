/* tests/fuzz/fuzz_gemini.c: Gemini's events, in any split; see answer.h. */
#include "tests/fuzz/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return fuzz_protocol(&sl_protocol_gemini, "text/event-stream", data, size);
}
