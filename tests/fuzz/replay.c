/* tests/fuzz/replay.c: a main for fuzz targets without libFuzzer: replays every file of the folders it is given, whole
 * and cut at a few places. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *path)
{
	FILE *f = fopen(path, "rb");
	if (!f)
		return 1;
	static char data[4 << 20];
	size_t n = fread(data, 1, sizeof(data), f);
	fclose(f);
	for (int part = 4; part >= 1; part--) {
		size_t len = n * (size_t)part / 4;
		uint8_t *copy = malloc(len ? len : 1); /* exact size, so that the sanitizer sees an overrun */
		if (!copy)
			return 1;
		memcpy(copy, data, len);
		LLVMFuzzerTestOneInput(copy, len);
		free(copy);
	}
	return 0;
}

int main(int argc, char **argv)
{
	unsigned files = 0;
	for (int i = 1; i < argc; i++) {
		DIR *dir = opendir(argv[i]);
		if (!dir) {
			fprintf(stderr, "no corpus folder %s\n", argv[i]);
			return 1;
		}
		for (struct dirent *e; (e = readdir(dir));) {
			char path[4096];
			if (e->d_name[0] == '.')
				continue;
			snprintf(path, sizeof(path), "%s/%s", argv[i], e->d_name);
			if (replay(path) != 0)
				return 1;
			files++;
		}
		closedir(dir);
	}
	printf("%u inputs replayed\n", files);
	return files == 0;
}
