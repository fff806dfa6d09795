# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154
# Replay: clients that subscribe with a position and receive what they missed.

# log_events CHANNELS EACH PREFIX: adds events of 200 bytes to the log, so many for each channel;
# prints the position before them.
log_events() {
	pg psql -qXAt -v ON_ERROR_STOP=1 -c "SELECT epoch || ':' || (SELECT last_value - (NOT is_called)::int FROM
		realtime_events_serial) FROM log_meta"
	pg psql -qX -v ON_ERROR_STOP=1 -c "INSERT INTO realtime_events (channel, event_type, payload, app)
		SELECT '$3' || c, 'bench', json_build_object('n', n, 'pad', repeat('x', 170)),
			'client-portal'
		FROM generate_series(1, $2) n, generate_series(0, $1 - 1) c"
	drained
	pg psql -qX -c 'VACUUM ANALYZE realtime_events'
	await_true 'the daemon did not read the events' 'SELECT (SELECT max(serial) FROM node_cursor) >=
		(SELECT max(serial) FROM realtime_events)'
}

# returning NAME CONNECTIONS CHANNELS EACH SINCE PREFIX [OPTION...]: so many clients return at once.
returning() {
	local round rc more=("${@:7}")
	for ((round = 1; round <= rounds; round++)); do
		rc=0
		timeout 120 "$build/bench/returning" --pid "${pid[daemon]}" --port "${port[daemon]}" \
			--connections "$2" --channels "$3" --expect "$4" --since "$5" --channel-prefix "$6" \
			"${more[@]}" >"$tmp/$1.daemon.$round" || rc=$?
		[ $rc = 0 ] || complain "returning ended with $rc"
	done
}

# One client that missed many events, compared with psql reading the same rows.
case_replay() {
	local since n=200000 round d r begun
	[ $with_daemon = 1 ] || return 0
	[ $quick = 0 ] || n=50000
	fresh_servers
	since=$(log_events 1 $n replay-)
	returning replay 1 1 $n "$since" replay-
	for ((round = 1; round <= rounds; round++)); do
		begun=$(date +%s%N)
		pg psql -qXAt -c "COPY (SELECT serial, event_id, event_type, payload FROM realtime_events
			WHERE channel = 'replay-0' AND serial > 0 ORDER BY serial) TO STDOUT" | wc -l >"$tmp/copied"
		echo "events_per_sec $(calc "$(cat "$tmp/copied") / (($(date +%s%N) - $begun) / 1e9)")" \
			>"$tmp/replay.psql.$round"
	done
	d=$(value replay daemon events_per_sec) r=$(value replay psql events_per_sec)
	row replay 'events/s to one client (COPY by psql)' "$d" "$r" "$(calc "$d / $r" "$d" "$r")" "$d" \
		'>= 50000'
	row replay 'CPU us an event' "$(value replay daemon cpu_us_per_event)" - - - ''
}

# A thousand clients at once that missed 100 events each: ten on a channel, then one on a channel.
case_comeback() {
	local since channels
	[ $with_daemon = 1 ] || return 0
	fresh_servers
	for channels in 100 1000; do
		since=$(log_events $channels 100 "back$channels-")
		returning "comeback-$channels" 1000 $channels 100 "$since" "back$channels-"
		row comeback "seconds for 1,000, $channels channels" \
			"$(value "comeback-$channels" daemon replay_seconds)" - - - ''
		row comeback "events/s, $channels channels" \
			"$(value "comeback-$channels" daemon events_per_sec)" - - - ''
		row comeback "CPU us an event, $channels channels" \
			"$(value "comeback-$channels" daemon cpu_us_per_event)" - - - ''
	done
}

# All clients return within 2 s, each to one of 100 channels, and each has missed 10 events; the reference
# has no log, so there they only subscribe.
case_return() {
	local since round rc
	fresh_servers
	for ((round = 1; round <= rounds; round++)); do
		rc=0
		timeout 120 "$build/bench/returning" --pid "${pid[reference]}" --port "${port[reference]}" \
			--connections $most --channels 100 --within-ms 2000 >"$tmp/return.reference.$round" || rc=$?
		[ $rc = 0 ] || complain "returning to the reference ended with $rc"
	done
	if [ $with_daemon = 1 ]; then
		since=$(log_events 100 10 return-)
		returning return $most 100 10 "$since" return- --within-ms 2000
	fi
	row_ratio return "seconds until $most have caught up" replay_seconds ''
	row_ratio return 'a client, p50 ms' replay_p50_ms ''
	row_ratio return 'a client, p99 ms' replay_p99_ms ''
	row_ratio return 'CPU us a client' cpu_us_per_client ''
	row return '% of the events within 2 s' "$(value return daemon soon_percent)" - - - ''
}
