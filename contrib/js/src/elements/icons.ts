// SPDX-License-Identifier: MIT
import { svg, type TemplateResult } from 'lit';
import { html } from 'lit';

const icon = (shape: TemplateResult): TemplateResult => html`<svg viewBox="0 0 24 24" width="20" height="20"
	fill="none" stroke="currentColor" stroke-width="1.7" stroke-linecap="round" stroke-linejoin="round"
	aria-hidden="true">${shape}</svg>`;

export const bell = icon(svg`<path d="M6 9.5a6 6 0 0 1 12 0c0 4.5 2 6 2 6H4s2-1.5 2-6Z"/><path d="M10 19a2.2 2.2 0 0 0 4 0"/>`);
export const check = icon(svg`<path d="m5 12.5 4.5 4.5L19 7.5"/>`);
export const close = icon(svg`<path d="M6.5 6.5 17.5 17.5M17.5 6.5 6.5 17.5"/>`);
export const chat = icon(svg`<path d="M20 11.5a7.5 7.5 0 0 1-11 6.6L4 19.5l1.4-4.6A7.5 7.5 0 1 1 20 11.5Z"/>`);
export const pulse = icon(svg`<path d="M3 12h4l2.5-6 4 12L16 12h5"/>`);
export const up = icon(svg`<path d="M12 19V5M6 11l6-6 6 6"/>`);
export const file = icon(svg`<path d="M13.5 3.5H7a1.5 1.5 0 0 0-1.5 1.5v14A1.5 1.5 0 0 0 7 20.5h10a1.5 1.5 0 0 0 1.5-1.5V8.5Z"/><path d="M13.5 3.5v5h5"/>`);
export const clock = icon(svg`<circle cx="12" cy="12" r="8.2"/><path d="M12 7.5V12l3 2"/>`);
export const pen = icon(svg`<path d="m4.5 19.5.9-4L16 4.9a1.9 1.9 0 0 1 2.7 0l.4.4a1.9 1.9 0 0 1 0 2.7L8.5 18.6Z"/>`);
