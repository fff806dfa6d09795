/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/annotate.h"
#include "pg_fixture.h"

#define CONNECT_TRIES 1500   /* 20 ms apart */
#define PORT	      "5499" /* names the socket; the folder is private, so any will do */

struct pg_fixture {
	char dir[64], data[96];
	char *bindir;
	bool durable;
	int life;      /* write end of a pipe: closed when this process ends, for any reason */
	pid_t cleaner; /* waits for that */
};

static void die(const char *what, const char *why)
{
	fprintf(stderr, "pg_fixture: %s: %s\n", what, why);
	exit(1);
}

static char *PRINTF_LIKE(1, 2) format(const char *fmt, ...)
{
	char *out = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&out, fmt, ap) < 0)
		die("vasprintf", strerror(errno));
	va_end(ap);
	return out;
}

/* Of the user PostgreSQL runs as, when we are root; else NULL. */
static const struct passwd *other_user(void)
{
	const struct passwd *p;

	if (geteuid() != 0)
		return NULL;
	p = getpwnam("postgres");
	return p ? p : getpwnam("nobody");
}

static void become(const struct passwd *p)
{
	if (p && (setgroups(0, NULL) || setgid(p->pw_gid) || setuid(p->pw_uid)))
		_exit(126);
	if (chdir("/"))
		_exit(126);
}

int pg_fixture_run(char *const argv[])
{
	const struct passwd *p = other_user();
	pid_t pid = fork();
	int status;

	if (pid < 0)
		die("fork", strerror(errno));
	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY);

		become(p);
		dup2(null, STDOUT_FILENO);
		execvp(argv[0], argv);
		_exit(127);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			die("waitpid", strerror(errno));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static char *find_bindir(void)
{
	char line[512] = "";
	FILE *f = popen("pg_config --bindir", "r");

	if (!f || !fgets(line, sizeof(line), f))
		die("pg_config", "not found; the tests need PostgreSQL's server");
	pclose(f);
	line[strcspn(line, "\n")] = '\0';
	return strdup(line);
}

static char *program(const struct pg_fixture *f, const char *name)
{
	return format("%s/%s", f->bindir, name);
}

static void initdb(struct pg_fixture *f)
{
	char *path = program(f, "initdb");
	char *argv[] = { path,
			 (char *)"-D",
			 f->data,
			 (char *)"-U",
			 (char *)"scopewire",
			 (char *)"-E",
			 (char *)"UTF8",
			 (char *)"--locale=C",
			 (char *)"-A",
			 (char *)"trust",
			 (char *)"--no-sync",
			 NULL };

	if (pg_fixture_run(argv))
		die("initdb", f->data);
	free(path);
}

void pg_fixture_start(struct pg_fixture *f)
{
	char *path = program(f, "pg_ctl");
	char *log = format("%s/log", f->dir);
	char *options = format("-c listen_addresses= -c unix_socket_directories=%s -p " PORT
			       " -c fsync=%s -c max_connections=50 -c shared_buffers=64MB",
			       f->dir, f->durable ? "on" : "off");
	char *argv[] = { path,	       (char *)"start", (char *)"-w", (char *)"-t",
			 (char *)"60", (char *)"-D",	f->data,      (char *)"-l",
			 log,	       (char *)"-o",	options,      NULL };

	if (pg_fixture_run(argv))
		die("pg_ctl start", log);
	free(path);
	free(log);
	free(options);
}

void pg_fixture_stop(struct pg_fixture *f, const char *mode)
{
	char *path = program(f, "pg_ctl");
	char *argv[] = { path,	  (char *)"stop", (char *)"-w", (char *)"-D",
			 f->data, (char *)"-m",	  (char *)mode, NULL };

	pg_fixture_run(argv); /* it may be stopped already */
	free(path);
}

static void clean_up(struct pg_fixture *f)
{
	char *argv[] = { (char *)"rm", (char *)"-rf", f->dir, NULL };

	pg_fixture_stop(f, "immediate");
	pg_fixture_run(argv);
	rmdir(f->dir);
}

/* A process that outlives us, so that a test that is killed leaves nothing behind. */
static void start_cleaner(struct pg_fixture *f)
{
	int ends[2];
	char byte;

	if (pipe2(ends, O_CLOEXEC))
		die("pipe", strerror(errno));
	f->cleaner = fork();
	if (f->cleaner < 0)
		die("fork", strerror(errno));
	if (f->cleaner == 0) {
		setsid();
		close(ends[1]);
		while (read(ends[0], &byte, 1) < 0 && errno == EINTR)
			;
		clean_up(f);
		_exit(0);
	}
	close(ends[0]);
	f->life = ends[1];
}

struct pg_fixture *pg_fixture_new(bool durable)
{
	struct pg_fixture *f = calloc(1, sizeof(*f));
	const struct passwd *p = other_user();

	if (!f)
		die("calloc", strerror(errno));
	f->durable = durable;
	snprintf(f->dir, sizeof(f->dir), "/tmp/scopewire-pg-XXXXXX");
	if (!mkdtemp(f->dir))
		die("mkdtemp", strerror(errno));
	if (p && chown(f->dir, p->pw_uid, p->pw_gid))
		die("chown", strerror(errno));
	snprintf(f->data, sizeof(f->data), "%s/data", f->dir);
	f->bindir = find_bindir();
	start_cleaner(f);
	initdb(f);
	pg_fixture_start(f);
	return f;
}

void pg_fixture_free(struct pg_fixture *f)
{
	close(f->life);
	waitpid(f->cleaner, NULL, 0);
	free(f->bindir);
	free(f);
}

PGconn *pg_fixture_connect(const char *conninfo)
{
	struct timespec pause = { 0, 20000000 };
	PGconn *c = PQconnectdb(conninfo);

	/* A server that recovers from a crash refuses connections for a while. */
	for (int tries = 0; PQstatus(c) != CONNECTION_OK; tries++) {
		if (tries == CONNECT_TRIES || PQping(conninfo) == PQPING_NO_ATTEMPT)
			die("connect", PQerrorMessage(c));
		nanosleep(&pause, NULL);
		PQreset(c);
	}
	PQclear(PQexec(c, "SET client_min_messages = error"));
	PQclear(PQexec(c, "SET search_path = scopewire, public"));
	return c;
}

char *pg_fixture_database(struct pg_fixture *f, const char *name, const char *options)
{
	char *admin = format("host=%s port=" PORT " user=scopewire dbname=%s", f->dir, "postgres");
	char *sql = format("CREATE DATABASE %s %s", name, options ? options : "");
	PGconn *c = pg_fixture_connect(admin);

	free(pg_fixture_value(c, sql));
	PQfinish(c);
	free(sql);
	free(admin);
	return format("host=%s port=" PORT " user=scopewire dbname=%s", f->dir, name);
}

char *pg_fixture_value(PGconn *c, const char *sql)
{
	PGresult *r = PQexec(c, sql);
	char *out = NULL;

	if (PQresultStatus(r) != PGRES_TUPLES_OK && PQresultStatus(r) != PGRES_COMMAND_OK)
		die(sql, PQerrorMessage(c));
	if (PQntuples(r) > 0 && !PQgetisnull(r, 0, 0))
		out = strdup(PQgetvalue(r, 0, 0));
	PQclear(r);
	return out;
}

long long pg_fixture_number(PGconn *c, const char *sql)
{
	char *text = pg_fixture_value(c, sql);
	long long n = text ? atoll(text) : -1;

	free(text);
	return n;
}
