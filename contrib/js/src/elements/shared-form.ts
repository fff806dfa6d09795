// SPDX-License-Identifier: MIT
import { css, html, nothing, type PropertyValues } from 'lit';
import { property, query, state } from 'lit/decorators.js';
import type { RealtimeManager } from '../manager.js';
import { OfflineStore, type Conflict, type Data } from '../offline.js';
import { differences, isSame } from '../merge.js';
import { ScopewireElement, define } from './base.js';
import './field-lock.js';
import type { FieldLock } from './field-lock.js';
import { theme } from './theme.js';

type Choice = 'mine' | 'theirs' | 'merged';
type Field = HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement;

const stores = new WeakMap<RealtimeManager, OfflineStore>();

/** The store that forms without a property "store" share. */
export function storeOf(manager: RealtimeManager): OfflineStore {
	if (!stores.has(manager)) stores.set(manager, new OfflineStore({ manager }));
	return stores.get(manager)!;
}

/**
 * A form over a resource of the data sync: fields with names in its light DOM, each may be in a
 * scopewire-field-lock.  Changes of others appear in fields that were not touched; what both changed is
 * decided in a dialog.
 */
export class SharedForm extends ScopewireElement {
	@property({ attribute: 'resource-type' }) resourceType = '';
	@property({ attribute: 'resource-id' }) resourceId = '';
	/** Of the resource of the locks, if it is another one. */
	@property() channel = '';
	@property({ attribute: false }) store: OfflineStore | null = null;
	@state() private conflict: Conflict | null = null;
	@state() private choices: Record<string, Choice> = {};
	@state() private note: 'none' | 'saving' | 'saved' | 'offline' | 'failed' = 'none';
	@state() private isSignedOut = false;
	@query('dialog') private dialog!: HTMLDialogElement;
	#shown: Data = {};

	static override styles = [theme, css`
		form { display: grid; gap: var(--scopewire-form-gap, 16px); }
		.bar { display: flex; align-items: center; gap: 14px; min-block-size: 36px; }
		dialog {
			inline-size: min(640px, calc(100vw - 32px)); max-block-size: min(85vh, 720px); padding: 0; border: 1px solid var(--_line);
			border-radius: 16px; background: var(--_surface); color: var(--_ink); box-shadow: var(--_shadow); overflow: auto;
		}
		dialog[open] { animation: rise 180ms ease-out; }
		dialog::backdrop { background: rgb(10 12 20 / 50%); }
		.head { padding: 20px 24px 8px; }
		.head h2 { font-size: 17px; }
		fieldset { border: 0; margin: 0; padding: 14px 24px; }
		legend { padding: 0; font-weight: 650; margin-block-end: 6px; }
		.options { display: grid; grid-template-columns: repeat(auto-fit, minmax(160px, 1fr)); gap: 10px; }
		label { display: grid; gap: 4px; align-content: start; padding: 10px 12px; border: 1px solid var(--_line); border-radius: 10px; cursor: pointer; }
		label:hover { background: var(--_hover); }
		label:has(:checked) { border-color: var(--_accent); background: var(--_soft); }
		label:has(:focus-visible) { outline: 2px solid var(--_accent); outline-offset: 2px; }
		label span:first-of-type { display: flex; gap: 8px; align-items: center; font-size: 12.5px; font-weight: 650; color: var(--_muted); }
		label:has(:checked) span:first-of-type { color: var(--_accent); }
		input[type=radio] { accent-color: var(--_accent); margin: 0; outline: none; }
		.value { white-space: pre-wrap; overflow-wrap: anywhere; }
		mark { padding-block: 1px; border-radius: 3px; background: light-dark(#ffe7a3, #5c4508); color: inherit; text-decoration: underline; text-decoration-thickness: 1px; text-underline-offset: 3px; }
		.actions { position: sticky; inset-block-end: 0; display: flex; justify-content: flex-end; gap: 10px; padding: 14px 24px; background: var(--_surface); border-block-start: 1px solid var(--_line); }
	`];

	protected override start(manager: RealtimeManager): void {
		if (!this.resourceType || !this.resourceId) return;
		for (const lock of this.querySelectorAll<FieldLock>('scopewire-field-lock'))
			if (!lock.channel && !lock.resourceType) {
				if (this.channel) lock.channel = this.channel;
				else [lock.resourceType, lock.resourceId] = [this.resourceType, this.resourceId];
			}
		this.isSignedOut = manager.status.isSignedOut;
		this.during(manager.on('status', ({ isSignedOut }) => { this.isSignedOut = isSignedOut; }));
		void this.#follow(this.store ?? storeOf(manager));
	}

	override willUpdate(changed: PropertyValues<this>): void {
		if (this.hasUpdated && (changed.has('resourceType') || changed.has('resourceId'))) this.restart();
	}

	async #follow(store: OfflineStore): Promise<void> {
		this.store = store;
		const isThis = ({ type, id }: { type: string; id: string }) => type === this.resourceType && id === this.resourceId;
		this.during(store.on('change', (change) => {
			if (isThis(change)) void this.#show();
		}));
		this.during(store.on('rejected', (change) => {
			if (isThis(change)) this.note = 'failed';
		}));
		const close = await store.open(this.resourceType, this.resourceId);
		this.during(close);
		await this.#show();
	}

	get #fields(): Field[] {
		return [...this.querySelectorAll<Field>('input[name], textarea[name], select[name]')];
	}

	/** Takes the resource's values into the fields that the user has not changed. */
	async #show(): Promise<void> {
		const resource = await this.store!.get(this.resourceType, this.resourceId);
		const data = resource.data ?? {};
		for (const field of this.#fields) {
			const isTouched = !isSame(valueOf(field), this.#shown[field.name] ?? emptyOf(field));
			if (!isTouched) setValue(field, data[field.name]);
		}
		this.#shown = data;
		if (resource.conflict && !this.conflict) await this.#ask(resource.conflict);
		if (this.note !== 'none' && this.note !== 'failed') this.note = resource.isPending ? 'offline' : 'saved';
	}

	/** The values that differ from the resource. */
	get changes(): Data {
		return Object.fromEntries(this.#fields.filter((field) =>
			!isSame(valueOf(field), this.#shown[field.name] ?? emptyOf(field))).map((f) => [f.name, valueOf(f)]));
	}

	async save(): Promise<void> {
		const { changes } = this;
		if (!this.store || !Object.keys(changes).length) return;
		this.note = 'saving';
		const { data } = await this.store.get(this.resourceType, this.resourceId);
		if (data) await this.store.patch(this.resourceType, this.resourceId, changes);
		else await this.store.put(this.resourceType, this.resourceId, changes);
		this.send('scopewire-save', changes);
	}

	async #ask(conflict: Conflict): Promise<void> {
		const names = this.#fields.map((field) => field.name);
		const at = (name: string) => (names.includes(name) ? names.indexOf(name) : names.length);
		this.conflict = { ...conflict, fields: conflict.fields.toSorted((a, b) => at(a.field) - at(b.field)) };      // as in the form
		this.choices = Object.fromEntries(conflict.fields.map((f) => [f.field, f.merged === undefined ? 'mine' : 'merged']));
		await this.updateComplete;
		if (!this.dialog.open) this.dialog.showModal();
		this.dialog.querySelector<HTMLInputElement>('input:checked')?.focus();
		this.send('scopewire-conflict', conflict);
	}

	async #decide(): Promise<void> {
		const { conflict } = this;
		if (!conflict) return;
		const data = { ...conflict.merged };
		for (const { field, mine, theirs, merged } of conflict.fields)
			data[field] = { mine, theirs, merged }[this.choices[field] ?? 'mine'];
		await this.#end(data);
	}

	async #end(decision: Data | 'theirs'): Promise<void> {
		const { conflict } = this;
		this.conflict = null;
		this.dialog.close();
		const final = decision === 'theirs' ? conflict!.theirs ?? {} : decision;
		for (const field of this.#fields) setValue(field, final[field.name]);
		this.#shown = final;
		await this.store!.resolve(conflict!, decision);
	}

	/** other: the value that it is compared with. */
	#option(field: string, choice: Choice, value: unknown, other: unknown) {
		const { t } = this;
		return html`<label><span><input type="radio" name=${`choice-${field}`} value=${choice}
			.checked=${this.choices[field] === choice}
			@change=${() => { this.choices = { ...this.choices, [field]: choice }; }}>${t[choice]}</span>
			<span class="value">${value === undefined || value === null || value === '' ? t.empty : this.#compared(value, other)}</span></label>`;
	}

	#compared(value: unknown, other: unknown) {
		const parts = typeof value === 'string' && typeof other === 'string' ? differences(value, other) : null;
		return parts?.map(({ text, isSame: isInBoth }) => (isInBoth ? text : html`<mark part="difference">${text}</mark>`)) ?? String(value);
	}

	#label(name: string): string {
		const field = this.#fields.find((f) => f.name === name);
		return field?.labels?.[0]?.textContent?.trim() || field?.getAttribute('aria-label') || name;
	}

	override render() {
		const { t, conflict, note } = this;
		const notes = { none: '', saving: t.saving, saved: t.saved, offline: this.isSignedOut ? this.signedOutLine : t.savedOffline,
			failed: t.saveFailed };
		return html`<form part="form" @submit=${(event: Event) => { event.preventDefault(); void this.save(); }}>
				<slot></slot>
				<div class="bar" part="bar"><button class="button primary" part="save">${t.save}</button>
					<span class="muted small" role="status" aria-live="polite" part="note">${notes[note]}</span></div>
			</form>
			<dialog part="dialog" aria-labelledby="title" @cancel=${(event: Event) => event.preventDefault()}>${conflict ? html`
				<div class="head"><h2 id="title">${t.conflictTitle}</h2><p class="muted">${t.conflictHint}</p></div>
				${conflict.fields.map((f) => html`<fieldset part="field" data-field=${f.field}><legend>${this.#label(f.field)}</legend>
					<div class="options">${this.#option(f.field, 'mine', f.mine, f.theirs)}${this.#option(f.field, 'theirs', f.theirs, f.mine)}
					${f.merged === undefined ? nothing : this.#option(f.field, 'merged', f.merged, f.base)}</div></fieldset>`)}
				<div class="actions"><button class="button" part="theirs" @click=${() => void this.#end('theirs')}>${t.discard}</button>
					<button class="button primary" part="decide" @click=${() => void this.#decide()}>${t.useSelected}</button></div>` : nothing}
			</dialog>`;
	}
}

const emptyOf = (field: Field): unknown => (field.type === 'checkbox' ? false : '');

function valueOf(field: Field): unknown {
	if (field.type === 'checkbox') return (field as HTMLInputElement).checked;
	if (field.type === 'number') return field.value === '' ? '' : Number(field.value);
	return field.value;
}

function setValue(field: Field, value: unknown): void {
	if (field.type === 'checkbox') (field as HTMLInputElement).checked = Boolean(value);
	else field.value = value === undefined || value === null ? '' : String(value);
}

define('scopewire-shared-form', SharedForm);
