// SPDX-License-Identifier: MIT
import { css, html, type PropertyValues } from 'lit';
import { property, state } from 'lit/decorators.js';
import { repeat } from 'lit/directives/repeat.js';
import type { Subscription } from '../channel.js';
import type { RealtimeManager } from '../manager.js';
import { ScopewireElement, define, hueOf, vars } from './base.js';
import { theme } from './theme.js';

/** Points since the last message: milliseconds after its first one, x in thousandths of the width, y in pixels. */
type Point = [at: number, x: number, y: number];

interface Cursor { id: string; name: string; x: number; y: number; queue: Point[]; startedAt: number; from: Point; seenAt: number }

const IDLE_MS = 8000;
const SHORTEST_MS = 60;
const LONGEST_MS = 600;
const MOST_POINTS = 20;

/** The pause between messages: each member adds to the work of all others. */
export function intervalFor(members: number): number {
	return Math.min(LONGEST_MS, SHORTEST_MS + 20 * Math.max(0, members - 2));
}

/**
 * Pointers of the others over its content.  Points are sent in batches with their times, so that the path is
 * drawn as it was; nothing is sent while no other member is there.
 */
export class LiveCursors extends ScopewireElement {
	/** A presence channel on which users may send client events. */
	@property() channel = '';
	@state() private cursors: Cursor[] = [];
	#subscription: Subscription | null = null;
	#points: Point[] = [];
	#startedAt = 0;
	#sending: ReturnType<typeof setTimeout> | undefined;
	#frame = 0;
	/** Messages that were sent; for tests and figures. */
	sent = 0;

	static override styles = [theme, css`
		:host { position: relative; }
		.layer { position: absolute; inset: 0; overflow: clip; pointer-events: none; z-index: 5; }
		.cursor { position: absolute; inset-block-start: 0; left: 0; will-change: transform; animation: fade 160ms; color: oklch(0.52 0.17 var(--_hue)); transform: translate(var(--_x), var(--_y)); }
		.cursor svg { display: block; inline-size: 18px; block-size: 18px; filter: drop-shadow(0 1px 2px rgb(0 0 0 / 30%)); }
		.name { position: absolute; inset-block-start: 16px; left: 12px; padding: 2px 8px; border-radius: 8px; background: oklch(0.46 0.15 var(--_hue)); color: #fff; font-size: 12px; font-weight: 600; white-space: nowrap; }
	`];

	protected override start(manager: RealtimeManager): void {
		if (!this.channel) return;
		const channel = manager.channel(this.channel)
			.onWhisper('cursor', (data: { p: Point[] | null }, from) => this.#received(data.p, from?.user_id))
			.on('pusher:member_removed', ({ id }) => this.#remove(String(id)));
		this.#subscription = channel;
		this.addEventListener('pointermove', this.#moved);
		this.addEventListener('pointerleave', this.#left);
		const cleaning = setInterval(() => this.#removeIdle(), 1000);
		this.during(() => {
			this.removeEventListener('pointermove', this.#moved);
			this.removeEventListener('pointerleave', this.#left);
			clearInterval(cleaning);
			clearTimeout(this.#sending);
			cancelAnimationFrame(this.#frame);
			channel.leave();
			this.#subscription = null;
			this.cursors = [];
		});
	}

	override willUpdate(changed: PropertyValues<this>): void {
		if (this.hasUpdated && changed.has('channel')) this.restart();
	}

	get #hasAudience(): boolean {
		return (this.#subscription?.members.length ?? 0) > 1;
	}

	readonly #moved = (event: PointerEvent) => {
		if (event.pointerType === 'touch' || !this.#hasAudience) return;
		const box = this.getBoundingClientRect();
		const now = performance.now();
		if (!this.#points.length) this.#startedAt = now;
		const point: Point = [Math.round(now - this.#startedAt), Math.round((event.clientX - box.left) / box.width * 1000),
			Math.round(event.clientY - box.top)];
		if (this.#points.length >= MOST_POINTS) this.#points[this.#points.length - 1] = point;
		else this.#points.push(point);
		this.#sending ??= setTimeout(() => this.#flush(), intervalFor(this.#subscription!.members.length));
	};

	readonly #left = () => {
		clearTimeout(this.#sending);
		this.#sending = undefined;
		this.#points = [];
		if (this.#hasAudience) this.#subscription?.whisper('cursor', { p: null });
	};

	#flush(): void {
		this.#sending = undefined;
		const points = this.#points;
		this.#points = [];
		if (points.length && this.#hasAudience && this.#subscription?.whisper('cursor', { p: points })) this.sent++;
	}

	#received(points: Point[] | null, id: string | undefined): void {
		if (!id || id === this.#subscription?.myId) return;
		if (!points?.length) {
			this.#remove(id);
			return;
		}
		const known = this.cursors.find((c) => c.id === id);
		const now = performance.now();
		const first = points[0]!;
		if (known) Object.assign(known, { queue: points, startedAt: now, from: [0, known.x, known.y], seenAt: now });
		else {
			const name = this.#subscription?.members.find((m) => m.id === id)?.info.name;
			this.cursors = [...this.cursors, { id, name: String(name ?? this.t.someone), x: first[1], y: first[2],
				queue: points, startedAt: now, from: first, seenAt: now }];
		}
		this.#animate();
	}

	/** Follows each path at the pace at which it was drawn; without motion, jumps to its end. */
	#animate(): void {
		cancelAnimationFrame(this.#frame);
		const jumps = matchMedia('(prefers-reduced-motion: reduce)').matches;
		const step = () => {
			let isMoving = false;
			for (const cursor of this.cursors) isMoving = advance(cursor, jumps) || isMoving;
			this.requestUpdate();
			if (isMoving) this.#frame = requestAnimationFrame(step);
		};
		this.#frame = requestAnimationFrame(step);
	}

	#remove(id: string): void {
		this.cursors = this.cursors.filter((c) => c.id !== id);
	}

	#removeIdle(): void {
		const now = performance.now();
		if (this.cursors.some((c) => now - c.seenAt > IDLE_MS))
			this.cursors = this.cursors.filter((c) => now - c.seenAt <= IDLE_MS);
	}

	override render() {
		const width = this.getBoundingClientRect().width;
		return html`<slot></slot><div class="layer" part="layer" aria-hidden="true">${repeat(this.cursors, (c) => c.id, (c) => html`
			<div class="cursor" part="cursor" data-id=${c.id} ${vars({ '--_hue': String(hueOf(c.id)),
				'--_x': `${c.x / 1000 * width}px`, '--_y': `${c.y}px` })}>
				<svg viewBox="0 0 18 18"><path d="M2 1.5 15.5 8 9.3 9.9 6.6 16Z" fill="currentColor" stroke="#fff" stroke-width="1.2" stroke-linejoin="round"/></svg>
				<span class="name" part="name">${c.name}</span></div>`)}</div>`;
	}
}

/** Moves a cursor to where it was at this moment of its path; false at the end of it. */
function advance(cursor: Cursor, jumps: boolean): boolean {
	const last = cursor.queue.at(-1)!;
	const at = jumps ? Infinity : performance.now() - cursor.startedAt;
	let before = cursor.from;
	for (const point of cursor.queue) {
		if (at < point[0]) {
			const share = (at - before[0]) / Math.max(1, point[0] - before[0]);
			cursor.x = before[1] + (point[1] - before[1]) * share;
			cursor.y = before[2] + (point[2] - before[2]) * share;
			return true;
		}
		before = point;
	}
	[cursor.x, cursor.y] = [last[1], last[2]];
	return false;
}

define('scopewire-live-cursors', LiveCursors);
