# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154
# The sync API: what it costs, and what it costs the events.

sync_requests() {
	cat <<-'END'
	PUT /api/sync/users/{n} {"name":"Bench {n}"}
	GET /api/sync/users/1
	END
}

# The same fan-out alone and with 500 requests per second to the sync API, in turn.
case_sync_beside() {
	local round side requests ratio d r
	[ $with_daemon = 1 ] || return 0
	fresh_servers
	echo 'PUT /api/sync/users/1 {"name":"First"}' | "$build/bench/requests" \
		--port "${port[daemon]}" --rate 1 --seconds 1 >/dev/null
	for ((round = 1; round <= rounds; round++)); do
		load daemon "$tmp/beside.alone.$round" --channel-prefix async- --size 200 \
			--seconds "$seconds" --connections 1000 --rate 50
		sync_requests | "$build/bench/requests" --port "${port[daemon]}" --rate 500 \
			--seconds $((seconds + 3)) >"$tmp/beside.requests.$round" &
		requests=$!
		load daemon "$tmp/beside.both.$round" --channel-prefix async- --size 200 \
			--seconds "$seconds" --connections 1000 --rate 50
		wait $requests || complain "the sync requests failed"
	done
	for side in 50 99; do
		d=$(value beside both delay_p${side}_ms) r=$(value beside alone delay_p${side}_ms)
		ratio=$(calc "$d / $r" "$d" "$r")
		row sync-beside "delay p$side ms, 500/s beside (alone)" "$d" "$r" "$ratio" "$ratio" \
			"$([ $side = 50 ] || echo '<= 1.3')"
	done
	row sync-beside 'requests a second' "$(value beside requests requests_per_sec)" - - - ''
	row sync-beside 'their answer p99 ms' "$(value beside requests answer_p99_ms)" - - - ''
}

# cpu_ns PID: CPU time in ns that the process and its children have used so far, in all threads.
cpu_ns() {
	local process
	{
		# of children that have ended; in ticks of 10 ms
		sed 's/.*) //' "/proc/$1/stat" | awk '{ print ($14 + $15) * 1e7 }'
		for process in "$1" $(cat "/proc/$1/task/$1/children"); do
			cat /proc/"$process"/task/*/schedstat 2>/dev/null || true
		done
	} | awk '{ n += $1 } END { printf "%.0f\n", n }'
}

postmaster() {
	sed -n 1p "$tmp/daemon/data/postmaster.pid"
}

# CPU of the daemon and PostgreSQL without requests, in percent of a core.
at_rest() {
	local before
	before=$(($(cpu_ns "$(postmaster)") + $(cpu_ns "${pid[daemon]}")))
	sleep "$seconds"
	before=$(($(cpu_ns "$(postmaster)") + $(cpu_ns "${pid[daemon]}") - before))
	echo "core_percent $(calc "$before / 1e7 / $seconds")"
}

# sync_load FILE OPTIONS...: sends the requests of standard input to the daemon; adds PostgreSQL's
# CPU to the figures.
sync_load() {
	local out=$1 rc=0 pg_before
	shift
	pg_before=$(cpu_ns "$(postmaster)")
	"$build/bench/requests" --port "${port[daemon]}" --pid "${pid[daemon]}" "$@" >"$out" || rc=$?
	awk -v pg=$(($(cpu_ns "$(postmaster)") - pg_before)) '
		$1 == "requests" { n = $2 }
		$1 == "cpu_us_per_request" { us = $2 }
		END { if (n) { printf "pg_cpu_us_per_request %.3f\n", pg / 1e3 / n
		      printf "cpu_us_together %.3f\n", us + pg / 1e3 / n } }' "$out" >"$out.more"
	cat "$out.more" >>"$out"
	rm "$out.more"
	[ $rc = 0 ] || complain "requests ended with $rc"
}

heartbeat_request() {
	echo 'POST /api/sync/heartbeat {"user_id":{n},"location":"/projects/{n}"}'
}

# statements FILE PER SCRIPT...: pgbench with as many connections as the daemon's pool; each statement
# counts for PER requests.
statements() {
	local out=$1 per=$2
	shift 2
	pg pgbench -n -M prepared -c 4 -T "$seconds" "${@/#/-f}" 2>>"$tmp/pgbench.log" |
		sed -nE 's/^tps = ([0-9.]+).*/\1/p' |
		awk -v per="$per" '{ printf "requests_per_sec %.1f\n", $1 * per }' >"$out"
}

# beat_script FIRST PER: the daemon's statement for the heartbeats of PER users, from number FIRST.
beat_script() {
	local first=$1 per=$2 users
	users=$(seq "$first" $((first + per - 1)) | sed 's|.*|{"app":"client-portal","id":&,"status":"online","location":"/projects/&"}|' |
		paste -sd,)
	echo "SELECT seen_at, unread FROM scopewire.presence_beat('[$users]', NULL, NULL, 600, '{}');"
}

# 10,000 users: the cost when each sends a heartbeat every 30 s, the highest rate of heartbeats, and
# the rate of the list of users; the rates compared with pgbench.
case_heartbeats() {
	local round i d r share
	[ $with_daemon = 1 ] || return 0
	fresh_servers
	pg psql -qXv ON_ERROR_STOP=1 -c "INSERT INTO scopewire.user_presence (app, user_id, status)
		SELECT 'client-portal', n, 'online' FROM generate_series(1, 10000) n"
	pg psql -qX -c 'VACUUM ANALYZE scopewire.user_presence'
	for ((i = 0; i < 50; i++)); do
		beat_script $((i * 200 + 1)) 1 >"$tmp/one.$i.sql"
		beat_script $((i * 200 + 1)) 100 >"$tmp/many.$i.sql"
	done
	echo "SELECT status, body FROM scopewire.sync_online_users('client-portal', '{\"server\": true}',
		NULL, NULL, 50, NULL, 600, '{}');" | paste -sd' ' >"$tmp/list.sql"
	for ((round = 1; round <= rounds; round++)); do
		at_rest >"$tmp/beat.rest.$round"
		heartbeat_request | sync_load "$tmp/beat.calm.$round" --numbers 10000 --connections 64 \
			--rate 333 --seconds $((seconds * 2))
		heartbeat_request | sync_load "$tmp/beat.daemon.$round" --numbers 10000 --connections 2000 \
			--seconds $((seconds * 2))
		statements "$tmp/beat.one.$round" 1 "$tmp"/one.*.sql
		statements "$tmp/beat.many.$round" 100 "$tmp"/many.*.sql
		echo 'GET /api/sync/online-users' | sync_load "$tmp/list.daemon.$round" --connections 16 \
			--seconds "$seconds"
		statements "$tmp/list.pgbench.$round" 1 "$tmp/list.sql"
	done
	row heartbeats 'no requests: % of a core, both' "$(value beat rest core_percent)" - - - ''
	share=$(value beat calm cpu_us_together)
	share=$(calc "$share * 333 / 1e4" "$share")
	row heartbeats '333/s: % of a core, both' "$share" - - "$share" '<= 2'
	row heartbeats '333/s: CPU us each, daemon' "$(value beat calm cpu_us_per_request)" - - - ''
	row heartbeats '333/s: CPU us each, PostgreSQL' "$(value beat calm pg_cpu_us_per_request)" - - - ''
	row heartbeats '333/s: answer p99 ms' "$(value beat calm answer_p99_ms)" - - - ''
	row heartbeats 'at most: CPU us each, daemon' "$(value beat daemon cpu_us_per_request)" - - - ''
	row heartbeats 'at most: CPU us each, PostgreSQL' \
		"$(value beat daemon pg_cpu_us_per_request)" - - - ''
	d=$(value beat daemon requests_per_sec)
	for i in one many; do
		r=$(value beat $i requests_per_sec)
		row heartbeats "a second, 2,000 clients (pgbench, $i)" "$d" "$r" "$(calc "$d / $r" "$d" "$r")" - ''
	done
	d=$(value list daemon requests_per_sec) r=$(value list pgbench requests_per_sec)
	row heartbeats 'online-users a second (pgbench)' "$d" "$r" "$(calc "$d / $r" "$d" "$r")" - ''
}
