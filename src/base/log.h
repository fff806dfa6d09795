/* SPDX-License-Identifier: MIT */
#ifndef BASE_LOG_H
#define BASE_LOG_H
/*
 * One line a call to standard error or to a file: "2026-01-02T03:04:05.678Z level: text", or the
 * same as JSON.  Bytes that are not printable are escaped, so that a peer cannot forge a line.
 * Any thread; each line is one write(2).  Secrets never come here.
 */
#include <stdbool.h>
#include "base/annotate.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

void log_set_level(enum log_level level);
void log_set_format(enum log_format format);
/*
 * Lines are appended to the file from now on, which is created, and is opened again also when the
 * path is the same (it may have been renamed); "" stands for standard error.  0 or -errno: then
 * they go where they went before.  One thread at a time.
 */
int log_use_file(const char *path) MUSTCHECK;
/*
 * journal is the variable JOURNAL_STREAM, or NULL.  If it names what standard error is, lines to it
 * begin with their priority, as in sd-daemon(3): the service manager's journal takes it off.
 */
void log_find_journal(const char *journal);
/* Whether lines of the level are logged: for those that cost something to make. */
bool log_has_level(enum log_level level);
void log_at(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define log_error(...) log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_at(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_LEVEL_DEBUG, __VA_ARGS__)
#endif
