/* tests/lib/rounds.c: how often random tests play. */
#include "tests/lib/test.h"

#include <stdlib.h>

unsigned long sl_test_rounds(const char *name, unsigned long usually)
{
	const char *wanted = getenv(name), *fewer = getenv("SLUICE_FEWER");
	if (wanted)
		return strtoul(wanted, NULL, 10);
	unsigned long by = fewer ? strtoul(fewer, NULL, 10) : 1;
	return by > 1 ? (usually + by - 1) / by : usually;
}
