/* Loops that are macros of libraries, as cppcheck may see them: it does not read the system's headers. */
struct json_object *cppcheck_next(void *o);
#define json_object_object_foreach(o, k, v)                                                                            \
	const char *k = "k";                                                                                           \
	for (struct json_object *v = cppcheck_next(o); v; v = cppcheck_next(o))
#define HASH_ITER(hh, head, it, tmp) for ((it) = cppcheck_next(head), (tmp) = (it); it; (it) = cppcheck_next(tmp))
