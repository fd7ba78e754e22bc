/* base/limits.h: everything a client can make grow has its cap here, with its unit and what happens there. */
#pragma once

#define SL_LIMIT_BODY_BYTES          (1u << 20)   /* a request body or workflow definition; more gets 413 */
#define SL_LIMIT_JSON_DEPTH          64           /* nesting of any JSON we parse; more is invalid */
#define SL_LIMIT_NODES               1000         /* nodes in one definition, nested ones included; more is invalid */
#define SL_LIMIT_EDGES               4000         /* edges in one definition; more is invalid */
#define SL_LIMIT_NESTING             8            /* containers inside containers; deeper is invalid */
#define SL_LIMIT_BODIES              10000        /* items of a map; more fails the node. Rounds of a loop: 1,000 */
#define SL_LIMIT_RUN_DEPTH           10           /* runs that start runs; deeper fails the node */
#define SL_LIMIT_RUN_QUERIES         10           /* look-ups of claims in one run; further claims are not checked */
#define SL_LIMIT_TOOL_CALLS          16           /* tools run in one turn of a model; of the rest it is told */
#define SL_LIMIT_TOOL_ARGS_BYTES     (64u << 10)  /* arguments of one call; refused, and the model is told */
#define SL_LIMIT_TOOL_RESULT_BYTES   (64u << 10)  /* result of one call; the rest is cut, and said to be */
#define SL_LIMIT_SIGNALS             1000         /* signals of a run nobody has taken; then the oldest goes */
#define SL_LIMIT_INTERJECTIONS       50           /* what people said into a run; then the oldest goes */
#define SL_LIMIT_FILES               100          /* of one run; more is refused */
#define SL_LIMIT_FILE_VERSIONS       1000         /* of all files of one run; more is refused */
#define SL_LIMIT_FILE_BYTES          (256u << 10) /* one file; larger is refused */
#define SL_LIMIT_FILE_PATH_BYTES     200          /* its path; longer is refused */
#define SL_LIMIT_DEFINITION_ERRORS   100          /* errors reported for one definition; the rest is counted */
#define SL_LIMIT_DEFINITION_VALUES   30000        /* JSON values in one definition; more is invalid */
#define SL_LIMIT_DEFINITION_EXPRS    3000         /* expressions and {{ }} in one definition; more is invalid */
#define SL_LIMIT_RUN_EVENTS          50000        /* events in one run; the run fails with limit_exceeded */
#define SL_LIMIT_RUN_BYTES           (50u << 20)  /* journal bytes of one run; likewise */
#define SL_LIMIT_PAYLOAD_BYTES       (2u << 20)   /* one node output, one input document; the node fails */
#define SL_LIMIT_GATHERED_BYTES      (16u << 20) /* output of a node with a body, or of a run: many results; likewise */
#define SL_LIMIT_PAGE_BYTES          (4u << 20)  /* text of one page of a run's events; the rest is on the next one */
#define SL_LIMIT_STREAM_BYTES        (2u << 20)  /* text of one model stream; the node fails */
#define SL_LIMIT_PENDING_NODES       2000        /* nodes of one run in flight; further ones wait */
#define SL_LIMIT_ACTIVE_RUNS         20000       /* unfinished runs in one server; more gets 429 */
#define SL_LIMIT_RECOVERIES          5           /* times a run may be found unfinished after a crash; then poison */
#define SL_LIMIT_ERROR_BYTES         4096        /* stored text of a failure; cut */
#define SL_LIMIT_CREATED_QUEUE_BYTES (64u << 20) /* journal bytes waiting for PostgreSQL; submissions get 503 */
#define SL_LIMIT_QUERY_QUEUE_BYTES   (64u << 20) /* queries waiting for PostgreSQL; further ones get 503 */
#define SL_LIMIT_WS_MESSAGE_BYTES    (64u << 10) /* one WebSocket command; more closes with 1009 */
#define SL_LIMIT_WS_SUBSCRIPTIONS    128         /* runs one socket watches; more gets an error */
#define SL_LIMIT_WS_CONNECTIONS      20000       /* sockets; more gets 503 */
#define SL_LIMIT_WS_SILENT_MS        60000       /* nothing heard from a client; closed */
#define SL_LIMIT_WS_PING_MS          20000       /* between pings */
#define SL_LIMIT_WS_STALLED_MS       30000       /* takes nothing while data waits; closed with 4008 */
#define SL_LIMIT_HEADER_BYTES        16384       /* request headers; more gets 431 */
#define SL_LIMIT_LUA_INSTRUCTIONS    2000000     /* VM instructions of one evaluation */
#define SL_LIMIT_LUA_MEMORY_BYTES    (16u << 20) /* heap of one evaluation */
#define SL_LIMIT_LUA_PATTERN_STEPS   1000000     /* steps of the pattern matcher in one evaluation */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SL_LIMIT_LUA_MS 1000 /* the same work takes ten times as long under a sanitizer */
#else
#define SL_LIMIT_LUA_MS 100 /* processor time of one evaluation */
#endif
#define SL_LIMIT_SSE_LINE_BYTES    (1u << 20) /* one line of a provider's stream; the call fails */
#define SL_LIMIT_HTTP_BODY_BYTES   (8u << 20) /* a provider's whole answer; the call fails */
#define SL_LIMIT_PROVIDER_HEADERS  256        /* header lines of a provider's answer; the call fails */
#define SL_LIMIT_URL_BYTES         8192       /* an address that a workflow author wrote; longer is refused */
#define SL_LIMIT_EGRESS_REQUESTS   100        /* requests of workflows to others under way; further ones wait */
#define SL_LIMIT_EGRESS_IDLE       20         /* their open connections kept for reuse; the oldest is closed */
#define SL_LIMIT_EGRESS_BODY_BYTES (1u << 20) /* one answer to them, unpacked; the request fails */
#define SL_LIMIT_EGRESS_REDIRECTS  10         /* redirects followed, whatever was asked for; the request fails */
#define SL_LIMIT_EGRESS_LOOKUPS    16         /* names looked up at once; further ones wait */
#define SL_LIMIT_ADDRESSES         32         /* addresses of one name that are looked at; the rest is not used */
#define SL_LIMIT_HEADER_LINES      100        /* header lines of one request; more gets 431 */
#define SL_LIMIT_HTTP_CONNECTIONS  20000      /* open HTTP connections; more gets 503, with TLS nothing */
#define SL_LIMIT_HTTP_HEAD_MS      10000  /* from the first byte of a request to the end of its head; closed with 408 */
#define SL_LIMIT_HTTP_BODY_MS      30000  /* from the end of the head to the end of the body; closed with 408 */
#define SL_LIMIT_HTTP_IDLE_MS      75000  /* between two requests of a connection; closed */
#define SL_LIMIT_HTTP_STALLED_MS   30000  /* takes nothing of an answer; closed */
#define SL_LIMIT_HTTP_ANSWER_MS    150000 /* the longest a handler may take; then 504 */
#define SL_LIMIT_HTTP_PIPELINED_BYTES                                                                                  \
	(64u << 10)                        /* bytes of later requests kept while one is answered; then reading pauses */
#define SL_LIMIT_MEMORY_BYTES (128u << 10) /* content of one memory; more is refused */
#define SL_LIMIT_LEDGER_ROWS                                                                                           \
	20000                       /* calls called off that wait to be written; then the oldest is lost, and counted  \
				     */
#define SL_LIMIT_LEDGER_ITEMS 10000 /* of one run, as the ledger lists them; the later ones are not shown */
#define SL_LIMIT_TAGS         32    /* tags of one run; more is invalid */
#define SL_LIMIT_TAG_BYTES    128   /* one tag; longer is invalid */
