// SPDX-License-Identifier: MIT
export { ActivityFeed, type Activity } from './activity-feed.js';
export { CommentThread } from './comment-thread.js';
export { activityComments, endpointComments, type Comment, type CommentPage, type CommentSource } from './comments.js';
export { ConnectionStatus } from './connection-status.js';
export { FieldLock } from './field-lock.js';
export { LiveCursors, intervalFor } from './live-cursors.js';
export { NotificationBell } from './notification-bell.js';
export { NotificationToasts } from './notification-toasts.js';
export { endpointNotifications, type Notification, type NotificationPage, type NotificationSource } from './notifications.js';
export { PresenceAvatars } from './presence-avatars.js';
export { ProjectUpdates, type ProjectFile, type ProjectUpdate, type TimeEntry } from './project-updates.js';
export { SharedForm, storeOf } from './shared-form.js';
export { english, setTexts, type Texts } from './texts.js';
export { TypingIndicator } from './typing-indicator.js';
