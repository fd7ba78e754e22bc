/* cmd/witness.c: see witness.h. */
#include "cmd/witness.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

#define BYTES (SL_WITNESS_SLOTS * sizeof(struct sl_run_id))

void sl_witness_open(struct sl_witness *w, const char *data_dir)
{
	static const struct sl_run_id nobody;
	char path[PATH_MAX];
	struct stat st;
	memset(w, 0, sizeof(*w));
	(void)snprintf(path, sizeof(path), "%s/serving", data_dir); /* the folder was opened by a longer name */
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	void *p = MAP_FAILED;
	if (fd >= 0 && fstat(fd, &st) == 0 && ftruncate(fd, (off_t)BYTES) == 0) {
		w->known = st.st_size == (off_t)BYTES;
		p = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	}
	if (p == MAP_FAILED)
		sl_log(SL_LOG_WARN, "cmd", "what is served is not remembered across a crash", SL_KS("file", path),
		       SL_KS("error", strerror(errno)));
	else
		w->slots = p;
	if (fd >= 0)
		close(fd);
	for (uint32_t i = 0; w->slots && w->known && i < SL_WITNESS_SLOTS; i++)
		if (!sl_run_id_eq(w->slots[i], nobody))
			w->suspects[w->n_suspects++] = w->slots[i];
	if (w->slots)
		memset(w->slots, 0, BYTES);
}

void sl_witness_close(struct sl_witness *w)
{
	if (w->slots)
		munmap(w->slots, BYTES);
	w->slots = NULL;
}
