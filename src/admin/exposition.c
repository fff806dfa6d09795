/* SPDX-License-Identifier: MIT */
/*
 * Prints the cells of base/metric.h.  A series with a route or with two labels is printed once it
 * has counted something; all others are printed from the start, so that a query sees the first
 * increase.
 */
#include <dirent.h>
#include <inttypes.h>
#include <sys/resource.h>
#include <unistd.h>
#include "base/annotate.h"
#include "base/mem.h"
#include "base/metric.h"
#include "conf/app.h"
#include "admin/exposition.h"

#define PREFIX "scopewire_"

static const char *const type_names[] = { "counter", "gauge", "histogram" };

/* A scrape has a thousand numbers: without printf it costs a third.  Millionths without the zeros
 * at the end. */
static void exposition_millionths(struct strbuf *out, uint64_t n)
{
	uint64_t rest = n % 1000000, unit = 100000;

	strbuf_add_u64(out, n / 1000000);
	if (rest)
		strbuf_add_c(out, '.');
	for (; rest; unit /= 10) {
		strbuf_add_c(out, (char)('0' + rest / unit));
		rest %= unit;
	}
}

static void exposition_value(struct strbuf *out, enum metric_unit unit, int64_t n)
{
	uint64_t size = n < 0 ? -(uint64_t)n : (uint64_t)n;

	if (n < 0)
		strbuf_add_c(out, '-');
	if (unit == METRIC_SECONDS || unit == METRIC_RATIO)
		exposition_millionths(out, size);
	else
		strbuf_add_u64(out, size);
}

static void exposition_header(struct strbuf *out, const char *prefix, const char *name,
			      enum metric_type type, const char *help)
{
	strbuf_addf(out, "# HELP %s%s %s\n# TYPE %s%s %s\n", prefix, name, help, prefix, name,
		    type_names[type]);
}

/* The labels of a series, without braces.  False: it has no such value. */
static bool exposition_labels(struct strbuf *out, const struct metric_row *row, unsigned series)
{
	unsigned n_second = row->labels[1] ? metric_label(row->labels[1])->n : 1;
	unsigned index[2] = { series / n_second, series % n_second };

	for (unsigned i = 0; i < 2 && row->labels[i]; i++) {
		const struct metric_label *label = metric_label(row->labels[i]);

		if (index[i] >= label->n)
			return false;
		if (i)
			strbuf_add_c(out, ',');
		strbuf_add_str(out, label->name);
		strbuf_add_str(out, "=\"");
		strbuf_add_str(out, label->values[index[i]]);
		strbuf_add_c(out, '"');
	}
	return true;
}

/* A histogram's lines; labels is what exposition_labels() wrote. */
static void exposition_histogram(struct strbuf *out, const struct metric_row *row,
				 const char *labels, const int64_t *cells)
{
	const int64_t *bounds = metric_bounds(row->unit);
	const char *comma = *labels ? "," : "", *open = *labels ? "{" : "",
		   *close = *labels ? "}" : "";
	size_t at = out->len, len;
	int64_t count = 0;

	strbuf_addf(out, PREFIX "%s_bucket{%s%sle=\"", row->name, labels, comma);
	len = out->len - at;
	for (unsigned i = 0; i <= METRIC_BUCKETS; i++) {
		count += cells[i];
		if (i == METRIC_BUCKETS)
			strbuf_add_str(out, "+Inf");
		else
			exposition_value(out, row->unit, bounds[i]);
		strbuf_add_str(out, "\"} ");
		strbuf_add_u64(out, (uint64_t)count);
		strbuf_add_c(out, '\n');
		if (i < METRIC_BUCKETS) {
			strbuf_reserve(out, len);
			strbuf_add(out, out->ptr + at, len);
		}
	}
	strbuf_addf(out, PREFIX "%s_sum%s%s%s ", row->name, open, labels, close);
	exposition_value(out, row->unit, cells[METRIC_BUCKETS + 1]);
	strbuf_addf(out, "\n" PREFIX "%s_count%s%s%s %" PRId64 "\n", row->name, open, labels, close,
		    count);
}

static bool exposition_is_sparse(const struct metric_row *row)
{
	return row->labels[1] || row->labels[0] == METRIC_BY_ROUTE;
}

static void exposition_metric(struct strbuf *out, enum metric m, const int64_t *cells)
{
	const struct metric_row *row = &metric_rows[m];
	unsigned n_cells = metric_cells(m);
	struct strbuf labels;

	exposition_header(out, PREFIX, row->name, row->type, row->help);
	strbuf_init(&labels, 64);
	for (unsigned i = 0; i < metric_series(m); i++, cells += n_cells) {
		bool is_zero = true;

		for (unsigned c = 0; c < n_cells; c++)
			is_zero = is_zero && !cells[c];
		strbuf_reset(&labels);
		if ((is_zero && exposition_is_sparse(row)) || !exposition_labels(&labels, row, i))
			continue;
		if (row->type == METRIC_HISTOGRAM) {
			exposition_histogram(out, row, labels.ptr, cells);
			continue;
		}
		strbuf_add_str(out, PREFIX);
		strbuf_add_str(out, row->name);
		if (labels.len) {
			strbuf_add_c(out, '{');
			strbuf_add_sv(out, strbuf_view(&labels));
			strbuf_add_c(out, '}');
		}
		strbuf_add_c(out, ' ');
		exposition_value(out, row->unit, *cells);
		strbuf_add_c(out, '\n');
	}
	strbuf_release(&labels);
}

/* ---- the process ---- */

/* The 22nd field of /proc/self/stat, in clock ticks since the machine started; 0: unknown. */
static uint64_t exposition_start_ticks(void)
{
	FILE *in = fopen("/proc/self/stat", "re");
	char line[1024], *p = NULL;
	uint64_t ticks = 0;

	if (!in)
		return 0;
	if (fgets(line, sizeof(line), in))
		p = strrchr(line, ')'); /* the name before it may hold anything */
	for (unsigned field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	if (p)
		ticks = strtoull(p, NULL, 10);
	fclose(in);
	return ticks;
}

static double exposition_start_time(void)
{
	struct timespec boot, wall;

	clock_gettime(CLOCK_BOOTTIME, &boot);
	clock_gettime(CLOCK_REALTIME, &wall);
	return (double)(wall.tv_sec - boot.tv_sec) +
	       (double)exposition_start_ticks() / (double)sysconf(_SC_CLK_TCK);
}

static unsigned exposition_open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n > 3 ? n - 3 : 0; /* not ".", ".." and the folder's own */
}

static void exposition_process_line(struct strbuf *out, const char *name, enum metric_type type,
				    const char *help, double value)
{
	exposition_header(out, "process_", name, type, help);
	strbuf_addf(out, "process_%s %.17g\n", name, value);
}

static void exposition_process(struct strbuf *out)
{
	struct rusage usage;
	struct rlimit files;
	unsigned long virtual_pages = 0, resident_pages = 0;
	FILE *in = fopen("/proc/self/statm", "re");

	if (in && fscanf(in, "%lu %lu", &virtual_pages, &resident_pages) != 2)
		virtual_pages = resident_pages = 0;
	if (in)
		fclose(in);
	getrusage(RUSAGE_SELF, &usage);
	getrlimit(RLIMIT_NOFILE, &files);
	exposition_process_line(out, "cpu_seconds_total", METRIC_COUNTER,
				"CPU time of the process, user and system.",
				(double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
					(double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) /
						1e6);
	exposition_process_line(out, "open_fds", METRIC_GAUGE, "Open file descriptors.",
				exposition_open_fds());
	exposition_process_line(out, "max_fds", METRIC_GAUGE, "Limit of open file descriptors.",
				(double)files.rlim_cur);
	exposition_process_line(out, "resident_memory_bytes", METRIC_GAUGE, "Memory in RAM.",
				(double)resident_pages * (double)sysconf(_SC_PAGESIZE));
	exposition_process_line(out, "virtual_memory_bytes", METRIC_GAUGE, "Virtual memory.",
				(double)virtual_pages * (double)sysconf(_SC_PAGESIZE));
	exposition_process_line(out, "start_time_seconds", METRIC_GAUGE,
				"When the process started, in seconds since 1970.",
				exposition_start_time());
}

void exposition_write(struct strbuf *out, bool is_ready)
{
	int64_t *sums = metrics_collect();

	exposition_header(out, PREFIX, "build_info", METRIC_GAUGE, "Always 1; the version.");
	strbuf_add_str(out, PREFIX "build_info{version=\"" PACKAGE_VERSION "\"} 1\n");
	exposition_header(out, PREFIX, "ready", METRIC_GAUGE, "1 while /ready answers 200.");
	strbuf_addf(out, PREFIX "ready %d\n", is_ready);
	for (unsigned m = 0; m < METRIC_COUNT; m++)
		exposition_metric(out, m, sums + metric_offset(m));
	free(sums);
	exposition_process(out);
}

/* ---- applications ---- */

/* A label's value: backslash, quote and line feed are escaped. */
static void exposition_escape(struct strbuf *out, const char *s)
{
	for (; *s; s++) {
		if (*s == '\\' || *s == '"')
			strbuf_add_c(out, '\\');
		if (*s == '\n')
			strbuf_add_str(out, "\\n");
		else
			strbuf_add_c(out, *s);
	}
}

void exposition_write_apps(struct strbuf *out)
{
	struct app_set *set = apps_current();

	exposition_header(out, PREFIX, "app_connections", METRIC_GAUGE,
			  "WebSocket connections of an application that are open.");
	for (size_t i = 0; set && i < app_set_count(set); i++) {
		const struct app *app = app_set_at(set, i);

		strbuf_add_str(out, PREFIX "app_connections{app=\"");
		exposition_escape(out, app->id);
		strbuf_addf(out, "\"} %u\n", atomic_load(&app->runtime->connections));
	}
	app_set_unref(set);
}

/* ---- the document ---- */

void exposition_write_doc(struct strbuf *out)
{
	static const char *const units[] = { "", " (bytes)", " (seconds)", " (0 to 1)" };

	for (unsigned m = 0; m < METRIC_COUNT; m++) {
		const struct metric_row *row = &metric_rows[m];

		strbuf_addf(out, "| `" PREFIX "%s` | %s | ", row->name, type_names[row->type]);
		for (unsigned i = 0; i < 2 && row->labels[i]; i++)
			strbuf_addf(out, "%s`%s`", i ? ", " : "",
				    metric_label(row->labels[i])->name);
		strbuf_addf(out, " | %s%s |\n", row->help, units[row->unit]);
	}
}
