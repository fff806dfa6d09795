/* SPDX-License-Identifier: MIT */
/* Logs why a part of the daemon cannot start.  The text may have several lines, one fault in each.
 */
#include "base/log.h"
#include "base/mem.h"
#include "daemon/daemon.h"

void log_error_lines(const char *prefix, const char *text)
{
	struct str_view rest = sv(text), line;

	while (sv_split(&rest, '\n', &line))
		log_error("%s%.*s", prefix, SV_ARG(line));
}

int give_up(int status, char *why)
{
	log_error_lines("", why ? why : "out of memory");
	free(why);
	return status;
}
