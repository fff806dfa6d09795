/* SPDX-License-Identifier: MIT */
/* The command line of the load generator. */
#include "options.h"

#include <getopt.h>
#include "message.h"

static const struct option LONG[] = {
	{ "host", required_argument, NULL, 'h' },
	{ "port", required_argument, NULL, 'p' },
	{ "publish-port", required_argument, NULL, 'b' },
	{ "app-id", required_argument, NULL, 'a' },
	{ "key", required_argument, NULL, 'k' },
	{ "secret", required_argument, NULL, 's' },
	{ "pid", required_argument, NULL, 'P' },
	{ "connections", required_argument, NULL, 'n' },
	{ "channels", required_argument, NULL, 'm' },
	{ "channel-prefix", required_argument, NULL, 'c' },
	{ "publishers", required_argument, NULL, 'u' },
	{ "sql", required_argument, NULL, 'q' },
	{ "size", required_argument, NULL, 'z' },
	{ "rate", required_argument, NULL, 'r' },
	{ "seconds", required_argument, NULL, 't' },
	{ "count", required_argument, NULL, 'N' },
	{ "window", required_argument, NULL, 'w' },
	{ "inflight", required_argument, NULL, 'i' },
	{ "checkpoints", required_argument, NULL, 'C' },
	{ "tls", no_argument, NULL, 'T' },
	{ "whisper", no_argument, NULL, 'W' },
	{ "help", no_argument, NULL, 'H' },
	{ NULL, 0, NULL, 0 },
};

static const char HELP[] =
	"loadgen --port N [options]: loads a server of the Pusher protocol\n"
	"  --host IPV4            127.0.0.1\n"
	"  --port N               8080\n"
	"  --publish-port N       of the server that the publishers use (that of --port)\n"
	"  --app-id, --key, --secret TEXT   of the application\n"
	"  --pid N                the server's process, for its CPU and memory\n"
	"  --connections N        subscribers (0)\n"
	"  --channels N           that they and the publishers are spread over (1)\n"
	"  --channel-prefix TEXT  channels are TEXT0, TEXT1, ... (bench-)\n"
	"  --inflight N           handshakes under way at once (200)\n"
	"  --checkpoints A,B,...  print CPU and memory at so many connections\n"
	"  --tls                  subscribers connect with TLS\n"
	"  --whisper              the first subscriber of each channel publishes, by client "
	"events;\n"
	"                         the channels' prefix must begin with private-\n"
	"  --publishers N         kept-alive HTTP connections (1)\n"
	"  --sql CONNINFO         they publish by SQL in this database instead\n"
	"  --size BYTES           of each event's data (200)\n"
	"  --rate N               events a second in all; 0: as fast as answered (0)\n"
	"  --seconds N            of publishing; 0: only connect (5)\n"
	"  --count N              stop after so many events (no limit)\n"
	"  --window N             events that may wait for their deliveries; 0: any (64)\n";

static void parse_checkpoints(struct options *o, char *text)
{
	char *save = NULL;
	char *word = strtok_r(text, ",", &save);

	for (; word && o->checkpoints < OPTIONS_CHECKPOINTS; word = strtok_r(NULL, ",", &save))
		o->checkpoint[o->checkpoints++] = (uint32_t)number("checkpoints", word, 1, 1000000);
}

static void set_number(struct options *o, int letter, const char *name)
{
	switch (letter) {
	case 'p':
		o->port = (unsigned)number(name, optarg, 1, 65535);
		break;
	case 'b':
		o->publish_port = (unsigned)number(name, optarg, 1, 65535);
		break;
	case 'P':
		o->pid = (pid_t)number(name, optarg, 1, 1 << 22);
		break;
	case 'n':
		o->connections = (uint32_t)number(name, optarg, 0, 1000000);
		break;
	case 'm':
		o->channels = (uint32_t)number(name, optarg, 1, 100000);
		break;
	case 'u':
		o->publishers = (uint32_t)number(name, optarg, 1, 1000);
		break;
	case 'z':
		o->size = number(name, optarg, MESSAGE_SIZE_MIN, MESSAGE_SIZE_MAX);
		break;
	case 'r':
		o->rate = number(name, optarg, 0, 10000000);
		break;
	case 't':
		o->seconds = (double)number(name, optarg, 0, 3600);
		break;
	case 'N':
		o->count = number(name, optarg, 1, UINT32_MAX);
		break;
	case 'w':
		o->window = number(name, optarg, 0, 1000000);
		break;
	case 'i':
		o->inflight = (uint32_t)number(name, optarg, 1, 1000000);
		break;
	default:
		die("try --help");
	}
}

void options_parse(int argc, char **argv, struct options *o)
{
	int letter, index = 0;

	while ((letter = getopt_long(argc, argv, "", LONG, &index)) != -1) {
		switch (letter) {
		case 'h':
			o->host = optarg;
			break;
		case 'a':
			o->app_id = optarg;
			break;
		case 'k':
			o->key = optarg;
			break;
		case 's':
			o->secret = optarg;
			break;
		case 'c':
			o->prefix = optarg;
			break;
		case 'q':
			o->sql = optarg;
			break;
		case 'C':
			parse_checkpoints(o, optarg);
			break;
		case 'T':
			o->has_tls = true;
			break;
		case 'W':
			o->is_whisper = true;
			break;
		case 'H':
			fputs(HELP, stdout);
			exit(0);
		default:
			set_number(o, letter, LONG[index].name);
		}
	}
	if (optind < argc)
		die("'%s' is no option; try --help", argv[optind]);
	if (o->is_whisper &&
	    (o->connections < o->channels || strncmp(o->prefix, "private-", 8) != 0))
		die("--whisper: needs a connection for each channel, and private channels");
	if (o->is_whisper)
		o->publishers = o->channels;
	if (strlen(o->prefix) > 100)
		die("--channel-prefix: over 100 bytes");
}
