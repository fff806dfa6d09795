# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154
# More events than the daemon can deliver: 1,000 subscribers of 100 channels.

# overload_run NAME TEXT PREFIX OPTIONS...
overload_run() {
	local name=$1 text=$2 prefix=$3 field
	shift 3
	load daemon "$tmp/$name.daemon.1" --connections 1000 --channels 100 --window 0 \
		--channel-prefix "$prefix" --seconds "$seconds" "$@"
	for field in events_per_sec delay_p50_ms delay_p99_ms delay_max_ms answer_p99_ms; do
		row overload "$text: $field" "$(value "$name" daemon $field)" - - - ''
	done
	row overload "$text: RSS MiB" "$(ps -o rss= -p "${pid[daemon]}" | awk '{ print int($1 / 1024) }')" \
		- - - ''
	row overload "$text: not 200" "$(value "$name" daemon wrong_answers)" - - \
		"$(value "$name" daemon wrong_answers)" '== 0'
}

# Closed loop: each publisher sends when it is answered.  Open loop: at a multiple of what the
# closed loop reached, and the delay is counted from the time when the event was due, so that above 1
# it contains the delay of the publishers themselves.
case_overload() {
	local durability publishers share rate
	[ $with_daemon = 1 ] || return 0
	for durability in none async commit; do
		fresh_servers
		for publishers in 8 64; do
			overload_run "overload-$durability-$publishers" "$durability $publishers" \
				"$durability-" --publishers $publishers
		done
		for share in 0.5 0.9 1 1.5 3; do
			rate=$(awk -v n="$(value "overload-$durability-64" daemon events_per_sec)" \
				-v share=$share 'BEGIN { print int(n * share) + 1 }')
			overload_run "overload-$durability-$share" "$durability x$share" \
				"$durability-" --publishers 64 --rate "$rate"
		done
	done
}
