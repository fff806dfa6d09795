/* SPDX-License-Identifier: MIT */
#ifndef SCENARIOS_PLAY_H
#define SCENARIOS_PLAY_H
/*
 * The world of a scenario: directory and workers, a log, a clock that only the scenario moves, and
 * clients whose sockets are arrays.  world.c runs it; commands.c and steps.c are the words of the
 * language, which words.c reads; frames.c compares what clients received.
 */
#include "base/mem.h"
#include "conf/conf.h"
#include "core/sessions/hub.h"
#include "wire/socket_id.h"

#define WORKERS	  2
#define PEERS_MAX 400
#define APPS_MAX  4
#define ROWS_MAX  8000
#define ASKS_MAX  64

/* One client: what it received, and the state of its connection. */
struct peer {
	char *name;
	struct session *session; /* NULL after its end */
	unsigned worker;
	char id[SOCKET_ID_SIZE]; /* its socket id; empty: refused */
	struct strbuf received;	 /* raw frames; those from at on were not checked yet */
	size_t at;
	unsigned close_code;
	unsigned writes;
	unsigned pings; /* PING frames among received */
	usec_t heard_at;
	bool is_blocked, wants_writable, is_closing, is_killed, is_broken;
};

/* A request to the log that the scenario has not answered yet. */
struct asked {
	struct log_request a;
	char *channel, *epoch, *was;
};

struct play {
	const char *file;
	unsigned line;
	char scenario[128];
	usec_t now;
	struct directory *directory;
	struct hub *hubs[WORKERS];
	struct mailbox boxes[WORKERS];
	atomic_uint connections;
	char *path;
	unsigned max_connections;
	bool is_held; /* messages to workers wait */
	struct app *apps[APPS_MAX];
	size_t n_apps;
	struct event *rows[ROWS_MAX]; /* the log: counted, ascending serials */
	unsigned n_rows;
	uint64_t horizon;
	uint64_t log_end; /* 0: later than every position */
	char epoch[POSITION_EPOCH_MAX + 1];
	bool is_log_slow; /* answers only at the command "answers" */
	struct asked asked[ASKS_MAX];
	unsigned n_asked;
	struct event *async[ROWS_MAX]; /* counted: not in the log yet */
	unsigned n_async;
	struct peer peers[PEERS_MAX];
	unsigned n_peers;
	bool is_failed; /* this scenario; the rest of it is skipped */
	unsigned n_scenarios, n_failed;
};
extern struct play play;

/* ---- world.c ---- */
/* Prints why, and the rest of the scenario is skipped. */
void play_fail(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* Sends the page to the session that requested it; NULL: forgets the request. */
void play_answer(struct asked *q, struct log_page *page);
/* Adds an event to the log. */
void play_add_row(struct event *e, uint64_t serial);
/* Makes the directory and the workers. */
void play_begin(void);
/* Frees all of it, after a check that nothing was left. */
void play_end_scenario(void) RUNS_ON(on_worker);
/* What an iteration of a worker's loop does: delivers messages, frees ended connections. */
void play_settle(void) RUNS_ON(on_worker);
/* For clock_set_source(). */
usec_t play_clock(void);

/* ---- words.c ---- */
/* Takes the next word off *rest; empty at the end. */
struct str_view words_next(struct str_view *rest);
/* Splits NAME=VALUE; false when w is no such word. */
bool words_option(struct str_view w, struct str_view *name, struct str_view *value);
unsigned words_number(struct str_view w);
struct peer *words_peer(struct str_view name);
/* JSON as scenarios write it: 'text' is the string that holds text, ${name} a socket id. */
void words_expand(struct strbuf *out, struct str_view text);

/* ---- frames.c ---- */
/* Counts the empty PING frames that come next. */
void frames_count_pings(struct peer *p);
/* The next text frame's text; false when there is none. */
bool frames_next(struct peer *p, struct str_view *text);
void frames_expect(struct peer *p, struct str_view want_text);

/* ---- steps.c ---- */
/* Runs a step of the client: what it does, or must have received. */
void step_run(struct peer *p, struct str_view rest) RUNS_ON(on_worker);

/* ---- commands.c ---- */
/* False when there is no such command. */
bool command_run(struct str_view name, struct str_view rest) RUNS_ON(on_worker);
#endif
