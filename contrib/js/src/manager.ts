// SPDX-License-Identifier: MIT
import { attach, type ReplayHandle, type Resync } from 'scopewire/replay';
import { ApiError, SyncApi } from './api.js';
import { BatchAuthorizer, type AuthorizerOptions } from './authorizer.js';
import { Channels, type Subscription } from './channel.js';
import { pusherOf, type EchoLike, type PusherLike } from './client.js';
import { Emitter } from './emitter.js';
import { Heartbeat, type PresenceOptions } from './heartbeat.js';
import { Leader } from './leader.js';
import { Recovery } from './recovery.js';
import { Tokens, type TokenSource } from './tokens.js';

/** The values of Echo's connectionStatus(). */
export type ConnectionState = 'connected' | 'connecting' | 'reconnecting' | 'disconnected' | 'failed';

/** Of pusher:error; see "Errors" in docs/protocol.md. */
interface ServerError {
	code?: number;
	reconnect_within_ms?: number;
}

/** What pusher-js emits as error. */
interface ClientError {
	error?: { data?: ServerError };
	data?: ServerError;
}

export interface Status {
	state: ConnectionState;
	/** When this state began, as Date.now() gives it. */
	since: number;
	/** Missed events that arrived since the reconnect; null when nothing is being caught up. */
	catchingUp: number | null;
	/** Changes that wait in the offline queue. */
	queued: number;
	/** What the user wrote was answered with 401 or 419: it is sent after the user has signed in. */
	isSignedOut: boolean;
	isLeader: boolean;
	isOnline: boolean;
	isHidden: boolean;
}

export interface ManagerEvents {
	status: Status;
	/** All channels have caught up after a reconnect. */
	recovered: { events: number; channels: number };
	/** Missed events of the channel cannot be replayed: load its state again. */
	resync: Resync;
	badge: { name: string; count: number; total: number };
	leader: boolean;
	token: string;
	error: unknown;
}

export interface ManagerOptions {
	/** An Echo with broadcaster "reverb" or "pusher", or pusher: a Pusher instance. */
	echo?: EchoLike | undefined;
	pusher?: PusherLike | undefined;
	/** A bearer token for the daemon, or a function that fetches one. */
	token?: TokenSource | undefined;
	/** Default: that of the daemon, found from the Pusher's host and port. */
	apiBase?: string;
	/** Authorizes channels in batches with this endpoint in place of the client's own way. */
	authorizer?: AuthorizerOptions;
	/** Sends heartbeats; default: when there is a token. */
	presence?: PresenceOptions | boolean;
	/** Default: the token's sub. */
	userId?: string | number;
	/** The user's own channel, with {id} for the user's id; null: none.  Default: the first of the daemon's
	 *  option sync.user_channels. */
	userChannel?: string | null;
	/** Keeps positions across a reload of the page, such as sessionStorage. */
	storage?: Storage;
	/** One tab of the browser sends heartbeats and the offline queue. */
	leader?: boolean;
	/** Of event names; Laravel's default. */
	namespace?: string;
	/** Where the OfflineStore sends changes, in place of the daemon: the application's own endpoint, such as
	 *  /scopewire/changes of scopewire/laravel, which checks them with the policies of its models. */
	changesEndpoint?: string;
	/** The page where a user signs in; elements link to it when the session has ended. */
	loginUrl?: string;
	/** Shows the total of the badges in the page's title and on the installed application's icon. */
	showBadge?: boolean;
}

interface AxiosLike {
	interceptors: { request: { use(f: (config: any) => any): unknown } };
}

const OWN_NAMESPACE = 'App\\Events\\';
const USER_CHANNEL = 'private-App.Models.User.{id}';
const RETRY_MS = 3000;

/** Where the daemon's HTTP interface is, from the settings of its WebSocket. */
function httpBase({ config }: PusherLike): string {
	const { useTLS, wsHost = location.hostname, wsPort = 80, wssPort = 443, wsPath = '' } = config;
	const port = useTLS ? wssPort : wsPort;
	const isDefault = port === (useTLS ? 443 : 80);
	return `http${useTLS ? 's' : ''}://${wsHost}${isDefault ? '' : `:${port}`}${wsPath}`;
}

export class RealtimeManager extends Emitter<ManagerEvents> {
	/** The first manager of the page, which elements use that were not given another one. */
	static current: RealtimeManager | null = null;
	static readonly #waiting = new Set<(manager: RealtimeManager) => void>();

	readonly pusher: PusherLike;
	readonly echo: EchoLike | undefined;
	readonly api: SyncApi;
	readonly replay: ReplayHandle;
	readonly badges: Record<string, number> = {};
	readonly #tokens: Tokens;
	readonly #channels: Channels;
	readonly #recovery: Recovery;
	readonly #heartbeat: Heartbeat | null;
	readonly #authorizer: BatchAuthorizer | null;
	readonly #leader: Leader | null;
	readonly #catchingUp = new Set<string>();
	#recovered = { events: 0, channels: 0 };
	#status: Status;
	#hasConnected = false;
	#isWanted = true;
	#isRefused = false;
	#userSubscription: Subscription | null = null;
	#userChannel: Promise<string | null> | null = null;
	#isDestroyed = false;
	/** Ends the page's listeners; those of the client are removed by #unbind. */
	readonly #ending = new AbortController();
	readonly #unbind: (() => void)[] = [];

	constructor(private readonly options: ManagerOptions) {
		super();
		const client = options.echo ?? options.pusher;
		if (!client) throw new TypeError('scopewire: RealtimeManager needs the option echo or pusher');
		this.echo = options.echo;
		this.pusher = pusherOf(client);
		this.replay = attach(this.pusher, {
			...(options.storage && { storage: options.storage }),
			onResync: (resync) => this.emit('resync', resync),
			onEvent: ({ event, channel, data }) => this.#ownEvent(event, channel, data),
		});
		const base = httpBase(this.pusher);
		this.#tokens = this.#makeTokens();
		this.api = new SyncApi(options.apiBase ?? `${base}/api/sync/`, this.#tokens);
		this.#authorizer = options.authorizer ? new BatchAuthorizer(options.authorizer, this.#tokens) : null;
		if (this.#authorizer) this.pusher.config.channelAuthorizer = this.#authorizer.handler;
		this.#channels = new Channels(this.pusher, options.namespace ?? OWN_NAMESPACE);
		this.#recovery = new Recovery(this.pusher, `${base}/up`);
		this.#heartbeat = this.#makeHeartbeat();
		this.#status = { state: this.#stateNow(), since: Date.now(), catchingUp: null, queued: 0,
			isSignedOut: false, isLeader: !options.leader, isOnline: navigator.onLine,
			isHidden: document.visibilityState === 'hidden' };
		this.#leader = options.leader
			? new Leader(`scopewire:leader:${this.pusher.key}`, (is) => this.#leaderChanged(is)) : null;
		this.#listen();
		this.#publish();
	}

	/** Calls back with the page's manager, now or when it is made. */
	static whenCurrent(callback: (manager: RealtimeManager) => void): () => void {
		if (RealtimeManager.current) {
			callback(RealtimeManager.current);
			return () => {};
		}
		RealtimeManager.#waiting.add(callback);
		return () => { RealtimeManager.#waiting.delete(callback); };
	}

	get changesEndpoint(): string | undefined {
		return this.options.changesEndpoint;
	}

	get loginUrl(): string | undefined {
		return this.options.loginUrl;
	}

	get status(): Status {
		return this.#status;
	}

	get socketId(): string | undefined {
		return this.pusher.connection.socket_id;
	}

	/** Before a guarded channel is subscribed the daemon would refuse a heartbeat that names the connection. */
	get #ownSocketId(): string | undefined {
		return this.pusher.allChannels().some(({ name, subscribed }) =>
			subscribed && /^(private|presence)-/.test(name)) ? this.socketId : undefined;
	}

	get userId(): string | undefined {
		const id = this.options.userId ?? this.#tokens.claims.sub;
		return id === undefined ? undefined : String(id);
	}

	get userName(): string | undefined {
		return this.#tokens.claims.name;
	}

	/** The token in use; fetched at the first call. */
	token(): Promise<string | undefined> {
		return this.#tokens.get();
	}

	connect(): void {
		this.#isWanted = true;
		this.#isRefused = false;
		this.pusher.connect();
	}

	/** Until connect() is called. */
	disconnect(): void {
		this.#isWanted = false;
		this.#recovery.connected();
		this.pusher.disconnect();
	}

	/** Joins a channel by its name on the wire, such as private-project.7. */
	channel(name: string): Subscription {
		return this.#channels.join(name);
	}

	/** The channel of notifications, unread counts and edit locks of the user; null: there is none. */
	userChannel(): Promise<string | null> {
		this.#userChannel ??= this.#findUserChannel();
		return this.#userChannel;
	}

	/** Changes location, status or info of the user's presence. */
	async setPresence(presence: PresenceOptions): Promise<void> {
		await this.#heartbeat?.set(presence);
	}

	setBadge(name: string, count: number): void {
		if (this.badges[name] === count) return;
		this.badges[name] = count;
		const total = Object.values(this.badges).reduce((sum, n) => sum + n, 0);
		if (this.options.showBadge) showBadge(total);
		this.emit('badge', { name, count, total });
	}

	/** Called by the offline store. */
	setQueued(queued: number): void {
		this.#update({ queued });
	}

	/** Called by what sends the user's changes, with the server's answer to them. */
	setSignedOut(isSignedOut: boolean): void {
		if (this.#status.isSignedOut !== isSignedOut) this.#update({ isSignedOut });
	}

	/** Requests of this axios carry X-Socket-Id, so that toOthers() leaves this tab out. */
	useAxios(axios: AxiosLike): void {
		axios.interceptors.request.use((config) => {
			if (this.socketId) config.headers['X-Socket-Id'] = this.socketId;
			return config;
		});
	}

	/** fetch() with X-Socket-Id. */
	readonly fetch = (input: RequestInfo | URL, init: RequestInit = {}): Promise<Response> => {
		const headers = new Headers(init.headers ?? (input instanceof Request ? input.headers : undefined));
		if (this.socketId) headers.set('X-Socket-Id', this.socketId);
		return fetch(input, { ...init, headers });
	};

	/** Adds X-Socket-Id to fetch() of the page, for requests to its own origin. */
	patchFetch(): () => void {
		const original = window.fetch;
		window.fetch = (input, init = {}) => {
			const url = new URL(input instanceof Request ? input.url : input, location.href);
			const request = new Request(input, init);
			if (url.origin === location.origin && this.socketId)
				request.headers.set('X-Socket-Id', this.socketId);
			return original(request);
		};
		return () => { window.fetch = original; };
	}

	/** Ends everything that this object started; the client stays connected. */
	destroy(): void {
		this.#leader?.stop();      // while listeners still receive "leader"
		this.#isDestroyed = true;
		this.#ending.abort();
		for (const unbind of this.#unbind.splice(0)) unbind();
		this.replay.detach();
		this.#recovery.stop();
		this.#heartbeat?.stop();
		this.#tokens.stop();
		this.#userSubscription?.leave();
		if (RealtimeManager.current === this) RealtimeManager.current = null;
	}

	#makeTokens(): Tokens {
		const tokens = new Tokens(this.options.token);
		tokens.onChange = (token) => this.emit('token', token);
		tokens.onError = (error) => this.emit('error', error);
		return tokens;
	}

	#makeHeartbeat(): Heartbeat | null {
		const { presence = Boolean(this.options.token) } = this.options;
		if (!presence) return null;
		const heartbeat = new Heartbeat(this.api, `scopewire:visible:${this.pusher.key}`,
			presence === true ? {} : presence, () => this.#ownSocketId);
		heartbeat.onAnswer = ({ unread_count }) => {
			if (!this.#isDestroyed) this.setBadge('notifications', unread_count);
		};
		return heartbeat;
	}

	#listen(): void {
		const { connection } = this.pusher;
		this.#bind('state_change', () => this.#stateChanged());
		this.#bind('error', (error: ClientError | undefined) => this.#failed(error));
		this.#bind('message', (frame: { event?: string; channel?: string } | undefined) => {
			if (!this.#status.isLeader) return;
			this.#heartbeat?.tick();
			if (frame?.event === 'pusher_internal:subscription_succeeded' && /^(private|presence)-/.test(frame.channel ?? ''))
				this.#heartbeat?.subscribed();
		});
		const onAny = (event: string, data: unknown) => this.#anyEvent(event, data);
		this.pusher.bind_global(onAny);
		this.#unbind.push(() => this.pusher.unbind_global(onAny));
		const { signal } = this.#ending;
		addEventListener('online', () => this.#update({ isOnline: true }), { signal });
		addEventListener('offline', () => this.#update({ isOnline: false }), { signal });
		document.addEventListener('visibilitychange', () =>
			this.#update({ isHidden: document.visibilityState === 'hidden' }), { signal });
		if (connection.state === 'connected') this.#connected();
	}

	/** Listens to the connection until destroy(), also when another listener of the same event calls that. */
	#bind<Data>(event: string, handler: (data: Data) => void): void {
		const { connection } = this.pusher;
		const bound = (data: Data) => { if (!this.#isDestroyed) handler(data); };
		connection.bind(event, bound);
		this.#unbind.push(() => connection.unbind(event, bound));
	}

	/** Others may find this manager now. */
	#publish(): void {
		RealtimeManager.current ??= this;
		for (const callback of RealtimeManager.#waiting) callback(this);
		RealtimeManager.#waiting.clear();
	}

	#stateNow(): ConnectionState {
		if (this.#isRefused) return 'failed';
		switch (this.pusher.connection.state) {
		case 'connected': return 'connected';
		case 'failed': return 'failed';
		case 'disconnected': return this.#isWanted && this.#hasConnected ? 'reconnecting' : 'disconnected';
		default: return this.#hasConnected ? 'reconnecting' : 'connecting';
		}
	}

	/** With 4000 to 4099 the server refuses this client: trying again does not help. */
	#failed(error: ClientError | undefined): void {
		const { code = 0, reconnect_within_ms: within = 0 } = error?.error?.data ?? error?.data ?? {};
		if (code >= 4000 && code < 4100) this.#isRefused = true;
		if (code === 4200 && within > 0 && this.#isWanted) this.#recovery.sentAway(within);
		this.emit('error', error);
	}

	#stateChanged(): void {
		const state = this.#stateNow();
		if (state === 'connected') this.#connected();
		else if (this.#isWanted && state !== 'failed') this.#lost();
		if (state !== this.#status.state) this.#update({ state, since: Date.now() });
	}

	#connected(): void {
		this.#recovery.connected();
		this.#isRefused = false;
		if (this.#hasConnected) this.#beginCatchingUp();
		this.#hasConnected = true;
		if (this.#status.isLeader) this.#heartbeat?.start();
		void this.#followUser();
	}

	#lost(): void {
		this.#catchingUp.clear();
		if (this.#status.catchingUp !== null) this.#update({ catchingUp: null });
		this.#recovery.lost();
	}

	/** Counts what arrives until every channel that has a position has caught up. */
	#beginCatchingUp(): void {
		this.#catchingUp.clear();
		this.#recovered = { events: 0, channels: 0 };
		for (const { name } of this.pusher.allChannels())
			if (this.replay.position(name)) this.#catchingUp.add(name);
		if (this.#catchingUp.size) this.#update({ catchingUp: 0 });
	}

	#anyEvent(event: string, data: unknown): void {
		if (this.#isDestroyed) return;
		if (event === 'scopewire:token_expiring') {
			void this.#renew((data as { channel?: string } | undefined)?.channel);
			return;
		}
		if (this.#status.catchingUp !== null && !/^(pusher|scopewire|client-)/.test(event))
			this.#update({ catchingUp: this.#status.catchingUp + 1 });
	}

	#ownEvent(event: string, channel: string, data: Record<string, unknown>): void {
		if (this.#isDestroyed) return;
		if (event === 'scopewire:token_expiring') void this.#renew(channel);
		if (event !== 'scopewire:replayed' && event !== 'scopewire:resync') return;
		if (!this.#catchingUp.delete(channel)) return;
		const count = Number(data.count ?? 0);
		this.#recovered.events += count;
		if (count) this.#recovered.channels++;
		if (this.#catchingUp.size) return;
		this.#update({ catchingUp: null });
		this.emit('recovered', { ...this.#recovered });
	}

	/** Extends the authorization of a channel, or of all, with a new token. */
	async #renew(channel: string | undefined): Promise<void> {
		try {
			if (this.#tokens.isAvailable) await this.#tokens.refresh('expiring');
			if (this.#isDestroyed) return;
			const names = channel ? [channel]
				: this.pusher.allChannels().map((c) => c.name).filter((n) => /^(private|presence)-/.test(n));
			await Promise.all(names.map((name) => this.#extend(name)));
		} catch (error) {
			this.emit('error', error);
		}
	}

	async #extend(name: string): Promise<void> {
		const { socketId } = this;
		if (!this.#authorizer || !socketId) return;
		const { auth, channel_data } = await this.#authorizer.authorize(socketId, name);
		this.pusher.send_event('pusher:subscribe', { auth, channel: name,
			...(channel_data && { channel_data }) });
	}

	#leaderChanged(isLeader: boolean): void {
		this.#update({ isLeader });
		if (!isLeader) this.#heartbeat?.stop();
		else if (this.#hasConnected) this.#heartbeat?.start();
		this.emit('leader', isLeader);
	}

	/** The user's own channel: the number of unread notifications. */
	async #followUser(): Promise<void> {
		if (this.#userSubscription || !this.options.token) return;
		const name = await this.userChannel();
		if (this.#userSubscription || this.#isDestroyed || !name) return;
		this.#userSubscription = this.channel(name)
			.on('NotificationsUnread', ({ unread }: { unread: number }) =>
				this.setBadge('notifications', unread));
	}

	async #findUserChannel(): Promise<string | null> {
		await this.#tokens.get().catch((error: unknown) => this.emit('error', error));
		const { userId, options: { userChannel } } = this;
		if (userId === undefined || userChannel === null) {
			this.#userChannel = null;      // the token may come later
			return null;
		}
		const name = (userChannel ?? USER_CHANNEL).replace('{id}', userId);
		return userChannel || !this.options.token ? name : this.#askUserChannel(userId, name);
	}

	/** The daemon's answer; while there is none, it is requested again. */
	async #askUserChannel(userId: string, otherwise: string): Promise<string | null> {
		while (!this.#isDestroyed) {
			try {
				const { channels } = await this.api.get<{ channels?: string[] }>('notifications',
					{ user_id: userId, limit: 1 });
				return channels ? channels[0] ?? null : otherwise;
			} catch (error) {
				if (!(error instanceof ApiError && error.isTemporary)) return otherwise;
				await new Promise((resolve) => { setTimeout(resolve, Math.max(RETRY_MS, error.retryAfterMs)); });
			}
		}
		return null;
	}

	#update(change: Partial<Status>): void {
		if (!this.#status) return;     // the leader lock was granted within the constructor
		this.#status = { ...this.#status, ...change };
		this.emit('status', this.#status);
	}
}

function showBadge(total: number): void {
	const title = document.title.replace(/^\(\d+\+?\) /, '');
	document.title = total ? `(${total > 99 ? '99+' : total}) ${title}` : title;
	const icon = navigator as { setAppBadge?(n: number): Promise<void>; clearAppBadge?(): Promise<void> };
	void (total ? icon.setAppBadge?.(total) : icon.clearAppBadge?.())?.catch(() => {});
}
