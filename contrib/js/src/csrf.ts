// SPDX-License-Identifier: MIT

/** Laravel's token, from the cookie or the page. */
export function csrf(): Record<string, string> {
	const cookie = /(?:^|; )XSRF-TOKEN=([^;]*)/.exec(document.cookie)?.[1];
	if (cookie) return { 'X-XSRF-TOKEN': decodeURIComponent(cookie) };
	const meta = document.querySelector<HTMLMetaElement>('meta[name="csrf-token"]')?.content;
	return meta ? { 'X-CSRF-TOKEN': meta } : {};
}
