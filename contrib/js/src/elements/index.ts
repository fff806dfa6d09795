// SPDX-License-Identifier: MIT
export { ActivityFeed, type Activity } from './activity-feed.js';
export { CommentThread } from './comment-thread.js';
export { activityComments, endpointComments, type Comment, type CommentPage, type CommentSource } from './comments.js';
export { ConnectionStatus } from './connection-status.js';
export { NotificationBell } from './notification-bell.js';
export { NotificationToasts } from './notification-toasts.js';
export { type Notification, type NotificationPage, type NotificationSource } from './notifications.js';
export { PresenceAvatars } from './presence-avatars.js';
export { english, setTexts, type Texts } from './texts.js';
export { TypingIndicator } from './typing-indicator.js';
