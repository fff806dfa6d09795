# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154
# Fan-out: events for many subscribers, and what a delivery costs.

# row_wrong NAME: rows with the deliveries that were wrong, of each side.
row_wrong() {
	local side field wrong
	for side in $(sides); do
		wrong=0
		for field in lost repeated out_of_order strange wrong_answers; do
			wrong=$((wrong + $(total "$1" "$side" $field)))
		done
		row "$1" "$side: wrong of $(total "$1" "$side" deliveries)" "$wrong" - - "$wrong" '== 0'
	done
}

# fanout NAME RATE OPTIONS...: RATE events per second in all.
fanout() {
	local name=$1 rate=$2
	shift 2
	fresh_servers
	rounds_of "$name" --channel-prefix async- --size 200 --seconds "$seconds" --rate "$rate" "$@"
	unfair=$(who_fell_behind "$name" "$rate")
	row_ratio "$name" 'CPU us a delivery' cpu_us_per_delivery '<= 1.3'
	unfair=''
	row_ratio "$name" 'events a second' events_per_sec ''
	row_ratio "$name" 'delay p50 ms' delay_p50_ms ''
	row_ratio "$name" 'delay p90 ms' delay_p90_ms ''
	row_ratio "$name" 'delay p99 ms' delay_p99_ms ''
	row_ratio "$name" 'delay max ms' delay_max_ms ''
	row_wrong "$name"
}

case_fanout_1000() {
	fanout fanout-1000 50 --connections 1000
}

case_fanout_10000() {
	fanout fanout-10000 20 --connections 10000 --inflight 500
	# a rate that both servers reach on two cores
	fanout fanout-10000-5 5 --connections 10000 --inflight 500
}

case_fanout_channels() {
	fanout fanout-channels 2000 --connections 1000 --channels 100 --publishers 8
}

# The same subscribers with 1,000, 5,000 and 10,000 events/s, each durability beside the reference: an
# event and its ten deliveries.  What PostgreSQL uses is not in the CPU.
case_rates() {
	local rate durability reached
	fresh_servers
	for rate in 1000 5000 10000; do
		load reference "$tmp/rates-$rate.reference.1" --connections 1000 --channels 100 --publishers 64 \
			--window 0 --seconds "$seconds" --rate $rate
		[ $with_daemon = 1 ] || continue
		for durability in none async commit; do
			cp "$tmp/rates-$rate.reference.1" "$tmp/rates-$durability-$rate.reference.1"
			load daemon "$tmp/rates-$durability-$rate.daemon.1" --connections 1000 --channels 100 \
				--publishers 64 --window 0 --channel-prefix "$durability-" --seconds "$seconds" \
				--rate $rate
			reached=rates-$durability-$rate
			unfair=$(who_fell_behind "$reached" $rate)
			row_ratio "$reached" 'CPU us an event' cpu_us_per_event '<= 1.5'
			unfair=''
			row_ratio "$reached" 'events a second' events_per_sec ''
			row_ratio "$reached" 'delay p50 ms' delay_p50_ms ''
			row_ratio "$reached" 'delay p99 ms' delay_p99_ms ''
		done
	done
}

# The first member of each of 100 channels sends client events, 1,000/s in all, to nine others.
case_whisper() {
	fresh_servers
	rounds_of whisper --channel-prefix private-whisper- --whisper --size 200 --seconds "$seconds" \
		--rate 1000 --connections 1000 --channels 100
	unfair=$(who_fell_behind whisper 1000)
	row_ratio whisper 'CPU us a delivery' cpu_us_per_delivery '<= 1.3'
	unfair=''
	row_ratio whisper 'delay p50 ms' delay_p50_ms ''
	row_ratio whisper 'delay p99 ms' delay_p99_ms ''
	row_wrong whisper
}

# Fan-out over TLS and without, in turn, on servers that have both; then what TLS costs a connection.
case_wss() {
	local side d r
	certificate=$tmp/certificate.pem
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=127.0.0.1 \
		-keyout "$tmp/certificate.key" -out "$certificate" 2>>"$tmp/openssl.log"
	chmod 644 "$tmp/certificate.key"
	fresh_servers
	rounds_of wss --channel-prefix async- --tls --size 200 --seconds "$seconds" --rate 50 \
		--connections 1000
	rounds_of wss-plain --channel-prefix async- --size 200 --seconds "$seconds" --rate 50 \
		--connections 1000
	unfair=$(who_fell_behind wss 50)
	row_ratio wss 'CPU us a delivery' cpu_us_per_delivery '<= 1.3'
	unfair=''
	row_ratio wss '   without TLS' cpu_us_per_delivery '' wss-plain
	row_ratio wss 'delay p50 ms' delay_p50_ms ''
	row_ratio wss 'delay p99 ms' delay_p99_ms ''
	row_ratio wss '   without TLS' delay_p99_ms '' wss-plain
	row_wrong wss
	fresh_servers
	for side in $(sides); do
		load "$side" "$tmp/wss-idle.$side.1" --connections 3500 --channels 100 --seconds 0 --tls \
			--checkpoints 500,3500
	done
	certificate=''
	d=$(per_connection daemon wss-idle 500 3500) r=$(per_connection reference wss-idle 500 3500)
	row wss 'KiB a connection, 500 to 3,500' "$d" "$r" "$(calc "$d / $r" "$d" "$r")" "$d" '<= 12'
	row_ratio wss 'CPU ms for 3,500 handshakes' connect_cpu_ms '<= 1.3' wss-idle
}
