/* cmd/stop.h: waiting for SIGINT or SIGTERM. Block first, before any thread is made: threads inherit it, so only the
 * main thread takes these signals, at the one place where it waits. */
#pragma once

void sl_stop_block(void);         /* SIGINT, SIGTERM, SIGHUP; and ignores SIGPIPE */
int sl_stop_wait(void);           /* until one comes; which it was */
int sl_stop_wait_ms(unsigned ms); /* 0: none came in that time */
