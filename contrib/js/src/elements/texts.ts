// SPDX-License-Identifier: MIT
// Every text that an element shows.  setTexts() replaces any of them, for the whole page.

const plural = (n: number, one: string, many: string) => (n === 1 ? `1 ${one}` : `${n} ${many}`);

export const english = {
	// connection-status
	connecting: 'Connecting…',
	reconnecting: 'Reconnecting…',
	disconnected: 'Disconnected',
	failed: 'No live updates',
	offline: 'You are offline',
	connected: 'Connected',
	retry: 'Try again',
	catchingUp: (n: number) => (n ? `Catching up: ${plural(n, 'event', 'events')}` : 'Catching up…'),
	recovered: (n: number) => (n ? `Back online. ${plural(n, 'event', 'events')} recovered` : 'Back online'),
	queued: (n: number) => `${plural(n, 'change', 'changes')} waiting to be sent`,
	// common
	close: 'Close',
	cancel: 'Cancel',
	loadMore: 'Load more',
	loading: 'Loading…',
	loadFailed: 'This could not be loaded.',
	justNow: 'just now',
	signedOut: 'You are signed out. Sign in to send.',
	signIn: 'Sign in',
	you: 'you',
	someone: 'Someone',
	// notification-bell
	notifications: 'Notifications',
	unread: (n: number) => (n ? `${plural(n, 'unread notification', 'unread notifications')}` : 'No unread notifications'),
	markAllRead: 'Mark all as read',
	markRead: 'Mark as read',
	noNotifications: 'You’re all caught up',
	noNotificationsHint: 'New notifications appear here.',
	onlyUnread: 'Unread',
	allNotifications: 'All',
	// activity-feed
	activity: 'Activity',
	newItems: (n: number) => `${n} new`,
	newDivider: 'New since your last visit',
	noActivity: 'Nothing here yet',
	noActivityHint: 'What happens appears here at once.',
	filterAll: 'Everything',
	filter: 'Show',
	endOfFeed: 'That is everything',
	// presence-avatars
	online: 'online',
	away: 'away',
	busy: 'busy',
	lastSeen: (when: string) => `last seen ${when}`,
	leaving: 'disconnected',
	notKnown: 'not known: no connection',
	notKnownHere: 'Who is here is not known while you are disconnected',
	others: (n: number) => `${plural(n, 'other', 'others')}`,
	peopleHere: (n: number) => (n ? `${plural(n, 'person', 'people')} here` : 'No other people here'),
	// typing-indicator
	typing: (names: string[], others: number) => {
		if (others) return `${names.join(', ')} and ${plural(others, 'other', 'others')} are typing`;
		if (names.length > 1) return `${names.slice(0, -1).join(', ')} and ${names.at(-1)} are typing`;
		return `${names[0]} is typing`;
	},
	// comment-thread
	comments: 'Comments',
	writeComment: 'Write a comment',
	send: 'Send',
	sending: 'Sending…',
	notSent: 'Not sent.',
	notReached: 'The server cannot be reached. It is sent again when the connection is back.',
	serverFailed: 'The server has a problem. It is sent again in a moment.',
	sendAgain: 'Send again',
	discard: 'Discard',
	noComments: 'No comments yet',
	noCommentsHint: 'Start the conversation.',
	// field-lock, shared-form
	editing: (name: string) => `${name} is editing`,
	youEdit: 'You are editing',
	editingElsewhere: 'You are editing in another window',
	editHere: 'Edit here',
	askForIt: 'Ask to edit',
	asked: 'Asked',
	asksFor: (name: string, seconds: number) => `${name} would like to edit. It is passed on in ${seconds} s`,
	handOver: 'Pass it on now',
	keep: 'Keep editing',
	refused: (name: string) => `${name} is still editing`,
	save: 'Save',
	saved: 'Saved',
	savedOffline: 'Saved on this device. It is sent when you are online.',
	saving: 'Saving…',
	saveFailed: 'Not saved.',
	conflictTitle: 'This was changed by someone else',
	conflictHint: 'Choose what to keep for each field. What differs is marked.',
	mine: 'Mine',
	theirs: 'Theirs',
	merged: 'Merged',
	useSelected: 'Save these',
	empty: 'empty',
	// project-updates
	updates: 'Updates',
	files: 'Files',
	time: 'Time',
	viewers: 'Viewing now',
	noFiles: 'No files yet',
	noTime: 'No time recorded yet',
	noUpdates: 'No updates yet',
	hours: (n: number) => `${new Intl.NumberFormat(undefined, { maximumFractionDigits: 2 }).format(n)} h`,
};

export type Texts = typeof english;

let current: Texts = english;
const changed = new Set<() => void>();

export function texts(): Texts {
	return current;
}

/** Replaces texts; those that are not given stay as they are. */
export function setTexts(some: Partial<Texts>): void {
	current = { ...current, ...some };
	for (const listener of changed) listener();
}

export function onTextsChange(listener: () => void): () => void {
	changed.add(listener);
	return () => { changed.delete(listener); };
}
