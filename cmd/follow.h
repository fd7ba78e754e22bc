/* cmd/follow.h: follows a run to its end, across broken connections and restarts of the server. */
#pragma once

struct sl_cli;
struct sl_client;

/* Shows the run (with --json: nothing but its final object) and returns the exit code by its status. Ctrl-C detaches.
 */
int sl_follow(const struct sl_cli *cli, struct sl_client *client, const char *id);
