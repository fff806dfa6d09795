# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# What bench/run and bench/compare share: servers that are started and ended, loads, medians.
# The caller has set $tmp (a temporary folder) and $status (0).
#
# A side is a server under a name ("daemon", "reference", "old", "new"); its process, port and
# folder are pid[SIDE], port[SIDE] and $tmp/SIDE.

declare -A pid=() port=()

die() {
	echo "bench: $*" >&2
	exit 1
}

# complain TEXT: a load failed; the other cases still run, and the exit status is 1.
complain() {
	echo "bench: $*" >&2
	status=1
}

# Ends one process that this script started: SIGTERM, 15 s, then SIGKILL.
end_process() {
	local process=$1 i
	kill -TERM "$process" 2>/dev/null || return 0
	for ((i = 0; i < 150; i++)); do
		kill -0 "$process" 2>/dev/null || { wait "$process" 2>/dev/null || true; return 0; }
		sleep 0.1
	done
	echo "bench: process $process did not end after SIGTERM" >&2
	kill -KILL "$process" 2>/dev/null || true
	wait "$process" 2>/dev/null || true
}

stop_servers() {
	local side
	for side in "${!pid[@]}"; do
		end_process "${pid[$side]}"
	done
	pid=() port=()
}

# start SIDE PROGRAM ARGUMENTS...: starts a server and waits until it logs its port.
start() {
	local side=$1 log=$tmp/$1.log i
	shift
	: >"$log"
	"$@" >>"$log" 2>&1 &
	pid[$side]=$!
	for ((i = 0; i < 1200; i++)); do
		port[$side]=$(sed -nE 's/.*ready: listening on .*:([0-9]+).*/\1/p' "$log" | head -n 1)
		[ -z "${port[$side]}" ] || return 0
		kill -0 "${pid[$side]}" 2>/dev/null || break
		sleep 0.1
	done
	tail -n 20 "$log" >&2
	die "$side did not get ready ($log)"
}

# write_config FILE [WORKERS [CONGESTION]]: the daemon's configuration.  A channel's prefix gives
# the durability: none-, async-; any other is commit.  With $certificate, that file and its key serve TLS;
# with $cluster (a driver), as the node $node, in the database at the socket folder $database if that is set;
# with $hook, the channels that are occupied and vacated are reported to that URL.
write_config() {
	cat >"$1" <<-END
	[server]
	host = 127.0.0.1
	port = 0
	workers = ${2:-0}
	congestion_control = ${3:-}
	drain_ms = 0
	node = ${node:-}
	tls_certificate = ${certificate:-}
	tls_key = ${certificate:+${certificate%.pem}.key}
	[sync]
	presence_ttl_s = 600
	[app client-portal]
	key = local-reverb-key
	secret = local-reverb-secret
	allowed_origins = *
	durability = commit
	max_replay_events = 0
	channel_durability = none-*:none, async-*:async
	enable_client_messages = yes
	max_client_events_per_second = 0
	END
	[ -z "${hook:-}" ] || printf 'webhooks = [{"url": "%s", "event_types": ["%s", "%s"]}]\n' "$hook" \
		channel_occupied channel_vacated >>"$1"
	# All nodes fit into the connections of an embedded PostgreSQL.
	[ -z "${cluster:-}" ] || cat >>"$1" <<-END
	[cluster]
	driver = $cluster
	redis_port = ${redis_port:-6379}
	[sync]
	connections = 2
	authorize_connections = 2
	rule_connections = 1
	[database]
	replay_connections = 1
	END
	[ -z "${database:-}" ] || printf '[database]\nhost = %s\nport = %s\nname = scopewire\nuser = scopewire\n' \
		"${database% *}" "${database#* }" >>"$1"
}

# load SIDE FILE OPTIONS...: one run of the load generator; its figures are written to FILE.
load() {
	local side=$1 out=$2 rc=0
	shift 2
	timeout "${load_timeout:-120}" "$build/bench/loadgen" --pid "${pid[$side]}" \
		--port "${port[$side]}" "$@" >"$out" || rc=$?
	[ $rc = 0 ] || complain "$side: loadgen $* ended with $rc: $(grep -E \
		'^(refused|closed|lost|repeated|out_of_order|strange|wrong_answers) [1-9]' "$out" |
		tr '\n' ' ')"
}

# value NAME SIDE FIELD: the median of the field over the rounds (files NAME.SIDE.ROUND), or "-".
value() {
	awk -v f="$3" '$1 == f { print $2 }' "$tmp/$1.$2".* 2>/dev/null | sort -n |
		awk '{ v[NR] = $1 } END { print NR ? v[int((NR + 1) / 2)] : "-" }'
}

# total NAME SIDE FIELD: the field's sum over the rounds.
total() {
	awk -v f="$3" '$1 == f { n += $2 } END { print n + 0 }' "$tmp/$1.$2".*
}

# calc EXPRESSION [OPERAND]...: its result; "-" when an operand is "-".
calc() {
	local expression=$1
	shift
	case " $* " in *" - "*) echo -; return ;; esac
	awk "BEGIN { printf \"%.3f\", $expression }" </dev/null
}

# conninfo SIDE: of the daemon's embedded PostgreSQL.
conninfo() {
	local file=$tmp/$1/data/postmaster.pid
	echo "host=$(sed -n 5p "$file") port=$(sed -n 4p "$file") user=scopewire dbname=scopewire"
}
