// SPDX-License-Identifier: MIT
// What this package uses of pusher-js and laravel-echo, and nothing more: any version that has it works.

export type Handler = (data: never, metadata?: { user_id?: string }) => void;

export interface PusherChannel {
	name: string;
	subscribed?: boolean;
	bind(event: string, handler: Handler): unknown;
	unbind(event?: string, handler?: Handler): unknown;
	trigger?(event: string, data: unknown): boolean;
	bind_global?(handler: (event: string, data: unknown) => void): unknown;
	members?: { each(callback: (member: { id: string; info: unknown }) => void): void; myID?: string; count?: number };
}

export interface PusherConnection {
	state: string;
	socket_id?: string;
	bind(event: string, handler: Handler): unknown;
	unbind(event?: string, handler?: Handler): unknown;
}

export interface PusherLike {
	key: string;
	connection: PusherConnection;
	config: {
		wsHost?: string; wsPort?: number; wssPort?: number; wsPath?: string; useTLS?: boolean;
		channelAuthorizer?: ChannelAuthorizer;
	};
	subscribe(name: string): PusherChannel;
	unsubscribe(name: string): void;
	channel(name: string): PusherChannel | undefined;
	allChannels(): PusherChannel[];
	connect(): void;
	disconnect(): void;
	send_event(name: string, data: unknown, channel?: string): boolean;
	bind_global(handler: (event: string, data: unknown) => void): unknown;
	unbind_global(handler: (event: string, data: unknown) => void): unknown;
}

export interface EchoLike {
	connector: { pusher?: PusherLike };
	options?: Record<string, unknown>;
	socketId(): string | undefined;
}

export interface ChannelAuthorization {
	auth: string;
	channel_data?: string;
	shared_secret?: string;
}

export type ChannelAuthorizer = (
	params: { socketId: string; channelName: string },
	callback: (error: Error | null, data: ChannelAuthorization | null) => void,
) => void;

/** The Pusher in an Echo, or the Pusher itself. */
export function pusherOf(client: EchoLike | PusherLike): PusherLike {
	const pusher = 'connector' in client ? client.connector?.pusher : client;
	if (typeof pusher?.subscribe !== 'function')
		throw new TypeError('scopewire: give an Echo with broadcaster "reverb" or "pusher", or a Pusher instance');
	return pusher;
}
