/* SPDX-License-Identifier: MIT */
/*
 * DIR/data is the cluster.  DIR/run has its socket, or a folder in /tmp if that path is too long
 * for sun_path.  DIR/postgres.log is the server's log.  The superuser is postgres; the daemon uses
 * the role and the database scopewire.  The server trusts every process that can open the socket,
 * so only the server's user may enter the socket's folder.
 *
 * The server receives SIGINT (fast shutdown) when the thread that forked it ends, so it also stops
 * if the daemon is killed with SIGKILL.  The next start waits until that server has ended.
 *
 * Main thread only.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/backoff.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "conf/conninfo.h"
#include "daemon/embedded_pg.h"
#include "pg/conn.h"

#define START_S	       60
#define OTHER_GONE_S   15
#define STOP_S	       30
#define PAUSE_MS       20
#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 5000
#define STEADY_S       30 /* after this time the pause before a restart is short again */
#define ARGS_MAX       32
#define SOCKET_NAME    "/.s.PGSQL.5432"

struct embedded_pg {
	char *dir, *data, *run, *log, *bin;
	bool is_root; /* so the server runs as uid, gid */
	uid_t uid;
	gid_t gid;
	pid_t pid; /* 0: not running */
	bool (*is_stopped)(void *ctx, int ms);
	void *ctx;
	usec_t waits_since; /* mono; start of the current wait; 0: the wait was logged */
	usec_t restart_at;  /* mono, while pid is 0 */
	usec_t started_at;
	struct backoff backoff;
};

/* Sets *why.  Returns rc, or -EIO if rc is not negative. */
static int PRINTF_LIKE(3, 4) embedded_fail(char **why, int rc, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(why, fmt, ap) < 0)
		*why = NULL;
	va_end(ap);
	return rc < 0 ? rc : -EIO;
}

static char *embedded_join_path(const char *a, const char *b)
{
	struct strbuf s;

	strbuf_init(&s, 64);
	strbuf_add_str(&s, a);
	strbuf_add_str(&s, b);
	return s.ptr;
}

static void embedded_pause_ms(unsigned ms)
{
	struct timespec ts = { ms / 1000, (long)(ms % 1000) * 1000000 };

	nanosleep(&ts, NULL);
}

/* The major version that an initdb program reports; 0 when it does not run. */
static unsigned embedded_version_of(const char *path)
{
	char *command = embedded_join_path(path, " --version 2>/dev/null");
	FILE *f = popen(command, "re");
	unsigned version = 0;

	free(command);
	if (!f)
		return 0;
	if (fscanf(f, "initdb (PostgreSQL) %u", &version) != 1)
		version = 0;
	pclose(f);
	return version;
}

/*
 * The folder of the initdb that matches the pattern and has the version want (0: the newest); NULL
 * when there is none.
 */
static char *embedded_find_initdb(const char *pattern, unsigned want)
{
	unsigned best = 0;
	char *found = NULL;
	glob_t g;

	if (glob(pattern, 0, NULL, &g) == 0) {
		for (size_t i = 0; i < g.gl_pathc; i++) {
			const char *path = g.gl_pathv[i];
			unsigned version = embedded_version_of(path);

			if (version <= best || (want && version != want))
				continue;
			free(found);
			found = xstrndup(path, strlen(path) - strlen("/initdb"));
			best = version;
		}
	}
	globfree(&g);
	return found;
}

/* The folder of the server's programs of the version want (0: the newest); NULL: none. */
static char *embedded_find_programs(unsigned want)
{
	static const char *const patterns[] = { "/usr/lib/postgresql/*/bin/initdb",
						"/usr/pgsql-*/bin/initdb",
						"/usr/local/pgsql/bin/initdb",
						"/usr/local/bin/initdb", "/usr/bin/initdb" };
	char *found = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(patterns) && !found; i++)
		found = embedded_find_initdb(patterns[i], want);
	return found;
}

/* The major version that made the cluster; 0 when there is no cluster yet. */
static unsigned embedded_cluster_version(const struct embedded_pg *pg)
{
	char *path = embedded_join_path(pg->data, "/PG_VERSION");
	FILE *f = fopen(path, "re");
	unsigned version = 0;

	free(path);
	if (!f)
		return 0;
	if (fscanf(f, "%u", &version) != 1)
		version = 0;
	fclose(f);
	return version;
}

static int embedded_find_user(struct embedded_pg *pg, char **why)
{
	static const char *const users[] = { "postgres", "nobody" };
	char room[4096];

	pg->is_root = geteuid() == 0;
	pg->uid = geteuid();
	pg->gid = getegid();
	for (size_t i = 0; pg->is_root && i < ARRAY_SIZE(users); i++) {
		struct passwd pw, *found = NULL;

		getpwnam_r(users[i], &pw, room, sizeof(room), &found);
		if (found) {
			pg->uid = pw.pw_uid;
			pg->gid = pw.pw_gid;
			return 0;
		}
	}
	return pg->is_root
		       ? embedded_fail(
				 why, -ENOENT,
				 "PostgreSQL cannot run as root and there is no user postgres or "
				 "nobody")
		       : 0;
}

static int embedded_make_folder(struct embedded_pg *pg, const char *path, mode_t mode, char **why)
{
	struct stat st;

	if (mkdir(path, mode) && errno != EEXIST)
		return embedded_fail(why, -errno,
				     "cannot make the folder %s: check --embedded-postgres", path);
	if (stat(path, &st) || !S_ISDIR(st.st_mode))
		return embedded_fail(why, -ENOTDIR, "%s is not a folder: check --embedded-postgres",
				     path);
	if (pg->is_root && st.st_uid != pg->uid && chown(path, pg->uid, pg->gid))
		return embedded_fail(why, -errno, "cannot give the folder %s to PostgreSQL's user",
				     path);
	if (!pg->is_root && st.st_uid != pg->uid)
		return embedded_fail(why, -EPERM, "the folder %s belongs to another user", path);
	return 0;
}

/*
 * As embedded_make_folder(), in /tmp.  Another user can make a folder or a link with that name
 * first, so an existing one must belong to PostgreSQL's user.
 */
static int embedded_make_shared_folder(struct embedded_pg *pg, const char *path, char **why)
{
	bool is_new = mkdir(path, 0700) == 0;
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	int rc = 0;

	if (fd < 0 || fstat(fd, &st) || (st.st_uid != pg->uid && (!is_new || st.st_uid != 0)))
		rc = embedded_fail(why, -EPERM,
				   "the folder %s belongs to another user: remove it, or choose a "
				   "shorter path for --embedded-postgres",
				   path);
	else if (fchown(fd, pg->uid, pg->gid) || fchmod(fd, 0700))
		rc = embedded_fail(why, -errno, "cannot protect the folder %s", path);
	if (fd >= 0)
		close(fd);
	return rc;
}

/* Makes DIR/run, or a folder in /tmp whose name has the user and a hash of DIR. */
static int embedded_make_socket_folder(struct embedded_pg *pg, char **why)
{
	struct strbuf s;
	int rc;

	pg->run = embedded_join_path(pg->dir, "/run");
	if (strlen(pg->run) + sizeof(SOCKET_NAME) > sizeof(((struct sockaddr_un *)0)->sun_path)) {
		free(pg->run);
		strbuf_init(&s, 64);
		strbuf_addf(&s, "/tmp/scopewire-%u-%016llx", (unsigned)pg->uid,
			    (unsigned long long)sv_hash(sv(pg->dir), 0));
		pg->run = s.ptr;
		rc = embedded_make_shared_folder(pg, pg->run, why);
		if (rc) {
			free(pg->run);
			pg->run = NULL; /* so that embedded_pg_stop() does not remove it */
		}
		return rc;
	}
	rc = embedded_make_folder(pg, pg->run, 0700, why);
	if (!rc && chmod(pg->run, 0700))
		rc = embedded_fail(why, -errno, "cannot protect the folder %s", pg->run);
	return rc;
}

/*
 * In the child, between fork and exec: only calls that are safe there.  Standard output and error
 * go to log_fd.
 */
static void embedded_become_server(const struct embedded_pg *pg, int log_fd, pid_t parent)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setpgid(0, 0); /* Ctrl-C in the terminal goes to the daemon only */
	if (pg->is_root && (setgroups(0, NULL) || setgid(pg->gid) || setuid(pg->uid)))
		_exit(126);
	/* After setuid(), which clears it. */
	prctl(PR_SET_PDEATHSIG, SIGINT);
	if (getppid() != parent || chdir("/"))
		_exit(126);
	dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
	dup2(log_fd, STDOUT_FILENO);
	dup2(log_fd, STDERR_FILENO);
}

/* The program's pid, or -errno. */
static pid_t embedded_spawn(const struct embedded_pg *pg, const char *bin, const char *name,
			    const char *const *args)
{
	char *path = embedded_join_path(bin, name), *argv[ARGS_MAX + 1] = { path };
	int log_fd = open(pg->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
	pid_t parent, pid;
	int rc;

	/* The whole path as argv[0]: PostgreSQL's programs find each other by it. */
	for (size_t i = 1; i < ARGS_MAX && args[i]; i++)
		argv[i] = (char *)(uintptr_t)args[i];
	parent = getpid();
	pid = log_fd < 0 ? -1 : fork();
	rc = -errno;
	if (pid == 0) {
		embedded_become_server(pg, log_fd, parent);
		execv(path, argv);
		_exit(127);
	}
	if (log_fd >= 0)
		close(log_fd);
	free(path);
	return pid < 0 ? rc : pid;
}

/*
 * Waits PAUSE_MS for what, and logs it when the wait has lasted a second; true when a signal
 * requests to stop.
 */
static bool embedded_pause(struct embedded_pg *pg, const char *what)
{
	if (pg->waits_since && clock_mono() - pg->waits_since > USEC_PER_SEC) {
		log_info("embedded PostgreSQL: still waiting after 1 s for %s", what);
		pg->waits_since = 0;
	}
	return pg->is_stopped(pg->ctx, PAUSE_MS);
}

/* Runs a program to its end; its wait status, or -1. */
static int embedded_run_program(struct embedded_pg *pg, const char *bin, const char *name,
				const char *const *args)
{
	pid_t pid = embedded_spawn(pg, bin, name, args), ended = 0;
	int status = -1;

	pg->waits_since = clock_mono();
	while (pid > 0 && (ended = waitpid(pid, &status, WNOHANG)) == 0)
		if (embedded_pause(pg, name + 1)) {
			kill(-pid, SIGTERM);
			embedded_pause_ms(PAUSE_MS);
		}
	return ended > 0 ? status : -1;
}

static bool embedded_initdb_with(struct embedded_pg *pg, const char *folder, const char *locale)
{
	const char *const args[] = { "initdb", "-D", folder, "-U",   "postgres",	  "-A",
				     "trust",  "-E", "UTF8", locale, "--no-instructions", NULL };
	const char *const clear[] = { "rm", "-rf", folder, NULL };

	/* An initdb that was killed may have left files. */
	return embedded_run_program(pg, "/bin", "/rm", clear) == 0 &&
	       embedded_run_program(pg, pg->bin, "/initdb", args) == 0;
}

/* Makes the cluster under another name and renames it, so that DIR/data is always complete. */
static int embedded_run_initdb(struct embedded_pg *pg, char **why)
{
	char *fresh;
	int rc = 0;

	if (embedded_cluster_version(pg))
		return 0;
	log_info("embedded PostgreSQL: making a cluster in %s", pg->data);
	fresh = embedded_join_path(pg->data, ".new");
	if (!(embedded_initdb_with(pg, fresh, "--locale=C.UTF-8") ||
	      embedded_initdb_with(pg, fresh, "--locale=C")) ||
	    rename(fresh, pg->data))
		rc = embedded_fail(why, -EIO,
				   "initdb could not make a cluster in %s: see %s (every folder "
				   "above it must be open to PostgreSQL's user)",
				   pg->data, pg->log);
	free(fresh);
	return rc && pg->is_stopped(pg->ctx, 0) ? -ECANCELED : rc;
}

/* The pid in the server's lock file if that process is a PostgreSQL; else 0. */
static pid_t embedded_other_server(const struct embedded_pg *pg)
{
	char *path = embedded_join_path(pg->data, "/postmaster.pid"), text[32] = "", comm[64],
	     name[16] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	pid_t pid = 0;

	free(path);
	if (fd < 0)
		return 0;
	if (read(fd, text, sizeof(text) - 1) > 0)
		pid = (pid_t)strtol(text, NULL, 10);
	close(fd);
	snprintf(comm, sizeof(comm), "/proc/%d/comm", (int)pid);
	fd = pid > 0 ? open(comm, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0)
		return 0;
	if (read(fd, name, sizeof(name) - 1) <= 0 || strncmp(name, "postgres", 8) != 0)
		pid = 0;
	close(fd);
	return pid;
}

/* A server whose daemon was killed is shutting down: waits for its end. */
static int embedded_wait_for_other(struct embedded_pg *pg, char **why)
{
	usec_t until = clock_mono() + OTHER_GONE_S * USEC_PER_SEC;
	pid_t other;

	pg->waits_since = clock_mono();
	while ((other = embedded_other_server(pg)) && clock_mono() < until)
		if (embedded_pause(pg, "the end of the previous server"))
			return -ECANCELED;
	if (other)
		return embedded_fail(why, -EBUSY,
				     "%s is in use by another PostgreSQL (process %d): stop the "
				     "scopewired that runs there, or choose another folder",
				     pg->dir, (int)other);
	return 0;
}

static int embedded_start_server(struct embedded_pg *pg)
{
	const char *const args[] = { "postgres",
				     "-D",
				     pg->data,
				     "-k",
				     pg->run,
				     "-c",
				     "listen_addresses=",
				     "-c",
				     "max_connections=100",
				     "-c",
				     "shared_buffers=128MB",
				     "-c",
				     "max_wal_size=1GB",
				     "-c",
				     "jit=off",
				     "-c",
				     "logging_collector=off",
				     "-c",
				     "log_min_messages=warning",
				     NULL };
	pid_t pid = embedded_spawn(pg, pg->bin, "/postgres", args);

	if (pid < 0)
		return pid;
	pg->pid = pid;
	pg->started_at = clock_mono();
	return 0;
}

static char *embedded_conninfo_for(const struct embedded_pg *pg, const char *role)
{
	struct strbuf s;

	strbuf_init(&s, 128);
	conninfo_add(&s, "host", pg->run);
	strbuf_addf(&s, " port=5432 user=%s dbname=%s", role, role);
	return s.ptr;
}

/* True once when the server has ended; clears its pid. */
static bool embedded_reap(struct embedded_pg *pg)
{
	int status;

	if (!pg->pid || waitpid(pg->pid, &status, WNOHANG) != pg->pid)
		return false;
	pg->pid = 0;
	return true;
}

static int embedded_wait_until_ready(struct embedded_pg *pg, char **why)
{
	usec_t until = clock_mono() + START_S * USEC_PER_SEC;
	char *conninfo = embedded_conninfo_for(pg, "postgres");
	bool is_ready = false, is_stopped = false;

	pg->waits_since = clock_mono();
	while (!embedded_reap(pg) && clock_mono() < until && !(is_ready = pg_conn_ping(conninfo)) &&
	       !(is_stopped = embedded_pause(pg, "the server to answer")))
		;
	free(conninfo);
	if (is_stopped)
		return -ECANCELED;
	if (is_ready)
		return 0;
	return embedded_fail(why, -EHOSTDOWN, "the embedded PostgreSQL in %s did not start: see %s",
			     pg->dir, pg->log);
}

/* Runs sql unless the query is_there returns a row. */
static enum pg_fault embedded_make_unless(struct pg_connection *c, const char *is_there,
					  const char *sql)
{
	usec_t deadline = clock_mono() + START_S * USEC_PER_SEC;
	struct pg_query q = { .sql = is_there };
	struct pg_answer a = { 0 };
	enum pg_fault fault = pg_conn_run(c, deadline, &q, &a);

	if (fault == PG_FINE && pg_answer_rows(&a) == 0)
		fault = pg_conn_script(c, deadline, sql);
	pg_answer_release(&a);
	return fault;
}

static int embedded_tick(void *ctx)
{
	struct embedded_pg *pg = ctx;

	return pg->is_stopped(pg->ctx, 0);
}

static int embedded_make_role_and_database(struct embedded_pg *pg, char **why)
{
	char *conninfo = embedded_conninfo_for(pg, "postgres"), *reason = NULL;
	struct pg_options o = { .conninfo = conninfo,
				.schema = "public",
				.connect_timeout_ms = START_S * 1000,
				.tick = embedded_tick,
				.ctx = pg };
	struct pg_connection *c = NULL;
	int rc = pg_conn_open(&o, &c, &reason);

	if (rc == 0 &&
	    (embedded_make_unless(c, "SELECT 1 FROM pg_roles WHERE rolname = 'scopewire'",
				  "CREATE ROLE scopewire LOGIN") != PG_FINE ||
	     embedded_make_unless(c, "SELECT 1 FROM pg_database WHERE datname = 'scopewire'",
				  "CREATE DATABASE scopewire OWNER scopewire") != PG_FINE))
		rc = -EIO;
	if (rc && rc != -ECANCELED)
		rc = embedded_fail(why, -EIO,
				   "the role and the database could not be made in the embedded "
				   "PostgreSQL: %s",
				   c ? pg_conn_error(c) : reason);
	pg_conn_close(c);
	free(reason);
	free(conninfo);
	return rc;
}

static char *embedded_absolute_path(const char *dir)
{
	char *cwd, *path;

	if (dir[0] == '/')
		return xstrdup(dir);
	cwd = getcwd(NULL, 0);
	path = embedded_join_path(cwd ? cwd : "", "/");
	free(cwd);
	cwd = path;
	path = embedded_join_path(cwd, dir);
	free(cwd);
	return path;
}

static int embedded_no_programs(const struct embedded_pg *pg, char **why)
{
	unsigned version = embedded_cluster_version(pg);

	if (version)
		return embedded_fail(
			why, -ENOENT,
			"the cluster in %s was made by PostgreSQL %u, which is not installed: "
			"install the package postgresql-%u, or move the folder away",
			pg->dir, version, version);
	return embedded_fail(
		why, -ENOENT,
		"no PostgreSQL server is installed: install the package postgresql, or give "
		"a database instead");
}

static int embedded_prepare(struct embedded_pg *pg, char **why)
{
	int rc;

	pg->bin = embedded_find_programs(embedded_cluster_version(pg));
	if (!pg->bin)
		return embedded_no_programs(pg, why);
	if ((rc = embedded_find_user(pg, why)) ||
	    (rc = embedded_make_folder(pg, pg->dir, 0755, why)) ||
	    (rc = embedded_make_socket_folder(pg, why)) || (rc = embedded_run_initdb(pg, why)))
		return rc;
	return embedded_wait_for_other(pg, why);
}

int embedded_pg_start(const struct embedded_pg_conf *conf, struct embedded_pg **out,
		      char **conninfo, char **why)
{
	struct embedded_pg *pg = xcalloc(1, sizeof(*pg));
	int rc;

	pg->is_stopped = conf->is_stopped;
	pg->ctx = conf->ctx;
	pg->dir = embedded_absolute_path(conf->dir);
	pg->data = embedded_join_path(pg->dir, "/data");
	pg->log = embedded_join_path(pg->dir, "/postgres.log");
	backoff_init(&pg->backoff, BACKOFF_MIN_MS, BACKOFF_MAX_MS);
	rc = embedded_prepare(pg, why);
	if (!rc && (rc = embedded_start_server(pg)))
		embedded_fail(why, rc, "the PostgreSQL server could not be started from %s",
			      pg->bin);
	if (rc || (rc = embedded_wait_until_ready(pg, why)) ||
	    (rc = embedded_make_role_and_database(pg, why))) {
		embedded_pg_stop(pg);
		return rc;
	}
	log_info("embedded PostgreSQL: ready in %s (psql -h %s -U scopewire)", pg->dir, pg->run);
	*conninfo = embedded_conninfo_for(pg, "scopewire");
	*out = pg;
	return 0;
}

void embedded_pg_tend(struct embedded_pg *pg)
{
	usec_t now = clock_mono();

	if (embedded_reap(pg)) {
		unsigned pause;

		if (now - pg->started_at > STEADY_S * USEC_PER_SEC)
			backoff_reset(&pg->backoff);
		pause = backoff_next(&pg->backoff);
		log_warn("embedded PostgreSQL: the server ended unexpectedly; restarting it in %u "
			 "ms",
			 pause);
		pg->restart_at = now + pause * USEC_PER_MSEC;
	}
	if (pg->pid || now < pg->restart_at)
		return;
	if (embedded_start_server(pg)) {
		log_error("embedded PostgreSQL: the server could not be started");
		pg->restart_at = now + BACKOFF_MAX_MS * USEC_PER_MSEC;
	}
}

/* A fast shutdown; after STOP_S an immediate one. */
static void embedded_shut_down(struct embedded_pg *pg)
{
	usec_t until = clock_mono() + STOP_S * USEC_PER_SEC;

	if (!pg->pid)
		return;
	kill(pg->pid, SIGINT);
	while (!embedded_reap(pg) && clock_mono() < until)
		embedded_pause_ms(PAUSE_MS);
	if (!pg->pid)
		return;
	log_warn("embedded PostgreSQL: the fast shutdown took more than %d s; shutting down "
		 "immediately",
		 STOP_S);
	kill(pg->pid, SIGQUIT);
	waitpid(pg->pid, NULL, 0);
}

void embedded_pg_stop(struct embedded_pg *pg)
{
	if (!pg)
		return;
	embedded_shut_down(pg);
	if (pg->run && !sv_starts_with(sv(pg->run), sv(pg->dir)))
		rmdir(pg->run); /* in /tmp; each start makes it again */
	free(pg->dir);
	free(pg->data);
	free(pg->run);
	free(pg->log);
	free(pg->bin);
	free(pg);
}
