// SPDX-License-Identifier: MIT
import { css } from 'lit';

/** Colours, type and controls that all elements share; each colour can be set from outside. */
export const theme = css`
	:host {
		--_accent: var(--scopewire-accent, light-dark(#4338ca, #a5b0ff));
		--_on-accent: var(--scopewire-on-accent, light-dark(#ffffff, #14172b));
		--_soft: var(--scopewire-accent-soft, light-dark(#eef0ff, #232744));
		--_surface: var(--scopewire-surface, light-dark(#ffffff, #171a22));
		--_sunken: var(--scopewire-sunken, light-dark(#f5f6f9, #101319));
		--_hover: var(--scopewire-hover, light-dark(#f3f4f8, #1f232d));
		--_ink: var(--scopewire-ink, light-dark(#171a21, #eceef4));
		--_muted: var(--scopewire-muted, light-dark(#596172, #a0a8ba));
		--_line: var(--scopewire-line, light-dark(#e2e5ec, #2c313d));
		--_good: var(--scopewire-good, light-dark(#12805c, #48d19f));
		--_warn: var(--scopewire-warn, light-dark(#9a5b00, #f2b759));
		--_bad: var(--scopewire-bad, light-dark(#c0293b, #ff8a94));
		--_radius: var(--scopewire-radius, 12px);
		--_shadow: var(--scopewire-shadow, 0 1px 2px rgb(15 20 40 / 8%), 0 12px 36px -8px rgb(15 20 40 / 24%));
		display: block;
		box-sizing: border-box;
		color: var(--_ink);
		font: var(--scopewire-font, 400 14px/1.5 system-ui, -apple-system, "Segoe UI", "Noto Sans", sans-serif);
		text-align: start;
		-webkit-font-smoothing: antialiased;
	}
	:host([hidden]) { display: none; }
	:host([theme="light"]) { color-scheme: light; }
	:host([theme="dark"]) { color-scheme: dark; }
	*, ::before, ::after { box-sizing: border-box; }
	h2, h3, p, ul, ol, dl, dd { margin: 0; padding: 0; }
	ul, ol { list-style: none; }
	h2 { font-size: 15px; font-weight: 650; line-height: 1.3; letter-spacing: -0.01em; }
	button, textarea, input, select { font: inherit; color: inherit; letter-spacing: inherit; }
	button {
		border: 0; background: none; padding: 0; cursor: pointer; border-radius: 8px;
		transition: background-color 120ms, color 120ms, border-color 120ms, opacity 120ms;
	}
	button[disabled] { cursor: default; }
	:focus-visible { outline: 2px solid var(--_accent); outline-offset: 2px; }
	.button {
		padding: 6px 12px; border: 1px solid var(--_line); background: var(--_surface);
		font-weight: 550; font-size: 13px; line-height: 20px; white-space: nowrap;
	}
	.button:hover { background: var(--_hover); }
	.primary { background: var(--_accent); border-color: transparent; color: var(--_on-accent); }
	.primary:hover { background: color-mix(in oklab, var(--_accent) 88%, var(--_ink)); }
	.primary[disabled] { background: var(--_hover); color: var(--_muted); border-color: var(--_line); }
	.link { color: var(--_accent); font-weight: 550; font-size: 13px; padding: 2px 4px; }
	.link:hover { text-decoration: underline; text-underline-offset: 3px; }
	.card {
		background: var(--_surface); border: 1px solid var(--_line); border-radius: var(--_radius);
		overflow: clip;
	}
	.muted { color: var(--_muted); }
	.small { font-size: 12.5px; }
	time { font-variant-numeric: tabular-nums; white-space: nowrap; }
	.hidden-text {
		position: absolute; width: 1px; height: 1px; margin: -1px; overflow: hidden;
		clip-path: inset(50%); white-space: nowrap;
	}
	.empty { display: grid; justify-items: center; gap: 2px; padding: 40px 24px; text-align: center; }
	.empty svg { width: 36px; height: 36px; margin-bottom: 10px; color: var(--_muted); opacity: 0.75; }
	.empty b { font-weight: 600; }
	.avatar {
		display: inline-grid; place-items: center; flex: none; inline-size: var(--_size, 32px);
		block-size: var(--_size, 32px); border-radius: 50%; overflow: hidden; user-select: none;
		font-size: calc(var(--_size, 32px) * 0.38); font-weight: 650; line-height: 1; letter-spacing: 0;
		background: light-dark(oklch(0.91 0.055 var(--_hue, 265)), oklch(0.38 0.08 var(--_hue, 265)));
		color: light-dark(oklch(0.36 0.11 var(--_hue, 265)), oklch(0.93 0.05 var(--_hue, 265)));
	}
	.avatar img { inline-size: 100%; block-size: 100%; object-fit: cover; }
	.skeleton {
		border-radius: 6px; background: var(--_hover); color: transparent;
		animation: pulse 1.4s ease-in-out infinite alternate;
	}
	@keyframes pulse { to { opacity: 0.45; } }
	@keyframes rise { from { opacity: 0; translate: 0 6px; } }
	@keyframes fade { from { opacity: 0; } }
	@media (prefers-reduced-motion: reduce) {
		*, ::before, ::after { animation: none !important; transition: none !important; scroll-behavior: auto !important; }
	}
	@media (forced-colors: active) { .avatar, .button { border: 1px solid; } }
`;
