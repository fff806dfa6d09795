// SPDX-License-Identifier: MIT
export { attach, type ReplayHandle, type ReplayOptions, type Resync } from 'scopewire/replay';
export { ApiError, SyncApi } from './api.js';
export { BatchAuthorizer, type AuthorizerOptions } from './authorizer.js';
export { Subscription, type Member } from './channel.js';
export { EditLock, type Lock, type LockedThing, type LockEvents, type LockRequest } from './lock.js';
export { RealtimeManager, type ManagerEvents, type ManagerOptions, type ConnectionState, type Status } from './manager.js';
export { merge, mergeText } from './merge.js';
export { OfflineStore, type Conflict, type FieldConflict, type OfflineEvents, type OfflineOptions, type Resource } from './offline.js';
export { Tokens, claimsOf, type TokenSource } from './tokens.js';
export * from './elements/index.js';
