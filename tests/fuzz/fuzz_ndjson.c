/* tests/fuzz/fuzz_ndjson.c: Ollama's lines, in any split; see answer.h. */
#include "tests/fuzz/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return fuzz_protocol(&sl_protocol_ollama, "application/x-ndjson", data, size);
}
