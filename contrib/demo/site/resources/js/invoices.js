// SPDX-License-Identifier: MIT
// The status of invoices, live: of the user's client, or of all for administrators.

export function showInvoice({ id, status }) {
	const row = document.querySelector(`[data-invoice="${id}"]`);
	if (!row || row.dataset.status === status) return;
	row.dataset.status = status;
	row.querySelector('.status').textContent = status;
	row.querySelector('details')?.removeAttribute('open');
	row.classList.remove('fresh');
	requestAnimationFrame(() => row.classList.add('fresh'));
}

export function followInvoices(manager) {
	const channels = document.querySelector('meta[name="portal-channels"]')?.content.split(' ').filter(Boolean) ?? [];
	for (const name of channels)
		manager.channel(name).on('InvoiceStatusChanged', ({ invoice }) => showInvoice(invoice)).onResync(() => location.reload());
}
