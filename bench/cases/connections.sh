# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154
# Connections: what one costs that stays, and how fast many are accepted.

# per_connection SIDE NAME FEW MANY: KiB of resident memory that one more connection takes, between those
# numbers.
per_connection() {
	local low high
	low=$(value "$2" "$1" rss_kib_"$3") high=$(value "$2" "$1" rss_kib_"$4")
	calc "($high - $low) / ($4 - $3)" "$low" "$high"
}

# CPU of a connection beyond 5,000 over that of one of the first 5,000: 1 is linear.
growth() {
	local low high
	low=$(value idle "$1" connect_cpu_ms_5000) high=$(value idle "$1" connect_cpu_ms_$most)
	calc "($high - $low) / ($most - 5000) / ($low / 5000)" "$low" "$high"
}

# Memory and CPU of idle connections, each subscribed to one of 100 channels.
case_idle() {
	local side points=1000,5000,10000 d r
	[ $most = 10000 ] || points+=,$most
	fresh_servers
	for side in $(sides); do
		load "$side" "$tmp/idle.$side.1" --connections $most --channels 100 --seconds 0 \
			--inflight 500 --checkpoints $points
	done
	d=$(per_connection daemon idle 1000 $most) r=$(per_connection reference idle 1000 $most)
	row idle "KiB a connection, 1,000 to $most" "$d" "$r" "$(calc "$d / $r" "$d" "$r")" "$d" '<= 4'
	d=$(growth daemon) r=$(growth reference)
	row_ratio idle 'CPU ms for 5,000' connect_cpu_ms_5000 ''
	row_ratio idle 'CPU ms for 10,000' connect_cpu_ms_10000 ''
	[ $most = 10000 ] || row_ratio idle "CPU ms for $most" connect_cpu_ms_$most ''
	row idle 'a later connection to an early one' "$d" "$r" - "$d" '<= 1.25'
}

# 5,000 handshakes at once.
case_storm() {
	local refused
	fresh_servers
	rounds_of storm --connections 5000 --channels 100 --inflight 5000 --seconds 0
	row_ratio storm 'seconds for 5,000 handshakes' connect_seconds ''
	row_ratio storm 'slowest handshake ms' connect_max_ms ''
	row_ratio storm 'CPU ms' connect_cpu_ms ''
	[ $with_daemon = 1 ] || return 0
	refused=$(($(total storm daemon refused) + $(total storm daemon closed)))
	row storm 'refused' "$refused" "$(total storm reference refused)" - "$refused" '== 0'
}

# rest_percent SIDE SECONDS: CPU of the server's process, in percent of a core.
rest_percent() {
	local before
	before=$(cut -d' ' -f1 /proc/"${pid[$1]}"/task/*/schedstat | awk '{ n += $1 } END { print n }')
	sleep "$2"
	cut -d' ' -f1 /proc/"${pid[$1]}"/task/*/schedstat |
		awk -v before="$before" -v s="$2" '{ n += $1 } END { printf "%.3f", (n - before) / 1e7 / s }'
}

# CPU of a daemon without work: without connections, and with many, over the 60 s of a ping interval: each
# connection is pinged once.
case_rest() {
	local d r load_pid window=60
	[ $quick = 0 ] || window=4
	fresh_servers
	sleep 2
	d=-
	[ $with_daemon = 0 ] || d=$(rest_percent daemon $((seconds * 2)))
	row rest 'no connections: % of a core' "$d" "$(rest_percent reference 1)" - "$d" '<= 0.1'
	[ $with_daemon = 1 ] || return 0
	"$build/bench/loadgen" --port "${port[daemon]}" --connections $most --channels 100 --inflight 500 \
		--publishers 1 --rate 1 --channel-prefix rest-none- --seconds $((window + 30)) \
		>"$tmp/rest.load" &
	load_pid=$!
	for ((r = 0; r < 200; r++)); do
		! grep -q ^connect_max_ms "$tmp/rest.load" || break
		sleep 0.1
	done
	sleep 2
	d=$(rest_percent daemon $window)
	kill $load_pid 2>/dev/null || true
	wait $load_pid 2>/dev/null || true
	row rest "$most connections: % of a core" "$d" - - "$d" '<= 1.5'
}
