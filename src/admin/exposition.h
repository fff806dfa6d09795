/* SPDX-License-Identifier: MIT */
#ifndef ADMIN_EXPOSITION_H
#define ADMIN_EXPOSITION_H
/* What was counted, in the text format of Prometheus (version 0.0.4).  Any thread. */
#include <stdbool.h>
#include "base/str.h"

#define EXPOSITION_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* All metrics of the table, whether the daemon is ready, the build, and the process (process_*, as
 * client libraries name them).
 */
void exposition_write(struct strbuf *out, bool is_ready);
/* Metrics with a series for each application. */
void exposition_write_apps(struct strbuf *out);
/* The table as Markdown, for docs/metrics.md. */
void exposition_write_doc(struct strbuf *out);
#endif
