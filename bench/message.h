/* SPDX-License-Identifier: MIT */
#ifndef BENCH_MESSAGE_H
#define BENCH_MESSAGE_H
/*
 * The event that is measured.  Its data is a JSON text of a fixed size with
 * publisher, channel, number and time, so that the receiver can check every byte:
 *     {"m":"@1.0.7.123456789@","pad":"xxx..."}
 */
#include "util.h"

#define MESSAGE_SIZE_MIN 96
#define MESSAGE_SIZE_MAX 9000
#define MESSAGE_EVENT	 "bench"
#define MESSAGE_WHISPER	 "client-bench" /* the same as a client event */

struct message {
	uint32_t publisher;
	uint32_t channel;
	uint32_t seq;	 /* from 0, for each publisher and channel */
	uint64_t due_ns; /* when it should have been sent; by SQL: when it was */
};

/* Appends the body of POST /events whose data is size bytes long. */
void message_body(const struct message *m, const char *channel, size_t size, struct bytes *out);
/* Appends that data alone, as the JSON text that it is. */
void message_data(const struct message *m, size_t size, struct bytes *out);
/* Appends the client event that has this data. */
void message_whisper(const struct message *m, const char *channel, size_t size, struct bytes *out);
/* Whether the frame is of an event or client event of ours. */
bool message_is_event(const char *p, size_t len);
/* Reads a delivered frame; false when any of event, channel and data is not as it was sent. */
bool message_read(const char *p, size_t len, const char *channel, size_t size, struct message *out);
#endif
