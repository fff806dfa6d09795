// SPDX-License-Identifier: MIT
import { autoUpdate, computePosition, flip, offset, shift, size, type Placement } from '@floating-ui/dom';
import type { ReactiveController, ReactiveControllerHost } from 'lit';

type Host = ReactiveControllerHost & HTMLElement;

/** A panel next to its button, in the top layer; closed by Escape, by a click elsewhere, or with focus lost. */
export class Popover implements ReactiveController {
	isOpen = false;
	#stop: (() => void) | null = null;

	constructor(private readonly host: Host, private readonly parts: { button: string; panel: string },
		private readonly placement: Placement = 'bottom-end') {
		host.addController(this);
	}

	hostDisconnected(): void {
		this.close(false);
	}

	toggle(): void {
		if (this.isOpen) this.close();
		else void this.open();
	}

	async open(): Promise<void> {
		this.isOpen = true;
		this.host.requestUpdate();
		await this.host.updateComplete;
		const button = this.#find(this.parts.button);
		const panel = this.#find(this.parts.panel);
		if (!button || !panel || !this.isOpen) return;
		panel.showPopover?.();
		const place = () => void this.#place(button, panel);
		const stopPlacing = autoUpdate(button, panel, place);
		document.addEventListener('pointerdown', this.#outside, true);
		this.host.addEventListener('keydown', this.#key);
		this.#stop = () => {
			stopPlacing();
			document.removeEventListener('pointerdown', this.#outside, true);
			this.host.removeEventListener('keydown', this.#key);
			if (panel.matches(':popover-open')) panel.hidePopover();
		};
		panel.focus({ preventScroll: true });
	}

	close(returnFocus = true): void {
		if (!this.isOpen) return;
		this.isOpen = false;
		this.#stop?.();
		this.#stop = null;
		this.host.requestUpdate();
		if (returnFocus) this.#find(this.parts.button)?.focus();
	}

	#find(selector: string): HTMLElement | null {
		return this.host.shadowRoot?.querySelector<HTMLElement>(selector) ?? null;
	}

	async #place(button: HTMLElement, panel: HTMLElement): Promise<void> {
		const { x, y } = await computePosition(button, panel, { placement: this.placement, strategy: 'fixed',
			middleware: [offset(8), flip(), shift({ padding: 8 }), size({ padding: 8, apply({ availableHeight }) {
				panel.style.maxHeight = `${Math.max(160, Math.min(560, availableHeight))}px`;
			} })] });
		Object.assign(panel.style, { left: `${x}px`, top: `${y}px` });
	}

	readonly #outside = (event: Event) => {
		if (!event.composedPath().includes(this.host)) this.close(false);
	};

	readonly #key = (event: KeyboardEvent) => {
		if (event.key !== 'Escape') return;
		event.stopPropagation();
		this.close();
	};
}
